"""Repairs that only record: pure, for trials and benchmarks."""

from __future__ import annotations

from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.playbook import RecordRepair
from heald_worker.repairs.order import RepairOrder, RepairReport


def perform_record(repair: RecordRepair, order: RepairOrder) -> RepairReport:
    """The configured result; a failed attempt leaves the failure as it is."""
    success = repair.succeed and order.attempt >= repair.succeed_from
    return RepairReport(RecoveryAttemptResult(success), "recorded, nothing was done")
