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


class Taxonomy(msgspec.Struct, frozen=True):
    """A named set of rules: its reference and the pure function that applies it."""

    ref: TaxonomyRef
    classify: Classifier


AIVCS = Taxonomy(
    TaxonomyRef("aivcs", "0.3.0", hashlib.sha256(repr(RULES).encode()).hexdigest()),
    classify_failure,
)
"""The reference's rules as a taxonomy."""

TAXONOMIES: dict[str, Taxonomy] = {AIVCS.ref.name: AIVCS}
"""What the setting `taxonomy` may name."""
