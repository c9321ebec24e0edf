"""The end of a batch of recoveries: their artifacts on disk, all at once, and the commits that come after."""

from __future__ import annotations

from collections.abc import Sequence

from heald_worker.agenda import give_up
from heald_worker.artifacts import ArtifactsUnavailable, Item, WriteResult, write_artifacts
from heald_worker.commits import Closing, Planned, commit_plans, stumble
from heald_worker.core.instant import Instant
from heald_worker.core.recovery import Recorded, advance
from heald_worker.moves import seal
from heald_worker.service import Service, log


def close(service: Service, closing: Sequence[Closing], now: Instant) -> None:
    """Write the artifacts of closing runs, all of a batch at once, and commit what comes after."""
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
        notify = service.notice_for(recovery.ending, held.run) is not None
        planned.append(Planned(held, advance(recovery, Recorded(notify), now), finished, sealed=sealed))
    commit_plans(service, planned, now)


def _write(service: Service, items: Sequence[Item]) -> list[WriteResult]:
    if not service.settings.fsync:
        return write_artifacts(service.artifacts, items, fsync=False)
    with service.thinking.elsewhere():
        return write_artifacts(service.artifacts, items, fsync=True)
