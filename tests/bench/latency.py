"""Milliseconds from a push to committed steps of its run, on an idle system of real processes."""

from __future__ import annotations

import time

import redis
from lab import RECOVERIES, Lab, heald, reports
from table import Row, at_most, percentile, row

from heald_producer.push import push
from heald_worker import keys

WORKER = heald("worker", "--repairs", "1")
COMMAND = '[repairs.patch_forward]\nkind = "command"\ncommand = ["true"]\n'
TARGET = 5
WARM_UP = 3
REST = 0.05
"""Seconds without work before each push: the processes sleep again."""
PATIENCE_MS = 60_000


def measure(lab: Lab) -> list[Row]:
    """A run at a time: push, then watch the events arrive, each of which its commit wrote."""
    client, samples = lab.fresh(), []
    watcher = redis.Redis.from_url(lab.server.url, protocol=2)
    with lab.process(WORKER, lab.environ(COMMAND)) as process:
        for number in range(lab.effort.latencies + WARM_UP):
            samples.append(_push_and_watch(lab, watcher, number))
            lab.until(lambda done=number + 1: client.xlen(RECOVERIES) >= done, process, 0.005)
            time.sleep(REST)
    watcher.close()
    kinds = ("decided", "repair_started", "ended")
    decided, claimed, ended = ([each[kind] for each in samples[WARM_UP:]] for kind in kinds)
    return [
        at_most(TARGET, row("push to committed claim, p50", claimed, "ms", "of a repair that runs a command")),
        row("push to committed claim, p99", [percentile(claimed, 99)], "ms"),
        row("push to committed decision, p50", decided, "ms"),
        row("push to committed decision, p99", [percentile(decided, 99)], "ms"),
        row("push to ended run, p50", ended, "ms", "the repair forks and runs `true`, artifact synced"),
    ]


def _push_and_watch(lab: Lab, watcher: redis.Redis, number: int) -> dict[str, float]:
    """Push one run. Returns the milliseconds until its events were seen, by kind."""
    [report], last, seen = reports(1, number), _newest(watcher), {}
    begun = time.perf_counter()
    push(report, connection=lab.client)
    while "ended" not in seen:
        answer = watcher.xread({keys.EVENTS: last}, block=PATIENCE_MS)
        if not answer:
            raise RuntimeError("an idle worker did not take a run up")
        elapsed = (time.perf_counter() - begun) * 1e3
        entries = answer[0][1]
        last = entries[-1][0]
        for _, fields in entries:
            seen.setdefault(fields[b"kind"].decode(), elapsed)
    return seen


def _newest(client: redis.Redis) -> bytes:
    newest = client.xrevrange(keys.EVENTS, count=1)
    return newest[0][0] if newest else b"0"
