"""Which bounded action a policy allows for a failure.

Source of the semantics: `decide_action` of aivcs-core 0.3.0, module `self_healing`.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from heald_producer.signals import FailureSignal
from heald_worker.core.taxonomy import FailureClass

U32_MAX = 2**32 - 1


class RecoveryAction(StrEnum):
    """What to do about a failure; the values are the wire's, `camel_case` the reference's Rust names."""

    RETRY = "retry"
    PATCH_FORWARD = "patch_forward"
    ROLLBACK = "rollback"
    ESCALATE = "escalate"

    @property
    def camel_case(self) -> str:
        """`PatchForward` for `patch_forward`, as the reference prints it in memory fields."""
        return "".join(word.capitalize() for word in self.value.split("_"))


class RecoveryPolicy(msgspec.Struct, frozen=True):
    """The bounds of one recovery. Counts are unsigned 32-bit; the defaults are the reference's.

    Attributes:
        max_attempts: decisions at most, each with its repair; 0 recovers nothing.
        max_flaky_retries: retries of flaky tests at most, over the whole recovery.
        allow_patch_forward: build and test failures may be patched forward.
        allow_rollback: runtime and integration failures may be rolled back.
    """

    max_attempts: int = 3
    max_flaky_retries: int = 1
    allow_patch_forward: bool = True
    allow_rollback: bool = True


class RetryTestsOn(StrEnum):
    """Where a failed test may be retried: on a pull request a retry can hide a test that the change made flaky."""

    DEFAULT_BRANCH = "default_branch"
    ALL = "all"
    NONE = "none"


class Bounds(msgspec.Struct, frozen=True, omit_defaults=True):
    """heald's own bounds of a recovery, beside the reference's policy.

    Attributes:
        max_transient_retries: retries of what may pass by itself at most, over the whole recovery.
        min_confidence: how sure a diagnosis must be, from 0 to 1, before anything is patched or rolled back.
        retry_tests_on: where failed tests may be retried.
        deploy_stages: globs on the stage's and the job's name, in lower case: there something was deployed.
    """

    max_transient_retries: int = 2
    min_confidence: float = 0.5
    retry_tests_on: RetryTestsOn = RetryTestsOn.DEFAULT_BRANCH
    deploy_stages: tuple[str, ...] = ("*deploy*", "*rollout*", "*promote*", "*canary*")


RETRY_RATIONALE = "flaky signal detected; bounded retry permitted"
TRANSIENT_RATIONALE = "transient integration failure; bounded retry with backoff permitted"
PATCH_RATIONALE = "build/test failure; patch-forward is enabled"
ROLLBACK_RATIONALE = "runtime/integration failure; rollback is enabled"
ESCALATE_RATIONALE = "no safe automated action available under policy"


def permitted_actions(
    failure_class: FailureClass, signal: FailureSignal, policy: RecoveryPolicy, retries_used: int
) -> list[tuple[RecoveryAction, str]]:
    """The actions the policy allows for this failure, best first, each with its rationale.

    `escalate` is not listed: it is what remains when the list is empty.
    """
    allowed = []
    is_test = failure_class is FailureClass.TEST
    if is_test and signal.flaky_hint and retries_used < policy.max_flaky_retries:
        allowed.append((RecoveryAction.RETRY, RETRY_RATIONALE))
    if policy.allow_patch_forward and (is_test or failure_class is FailureClass.BUILD):
        allowed.append((RecoveryAction.PATCH_FORWARD, PATCH_RATIONALE))
    if policy.allow_rollback and failure_class in (FailureClass.RUNTIME, FailureClass.INTEGRATION):
        allowed.append((RecoveryAction.ROLLBACK, ROLLBACK_RATIONALE))
    return allowed


def transient_retry_permitted(failure_class: FailureClass, transient: bool, retries_used: int, most: int) -> bool:
    """Whether a failure is to be retried before anything stronger, because it may pass by itself.

    The reference knows no such retry: it has a bound of its own beside the policy, 0 unless somebody sets it.

    Args:
        retries_used: retries of transient failures chosen so far in this recovery.
        most: how many of them are allowed.
    """
    return transient and failure_class is FailureClass.INTEGRATION and retries_used < most


def decide_action(
    failure_class: FailureClass, signal: FailureSignal, policy: RecoveryPolicy, retries_used: int
) -> tuple[RecoveryAction, str]:
    """The action for one attempt and why. `retries_used` counts the retries chosen so far in this recovery."""
    allowed = permitted_actions(failure_class, signal, policy, retries_used)
    return allowed[0] if allowed else (RecoveryAction.ESCALATE, ESCALATE_RATIONALE)
