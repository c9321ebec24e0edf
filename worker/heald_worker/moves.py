"""From a step of the state machine to a fenced move: its place on the agenda, its job, its stream entry."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

from msgspec.structs import replace

from heald_worker import keys, queues
from heald_worker.considering import budget_of
from heald_worker.core.instant import Instant
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Announce, Ending, Phase, Recovery, Step, log_of, outcome_of, owed
from heald_worker.core.taxonomy import FailureClass
from heald_worker.flaky import lesson_of
from heald_worker.ledger import (
    KEPT,
    NO_TERM,
    Completion,
    Finished,
    Held,
    Move,
    Resend,
    Term,
    encode_facts,
    new_commit_id,
)
from heald_worker.packing import Job, blob
from heald_worker.playbook import CommandRepair, PythonRepair, Repair
from heald_worker.queues import Hand
from heald_worker.records import canonical_bytes, digest_of
from heald_worker.service import Service, milliseconds, rq_time
from heald_worker.sharing import branch_of, joinable
from heald_worker.states import Run, encode_opened, encode_progress

LONGEST_RETRY_AFTER = 300.0
"""Seconds that somebody who is told may put the next try off."""


class Sealed(NamedTuple):
    """The canonical bytes of a log that is fixed, and their digest."""

    data: bytes
    digest: str


class InHand(NamedTuple):
    """A run that this process goes on with, and its job, which is begun and stands in no queue."""

    held: Held
    queue_key: str
    finished: Finished


def in_hand(held: Held, job: Job) -> InHand:
    """A run with the job that its commit has begun."""
    return InHand(held, job.queue_key, Finished(job.job_key, job.registry, job.mark))


class Wait(NamedTuple):
    """How long until the agenda brings a run up again, and whether its nudge goes out at once."""

    due_ms: int
    nudge: bool


def next_look(service: Service) -> Wait:
    """The place on the agenda of a run whose nudge goes out now."""
    return Wait(milliseconds(service.settings.timing.resend_first), True)


def wait_for(service: Service, run: Run, retry_after: float = 0.0) -> Wait:
    """The place on the agenda of a run that has just come to this state."""
    timing, recovery, look = service.settings.timing, run.recovery, next_look(service)
    rest = _rest(service, recovery, retry_after)
    match recovery.phase:
        case Phase.WAITING if recovery.action is RecoveryAction.RETRY:
            if recovery.decisions[-1].failure_class is FailureClass.TEST:
                return Wait(backoff(timing.retry_first, timing.retry_most, recovery), False)
            return Wait(backoff(timing.transient_first, timing.transient_most, recovery), False)
        case Phase.CLOSING if rest:
            return Wait(min(rest, look.due_ms), False)
        case _ if rest:
            return Wait(rest, False)
        case _:
            return look


def _rest(service: Service, recovery: Recovery, retry_after: float) -> int:
    """Milliseconds for which its repair or notice is left to its holder, or its notice is put off; 0 for neither."""
    timing = service.settings.timing
    if recovery.holder is not None:
        return milliseconds(timing.lease)
    if recovery.is_fixed and recovery.notice_tries and not recovery.told:
        wished = milliseconds(min(retry_after, LONGEST_RETRY_AFTER))
        return max(wished, backoff(timing.notice_first, timing.notice_most, recovery))
    return 0


def _term(service: Service, held: Held, recovery: Recovery, commit_id: str, retry_after: float) -> Term:
    """What the move to this state says about leases: an artifact that was written changes nothing of a notice's."""
    rest = _rest(service, recovery, retry_after)
    if rest and held.run.recovery.phase is Phase.CLOSING and recovery.phase is Phase.SETTLING:
        return KEPT
    return Term(commit_id if recovery.holder else "", rest) if rest else NO_TERM


def notice_is_due(held: Held, now: Instant) -> bool:
    """Whether its notice may be begun, if there is anybody to tell."""
    return held.run.recovery.waits_for_notice and now.to_micros() >= held.until * 1000


def notice_job(held: Held, now: Instant) -> Resend:
    """The job that has somebody told, for a run that also waits for its artifact."""
    run_id = held.run.recovery.run_id
    return Resend(run_id, held.version, queues.nudge_job(queues.ESCALATE, run_id, held.version, rq_time(now)))


def backoff(first: float, most: float, recovery: Recovery) -> int:
    """Milliseconds before a retry or a repeated notice: doubling, bounded, with up to a quarter taken off.

    The jitter comes from the run and the try, so it spreads runs and is the same whoever computes it.
    """
    tries = recovery.notice_tries or recovery.retries_used + recovery.transient_retries_used
    span = min(first * 2.0 ** min(tries - 1, 30), most)
    spread = hashlib.sha256(f"{recovery.run_id}:{recovery.attempt}:{tries}".encode()).digest()[0] / 255
    return milliseconds(span * (1 - spread / 4))


def job_for(service: Service, run: Run, version: int, now: Instant, hand: Hand | None = None) -> Job | None:
    """The RQ job that a run waits for at this version, or None while it waits for time or for a holder.

    Args:
        hand: the control process that goes on with the job itself, if it is one of those that control processes take.
    """
    nudge = owed(run.recovery)
    if nudge is None:
        return None
    run_id, at = run.recovery.run_id, rq_time(now)
    if nudge.job == "repair":
        repair = service.repair_for(run)
        if service.starts_something(repair) or service.is_repaired_elsewhere(run):
            return queues.nudge_job(queues.REPAIR, run_id, version, at, job_timeout(service, repair))
        return queues.nudge_job(queues.RECORD, run_id, version, at, hand=hand)
    if nudge.job == "decide":
        return queues.nudge_job(queues.DECIDE, run_id, version, at, hand=hand)
    return queues.nudge_job(queues.ESCALATE, run_id, version, at)


def spent_job(held: Held) -> Finished:
    """The job that was sent for a run as it stands, or that its holder took: for a commit that no job brought about."""
    version = held.version if held.run.recovery.holder is None else held.version - 1
    return queues.finished_job(queues.REPAIR, held.run.recovery.run_id, version)


def job_timeout(service: Service, repair: Repair | None) -> int:
    """Seconds RQ lets a repair's job run: beyond the repair's own limit, which is to end it first."""
    if not isinstance(repair, CommandRepair | PythonRepair):
        return queues.JOB_TIMEOUT
    return math.ceil(repair.time_limit + service.settings.timing.stop_grace) + queues.JOB_TIMEOUT


def move_for(
    service: Service,
    held: Held,
    step: Step,
    now: Instant,
    *,
    finished: Finished | None = None,
    detail: dict[str, object] | None = None,
    nudge: bool = True,
    at_once: bool = False,
    hand: Hand | None = None,
    commit_id: str = "",
    sealed: Sealed | None = None,
    takes_verdict: bool = False,
    unheard: str = "",
    retry_after: float = 0.0,
) -> Move:
    """The fenced move that brings a run to the step's state, with everything the step owes.

    Args:
        finished: the job that brought this step about.
        detail: facts for the first event beyond those of the state machine.
        nudge: False when the caller itself goes on with the run; the agenda covers its death.
        at_once: the next try does not back off, as a lease has just been waited for.
        hand: the control process that goes on with the run itself.
        commit_id: what the moves of one batch have in common; a new one without it.
        sealed: the log of a run that ends, where the caller has it.
        takes_verdict: the step heeds the verdict of the CI that waits, or a person's word goes before it.
        unheard: why its notice failed for good, if it did.
        retry_after: seconds to wait at least before its notice is tried again.
    """
    run = replace(held.run, recovery=step.recovery)
    completion, job, wait, state, term = None, None, Wait(0, False), b"", NO_TERM
    commit_id = commit_id or new_commit_id()
    if run.recovery.phase is Phase.ENDED:
        completion = _completion(service, run, held.digest, sealed or seal(run.recovery))
    else:
        wait = next_look(service) if at_once else wait_for(service, run, retry_after)
        term = NO_TERM if at_once else _term(service, held, run.recovery, commit_id, retry_after)
        state = encode_progress(run.recovery)
        if wait.nudge and nudge:
            job = job_for(service, run, held.version + 1, now, hand)
    return Move(
        run_id=run.recovery.run_id,
        version=held.version,
        base=held.commit_id,
        commit_id=commit_id,
        state=state,
        due_ms=wait.due_ms,
        announces=_told(step, detail) if detail else step.announces,
        job=job,
        finished=finished,
        completion=completion,
        unheard=_unheard(run.recovery, unheard) if unheard else (),
        opened=b"" if run.is_parted or not state else encode_opened(run),
        budget=None if run.dry_run else budget_of(held.run.recovery, step.recovery),
        joinable=joinable(run),
        takes_verdict=takes_verdict,
        branch=branch_of(run),
        term=term,
    )


def _unheard(recovery: Recovery, reason: str) -> tuple[str, ...]:
    fields = ("run", recovery.run_id, "ending", recovery.ending or "")
    return (*fields, "tries", str(recovery.notice_tries), "reason", reason)


def _told(step: Step, detail: dict[str, object]) -> tuple[Announce, ...]:
    first, *others = step.announces
    return (replace(first, facts={**first.facts, **detail}), *others)


def seal(recovery: Recovery) -> Sealed:
    """The log of a recovery that is closing or beyond, as its artifact holds it.

    Raises:
        UnwritableLog: a text of it cannot be written.
    """
    data = canonical_bytes(log_of(recovery))
    return Sealed(data, digest_of(data))


def _completion(service: Service, run: Run, report_digest: str, sealed: Sealed) -> Completion:
    recovery, (data, digest) = run.recovery, sealed
    assert recovery.ending is not None
    assert recovery.evaluated_at is not None
    outcome = outcome_of(recovery.ending)
    flaky_key, flaky = lesson_of(service, run)
    fields = ("run", recovery.run_id, "outcome", outcome, "ending", recovery.ending)
    return Completion(
        fields=(*fields, "digest", digest, "log", blob(data), "facts", blob(encode_facts(_facts(run)))),
        digest=report_digest,
        generation=run.generation,
        prior_key=prior_key(service, run),
        evaluated_at=recovery.evaluated_at.to_micros(),
        outcome=outcome,
        ending=recovery.ending,
        action=recovery.action or "",
        flaky_key=flaky_key,
        flaky=flaky,
        claimed=recovery.ending is Ending.RECOVERED and recovery.proof is None,
        only_tried=run.dry_run,
    )


def _facts(run: Run) -> dict[str, object]:
    return {
        "policy_name": run.policy_name,
        "policy_reason": run.policy_reason,
        "requested_policy": run.requested_policy,
        "taxonomy": run.taxonomy,
        "advice": run.recovery.advice,
        "context": run.context,
        "regression": run.regression,
        "reported_at": run.reported_at,
        "accepted_at": run.accepted_at,
        "generation": run.generation,
        "dry_run": run.dry_run,
        "notice_tries": run.recovery.notice_tries,
        "max_transient_retries": run.recovery.max_transient_retries,
        "corrections": {number: run.recovery.decisions[number - 1].failure_class for number in run.recovery.corrected},
        "flaky": run.flaky,
        "remedies": run.remedies,
        "bounds": run.bounds,
        "follows": run.follows,
        "quiet": run.quiet,
        "grounds": dict(enumerate(run.recovery.grounds, 1)),
        "proof": run.recovery.proof,
    }


def prior_key(service: Service, run: Run) -> str:
    """Where ended runs like this one are remembered; empty when nobody asks, or for a run without a repository.

    A run that a person ended, or in which nothing was to be repaired, did not fail to recover: it counts for nothing.
    """
    recovery, repository = run.recovery, run.context.repository
    if service.settings.regression == "off" or not repository:
        return ""
    if run.dry_run or recovery.ending is Ending.CANCELLED:
        return ""
    if recovery.decisions:
        failure_class = recovery.decisions[0].failure_class
    else:
        taxonomy = service.taxonomy_of(run.taxonomy)
        failure_class = service.judge(taxonomy, repository, recovery.initial_failure).failure_class
    return keys.prior(repository, failure_class, recovery.initial_failure.stage)
