"""Milliseconds from a push to committed steps while the service works at half of what it can."""

from __future__ import annotations

import time
from threading import Thread

import redis
from lab import RECOVERIES, Lab, heald, recording, reports
from table import Row, percentile, row

from heald_producer.push import push_many
from heald_worker import keys

WORKER = heald("worker", "--role", "control")
BEAT = 0.01
"""Seconds between two pushes: a runner's failures arrive one by one, those of a thousand runners like this."""
WARM_UP = 0.2
"""The share of the runs that is not looked at."""


def measure(lab: Lab) -> list[Row]:
    """Find the peak, then push at half of it and watch every run's events arrive."""
    lab.fresh()
    lab.push(lab.effort.recoveries)
    environ = lab.environ(recording(fsync=True))
    spent = lab.time_worker(WORKER, environ, RECOVERIES, lab.effort.recoveries)
    rate = lab.effort.recoveries / spent.wall / 2
    decided, ended = _at_rate(lab, environ, rate)
    note = f"{rate:.0f} runs/s, four jobs each, artifacts synced"
    return [
        row("push to committed decision at half the peak, p50", decided, "ms", note),
        row("push to committed decision at half the peak, p99", [percentile(decided, 99)], "ms"),
        row("push to ended run at half the peak, p50", ended, "ms", note),
        row("push to ended run at half the peak, p99", [percentile(ended, 99)], "ms"),
    ]


def _at_rate(lab: Lab, environ: dict[str, str], rate: float) -> tuple[list[float], list[float]]:
    client, count = lab.fresh(), lab.effort.recoveries
    pushed: dict[str, float] = {}
    seen: dict[str, dict[str, float]] = {"decided": {}, "ended": {}}
    with lab.process(WORKER, environ) as process:
        lab.until(lambda: client.exists("rq:workers"), process, 0.01)
        pusher = Thread(target=_push_steadily, args=(lab, count, rate, pushed), daemon=True)
        pusher.start()
        watcher = redis.Redis.from_url(lab.server.url, protocol=2)
        last: bytes = b"0"
        while len(seen["ended"]) < count:
            [(_, entries)] = watcher.xread({keys.EVENTS: last}, block=60_000) or [(b"", [])]
            if not entries:
                raise RuntimeError("a worker at half its peak rate stood still")
            now, last = time.perf_counter(), entries[-1][0]
            for _, fields in entries:
                if fields[b"kind"].decode() in seen:
                    seen[fields[b"kind"].decode()].setdefault(fields[b"run"].decode(), now)
        pusher.join()
        watcher.close()
    late = sorted(pushed, key=lambda run: pushed[run])[int(count * WARM_UP) :]
    decided, ended = ([(times[run] - pushed[run]) * 1e3 for run in late] for times in seen.values())
    return decided, ended


def _push_steadily(lab: Lab, count: int, rate: float, pushed: dict[str, float]) -> None:
    client = redis.Redis.from_url(lab.server.url)
    waiting, begun, done = reports(count), time.perf_counter(), 0
    while done < count:
        wanted = min(count, int((time.perf_counter() - begun) * rate))
        if batch := waiting[done:wanted]:
            now = time.perf_counter()
            pushed.update((report.run_id, now) for report in batch)
            push_many(batch, connection=client)
            done = wanted
        time.sleep(BEAT)
    client.close()
