"""What a decision looks at beside its failure: the cause's remedies, the repairs that there are, budgets, the ref."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple

from msgspec.structs import replace

from heald_producer.signals import Context, FailureSignal
from heald_worker import keys
from heald_worker.core.policy import Bounds, RecoveryAction, RetryTestsOn
from heald_worker.core.recovery import Phase, Recovery, known_by
from heald_worker.core.remedies import Grounds, RemedyTable
from heald_worker.core.taxonomy import Diagnosis, FailureClass
from heald_worker.ledger import Budget, Held
from heald_worker.service import Service, Verdict

FLAKY, TRANSIENT = "flaky", "transient"
"""Fields of a job's record: retries that were chosen, by their reason."""


TRIED = (RecoveryAction.PATCH_FORWARD, RecoveryAction.ROLLBACK)
"""What is not done twice about one failure of one commit's job."""


class Surroundings(NamedTuple):
    """What is the same for every decision of a run.

    Attributes:
        table: what can help which cause.
        reverts: whether the repair for `rollback` reverts what broke the branch, and needs no deployment.
    """

    context: Context
    bounds: Bounds
    table: RemedyTable
    available: tuple[RecoveryAction, ...] | None
    reverts: bool = False


def grounds_for(service: Service, held: Held, verdict: Verdict) -> Grounds | None:
    """What the decision about a run's current failure looks at; None where the reference's actions are taken."""
    run = held.run
    if not run.remedies:
        return None
    around = Surroundings(
        run.context,
        run.bounds,
        service.remedies.table(run.remedies),
        service.available(run, verdict),
        service.reverts(run, verdict),
    )
    word = None if verdict.correction is None else verdict.correction.failure_class
    grounds = grounds_in(around, run.recovery.current_failure, verdict.diagnosis, word)
    return replace(
        grounds,
        flaky_spent=held.spent.get(FLAKY, 0),
        transient_spent=held.spent.get(TRANSIENT, 0),
        tried=tuple(action for action in TRIED if field_of(action, run.recovery) in held.spent),
    )


def grounds_in(
    around: Surroundings, failure: FailureSignal, found: Diagnosis, word: FailureClass | None = None
) -> Grounds:
    """What a decision looks at when nothing was done about this job yet.

    Args:
        word: the class that a person gave to failures like this one, which goes before the diagnosis.
    """
    bounds, on_default = around.bounds, on_default_branch(around.context)
    return Grounds(
        cause=found.subclass or found.failure_class if word in (None, found.failure_class) else word,
        remedies=around.table.remedies_for(found, word),
        available=around.available,
        confidence=1.0 if word else found.confidence,
        min_confidence=bounds.min_confidence,
        deploys=not around.reverts and deploys(bounds, failure.stage, around.context.job),
        reverts=around.reverts and on_default,
        retry_tests=retry_tests(bounds.retry_tests_on, on_default),
    )


def on_default_branch(context: Context) -> bool:
    """Whether the failing code is on the repository's default branch; what the CI does not tell counts as no."""
    branch = context.default_branch
    return bool(branch) and context.pull_request is None and context.ref == f"refs/heads/{branch}"


def deploys(bounds: Bounds, stage: str, job: str | None) -> bool:
    """Whether a stage deploys something, by its name or its job's."""
    names = (stage.lower(), (job or "").lower())
    return any(fnmatchcase(name, glob) for name in names for glob in bounds.deploy_stages)


def retry_tests(where: RetryTestsOn, on_default: bool) -> bool:
    """Whether a failed test may be retried there."""
    return where is RetryTestsOn.ALL or (where is RetryTestsOn.DEFAULT_BRANCH and on_default)


def job_record(context: Context, stage: str) -> str:
    """Where it stands what was done about this job of this commit; empty without repository or commit."""
    commit = context.head_commit or context.commit
    if not context.repository or not commit:
        return ""
    return keys.job(context.repository, commit, context.workflow or "", context.job or stage)


def attempt_number(attempt: str | None) -> str:
    """An attempt as one whole number that grows with it, as text: `2`, or `1.3` of a CI that counts stages and jobs."""
    parts = (attempt or "").split(".")
    if not 1 <= len(parts) <= 2 or not all(part.isascii() and part.isdigit() and len(part) <= 15 for part in parts):
        return ""
    first, second = int(parts[0]), int(parts[1]) if len(parts) > 1 else 0
    return str(first if len(parts) == 1 else first * 100_000 + second)


def budget_of(before: Recovery, after: Recovery) -> Budget | None:
    """What a decision's action takes from its job's budget; None for a step that is none, or takes nothing."""
    if len(after.grounds) == len(before.grounds) or after.phase is not Phase.WAITING:
        return None
    decision = after.decisions[-1]
    if decision.action is not RecoveryAction.RETRY:
        return Budget(field_of(decision.action, before), 1)
    if decision.failure_class is FailureClass.TEST:
        return Budget(FLAKY, after.policy.max_flaky_retries)
    return Budget(TRANSIENT, after.max_transient_retries)


def field_of(action: RecoveryAction, recovery: Recovery) -> str:
    """The field of a job's record that says that this was done about the recovery's current failure."""
    return f"{action}:{known_by(recovery.current_failure)}"
