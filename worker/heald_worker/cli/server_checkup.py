"""What `heald doctor` looks at on the server: version, memory, persistence, queues, runs that nobody looks after."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, NamedTuple

import redis

from heald_worker import keys
from heald_worker.cli.checkup import Finding, bad, ok, warn
from heald_worker.cli.describe import span
from heald_worker.cli.vitals import Vitals
from heald_worker.config import Limits
from heald_worker.queues import QUEUES, queue_key

OLDEST = {"Redis": (7, 0), "Valkey": (8, 0)}
LATE = 60.0
"""Seconds beyond which an overdue agenda means that nobody works."""
PAGE = 1000
SHOWN = 5


def check_server(info: Mapping[str, Any]) -> Iterator[Finding]:
    """Version, role, eviction and memory, from the server's own INFO. Pure."""
    name, version = version_of(info)
    oldest = OLDEST[name]
    if numbers_of(version) < oldest:
        wanted = ".".join(map(str, oldest))
        yield bad("server", f"{name} {version} is too old", f"use {name} {wanted} or newer")
    else:
        yield ok("server", f"{name} {version}")
    if info.get("cluster_enabled"):
        yield bad("server", "it is a Redis Cluster", "use a single server, with Sentinel for failover")
    if info.get("role") in ("slave", "replica"):
        yield bad("server", "it is a replica and refuses writes", "name the primary, or use [sentinel]")
    yield _eviction(info)
    used, most = info.get("used_memory", 0), info.get("maxmemory", 0)
    if most and used > 0.9 * most:
        yield warn("memory", f"{used / most:.0%} of maxmemory is used", "raise maxmemory before writes are refused")


def version_of(info: Mapping[str, Any]) -> tuple[str, str]:
    """Which server this is, `Redis` or `Valkey`, and its version. Pure."""
    if valkey := info.get("valkey_version"):
        return "Valkey", str(valkey)  # its redis_version is that of the Redis it is compatible with
    return "Redis", str(info.get("redis_version"))


def numbers_of(version: str) -> tuple[int, ...]:
    """A version as numbers that compare, at most three. Pure."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:3])


def _eviction(info: Mapping[str, Any]) -> Finding:
    policy = info.get("maxmemory_policy")
    if policy is None:
        return warn("eviction", "the server does not tell its eviction policy", "make sure that it is noeviction")
    if policy != "noeviction":
        return bad("eviction", f"{policy}: a full server would drop runs", "CONFIG SET maxmemory-policy noeviction")
    return ok("eviction", "noeviction")


def check_persistence(info: Mapping[str, Any], fsync: str | None) -> Finding:
    """Whether what was accepted survives the server. `fsync` is appendfsync, None when it may not be asked. Pure."""
    if not info.get("aof_enabled"):
        advice = "CONFIG SET appendonly yes, and in the server's configuration file"
        return warn("persistence", "no append-only file: a server that dies takes accepted runs along", advice)
    if info.get("aof_last_write_status", "ok") != "ok":
        return bad("persistence", "the append-only file cannot be written", "free the server's disk")
    meaning = {
        "always": "appendfsync always: nothing acknowledged is lost",
        "everysec": "appendfsync everysec: the last second may be lost when the machine dies",
    }
    if fsync == "no":
        return warn("persistence", "appendfsync no: much may be lost when the machine dies", "set it to everysec")
    return ok("persistence", meaning.get(fsync or "", "append-only file"))


def appendfsync(client: redis.Redis) -> str | None:
    """The server's fsync policy, when this user may ask for it."""
    try:
        answer: Mapping[Any, Any] = client.config_get("appendfsync")
    except redis.ResponseError:
        return None
    value = answer.get(b"appendfsync") or answer.get("appendfsync")
    return value.decode() if isinstance(value, bytes) else value


class Backlog(NamedTuple):
    """How many jobs wait in each queue, and how many workers are registered."""

    queues: dict[str, int]
    workers: int


def read_backlog(client: redis.Redis) -> Backlog:
    """Count jobs and workers."""
    pipe = client.pipeline(transaction=False)
    for queue in QUEUES:
        pipe.llen(queue_key(queue))
    pipe.scard("rq:workers")
    *lengths, workers = pipe.execute()
    return Backlog(dict(zip(QUEUES, lengths, strict=True)), workers)


def check_work(vitals: Vitals, backlog: Backlog, limits: Limits) -> Iterator[Finding]:
    """Inbox, queues, workers, agenda and dead letters. Pure."""
    waits = f"{vitals.inbox:,} waiting" + (
        f", the oldest for {span(vitals.oldest)}" if vitals.oldest is not None else ""
    )
    if vitals.inbox > limits.inbox_refusal:
        yield bad("inbox", f"{waits}: `heald push` refuses more", "start more workers; see `heald workers`")
    elif vitals.inbox > limits.inbox_warning:
        yield warn("inbox", waits, "start more workers; see `heald workers`")
    else:
        yield ok("inbox", waits)
    yield ok("queues", ", ".join(f"{name} {length:,}" for name, length in backlog.queues.items()))
    if backlog.workers:
        yield ok("workers", f"{backlog.workers:,} registered")
    else:
        yield warn("workers", "none is registered", "start one with `heald worker`")
    for difference in vitals.differences:
        yield warn("workers", difference.detail, difference.advice)
    if vitals.paused is not None:
        yield warn("paused", vitals.paused or "nothing new is begun", "`heald resume` goes on")
    elif vitals.lag > LATE:
        late = f"{vitals.overdue:,} of {vitals.agenda:,} entries are overdue, the worst by {span(vitals.lag)}"
        yield warn("agenda", late, "nobody tends it: see `heald workers` and their logs")
    else:
        yield ok("agenda", f"{vitals.agenda:,} entries, {vitals.overdue:,} due now")
    if vitals.unclosed:
        late = f"{vitals.unclosed:,} wait for their artifact or notice, the longest for {span(vitals.closing)}"
        yield warn("closing", late, "see the logs of control processes; is the disk of the artifacts there?")
    if vitals.unheard:
        yield bad("notices", f"{vitals.unheard:,} failed for good", "`heald notices list` tells why; then resend them")
    else:
        yield ok("notices", "none failed for good")
    if vitals.dead:
        yield warn("dead letters", f"{vitals.dead:,}", "`heald dead list` tells why")
    else:
        yield ok("dead letters", "none")


def check_parked(client: redis.Redis) -> Finding:
    """Runs that could not be advanced, some of them by name."""
    number = client.hlen(keys.PARKED)
    if not number:
        return ok("parked", "none")
    some: dict[bytes, bytes] = dict(islice(client.hscan_iter(keys.PARKED, count=SHOWN), SHOWN))
    named = [f"{_text(run)} ({_text(reason)})" for run, reason in some.items()]
    advice = "mend the reason (a newer heald may read what this one cannot), then `heald resume RUN`"
    return bad("parked", f"{number:,}: {', '.join(named)}", advice)


class Strays(NamedTuple):
    """Open runs and intake batches that nobody will look at again."""

    number: int
    some: tuple[str, ...]


def find_strays(client: redis.Redis, *, mend: bool = False) -> Strays:
    """Compare the open runs with the agenda, a page at a time.

    Args:
        mend: put what is missing on the agenda, due now.
    """
    number, cursor = 0, 0
    some: list[bytes] = []
    while True:
        answer: Any = client.scan(cursor, match="heald:[ir]*", count=PAGE)
        cursor, page = answer
        missing = _missing(client, _missing(client, _members(page)))  # twice: between the two, a run may begin or end
        number += len(missing)
        some += missing[: SHOWN - len(some)]
        if missing and mend:
            seconds, micros = client.time()
            due = int(seconds) * 1000 + int(micros) // 1000
            client.zadd(keys.AGENDA, dict.fromkeys(missing, due), nx=True)
        if cursor == 0:
            return Strays(number, tuple(_text(member) for member in some))


def check_strays(strays: Strays, *, mended: bool) -> Finding:
    """What `find_strays` found."""
    if not strays.number:
        return ok("runs", "all open runs are on the agenda")
    named = ", ".join(strays.some) + (", ..." if strays.number > len(strays.some) else "")
    if mended:
        return warn("runs", f"{strays.number:,} were missing from the agenda: {named}", "they are on it again")
    return bad(
        "runs", f"{strays.number:,} are missing from the agenda: {named}", "`heald doctor --mend` puts them back"
    )


def _members(page: list[bytes]) -> list[bytes]:
    """The agenda's names of the runs and batches among these keys."""
    run, batch = keys.RUN_PREFIX.encode(), keys.INTAKE_PREFIX.encode()
    runs = [key.removeprefix(run) for key in page if key.startswith(run)]
    return runs + [keys.INTAKE_MEMBER.encode() + key.removeprefix(batch) for key in page if key.startswith(batch)]


def _missing(client: redis.Redis, members: list[bytes]) -> list[bytes]:
    """Those that exist, are not on the agenda, and are not parked either."""
    if not members:
        return []
    pipe = client.pipeline(transaction=True)
    pipe.zmscore(keys.AGENDA, members)  # type: ignore[arg-type]  # bytes serve as well
    pipe.hmget(keys.PARKED, members)
    for member in members:
        pipe.exists(_key_of(member))
    scores, parked, *there = pipe.execute()
    rows = zip(members, scores, parked, there, strict=True)
    return [member for member, score, reason, exists in rows if score is None and reason is None and exists]


def _key_of(member: bytes) -> bytes:
    batch = keys.INTAKE_MEMBER.encode()
    if member.startswith(batch):
        return keys.INTAKE_PREFIX.encode() + member.removeprefix(batch)
    return keys.RUN_PREFIX.encode() + member


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
