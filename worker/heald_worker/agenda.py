"""The janitor: the one mechanism behind lost nudges, delays, leases and workers that died.

Every commit puts its run on the agenda again; `tend` takes what is due and sends its nudge once more, or takes a claim
away from a worker that stopped renewing it. Nothing here depends on RQ's registries being right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import redis

from heald_producer.signals import FailureSignal
from heald_worker import keys
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.recovery import NoticeEnded, Recovery, RepairEnded, RepairLost, advance
from heald_worker.ledger import Due, Finished, Held, Move, Resend
from heald_worker.moves import job_for, move_for, spent_job
from heald_worker.service import Service, log, milliseconds
from heald_worker.states import UnreadableRun

AGENDA_BATCH = 256
TRIES_BEFORE_PARKING = 4
"""How often a run may fail to be advanced, with no step in between, before it is parked."""


def tend(service: Service, take_up_intake: Callable[[str], object]) -> int:
    """The janitor's round: bring up what is due. Returns the milliseconds until the next entry is due, or -1.

    Args:
        take_up_intake: called with the token of an intake batch whose worker died.
    """
    timing = service.settings.timing
    wait, entries = service.ledger.due(
        AGENDA_BATCH, milliseconds(timing.resend_first), milliseconds(timing.resend_most)
    )
    runs = []
    for entry in entries:
        if entry.member.startswith(keys.INTAKE_MEMBER):
            _take_up(entry.member, take_up_intake)
        elif entry.version < 0:
            log.error("the agenda named %a, which is no run that can be read; the entry was taken off", entry.member)
        else:
            runs.append(entry)
    if runs:
        _bring_up(service, runs)
    return 0 if len(entries) == AGENDA_BATCH else wait


def _take_up(member: str, take_up_intake: Callable[[str], object]) -> None:
    try:
        take_up_intake(member.removeprefix(keys.INTAKE_MEMBER))
    except (redis.ConnectionError, redis.TimeoutError):
        raise
    except Exception:
        log.exception("the batch %s cannot be taken in; it is tried again", member)


def _bring_up(service: Service, runs: Sequence[Due]) -> None:
    """Send what is lost again, and take back what nobody holds any more: three round trips, however many there are."""
    now, found = service.ledger.load([entry.member for entry in runs])
    lost: list[tuple[Held, Move]] = []
    nudges: list[Resend] = []
    for entry, held in zip(runs, found, strict=True):
        if held is None:
            continue
        if isinstance(held, UnreadableRun):
            give_up(service, entry.member, entry.version, held.problem)
            continue
        try:
            if held.verdict is not None:
                lost.append((held, _taking_verdict(service, held, held.verdict, now)))
            elif is_abandoned(held, now):
                lost.append((held, _taking_back(service, held, now, finished=spent_job(held))))
            elif job := job_for(service, held.run, held.version, now):
                nudges.append(Resend(entry.member, held.version, job, _closed_at(held.run.recovery)))
        except Exception as error:
            log.exception("run %s cannot be brought up", entry.member)
            give_up(service, entry.member, entry.version, f"{type(error).__name__}: {error}")
    _take_back(service, lost)
    _send(service, nudges)


def is_abandoned(held: Held, now: Instant) -> bool:
    """Whether what is in hand is to be taken away, of a run that is due.

    A repair's lease is what it is due for. Of a run that is told of, the artifact may be due.
    """
    recovery = held.run.recovery
    if recovery.holder is None:
        return False
    return not recovery.is_fixed or now.to_micros() >= held.until * 1000


def _closed_at(recovery: Recovery) -> int:
    """Since when its log is fixed, in milliseconds; 0 while it is not."""
    return recovery.evaluated_at.to_micros() // 1000 if recovery.is_fixed and recovery.evaluated_at else 0


def _send(service: Service, nudges: Sequence[Resend]) -> None:
    verdicts = service.ledger.resend(nudges)
    for nudge, verdict in zip(nudges, verdicts, strict=True):
        if verdict.startswith("error"):
            log.error("run %s cannot be brought up: %s", nudge.run_id, verdict)
            give_up(service, nudge.run_id, nudge.version, verdict)
    if sent := verdicts.count("sent"):
        log.info("%d runs were due: their nudges were sent", sent)


def give_up(service: Service, run_id: str, version: int, reason: str) -> None:
    """Park a run that could not be advanced, once that has failed often enough."""
    if service.ledger.park(run_id, version, reason, TRIES_BEFORE_PARKING):
        log.error("run %s is parked: %s; `heald doctor` lists parked runs", run_id, reason)


def reclaim(service: Service, held: Held, now: Instant, *, counts: bool = True) -> str:
    """Take a repair away from its holder, who died (`counts`) or gave it back. Returns the verdict."""
    return _take_back(service, [(held, _taking_back(service, held, now, counts=counts))])[0]


def _taking_back(
    service: Service, held: Held, now: Instant, *, counts: bool = True, finished: Finished | None = None
) -> Move:
    recovery, limits = held.run.recovery, service.settings.limits
    if not recovery.is_fixed:
        step = advance(recovery, RepairLost(limits.max_lost_repairs, counts), now)
        return move_for(service, held, step, now, finished=finished, at_once=True)
    final = recovery.notice_tries >= limits.notice_tries
    lost = f"it was lost with {recovery.holder}; nobody knows whether it was delivered" if final else ""
    step = advance(recovery, NoticeEnded(final), now)
    return move_for(service, held, step, now, finished=finished, at_once=True, unheard=lost)


def _taking_verdict(service: Service, held: Held, verdict: FailureSignal, now: Instant) -> Move:
    """A later attempt of the CI failed: that is what the retry came to, whoever started that attempt."""
    step = advance(held.run.recovery, RepairEnded(RecoveryAttemptResult(False, verdict)), now)
    detail: dict[str, object] = {"detail": "a later attempt of the CI failed"}
    return move_for(service, held, step, now, finished=spent_job(held), detail=detail, takes_verdict=True)


def _take_back(service: Service, lost: Sequence[tuple[Held, Move]]) -> list[str]:
    verdicts = service.ledger.commit([move for _, move in lost])
    for (held, _), verdict in zip(lost, verdicts, strict=True):
        recovery = held.run.recovery
        if held.verdict is not None:
            continue
        what = "notice" if recovery.is_fixed else "repair"
        log.warning("run %s: its %s is no longer with %s (%s)", recovery.run_id, what, recovery.holder, verdict)
    return verdicts
