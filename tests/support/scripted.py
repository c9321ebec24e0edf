"""Repairs that follow a script: what a `python` repair of a test answers, by run and attempt."""

from __future__ import annotations

from collections.abc import Sequence

from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.repairs import RepairOrder, RepairReport

Scripted = RecoveryAttemptResult | RepairReport
PROVEN = RepairReport(RecoveryAttemptResult(True), "the test passed", proof="the same command, run again")
"""What a retry that ran the failing test again would answer."""
SCRIPTS: dict[str, Sequence[Scripted]] = {}
CALLS: list[tuple[str, int, str]] = []


def result_of(answer: Scripted) -> RecoveryAttemptResult:
    """The part of an answer that the library's loop knows."""
    return answer.result if isinstance(answer, RepairReport) else answer


def repair(order: RepairOrder) -> Scripted:
    """The scripted result of this attempt; a script that ran out fails without a next failure."""
    CALLS.append((order.run_id, order.attempt, order.action))
    script = SCRIPTS[order.run_id]
    return script[order.attempt - 1] if order.attempt <= len(script) else RecoveryAttemptResult(success=False)
