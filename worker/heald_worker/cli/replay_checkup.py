"""Whether a server forgets at its next start: what it replays of its append-only file, and with whose rights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import redis

from heald_worker.cli.checkup import Finding, bad, ok, warn
from heald_worker.cli.server_checkup import numbers_of, version_of

FREE_REPLAY = {"Redis": (8, 6), "Valkey": (9, 1, 2)}
"""From these on, nobody's rights are looked at in a replay: Redis by its release notes (its pull request 14545), Valkey
as tested. Before, transactions and scripts with several writes are replayed with the rights of the default user, and
dropped where it lacks them, as tested with Redis 7.0.15 and Valkey 9.0.0, 9.1.0 and 9.1.1. Others are not known."""


def needs_rights(info: Mapping[str, Any]) -> bool:
    """Whether this server has a file to replay, and may look at the default user's rights when it does. Pure."""
    name, version = version_of(info)
    return bool(info.get("aof_enabled")) and numbers_of(version) < FREE_REPLAY[name]


def default_may_everything(client: redis.Redis) -> bool | None:
    """Whether the server's default user has every command and every key; None when this account may not see that."""
    try:
        user: Any = client.acl_getuser("default")
    except redis.ResponseError:
        return None
    return bool(user["categories"] == ["+@all"] and not user["commands"] and "~*" in user["keys"])


def check_replay(info: Mapping[str, Any], everything: bool | None) -> Finding:
    """Whether a restart brings back all that was written, on a server that `needs_rights`. Pure.

    Args:
        everything: what `default_may_everything` said.
    """
    replay = f"{' '.join(version_of(info))} may replay its append-only file with the default user's rights only"
    line = "`user default off resetpass ~* &* +@all`"
    if everything:
        return ok("accounts", f"{replay}, and these are all rights")
    if everything is None:
        advice = f"as an administrator, see that it has +@all and ~* (ACL GETUSER default); {line} gives them"
        return warn("accounts", f"{replay}, which this account may not see", advice)
    advice = f"put {line} into its accounts before it starts again; docs/operating.md tells more"
    return bad("accounts", f"{replay}, and these are not all rights: a restart forgets runs", advice)
