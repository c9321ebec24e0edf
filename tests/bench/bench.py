"""`make bench`: measure the service on this machine and print one table.

Everything runs here: an embedded Valkey of its own on a free loopback port, real worker processes, artifacts in a
temporary folder. What is compared is measured in interleaved rounds; the table shows medians. Absolute numbers say
something about this machine, ratios something about heald. `docs/performance.md` explains each line.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent))  # for `support`, which the test suite uses too

import busy
import diagnosis
import flow
import footprint
import growth
import latency
import logs
import long
import pushing
import starts
from lab import QUICK, Effort, Lab
from peers import Peers
from rich.console import Console
from table import Row, as_json, show

from support.server import Server

MEASUREMENTS: dict[str, Callable[[Lab], list[Row]]] = {
    "diagnosis": diagnosis.measure,
    "logs": logs.measure,
    "push": pushing.measure,
    "flow": flow.measure,
    "latency": latency.measure,
    "busy": busy.measure,
    "run": starts.measure,
    "footprint": footprint.measure,
    "memory": growth.measure,
}
LONG: dict[str, Callable[[Lab], list[Row]]] = {"long": long.measure}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return 1 when a target was missed."""
    options = _options(argv)
    effort = QUICK if options.quick else Effort()
    if options.rounds:
        effort = effort._replace(rounds=options.rounds)
    if options.backlog:
        effort = effort._replace(backlog=options.backlog)
    peers = Peers(Path(options.peers), Path(options.peer_environments)) if options.peers else None
    about, rows = _about(effort), []
    progress = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="heald-bench-") as folder:
        measurements = LONG if options.long else MEASUREMENTS
        for name in options.only or measurements:
            progress.print(f"measuring: {name}", style="dim")
            rows += _in_a_fresh_lab(measurements[name], Path(folder, name), effort, peers)
    show(rows, about)
    if options.json:
        Path(options.json).write_text(as_json(rows, about) + "\n")
    return 1 if any(each.met is False for each in rows) and not options.quick else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure heald on this machine and print one table.")
    parser.add_argument("--only", metavar="NAME", action="append", choices=MEASUREMENTS, help="measure only this")
    parser.add_argument("--long", action="store_true", help="work a million runs off, instead of everything else")
    parser.add_argument("--backlog", type=int, metavar="N", help="with --long: so many runs instead")
    parser.add_argument("--json", metavar="FILE", help="write the rows there, too")
    parser.add_argument("--rounds", type=int, metavar="N", help="interleaved rounds (default 3)")
    parser.add_argument("--peers", metavar="DIR", help="a folder that runs the flow on other queues, see peers.py")
    parser.add_argument("--peer-environments", metavar="DIR", default=".", help="where their environments are")
    parser.add_argument("--quick", action="store_true", help="tiny counts, to see that everything runs")
    return parser.parse_args(argv)


def _in_a_fresh_lab(
    measure: Callable[[Lab], list[Row]], folder: Path, effort: Effort, peers: Peers | None
) -> list[Row]:
    folder.mkdir()
    with Server("valkey", folder) as server:
        lab = Lab(server, folder, effort, peers)
        try:
            return measure(lab)
        finally:
            lab.client.close()


def _about(effort: Effort) -> str:
    return (
        f"heald on Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores; rates are medians of {effort.rounds} interleaved rounds"
    )


if __name__ == "__main__":
    sys.exit(main())
