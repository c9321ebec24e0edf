"""Steps of many runs, committed behind their fences in one round trip; one run's trouble stops no other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from heald_worker.agenda import give_up
from heald_worker.core.instant import Instant
from heald_worker.core.recovery import Phase, Step
from heald_worker.ledger import Finished, Held, Move, new_commit_id
from heald_worker.moves import InHand, Sealed, in_hand, move_for
from heald_worker.queues import Hand
from heald_worker.service import Service, log

GONE_THROUGH = frozenset({"committed", "already_mine"})


class Planned(NamedTuple):
    """A step for one run, not committed yet."""

    held: Held
    step: Step
    finished: Finished | None
    detail: dict[str, object] | None = None
    sealed: Sealed | None = None


class Closing(NamedTuple):
    """A run whose log is fixed and not yet on disk."""

    held: Held
    finished: Finished | None


class Committed(NamedTuple):
    """What a batch of commits leaves: runs to close, runs to go on with, and steps that somebody was faster than."""

    closing: list[Closing]
    in_hand: list[InHand]
    moved: list[Planned]


def commit_plans(service: Service, planned: Iterable[Planned], now: Instant, hand: Hand | None = None) -> Committed:
    """Commit steps, all of them in one round trip."""
    plans, moves, commit_id = [], [], new_commit_id()
    for plan in planned:
        try:
            moves.append(_move(service, plan, now, commit_id, hand))
            plans.append(plan)
        except Exception as error:  # noqa: BLE001  one run's trouble stops no other
            stumble(service, plan.held, error)
    closing, going_on, moved, stale = list[Closing](), list[InHand](), list[Planned](), []
    for plan, move, verdict in zip(plans, moves, service.ledger.commit(moves), strict=True):
        if verdict not in GONE_THROUGH:
            if verdict.startswith("error"):
                log.error("run %s was not committed: %s", move.run_id, verdict)
                continue
            moved.append(plan)
            if plan.finished:
                stale.append(plan.finished)
        elif plan.step.recovery.phase is Phase.CLOSING:
            closing.append(Closing(plan.held.after(move, plan.step.recovery), None))
        elif move.job and move.job.mark:
            going_on.append(in_hand(plan.held.after(move, plan.step.recovery), move.job))
    if stale:
        discard(service, stale)
    return Committed(closing, going_on, moved)


def _move(service: Service, plan: Planned, now: Instant, commit_id: str, hand: Hand | None) -> Move:
    return move_for(
        service,
        plan.held,
        plan.step,
        now,
        finished=plan.finished,
        detail=plan.detail,
        nudge=plan.step.recovery.phase is not Phase.CLOSING,
        commit_id=commit_id,
        hand=hand,
        sealed=plan.sealed,
    )


def stumble(service: Service, held: Held, error: Exception) -> None:
    """One run's trouble stops no other; the agenda brings it up again until it is parked."""
    run_id = held.run.recovery.run_id
    log.error("run %s cannot be advanced", run_id, exc_info=error)
    give_up(service, run_id, held.version, f"{type(error).__name__}: {error}")


def discard(service: Service, finished: Sequence[Finished]) -> None:
    """Clear away jobs that have nothing to do any more: their run has moved on."""
    pipe = service.client.pipeline(transaction=False)
    for job in finished:
        pipe.delete(job.job_key)
        if job.mark:
            pipe.zrem(job.registry_key, job.mark)
    with service.thinking.elsewhere():
        pipe.execute()
