"""Bytes that a run takes in the server: while it is open, and after it has ended, beyond its stream entries."""

from __future__ import annotations

import time
from collections.abc import Callable

from lab import Lab, recording
from table import Row, at_most, row

from heald_worker import keys
from heald_worker.config import load_settings
from heald_worker.control import Control
from heald_worker.intake import new_token, take_in
from heald_worker.service import Service

STREAMS = (keys.EVENTS, keys.RECOVERIES)
MOST_ENDED = 500
"""Bytes per ended run beyond its stream entries."""


def measure(lab: Lab) -> list[Row]:
    """Differences of the server's used memory; deleting the streams tells their part of it."""
    opened, opened_streams = _bytes_per_run(lab, _open)
    ended, ended_streams = _bytes_per_run(lab, _end)
    sample = lab.fresh()
    service = _service(lab)
    lab.push(1)
    _open(service)
    state = sample.memory_usage(keys.run("run-0"))
    return [
        row("an open run", [opened], "bytes", f"ledger, agenda, RQ job; its hash alone {state}"),
        row("an open run's events", [opened_streams], "bytes"),
        at_most(MOST_ENDED, row("an ended run beyond its entries", [ended], "bytes", "tombstone, history")),
        row("an ended run's stream entries", [ended_streams], "bytes", "five events and the log, kept by age"),
    ]


def _bytes_per_run(lab: Lab, work: Callable[[Service], None]) -> tuple[float, float]:
    """What many runs took beside the streams, and in them."""
    count, client = lab.effort.footprint_runs, lab.fresh()
    service = _service(lab)
    lab.push(1)
    work(service)  # loads the scripts and grows the buffers
    lab.fresh()
    empty = _used(lab)
    lab.push(count)
    work(service)
    full = _used(lab)
    client.delete(*STREAMS)
    beside = _used(lab) - empty
    return beside / count, (full - empty - beside) / count


def _service(lab: Lab) -> Service:
    return Service(lab.client, load_settings({}, lab.environ(recording(fsync=False)), lab.folder), "bench")


def _open(service: Service) -> None:
    while take_in(service, new_token()).reports:
        pass


def _end(service: Service) -> None:
    control = Control(service)
    while (backlog := control.turn()) is None or not control.nothing_left(backlog):
        pass
    control.close(1)


def _used(lab: Lab) -> int:
    """Bytes in use once what was deleted is freed, which a server does beside its work."""
    while lab.client.info("memory")["lazyfree_pending_objects"]:
        time.sleep(0.01)
    return int(lab.client.info("memory")["used_memory"])
