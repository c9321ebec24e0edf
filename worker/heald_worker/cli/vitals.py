"""How the service is doing right now, read from the server in a few round trips."""

from __future__ import annotations

import msgspec
import redis

from heald_producer.signals import MAX_REPORT_BYTES
from heald_producer.wire import PoisonReport, decode_report
from heald_worker import keys, queues
from heald_worker.core.instant import parse_instant
from heald_worker.playbooks import Difference, differences, told_by

_HEAD = """
local head = redis.call('LINDEX', KEYS[1], 0)
return head and #head <= tonumber(ARGV[1]) and head
"""
"""The inbox's oldest report, unless it is larger than any report may be: a probe must not fetch 500 MB."""


_NOBODY = "rq:worker:"
"""A worker's key that no worker has: asking for none at all is an error."""


class Vitals(msgspec.Struct, frozen=True):
    """What a probe sees. Times are seconds on the server's clock.

    Attributes:
        inbox: reports that wait.
        oldest: age of the oldest of them by its runner's clock; None when it does not say, or nothing waits.
        agenda: open runs and intake batches.
        overdue: entries of the agenda whose time has come.
        lag: how long the most overdue one has been so.
        parked: runs that cannot be advanced.
        dead: dead letters kept.
        paused: who paused the service and why; None when it is running.
        repairs: jobs that wait for a repair process.
        control_alive: whether a control process is registered and beats its heart.
        repairs_alive: the same of a repair process.
        control_workers: how many control processes are.
        unclosed: runs whose log is fixed, and that take long to end.
        closing: seconds since the log of the oldest of them was fixed.
        unheard: notices that failed for good, and were not sent again.
        differences: in what living workers differ, and what to do about it.
    """

    inbox: int
    oldest: float | None
    agenda: int
    overdue: int
    lag: float
    parked: int
    dead: int
    paused: str | None
    repairs: int
    control_alive: bool
    repairs_alive: bool
    control_workers: int = 0
    unclosed: int = 0
    closing: float = 0.0
    unheard: int = 0
    differences: tuple[Difference, ...] = ()


def measure(client: redis.Redis) -> Vitals:
    """Read the vitals.

    Raises:
        redis.RedisError: the server cannot be asked.
    """
    pipe = client.pipeline(transaction=False)
    pipe.time()
    pipe.llen(keys.INBOX)
    pipe.eval(_HEAD, 1, keys.INBOX, MAX_REPORT_BYTES)
    pipe.zcard(keys.AGENDA)
    pipe.zrange(keys.AGENDA, 0, 0, withscores=True)
    pipe.hlen(keys.PARKED)
    pipe.xlen(keys.DEAD)
    pipe.get(keys.PAUSED)
    pipe.llen(queues.queue_key(queues.REPAIR))
    pipe.smembers(queues.workers_key(queues.DECIDE))
    pipe.smembers(queues.workers_key(queues.REPAIR))
    pipe.zcard(keys.UNCLOSED)
    pipe.zrange(keys.UNCLOSED, 0, 0, withscores=True)
    pipe.xlen(keys.UNHEARD)
    (seconds, micros), inbox, head, agenda, first, *counts, control, making, unclosed, oldest, unheard = pipe.execute()
    parked, dead, paused, repairs = counts
    now = int(seconds) + int(micros) / 1e6
    pipe.zcount(keys.AGENDA, "-inf", f"({int(now * 1000)}")
    for known in (control, making):
        pipe.exists(_NOBODY, *known)
    overdue, control_alive, repairs_alive = pipe.execute()
    return Vitals(
        inbox=inbox,
        oldest=_age(head, now),
        agenda=agenda,
        overdue=int(overdue),
        lag=_since(first, now),
        parked=parked,
        dead=dead,
        paused=None if paused is None else paused.decode("utf-8", "replace"),
        repairs=repairs,
        control_alive=bool(control_alive),
        repairs_alive=bool(repairs_alive),
        control_workers=int(control_alive),
        unclosed=unclosed,
        closing=_since(oldest, now),
        unheard=unheard,
        differences=tuple(differences(told_by(client))),
    )


def _since(first: list[tuple[bytes, float]], now: float) -> float:
    """Seconds since the time of a sorted set's first member; 0 where it is ahead, or there is none."""
    return max(0.0, now - first[0][1] / 1000) if first else 0.0


def _age(head: bytes | None, now: float) -> float | None:
    """Seconds since a report was made; a runner's clock that runs ahead gives 0."""
    if head is None:
        return None
    try:
        reported_at = decode_report(head).reported_at
        return None if reported_at is None else max(0.0, now - parse_instant(reported_at).seconds)
    except (PoisonReport, ValueError):
        return None
