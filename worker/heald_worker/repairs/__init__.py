"""Making one attempt: `perform` runs the repair that the playbook holds for an action, whatever kind it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from heald_worker.playbook import CommandRepair, PythonRepair, RecordRepair, Repair
from heald_worker.repairs.command import perform_command
from heald_worker.repairs.order import RepairOrder, RepairReport, came_to_nothing
from heald_worker.repairs.python import CallableUnavailable, perform_python, resolve_callables
from heald_worker.repairs.record import perform_record

__all__ = ["CallableUnavailable", "RepairOrder", "RepairReport", "perform", "resolve_callables"]


def perform(
    repair: Repair | None,
    order: RepairOrder,
    *,
    scratch: Path,
    stopping: Callable[[], bool],
    environ: Mapping[str, str] = os.environ,
) -> RepairReport:
    """Make one attempt. Never raises for what a repair does: whatever goes wrong is a failed attempt that says why.

    Args:
        repair: what the playbook holds for the order's action and failure; None is a failed attempt, too.
        scratch: where the repair's files stand while it runs.
        stopping: asked about every half second; when it turns true, the repair is ended and has failed.
        environ: the worker's environment.
    """
    match repair:
        case CommandRepair():
            return perform_command(repair, order, scratch=scratch, stopping=stopping, environ=environ)
        case PythonRepair():
            return perform_python(repair, order, stopping=stopping, environ=environ)
        case RecordRepair():
            return perform_record(repair, order)
        case None:
            where = f"add [repairs.{order.action}], or a [[repairs]] that fits, to heald.toml"
            return came_to_nothing(f"no repair is configured for {order.action} of this failure; {where}")
