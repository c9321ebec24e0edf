"""Reports per second: from a producer into the inbox, and from the inbox to open runs."""

from __future__ import annotations

import time
from collections.abc import Callable

from lab import Lab, reports
from table import Row, at_least, row

from heald_producer.push import push, push_many
from heald_worker.config import Settings
from heald_worker.intake import new_token, take_in
from heald_worker.service import Service

INTAKE_TARGET = 20_000


def measure(lab: Lab) -> list[Row]:
    """One process pushes on one connection, then one process takes in."""
    many, single = reports(lab.effort.pushes), reports(lab.effort.single_pushes)
    pushed, pushed_singly, taken = [], [], []
    for _ in range(lab.effort.rounds):
        client = lab.fresh()
        pushed.append(_rate(len(many), lambda: push_many(many, connection=lab.client)))
        service = Service(client, Settings(artifacts=lab.artifacts), "bench")
        taken.append(_rate(len(many), lambda: _take_all_in(service)))  # noqa: B023 - called at once
        lab.fresh()
        pushed_singly.append(_rate(len(single), lambda: _push_singly(lab)))
    return [
        row("push_many", pushed, "reports/s", "checked, encoded and acknowledged"),
        row("push, one by one", pushed_singly, "reports/s", "one round trip each"),
        at_least(INTAKE_TARGET, row("intake to open runs", taken, "reports/s", "one process; history asked for each")),
    ]


def _take_all_in(service: Service) -> None:
    while take_in(service, new_token()).reports:
        pass


def _push_singly(lab: Lab) -> None:
    for report in reports(lab.effort.single_pushes):
        push(report, connection=lab.client)


def _rate(count: int, work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return count / (time.perf_counter() - begun)
