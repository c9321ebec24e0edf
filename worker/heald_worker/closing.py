"""The end of a batch of recoveries: somebody is told, and their artifacts are written, all at once.

The two wait for each other nowhere. The jobs of notices go out before this process turns to its disk, and whoever tells
commits meanwhile: a run that moved under an artifact is recorded as it is then.
"""

from __future__ import annotations

from collections.abc import Sequence

import redis

from heald_worker.agenda import give_up
from heald_worker.artifacts import ArtifactsUnavailable, Item, WriteResult, write_artifacts
from heald_worker.commits import Closing, Planned, commit_plans, stumble
from heald_worker.core.instant import Instant
from heald_worker.core.recovery import Phase, Recorded, advance
from heald_worker.ledger import Finished, Held
from heald_worker.moves import Sealed, notice_is_due, notice_job, seal
from heald_worker.service import Service, log
from heald_worker.states import UnreadableRun
from heald_worker.streams import RecoveryEntry
from heald_worker.views import find_run

COMMIT_TRIES = 5
"""A claim, a failed try and another claim may come in between; then the agenda brings the run up again."""


def close(service: Service, closing: Sequence[Closing], now: Instant) -> None:
    """Have somebody told of closing runs, write the artifacts of a batch all at once, and commit what comes after."""
    _send_notices(service, [each.held for each in closing], now)
    logs = []
    for each in closing:
        try:
            logs.append((*each, seal(each.held.run.recovery)))
        except Exception as error:  # noqa: BLE001  one run's trouble stops no other
            stumble(service, each.held, error)
    if not logs:
        return
    try:
        written = _write(service, [(held.run.recovery.run_id, *sealed) for held, _, sealed in logs])
    except ArtifactsUnavailable as trouble:
        log.error("%d recovery logs wait for their artifacts: %s", len(logs), trouble)
        return
    planned = []
    for (held, finished, sealed), result in zip(logs, written, strict=True):
        recovery = held.run.recovery
        if result.trouble:
            log.error("run %s waits for its artifact: %s", recovery.run_id, result.trouble)
            give_up(service, recovery.run_id, held.version, result.trouble)
            continue
        if result.state == "replaced":
            log.warning("run %s had another artifact; the ledger's took its place", recovery.run_id)
        planned.append(_recorded(service, held, sealed, now, finished))
    _commit(service, planned, now)


def _send_notices(service: Service, closing: Sequence[Held], now: Instant) -> None:
    jobs = [notice_job(held, now) for held in closing if _is_to_be_told(service, held) and notice_is_due(held, now)]
    if not jobs:
        return
    try:
        service.ledger.resend(jobs)
        service.notices_out()
    except redis.RedisError as trouble:  # recording does not wait for telling either
        log.error("%d notices wait for the agenda: %s", len(jobs), trouble)


def _is_to_be_told(service: Service, held: Held) -> bool:
    return service.notice_for(held.run.recovery.ending, held.run) is not None


def _recorded(service: Service, held: Held, sealed: Sealed, now: Instant, finished: Finished | None = None) -> Planned:
    step = advance(held.run.recovery, Recorded(_is_to_be_told(service, held)), now)
    return Planned(held, step, finished, sealed=sealed)


def _commit(service: Service, planned: Sequence[Planned], now: Instant) -> None:
    """Commit that logs are recorded, again for runs that moved on as somebody told of them."""
    for _ in range(COMMIT_TRIES):
        moved = commit_plans(service, planned, now).moved
        if not moved:
            return
        now, found = service.ledger.load([plan.held.run.recovery.run_id for plan in moved])
        planned, overtaken = [], []
        for plan, held in zip(moved, found, strict=True):
            if plan.sealed and isinstance(held, Held) and _is_the_log_of(held, plan.sealed):
                planned.append(_recorded(service, held, plan.sealed, now))
            elif plan.sealed:
                overtaken.append((plan.held.run.recovery.run_id, held, plan.sealed))
        _put_right(service, overtaken)


def _put_right(service: Service, overtaken: Sequence[tuple[str, Held | UnreadableRun | None, Sealed]]) -> None:
    """Write the artifacts again whose runs have another log.

    A server that forgot its last seconds has a run closed anew, by another process. What this one has written meanwhile
    may stand in the place of the other's artifact.
    """
    items = []
    for run_id, held, wrote in overtaken:
        standing = _standing(service, run_id, held)
        if standing and standing != wrote:
            log.warning("run %s was closed anew; its artifact is written again", run_id)
            items.append((run_id, *standing))
    if items:
        for result in _write(service, items):
            if result.trouble:
                log.error("run %s has an old artifact until it is rebuilt: %s", result.run_id, result.trouble)


def _standing(service: Service, run_id: str, held: Held | UnreadableRun | None) -> Sealed | None:
    """The log that a run has by now; None where none is fixed or kept."""
    if isinstance(held, Held):
        recovery = held.run.recovery
        return seal(recovery) if recovery.phase in (Phase.CLOSING, Phase.SETTLING) else None
    with service.thinking.elsewhere():
        ended = find_run(service.client, run_id)
    return Sealed(ended.data, ended.digest) if isinstance(ended, RecoveryEntry) else None


def _is_the_log_of(held: Held, sealed: Sealed) -> bool:
    """Whether these bytes are still what the run waits for: a server that forgot a second may close it anew."""
    recovery = held.run.recovery
    return recovery.phase is Phase.CLOSING and seal(recovery) == sealed


def _write(service: Service, items: Sequence[Item]) -> list[WriteResult]:
    if not service.settings.fsync:
        return write_artifacts(service.artifacts, items, fsync=False)
    with service.thinking.elsewhere():
        return write_artifacts(service.artifacts, items, fsync=True)
