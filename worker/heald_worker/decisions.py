"""Decisions in batches: read many runs in one trip, decide purely, commit all behind their fences in one more.

The same pass records repairs that start nothing and closes runs whose log is fixed, so that a run needs no further
job for it; whatever dies in between is brought up by the agenda.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from heald_worker import queues
from heald_worker.closing import close
from heald_worker.commits import GONE_THROUGH, Closing, Planned, commit_plans, discard, stumble
from heald_worker.considering import grounds_for
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.recovery import (
    Cancel,
    Decide,
    Event,
    InvalidTransition,
    Phase,
    RepairEnded,
    advance,
)
from heald_worker.core.taxonomy import Diagnosis
from heald_worker.ledger import Finished, Held
from heald_worker.moves import InHand, move_for, spent_job
from heald_worker.playbook import PlaybookEntry
from heald_worker.queues import Hand
from heald_worker.repairs import RepairOrder, RepairReport, perform
from heald_worker.service import Service, Verdict, log
from heald_worker.states import UnreadableRun

Think = Callable[[Service, Held, Instant], tuple[Event, dict[str, object]]]
"""What a job asks for: the event that brings its run on, and facts about it."""


class Nudged(NamedTuple):
    """One job as it was taken: which run, at which version, and what its commit has to clear away."""

    run_id: str
    version: int
    finished: Finished


class Job(NamedTuple):
    """A run as it is now, what its job asks for, and what its commit has to clear away."""

    held: Held
    think: Think
    finished: Finished


def _never() -> bool:
    return False


def decide(service: Service, nudges: Sequence[Nudged], hand: Hand | None = None) -> list[InHand]:
    """Bring each nudged run one step on: decide, or close it when its log is fixed.

    Args:
        hand: the caller, when it goes on with the runs itself.

    Returns:
        The runs that it goes on with.
    """
    return _advance_nudged(service, nudges, _next_event, hand)


def record(service: Service, nudges: Sequence[Nudged], hand: Hand | None = None) -> list[InHand]:
    """Make the repairs that start nothing (record, dry run, nothing configured) of each nudged run; see `decide`."""
    return _advance_nudged(service, nudges, _recorded_repair, hand)


def go_on(service: Service, runs: Sequence[InHand], hand: Hand | None, now: Instant | None = None) -> list[InHand]:
    """Do the jobs of runs in hand, each one step; see `decide`. Without a hand, what follows is queued.

    Args:
        now: the server's time, where the caller has just heard it.
    """
    jobs = [Job(run.held, _THINK[run.queue_key], run.finished) for run in runs]
    return _advance(service, jobs, now or service.ledger.now(), hand)


def cancel(service: Service, run_id: str) -> str:
    """End a run as cancelled. Returns `cancelled`, `unknown` (not open), `ending` (its log is fixed) or `moved`."""
    now, [held] = service.ledger.load([run_id])
    if held is None:
        return "unknown"
    if isinstance(held, UnreadableRun):
        raise held
    try:
        step = advance(held.run.recovery, Cancel(), now)
    except InvalidTransition:
        return "ending"
    move = move_for(service, held, step, now, finished=spent_job(held), takes_verdict=True)
    [verdict] = service.ledger.commit([move])
    return "cancelled" if verdict in GONE_THROUGH else verdict


def _advance_nudged(service: Service, nudges: Sequence[Nudged], think: Think, hand: Hand | None) -> list[InHand]:
    now, found = service.ledger.load([nudge.run_id for nudge in nudges])
    jobs, stale = [], []
    for nudge, held in zip(nudges, found, strict=True):
        if isinstance(held, UnreadableRun):
            log.error("%s", held)
        elif held is None or held.version != nudge.version:
            stale.append(nudge.finished)
        else:
            jobs.append(Job(held, think, nudge.finished))
    if stale:
        discard(service, stale)
    return _advance(service, jobs, now, hand)


def _advance(service: Service, jobs: Sequence[Job], now: Instant, hand: Hand | None) -> list[InHand]:
    closing = [Closing(job.held, job.finished) for job in jobs if job.held.run.recovery.phase is Phase.CLOSING]
    open_jobs = (job for job in jobs if job.held.run.recovery.phase is not Phase.CLOSING)
    plans = [plan for job in open_jobs if (plan := _plan(service, job, now))]
    committed = commit_plans(service, plans, now, hand)
    close(service, closing + committed.closing, now)
    return committed.in_hand


def _plan(service: Service, job: Job, now: Instant) -> Planned | None:
    recovery = job.held.run.recovery
    try:
        event, detail = job.think(service, job.held, now)
        return Planned(job.held, advance(recovery, event, now), job.finished, detail)
    except InvalidTransition as error:
        log.warning("run %s: a nudge for it makes no sense: %s", recovery.run_id, error)
        discard(service, [job.finished])
    except Exception as error:  # noqa: BLE001  one run's trouble stops no other
        stumble(service, job.held, error)
    return None


def _next_event(service: Service, held: Held, now: Instant) -> tuple[Event, dict[str, object]]:
    run = held.run
    taxonomy = service.taxonomy_of(run.taxonomy)
    verdict = service.judge(taxonomy, run.context.repository, run.recovery.current_failure)
    corrected = verdict.correction is not None
    grounds = grounds_for(service, held, verdict)
    return Decide(verdict.failure_class, verdict.diagnosis.transient, corrected, grounds), _told_of(verdict)


def _told_of(verdict: Verdict) -> dict[str, object]:
    """Why the failure has its class, as facts of the decision's event."""
    found = verdict.diagnosis
    facts: dict[str, object] = {
        "subclass": found.subclass,
        "rule": found.rule,
        "confidence": found.confidence,
        "transient": found.transient,
        "evidence": found.evidence,
    }
    if verdict.correction is not None:
        facts |= {"fingerprint": verdict.fingerprint, "corrected_by": verdict.correction.by}
    return facts


def _recorded_repair(service: Service, held: Held, now: Instant) -> tuple[Event, dict[str, object]]:
    run, recovery = held.run, held.run.recovery
    entry = service.entry_for(run)
    repair = entry.repair if entry else None
    is_for_others = service.starts_something(repair) or service.is_repaired_elsewhere(run)
    if recovery.phase is not Phase.WAITING or is_for_others:
        raise InvalidTransition(recovery.phase, RepairEnded(RecoveryAttemptResult(False)))
    if run.dry_run:
        return RepairEnded(RecoveryAttemptResult(False)), {"detail": "dry run: nothing was repaired"}
    order = order_for(held, Diagnosis(recovery.decisions[-1].failure_class))  # what only records looks at nothing finer
    report = perform(repair, order, scratch=service.scratch, stopping=_never)
    return RepairEnded(report.result), made_facts(entry, report)


_THINK = {queues.queue_key(queues.DECIDE): _next_event, queues.queue_key(queues.RECORD): _recorded_repair}
"""What is to be done about a run in hand, by the queue that its job would have stood in."""


def order_for(held: Held, found: Diagnosis) -> RepairOrder:
    """What a repair of the current attempt is told.

    Args:
        found: what is known about the failure, as `Service.diagnosis_of` says it.
    """
    run, recovery = held.run, held.run.recovery
    decision = recovery.decisions[-1]
    return RepairOrder(
        run_id=recovery.run_id,
        attempt=decision.attempt,
        action=decision.action,
        failure_class=decision.failure_class,
        failure=recovery.current_failure,
        context=run.context,
        generation=run.generation,
        subclass=found.subclass,
        rule=found.rule,
        evidence=found.evidence.text if found.evidence else "",
        confidence=found.confidence,
    )


def made_facts(entry: PlaybookEntry | None, report: RepairReport) -> dict[str, object]:
    """Which repair was made and one line about it, as facts of the event that it has ended."""
    return {"repair": entry.name if entry else "", "detail": report.detail}


def nudged(queue: str, run_id: str, version: int, execution: str = "") -> Nudged:
    """A nudge with what its commit clears away."""
    return Nudged(run_id, version, queues.finished_job(queue, run_id, version, execution))
