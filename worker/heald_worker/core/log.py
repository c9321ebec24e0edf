"""The audit record of one recovery, written once. Field names, order and spelling are the reference's."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from heald_producer.signals import FailureSignal
from heald_worker.core.instant import Instant
from heald_worker.core.policy import RecoveryAction, RecoveryPolicy
from heald_worker.core.taxonomy import FailureClass


class RecoveryOutcome(StrEnum):
    """How a recovery ended; the values are the wire's."""

    RECOVERED = "recovered"
    FAILED = "failed"


class RecoveryDecision(msgspec.Struct, frozen=True):
    """One decision: the attempt it opens (from 1), what broke, what to do, and why."""

    attempt: int
    failure_class: FailureClass
    action: RecoveryAction
    rationale: str


class RecoveryAttemptResult(msgspec.Struct, frozen=True):
    """What one repair came to. A failed repair may say what is broken now; without it the failure stays."""

    success: bool
    next_failure: FailureSignal | None = None


class RecoveryLog(msgspec.Struct, frozen=True):
    """One completed recovery; `records.canonical_bytes` gives its only valid encoding.

    `run_id` is not checked here: the reference takes any text. What heald writes is checked where it comes in.
    """

    run_id: str
    policy: RecoveryPolicy
    initial_failure: FailureSignal
    decisions: tuple[RecoveryDecision, ...]
    outcome: RecoveryOutcome
    attempts_used: int
    final_failure: FailureSignal | None
    evaluated_at: Instant
