"""What a run shares with others: the reports that may join it, and the branch that its repair works on."""

from __future__ import annotations

from heald_producer.signals import Context
from heald_worker import keys
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Ending, Phase
from heald_worker.states import Run


def joinable(run: Run) -> str:
    """What reports may do to a run: be the verdict of its `retry`, join it, or nothing any more, as it is `over`."""
    recovery = run.recovery
    if recovery.ending in (Ending.RECOVERED, Ending.CANCELLED):
        return "over"
    retried = recovery.phase in (Phase.WAITING, Phase.REPAIRING) and recovery.action is RecoveryAction.RETRY
    return "retry" if retried and run.context.ci_run and not run.dry_run else ""


def branch_of(run: Run) -> str:
    """The key of the branch that a run's repair works on; empty while it works on none, or where nobody knows which."""
    recovery, name = run.recovery, branch_name(run.context)
    if recovery.phase is not Phase.REPAIRING or recovery.action is RecoveryAction.RETRY or name is None:
        return ""
    return keys.branch(*name)


def branch_name(context: Context) -> tuple[str, str] | None:
    """The repository and branch that a report is about, of a pull request its head's; a fork has its own branches."""
    ref = context.head_ref or context.ref
    if not context.repository or not ref:
        return None
    branch = ref.removeprefix("refs/heads/")
    return context.repository, f"{context.pull_request}:{branch}" if context.fork else branch
