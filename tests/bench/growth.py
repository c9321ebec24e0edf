"""Memory of a control process as its recoveries go into the thousands: it must not grow with them."""

from __future__ import annotations

import subprocess

from lab import RECOVERIES, Lab, heald, recording
from table import Row, at_most, row

MOST_GROWTH = 1.1


def measure(lab: Lab) -> list[Row]:
    """Resident memory of one process after some and after many recoveries."""
    client, done, sizes = lab.fresh(), 0, []
    with lab.process(heald("worker", "--role", "control"), lab.environ(recording(fsync=False))) as process:
        for count in lab.effort.memory_runs:
            lab.push(count - done, first=done)
            lab.until(lambda wanted=count: client.xlen(RECOVERIES) >= wanted, process, 0.02)
            sizes.append(resident(process.pid))
            done = count
    few, many = lab.effort.memory_runs[0], lab.effort.memory_runs[-1]
    return [
        row(f"worker memory after {few:,} recoveries", [sizes[0]], "MiB"),
        row(f"worker memory after {many:,} recoveries", [sizes[-1]], "MiB"),
        at_most(MOST_GROWTH, row("growth between the two", [sizes[-1] / sizes[0]], "x")),
    ]


def resident(pid: int) -> float:
    """MiB that a process holds in memory."""
    shown = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], stdout=subprocess.PIPE, check=True).stdout
    return int(shown) / 1024
