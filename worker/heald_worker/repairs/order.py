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
        subclass: what the diagnosis says beyond the class, as `lint`; empty when there is nothing finer to say.
        rule: the name of the rule that decided; empty when none did.
        evidence: the line of the message that decided, cut and masked; empty when no line did.
        confidence: how sure the diagnosis is, from 0 to 1.
    """

    run_id: str
    attempt: int
    action: RecoveryAction
    failure_class: FailureClass
    failure: FailureSignal
    context: Context = Context()
    generation: int = 0
    subclass: str = ""
    rule: str = ""
    evidence: str = ""
    confidence: float = 0.0

    @property
    def idempotency_key(self) -> str:
        """The same whenever this attempt is made again because its worker died."""
        return f"{self.run_id}:{self.attempt}"


class RepairReport(msgspec.Struct, frozen=True):
    """What came of an attempt, and one line about it for people.

    Attributes:
        output: the end of what it printed or raised, for whoever looks into the repair; it is no failure.
        lost: whether nobody knows how it ended, so that the attempt is made again.
        proof: what showed that the failure is gone, and who saw it; None where the repair only claims it.
    """

    result: RecoveryAttemptResult
    detail: str
    output: str = ""
    lost: bool = False
    proof: str | None = None


def succeeded(detail: str, output: str = "", proof: str | None = None) -> RepairReport:
    """The report of a repair that mended the failure: as `proof` shows or, without one, as it claims."""
    shown = one_line(proof) if proof else None
    return RepairReport(RecoveryAttemptResult(True), one_line(detail), output, proof=shown)


def failed(failure: FailureSignal, detail: str, output: str = "") -> RepairReport:
    """The report of a repair that did not, and that says what is broken now.

    Raises:
        InvalidReport: names what no signal can hold; a long message is cut, not refused.
    """
    return RepairReport(RecoveryAttemptResult(False, as_signal(failure)), one_line(detail), output)


def came_to_nothing(detail: str, output: str = "") -> RepairReport:
    """The report of a repair that says nothing about what is broken: the failure stays what it was."""
    return RepairReport(RecoveryAttemptResult(False), one_line(detail), output)


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
