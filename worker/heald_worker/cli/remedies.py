"""A failure's remedies for reading: what could help, and why what is not taken is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from heald_producer.signals import FailureSignal
from heald_worker.cli.common import clean
from heald_worker.considering import Surroundings, grounds_in
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.remedies import Retries, weigh
from heald_worker.core.taxonomy import Diagnosis, FailureClass
from heald_worker.policies import PolicyChoice


class Weighed(msgspec.Struct, frozen=True):
    """One remedy, and why it is not taken as things stand; the first one without an objection is the decision."""

    action: RecoveryAction
    reason: str
    objection: str


def weighed(
    around: Surroundings, signal: FailureSignal, choice: PolicyChoice, found: Diagnosis, word: FailureClass | None
) -> Iterator[Weighed]:
    """What the first decision about a failure makes of each remedy.

    Args:
        word: the class that a person gave to failures like this one.
    """
    is_test = (word or found.failure_class) is FailureClass.TEST
    retries = Retries(max_transient=choice.bounds.max_transient_retries)
    grounds = grounds_in(around, signal, found, word)
    for remedy, objection in weigh(grounds, choice.policy, retries, is_test=is_test, flaky=signal.flaky_hint):
        yield Weighed(remedy.action, remedy.reason, objection)


def remedy_fields(remedies: Iterable[Weighed]) -> Iterator[tuple[str, str]]:
    """A line for each."""
    for number, remedy in enumerate(remedies):
        objection = f" (not now: {clean(remedy.objection)})" if remedy.objection else ""
        yield "" if number else "remedies", f"{remedy.action}: {clean(remedy.reason)}{objection}"
