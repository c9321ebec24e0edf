"""All that stands in a server, to be compared with what stands there later."""

from __future__ import annotations

from typing import Any

import redis


def contents(client: redis.Redis) -> dict[str, tuple[str, Any, int]]:
    """Every key of the database: its type, its value, and when it expires (Unix time in ms, -1 if never)."""
    found: dict[str, tuple[str, Any, int]] = {}
    for key in client.scan_iter():
        kind = client.type(key).decode()
        found[key.decode()] = (kind, _value(client, kind, key), client.pexpiretime(key))
    return found


def _value(client: redis.Redis, kind: str, key: bytes) -> Any:
    match kind:
        case "string":
            return client.get(key)
        case "hash":
            return client.hgetall(key)
        case "list":
            return client.lrange(key, 0, -1)
        case "set":
            return client.smembers(key)
        case "zset":
            return client.zrange(key, 0, -1, withscores=True)
        case "stream":
            groups = [group["name"] for group in client.xinfo_groups(key)]
            pending = [client.xpending(key, group)["pending"] for group in groups]
            return client.xrange(key), groups, pending
    raise AssertionError(f"{key!r} is a {kind}, which heald and RQ do not use")
