"""The janitor: the one mechanism behind lost nudges, delays, leases and workers that died.

Every commit puts its run on the agenda again; `tend` takes what is due and sends its nudge once more, or takes a claim
away from a worker that stopped renewing it. Nothing here depends on RQ's registries being right.
"""

from __future__ import annotations

from collections.abc import Callable

import redis

from heald_worker import keys
from heald_worker.core.instant import Instant
from heald_worker.core.recovery import NoticeEnded, Phase, RepairLost, advance
from heald_worker.ledger import Due, Held, UnreadableRun
from heald_worker.moves import job_for, move_for
from heald_worker.service import Service, log, milliseconds

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
        now, found = service.ledger.load([entry.member for entry in runs])
        for entry, held in zip(runs, found, strict=True):
            _bring_up(service, entry, held, now)
    return 0 if len(entries) == AGENDA_BATCH else wait


def _take_up(member: str, take_up_intake: Callable[[str], object]) -> None:
    try:
        take_up_intake(member.removeprefix(keys.INTAKE_MEMBER))
    except (redis.ConnectionError, redis.TimeoutError):
        raise
    except Exception:
        log.exception("the batch %s cannot be taken in; it is tried again", member)


def _bring_up(service: Service, entry: Due, held: Held | UnreadableRun | None, now: Instant) -> None:
    if held is None:
        return
    if isinstance(held, UnreadableRun):
        give_up(service, entry.member, entry.version, held.problem)
        return
    try:
        if held.run.recovery.holder is not None:
            reclaim(service, held, now)
        elif job := job_for(service, held.run, held.version, now):
            verdict = service.ledger.resend(entry.member, held.version, job)
            if verdict == "sent":
                log.info("run %s was due: its nudge was sent", entry.member)
    except (redis.ConnectionError, redis.TimeoutError):
        raise  # the server's trouble, not this run's
    except Exception as error:
        log.exception("run %s cannot be brought up", entry.member)
        give_up(service, entry.member, entry.version, f"{type(error).__name__}: {error}")


def give_up(service: Service, run_id: str, version: int, reason: str) -> None:
    """Park a run that could not be advanced, once that has failed often enough."""
    if service.ledger.park(run_id, version, reason, TRIES_BEFORE_PARKING):
        log.error("run %s is parked: %s; `heald doctor` lists parked runs", run_id, reason)


def reclaim(service: Service, held: Held, now: Instant, *, counts: bool = True) -> str:
    """Take a repair or notice away from its holder, who died (`counts`) or gave it back. Returns the verdict."""
    recovery, limits = held.run.recovery, service.settings.limits
    if recovery.phase is Phase.SETTLING:
        step = advance(recovery, NoticeEnded(recovery.notice_tries >= limits.notice_tries), now)
    else:
        step = advance(recovery, RepairLost(limits.max_lost_repairs, counts), now)
    [verdict] = service.ledger.commit([move_for(service, held, step, now)])
    what = "notice" if recovery.phase is Phase.SETTLING else "repair"
    log.warning("run %s: its %s is no longer with %s (%s)", recovery.run_id, what, recovery.holder, verdict)
    return verdict
