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

        Args:
            failure_class: what a person said it is, instead of the diagnosis.
        """
        if failure_class is not None and failure_class is not diagnosis.failure_class:
            return self.causes.get(failure_class, UNKNOWN_CAUSE)
        own = self.rules.get(diagnosis.rule) or self.causes.get(diagnosis.subclass)
        return own or self.causes.get(diagnosis.failure_class, UNKNOWN_CAUSE)


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
        retries_left: what the budget of this repository, commit and job leaves; None without a budget.
        patched: this very failure was patched already, on this commit, and is still there.
    """

    cause: str = ""
    remedies: Remedies = UNKNOWN_CAUSE
    available: tuple[RecoveryAction, ...] | None = None
    confidence: float = 1.0
    min_confidence: float = 0.0
    deploys: bool = False
    reverts: bool = False
    retry_tests: bool = True
    retries_left: int | None = None
    patched: bool = False


class Retries(msgspec.Struct, frozen=True):
    """Retries chosen so far in this recovery, of flaky tests and of what passes by itself, and the bound of these."""

    flaky: int = 0
    transient: int = 0
    max_transient: int = 0


FLAKY = Remedy(RecoveryAction.RETRY, "the test is known or said to be flaky")
"""Goes before all others for a test that is hinted or learned flaky."""
TRANSIENT = Remedy(RecoveryAction.RETRY, "it may pass by itself")
"""Goes before all others for what a rule calls transient and whose remedies name no retry."""


def choose(
    grounds: Grounds,
    policy: RecoveryPolicy,
    retries: Retries,
    *,
    is_test: bool,
    flaky: bool,
    transient: bool = False,
    avoid: RecoveryAction | None = None,
) -> Remedy:
    """The first remedy that the policy permits, that has a repair, and of which the diagnosis is sure enough.

    Args:
        is_test: a test failed: its retries are bounded by the policy's `max_flaky_retries`.
        flaky: it is hinted or learned to be flaky.
        transient: the rule that decided says that it may pass by itself.
        avoid: an action that is not to be taken.

    Returns:
        The action, and as its reason the decision's rationale: the cause, the remedy's sentence, and why those
        before it were left out.
    """
    objections: list[str] = []
    for remedy in _candidates(grounds.remedies, is_test and flaky, transient):
        objection = "it is what was done before" if remedy.action is avoid else ""
        objection = objection or _objection(remedy.action, grounds, policy, retries, is_test)
        if not objection:
            return Remedy(remedy.action, _rationale(grounds.cause, remedy.reason, objections))
        objections.append(f"{remedy.action}: {objection}")
    return Remedy(RecoveryAction.ESCALATE, _rationale(grounds.cause, "nothing that could help is left", objections))


def _candidates(remedies: Remedies, flaky: bool, transient: bool) -> Iterator[Remedy]:
    if flaky:
        yield FLAKY
    elif transient and all(remedy.action is not RecoveryAction.RETRY for remedy in remedies):
        yield TRANSIENT
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
        return f"the diagnosis is not sure enough ({grounds.confidence:g}, {grounds.min_confidence:g} is needed)"
    if action is RecoveryAction.PATCH_FORWARD and grounds.patched:
        return "this failure was patched before and is still there"
    return ""


def _no_retry(grounds: Grounds, policy: RecoveryPolicy, retries: Retries, is_test: bool) -> str:
    if is_test and not grounds.retry_tests:
        return "on this ref a retry could hide a test that the change made flaky"
    used, most = (retries.flaky, policy.max_flaky_retries) if is_test else (retries.transient, retries.max_transient)
    if used >= most:
        return f"{used} of {most} retries are used"
    if grounds.retries_left is not None and grounds.retries_left <= 0:
        return "the retries of this commit's job are used up"
    return ""


def _rationale(cause: str, reason: str, objections: list[str]) -> str:
    said = f"{cause}: {reason}" if cause else reason
    return f"{said} (not {'; not '.join(objections)})" if objections else said
