"""What a repair is told, and what it answers."""

from __future__ import annotations

import msgspec

from heald_producer.cutting import readable
from heald_producer.signals import Context, FailureReport, FailureSignal
from heald_producer.wire import fit
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.taxonomy import FailureClass

DETAIL_CHARS = 500


class RepairOrder(msgspec.Struct, frozen=True):
    """One attempt to be made: the decision, and what it is about.

    Attributes:
        attempt: from 1.
        failure: what is broken now.
        context: where the run's failure was reported from.
        generation: repairs that lie behind this run; 0 when no repair caused it.
    """

    run_id: str
    attempt: int
    action: RecoveryAction
    failure_class: FailureClass
    failure: FailureSignal
    context: Context = Context()
    generation: int = 0

    @property
    def idempotency_key(self) -> str:
        """The same whenever this attempt is made again because its worker died."""
        return f"{self.run_id}:{self.attempt}"


class RepairReport(msgspec.Struct, frozen=True):
    """What came of an attempt, and one line about it for people.

    Attributes:
        lost: whether nobody knows how it ended, so that the attempt is made again.
        proof: what showed that the failure is gone, and who saw it; None where the repair only claims it.
    """

    result: RecoveryAttemptResult
    detail: str
    lost: bool = False
    proof: str | None = None


def succeeded(detail: str, proof: str | None = None) -> RepairReport:
    """The report of a repair that mended the failure: as `proof` shows or, without one, as it claims."""
    return RepairReport(RecoveryAttemptResult(True), one_line(detail), proof=one_line(proof) if proof else None)


def failed(
    order: RepairOrder,
    message: str,
    detail: str,
    *,
    exit_code: int | None = None,
    stage: str | None = None,
    flaky_hint: bool | None = None,
) -> RepairReport:
    """The report of a repair that did not: `message` says what is broken now.

    Stage and flaky hint stay those of the order's failure where they are not given.

    Raises:
        InvalidReport: names what no signal can hold; a long message is cut, not refused.
    """
    failure = FailureSignal(
        stage=order.failure.stage if stage is None else stage,
        message=message,
        exit_code=exit_code,
        flaky_hint=order.failure.flaky_hint if flaky_hint is None else flaky_hint,
    )
    return RepairReport(RecoveryAttemptResult(False, as_signal(failure)), one_line(detail))


def came_to_nothing(detail: str) -> RepairReport:
    """The report of a repair that was not made, or not to its end: nobody knows but that what was broken still is."""
    return RepairReport(RecoveryAttemptResult(False), one_line(detail))


def as_signal(failure: FailureSignal) -> FailureSignal:
    """The failure within the limits that every signal has: what is merely long is cut.

    Raises:
        InvalidReport: names the field that is wrong.
    """
    return fit(FailureReport("repair", failure)).signal


def one_line(text: str) -> str:
    """Text for a log line: no line breaks and control characters, not long."""
    line = " ".join("".join(char if char.isprintable() else " " for char in readable(text)).split())
    return line if len(line) <= DETAIL_CHARS else line[: DETAIL_CHARS - 1] + "…"
