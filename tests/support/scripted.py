"""Repairs that follow a script: what a `python` repair of a test answers, by run and attempt."""

from __future__ import annotations

from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.repairs import RepairOrder

SCRIPTS: dict[str, list[RecoveryAttemptResult]] = {}
CALLS: list[tuple[str, int, str]] = []


def repair(order: RepairOrder) -> RecoveryAttemptResult:
    """The scripted result of this attempt; a script that ran out fails without a next failure."""
    CALLS.append((order.run_id, order.attempt, order.action))
    script = SCRIPTS[order.run_id]
    return script[order.attempt - 1] if order.attempt <= len(script) else RecoveryAttemptResult(success=False)
