"""What broke: the five failure classes and the reference's rules that tell them apart.

Source of the semantics: `classify_failure` of aivcs-core 0.3.0, module `self_healing`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from enum import StrEnum

import msgspec

from heald_producer.signals import FailureSignal


class FailureClass(StrEnum):
    """What kind of failure a signal reports; the values are the wire's."""

    BUILD = "build"
    TEST = "test"
    RUNTIME = "runtime"
    INTEGRATION = "integration"
    UNKNOWN = "unknown"


Classifier = Callable[[FailureSignal], FailureClass]

RULES: tuple[tuple[FailureClass, tuple[str, ...], tuple[str, ...]], ...] = (
    (FailureClass.BUILD, ("build", "compile"), ("compil", "linker error")),
    (FailureClass.TEST, ("test",), ("assertion", "test failed", "snapshot mismatch")),
    (FailureClass.RUNTIME, ("runtime",), ("panic", "segmentation fault", "null pointer")),
    (FailureClass.INTEGRATION, ("integration",), ("contract", "handshake", "dependency unavailable")),
)
"""Class, substrings of the stage, substrings of the message: the first row that hits wins."""


def classify_failure(signal: FailureSignal) -> FailureClass:
    """The class of a signal by the reference's rules, on lower-cased text, by substring.

    Exit code and `flaky_hint` never matter. Lower-casing is Unicode's (`str.lower`), not case folding.
    """
    stage, message = signal.stage.lower(), signal.message.lower()
    for failure_class, in_stage, in_message in RULES:
        for word in in_stage:
            if word in stage:
                return failure_class
        for word in in_message:
            if word in message:
                return failure_class
    return FailureClass.UNKNOWN


class TaxonomyRef(msgspec.Struct, frozen=True):
    """Which rules judge a run: frozen on the run at intake and kept in its stream entry."""

    name: str
    version: str
    digest: str


class Evidence(msgspec.Struct, frozen=True):
    """The place in a message that decided.

    Attributes:
        line: from 1.
        start: the first column of the match in that line, in characters from 0.
        end: the column behind the match.
        text: the line, or at most `MAX_EVIDENCE` characters of it around the match, without its indentation.
    """

    line: int
    start: int
    end: int
    text: str


MAX_EVIDENCE = 200


class Diagnosis(msgspec.Struct, frozen=True, omit_defaults=True):
    """What broke, how sure that is, and why.

    Attributes:
        failure_class: the wire's class; policies act on it.
        subclass: finer, such as `compile` or `dns`; empty when there is nothing finer to say.
        transient: the same command may well pass when it is simply repeated later.
        confidence: from 0 to 1.
        rule: the name of the rule that decided; empty when none matched.
        evidence: where it matched; None when the exit code or the stage decided.
        tool: who wrote the text, when that is known.
    """

    failure_class: FailureClass
    subclass: str = ""
    transient: bool = False
    confidence: float = 0.0
    rule: str = ""
    evidence: Evidence | None = None
    tool: str = ""


Diagnose = Callable[[FailureSignal], Diagnosis]


class Taxonomy(msgspec.Struct, frozen=True):
    """A named set of rules: its reference and the pure function of the signal alone that applies it."""

    ref: TaxonomyRef
    diagnose: Diagnose

    def classify(self, signal: FailureSignal) -> FailureClass:
        """The class of a signal."""
        return self.diagnose(signal).failure_class


def _diagnose_as_reference(signal: FailureSignal) -> Diagnosis:
    failure_class = classify_failure(signal)
    return Diagnosis(failure_class, confidence=1.0, rule=f"aivcs:{failure_class}")


AIVCS = Taxonomy(
    TaxonomyRef("aivcs", "0.3.0", hashlib.sha256(repr(RULES).encode()).hexdigest()),
    _diagnose_as_reference,
)
"""The reference's rules as a taxonomy."""

TAXONOMIES: dict[str, Taxonomy] = {AIVCS.ref.name: AIVCS}
"""The taxonomies that are code; `heald_worker.rulebook` makes the one that is data."""
