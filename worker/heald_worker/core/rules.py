"""Rules as values: what one says, and what the engine tells about a verdict. `core.judge` applies them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from heald_producer.signals import I32_MAX, I32_MIN, FailureSignal
from heald_worker.core.remedies import Remedies
from heald_worker.core.taxonomy import Diagnosis, Evidence, FailureClass

Int32 = Annotated[int, msgspec.Meta(ge=I32_MIN, le=I32_MAX)]
"""What an exit code can be on the wire."""


class Example(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A signal that a rule is tried on; its fields are the signal's."""

    message: str
    stage: str = ""
    exit_code: Int32 | None = None

    def signal(self) -> FailureSignal:
        """The signal itself."""
        return FailureSignal(self.stage, self.message, self.exit_code)


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One named reason for a failure. What is empty is no condition.

    Attributes:
        name: unique in a rulebook; a user's rule of the same name replaces a shipped one.
        failure_class: with `subclass`, `transient` and `confidence`, the verdict.
        rank: from 0 to 100; a higher one is nearer to the cause and wins.
        match: patterns, one of which must be found in a line.
        unless: patterns; a line that holds one is no evidence for this rule.
        without: patterns; a message that holds one anywhere is none of this rule's business.
        stage: patterns on the stage, one of which must be found.
        exit_codes: one of which must be the exit code (a signal n stands here as 128 + n and -n).
        tools: one of which must have written the text.
        examples: signals that this rule must decide.
        counterexamples: signals that it must not decide.
        remedies: what can help what this rule finds, best first; empty where that is its subclass's.
        source: the pack or file that it stands in.
    """

    name: str
    failure_class: FailureClass
    subclass: str = ""
    transient: bool = False
    confidence: float = 0.8
    rank: int = 50
    match: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    stage: tuple[str, ...] = ()
    exit_codes: tuple[int, ...] = ()
    tools: tuple[str, ...] = ()
    examples: tuple[Example, ...] = ()
    counterexamples: tuple[Example, ...] = ()
    remedies: Remedies = ()
    source: str = ""

    def decides_by(self) -> tuple[object, ...]:
        """Everything of the rule that a verdict can depend on: what a taxonomy's digest covers."""
        return (
            *(self.name, self.failure_class.value, self.subclass, self.transient, self.confidence, self.rank),
            *(self.match, self.unless, self.without, self.stage, self.exit_codes, self.tools),
        )


class Tool(msgspec.Struct, frozen=True):
    """A program that writes into logs, and patterns of lines that only it writes."""

    name: str
    match: tuple[str, ...]


class Contender(msgspec.Struct, frozen=True):
    """A rule that matched or nearly did, and in one clause why it is not the verdict."""

    rule: str
    failure_class: FailureClass
    subclass: str
    rank: int
    evidence: Evidence | None
    why: str


class Explanation(msgspec.Struct, frozen=True):
    """A verdict, one sentence that gives the reason, and what came close, nearest first."""

    diagnosis: Diagnosis
    reason: str
    close: tuple[Contender, ...]
