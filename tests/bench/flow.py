"""Recoveries per second of one worker process on the four-job flow, beside RQ's own SimpleWorker."""

from __future__ import annotations

import sys

import peers
import rq_flow
from lab import MESSAGE, RECOVERIES, STAGE, Lab, Spent, heald, recording
from table import Row, at_least, row

HEALD = heald("worker", "--role", "control")
SIMPLE = ["worker", rq_flow.QUEUE, "--quiet", "--worker-class", "rq.worker.SimpleWorker", "--url"]
TARGET = 10
RENAMED_TARGET, SYNCED_TARGET = 3, 2
"""How many times the fastest peer, with artifacts that are renamed, and with artifacts that are on the disk."""


def measure(lab: Lab) -> list[Row]:
    """The runs are queued first, then one worker starts; the clock stops when the last log stands in the stream."""
    plain, durable, twice, rq = [], [], [], []
    others: dict[str, list[float]] = {name: [] for name in peers.ENVIRONMENTS} if lab.peers else {}
    for _ in range(lab.effort.rounds):
        for name, rates in others.items():
            rates.append(lab.peers.rate(lab, name, lab.effort.peer_runs))  # type: ignore[union-attr]
        rq.append(_rq(lab))
        plain.append(_heald(lab, fsync=False))
        durable.append(_heald(lab, fsync=True))
        twice.append(_heald(lab, fsync=True, processes=2))
    heald_runs, rq_runs = lab.effort.recoveries, lab.effort.rq_recoveries
    return [
        _rate("recoveries, artifacts renamed", plain, heald_runs),
        _rate("recoveries, artifacts synced too", durable, heald_runs),
        _rate("the same by two control processes", twice, heald_runs),
        _rate("RQ SimpleWorker, the same flow", rq, rq_runs),
        at_least(TARGET, _ratio("heald renamed : RQ SimpleWorker", plain, heald_runs, rq, rq_runs)),
        at_least(TARGET, _ratio("heald synced : RQ SimpleWorker", durable, heald_runs, rq, rq_runs)),
        at_least(1, _ratio("two control processes : one", twice, heald_runs, durable, heald_runs)),
        *_beside(others, [heald_runs / each.wall for each in plain], [heald_runs / each.wall for each in durable]),
    ]


def _beside(others: dict[str, list[float]], renamed: list[float], synced: list[float]) -> list[Row]:
    """Other queues, and how many times the fastest of each round heald is."""
    if not others:
        return []
    fastest = [max(rates) for rates in zip(*others.values(), strict=True)]

    def times(name: str, ours: list[float], target: float) -> Row:
        return at_least(target, row(name, [a / b for a, b in zip(ours, fastest, strict=True)], "x"))

    return [
        *(row(f"{name}, the same flow", rates, "/s") for name, rates in others.items()),
        times("heald renamed : fastest peer", renamed, RENAMED_TARGET),
        times("heald synced : fastest peer", synced, SYNCED_TARGET),
    ]


def _heald(lab: Lab, *, fsync: bool, processes: int = 1) -> Spent:
    lab.fresh()
    lab.push(lab.effort.recoveries)
    environ = lab.environ(recording(fsync=fsync))
    return lab.time_worker(HEALD, environ, RECOVERIES, lab.effort.recoveries, processes)


def _rq(lab: Lab) -> Spent:
    rq_flow.enqueue(lab.fresh(), lab.effort.rq_recoveries, STAGE, MESSAGE)
    argv = [sys.executable, "-c", "from rq.cli import main; main()", *SIMPLE, lab.server.url]
    return lab.time_worker(argv, lab.environ(""), rq_flow.LOG, lab.effort.rq_recoveries)


def _rate(name: str, rounds: list[Spent], count: int) -> Row:
    cheapest = min(rounds, key=lambda spent: spent.wall)
    note = (
        f"per recovery: worker {cheapest.worker_cpu / count * 1e3:.2f} ms of CPU, "
        f"server {cheapest.server_cpu / count * 1e3:.2f} ms, {cheapest.commands / count:.0f} commands"
    )
    return row(name, [count / spent.wall for spent in rounds], "/s", note)


def _ratio(name: str, ours: list[Spent], our_count: int, theirs: list[Spent], their_count: int) -> Row:
    """The ratio of the rates, round by round."""
    pairs = zip(ours, theirs, strict=True)
    return row(name, [our_count / a.wall * b.wall / their_count for a, b in pairs], "x")
