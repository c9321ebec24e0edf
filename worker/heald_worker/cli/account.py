"""Which account the server knows this user as, by what it lets it do. Nothing is changed to find out."""

from __future__ import annotations

from enum import StrEnum

import redis

from heald_worker import keys
from heald_worker.cli.checkup import Finding, ok, warn


class Account(StrEnum):
    """The accounts of `deploy/users.acl`, and whatever lies between them."""

    PRODUCER = "producer"
    WORKER = "worker"
    ADMIN = "admin"
    OTHER = "other"


def account_of(client: redis.Redis) -> Account:
    """Ask for what each account may, in one round trip.

    Raises:
        redis.RedisError: the server cannot be asked.
    """
    pipe = client.pipeline(transaction=False)
    pipe.exists(keys.AGENDA)
    pipe.info("server")
    pipe.eval("return 1", 0)
    pipe.config_get("maxmemory-policy")
    replies = pipe.execute(raise_on_error=False)
    for reply in replies:
        if isinstance(reply, redis.RedisError) and not isinstance(reply, redis.ResponseError):
            raise reply
    reads, tells, works, configures = (not isinstance(reply, redis.ResponseError) for reply in replies)
    if not (reads or tells or works):
        return Account.PRODUCER
    if not (reads and tells and works):
        return Account.OTHER
    return Account.ADMIN if configures else Account.WORKER


def check_account(account: Account) -> Finding:
    """What the account is good for. Pure."""
    match account:
        case Account.PRODUCER:
            return ok("account", "a producer's, which may ask nothing; `heald health --runner` tries to add something")
        case Account.WORKER:
            return ok("account", "a worker's: it decides and repairs, and may not ask for the server's configuration")
        case Account.ADMIN:
            return ok("account", "an administrator's: it may do everything that is asked here")
        case Account.OTHER:
            advice = "give it what deploy/users.acl gives to heald-worker, or ask with that account"
            return warn("account", "neither a producer's nor a worker's: it may do a part of what workers do", advice)
