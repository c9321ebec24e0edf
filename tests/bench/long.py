"""`make bench-long`: a backlog of a million runs, and what stays flat behind it.

Everything lies in memory and in a temporary folder: about 4 GB for the server and 10 GB of small files for a million.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from growth import resident
from lab import RECOVERIES, Lab, heald, recording, reports
from table import Row, at_least, at_most, row

from heald_producer.push import push_many
from heald_worker import keys
from heald_worker.config import Settings
from heald_worker.intake import new_token, take_in
from heald_worker.service import Service

FEW = 10_000
HISTORY = 100
PUSH_AT_ONCE = 10_000
LOOKS = 5


def measure(lab: Lab) -> list[Row]:
    """Work a short and a long backlog off with one process each, then look at what grew."""
    many, few = lab.effort.backlog, min(FEW, lab.effort.backlog)
    lab.fresh()
    few_rate, _, _ = _work_off(lab, 0, few)
    lab.fresh()
    _work_off(lab, 0, HISTORY)
    early = _looks(lab, first=10 * many)
    rate, memory, jobs = _work_off(lab, HISTORY, many)
    late = _looks(lab, first=20 * many)
    return [
        row(f"recoveries/s, backlog of {few:,}", [few_rate], "/s"),
        row(f"recoveries/s, backlog of {many:,}", [rate], "/s"),
        at_least(0.8, row("long backlog : short backlog", [rate / few_rate], "x")),
        at_most(120, row(f"most worker memory, backlog of {many:,}", [memory], "MiB")),
        at_most(Settings().limits.open_nudges, row("most RQ jobs at once", [jobs], "")),
        _flat(
            f"intake, {many:,} ended runs : {HISTORY}", late[0] / early[0], f"{early[0]:,.0f}, then {late[0]:,.0f}/s"
        ),
        _flat(f"`heald runs`, {HISTORY} : {many:,}", early[1] / late[1], f"{early[1]:.0f}, then {late[1]:.0f} ms"),
        row("server memory per run", [lab.client.info("memory")["used_memory"] / many], "bytes", "stream entries, too"),
    ]


def _flat(name: str, ratio: float, note: str) -> Row:
    return at_least(0.8, row(name, [ratio], "x", note))


def _work_off(lab: Lab, first: int, count: int) -> tuple[float, float, float]:
    """Recoveries per second of a backlog, the process's greatest memory in MiB, and the most jobs at once."""
    client, memory, jobs = lab.client, 0.0, 0
    for start in range(first, first + count, PUSH_AT_ONCE):
        push_many(reports(min(PUSH_AT_ONCE, first + count - start), start), connection=client)
    before, begun = client.xlen(RECOVERIES), time.perf_counter()
    with lab.process(heald("worker", "--role", "control"), lab.environ(recording(fsync=False))) as process:
        while (done := client.xlen(RECOVERIES) - before) < count:
            if process.poll() is not None:
                raise RuntimeError("the worker ended before its backlog")
            memory = max(memory, resident(process.pid))
            jobs = max(jobs, _jobs(lab))
            time.sleep(0.2 if count - done > FEW else 0.01)
        rate = count / (time.perf_counter() - begun)
    return rate, memory, max(jobs, 0)


def _jobs(lab: Lab) -> int:
    """RQ's job hashes: what is left of all keys without the open runs and the tombstones of ended ones."""
    pipe = lab.client.pipeline()
    pipe.dbsize()
    pipe.zcard(keys.AGENDA)
    pipe.xlen(RECOVERIES)
    all_keys, open_runs, ended = pipe.execute()
    return int(all_keys - open_runs - ended)


def _looks(lab: Lab, first: int) -> tuple[float, float]:
    """Reports a second into open runs, with history asked for each, and milliseconds of `heald runs`."""
    service = Service(lab.client, Settings(artifacts=lab.artifacts), "bench")
    push_many(reports(PUSH_AT_ONCE, first), connection=lab.client)
    begun = time.perf_counter()
    while take_in(service, new_token()).reports:
        pass
    intake = PUSH_AT_ONCE / (time.perf_counter() - begun)
    listing = sorted(_seconds(lambda: _list(lab)) for _ in range(LOOKS))[LOOKS // 2]
    with lab.process(heald("worker", "--role", "control", "--burst"), lab.environ(recording(fsync=False))) as process:
        process.wait()
    return intake, listing * 1e3


def _list(lab: Lab) -> None:
    argv = heald("runs", "-n", "20")
    subprocess.run(argv, env=lab.environ(""), stdout=subprocess.DEVNULL, check=True)


def _seconds(work: Callable[[], None]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
