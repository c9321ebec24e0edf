"""Remedies: the actions that can help a cause, best first, and which of them a decision takes.

A rule pack says what can help; the policy says what may be done; the workers' playbooks say what can be done. `choose`
brings the three together. All that it looks at beside the signal is one value, `Grounds`, which is recorded with the
decision, so that it can be replayed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from heald_worker.core.policy import RecoveryAction, RecoveryPolicy
from heald_worker.core.taxonomy import Diagnosis, FailureClass


class Remedy(msgspec.Struct, frozen=True, array_like=True):
    """One action that can help, and in one sentence why, or whose it is."""

    action: RecoveryAction
    reason: str


Remedies = tuple[Remedy, ...]
"""Best first."""

UNKNOWN_CAUSE: Remedies = (Remedy(RecoveryAction.ESCALATE, "nobody knows what broke: a person has to look"),)
"""Where no table says anything."""


TRANSIENT = Remedy(RecoveryAction.RETRY, "it may pass by itself")


class RemedyTable(msgspec.Struct, frozen=True):
    """What can help, by cause.

    Attributes:
        causes: by subclass or, for what has none of its own, by class.
        rules: by the name of a rule that has remedies of its own; these go before its subclass's.
    """

    causes: Mapping[str, Remedies] = {}
    rules: Mapping[str, Remedies] = {}

    def remedies_for(self, diagnosis: Diagnosis, failure_class: FailureClass | None = None) -> Remedies:
        """What can help this failure: its rule's remedies, else its subclass's, else its class's.

        What has none of its own, and of which its rule says that it may pass by itself, is retried first.

        Args:
            failure_class: what a person said it is, instead of the diagnosis.
        """
        if failure_class not in (None, diagnosis.failure_class):
            return self.causes.get(str(failure_class), UNKNOWN_CAUSE)
        own = self.rules.get(diagnosis.rule) or self.causes.get(diagnosis.subclass)
        if own:
            return own
        of_class = self.causes.get(diagnosis.failure_class, UNKNOWN_CAUSE)
        return (TRANSIENT, *of_class) if diagnosis.transient else of_class


class Grounds(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that one decision looks at beside the failure, its class and the policy.

    Attributes:
        cause: the subclass or, without one, the class: what the rationale begins with.
        remedies: what can help.
        available: the actions for which a living worker has a repair that fits this failure; None when nobody asked.
        confidence: how sure the diagnosis is, from 0 to 1.
        min_confidence: what `patch_forward` and `rollback` need.
        deploys: the stage deploys, so there is something to roll back.
        reverts: the code is broken on the default branch, and the repair for `rollback` reverts it.
        retry_tests: a failed test may be retried on this ref.
        flaky_spent: retries of flaky tests that this commit's job has had, in whatever run.
        transient_spent: the same, of what passes by itself.
        tried: what was done about this very failure of this commit's job, in whatever run, and did not help.
    """

    cause: str = ""
    remedies: Remedies = UNKNOWN_CAUSE
    available: tuple[RecoveryAction, ...] | None = None
    confidence: float = 1.0
    min_confidence: float = 0.0
    deploys: bool = False
    reverts: bool = False
    retry_tests: bool = True
    flaky_spent: int = 0
    transient_spent: int = 0
    tried: tuple[RecoveryAction, ...] = ()


class Retries(msgspec.Struct, frozen=True):
    """Retries chosen so far in this recovery, of flaky tests and of what passes by itself, and the bound of these."""

    flaky: int = 0
    transient: int = 0
    max_transient: int = 0


FLAKY = Remedy(RecoveryAction.RETRY, "the test is known or said to be flaky")
"""Goes before all others for a test that is hinted or learned flaky."""


def choose(
    grounds: Grounds,
    policy: RecoveryPolicy,
    retries: Retries,
    *,
    is_test: bool,
    flaky: bool,
    avoid: RecoveryAction | None = None,
) -> Remedy:
    """The first remedy that the policy permits, that has a repair, and of which the diagnosis is sure enough.

    Args:
        is_test: a test failed: its retries are bounded by the policy's `max_flaky_retries`.
        flaky: it is hinted or learned to be flaky.
        avoid: an action that is not to be taken.

    Returns:
        The action, and as its reason the decision's rationale: the cause, the remedy's sentence, and why those
        before it were left out.
    """
    objections: list[str] = []
    for remedy, objection in weigh(grounds, policy, retries, is_test=is_test, flaky=flaky, avoid=avoid):
        if not objection:
            return Remedy(remedy.action, _rationale(grounds.cause, remedy.reason, objections))
        objections.append(f"{remedy.action}: {objection}")
    return Remedy(RecoveryAction.ESCALATE, _rationale(grounds.cause, "nothing that could help is left", objections))


def weigh(
    grounds: Grounds,
    policy: RecoveryPolicy,
    retries: Retries,
    *,
    is_test: bool,
    flaky: bool,
    avoid: RecoveryAction | None = None,
) -> Iterator[tuple[Remedy, str]]:
    """All that could help, best first, each with why it is not to be taken: empty for what may be. See `choose`."""
    for remedy in _candidates(grounds.remedies, is_test and flaky):
        objection = "it is what was done before" if remedy.action is avoid else ""
        yield remedy, objection or _objection(remedy.action, grounds, policy, retries, is_test)


def _candidates(remedies: Remedies, flaky: bool) -> Iterator[Remedy]:
    if flaky:
        yield FLAKY
    for remedy in remedies:
        if not (flaky and remedy.action is RecoveryAction.RETRY):
            yield remedy


def _objection(
    action: RecoveryAction, grounds: Grounds, policy: RecoveryPolicy, retries: Retries, is_test: bool
) -> str:
    """Why an action is not to be taken; empty when it may be."""
    if action is RecoveryAction.ESCALATE:
        return ""
    if grounds.available is not None and action not in grounds.available:
        return "no repair is configured for it"
    if action is RecoveryAction.RETRY:
        return _no_retry(grounds, policy, retries, is_test)
    allowed = policy.allow_patch_forward if action is RecoveryAction.PATCH_FORWARD else policy.allow_rollback
    if not allowed:
        return "the policy does not allow it"
    if action is RecoveryAction.ROLLBACK and not (grounds.deploys or grounds.reverts):
        return "nothing was deployed, and nothing can be reverted"
    if grounds.confidence < grounds.min_confidence:
        return f"the diagnosis is not sure enough: {grounds.confidence:g} of {grounds.min_confidence:g}"
    if action in grounds.tried:
        return "it was done about this very failure, which is still there"
    return ""


def _no_retry(grounds: Grounds, policy: RecoveryPolicy, retries: Retries, is_test: bool) -> str:
    if is_test:
        if not grounds.retry_tests:
            return "on this ref it could hide a test that the change made flaky"
        used, most = max(retries.flaky, grounds.flaky_spent), policy.max_flaky_retries
    else:
        used, most = max(retries.transient, grounds.transient_spent), retries.max_transient
    return f"{used} of {most} retries are used" if used >= most else ""


def _rationale(cause: str, reason: str, objections: list[str]) -> str:
    said = f"{cause}: {reason}" if cause else reason
    return f"{said} (not {'; not '.join(objections)})" if objections else said
