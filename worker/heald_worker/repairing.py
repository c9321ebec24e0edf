"""One repair from claim to committed result. It runs at least once, and knows it.

The claim is a commit like any other: whoever moves the run to `repairing` owns the attempt until the agenda's lease
ends. The result commits against the claim's version, so a repair that outlived its lease changes nothing.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import redis

from heald_worker import keys
from heald_worker.agenda import reclaim
from heald_worker.commits import GONE_THROUGH, discard
from heald_worker.core.recovery import Claim, Phase, RepairEnded, advance
from heald_worker.decisions import made_facts, nudged, order_for
from heald_worker.ledger import Held
from heald_worker.moves import move_for
from heald_worker.outputs import keep_output
from heald_worker.patience import passes
from heald_worker.playbook import PlaybookEntry
from heald_worker.queues import REPAIR
from heald_worker.repairs import RepairReport, perform
from heald_worker.service import Service, log, milliseconds
from heald_worker.states import UnreadableRun

Answer = TypeVar("Answer")

COMMIT_TRIES = 60
COMMIT_PAUSE = 0.5
SCRATCH_PREFIX = f"heald-{os.getuid()}-"
"""Names the scratch folders of this user's workers, with their process ids."""


class StopFlag:
    """Whether the repair in hand is to be ended and given back: raised by SIGTERM, or when a grace time is over."""

    def __init__(self) -> None:
        self._raise_at = math.inf

    def __call__(self) -> bool:
        return time.monotonic() >= self._raise_at

    def raise_in(self, seconds: float) -> None:
        """Raise the flag once this time is over."""
        self._raise_at = min(self._raise_at, time.monotonic() + seconds)

    def raise_on_sigterm(self) -> None:
        """Raise the flag when this process gets SIGTERM."""
        signal.signal(signal.SIGTERM, lambda _signum, _frame: self.raise_in(0))


stop_flag = StopFlag()


def claim(service: Service, run_id: str, version: int) -> Held | None:
    """Take the run's current attempt in hand, or None: it has moved on, waits for nothing, or heald is paused.

    A nudge that has nothing to do any more is cleared away; while heald is paused, the agenda keeps it. So does it a
    repair that this playbook lacks and another repair process has.
    """
    if service.client.exists(keys.PAUSED):
        return None
    now, [held] = service.ledger.load([run_id])
    if isinstance(held, UnreadableRun):
        log.error("%s", held)
        return None
    if held is None or held.version != version or held.run.recovery.phase is not Phase.WAITING:
        discard(service, [nudged(REPAIR, run_id, version).finished])
        return None
    if service.is_repaired_elsewhere(held.run):
        log.info("run %s: its %s is left to a worker that has a repair for it", run_id, held.run.recovery.action)
        return None
    step = advance(held.run.recovery, Claim(service.name), now)
    move = move_for(service, held, step, now)
    [verdict] = service.ledger.commit([move])
    return held.after(move, step.recovery) if verdict in GONE_THROUGH else None


def carry_out(service: Service, claimed: Held, stopping: Callable[[], bool] = stop_flag) -> None:
    """Make the repair of a claimed attempt and commit what came of it; one that was stopped or lost is given back."""
    entry, order = service.entry_for(claimed.run), order_for(claimed, service.diagnosis_of(claimed.run))
    report = perform(entry.repair if entry else None, order, scratch=service.scratch, stopping=stopping)
    try:
        verdict = _hand_in(service, claimed, entry, report, stopping())
    except redis.RedisError as trouble:
        verdict = f"the server stayed away ({trouble})"
    if verdict not in GONE_THROUGH:
        log.warning("run %s: the repair's result was not committed: %s", claimed.run.recovery.run_id, verdict)


def _hand_in(service: Service, claimed: Held, entry: PlaybookEntry | None, report: RepairReport, stopped: bool) -> str:
    if report.lost or (stopped and not report.result.success):
        return _persist(lambda: reclaim(service, claimed, service.ledger.now(), counts=not stopped))
    _persist(lambda: _keep_output(service, claimed, report))
    now = _persist(service.ledger.now)
    step = advance(claimed.run.recovery, RepairEnded(report.result, report.proof), now)
    move = move_for(service, claimed, step, now, detail=made_facts(entry, report))
    [verdict] = _persist(lambda: service.ledger.commit([move]))
    return verdict


def _keep_output(service: Service, claimed: Held, report: RepairReport) -> None:
    """Keep what the repair printed, before its result: whoever sees the one finds the other.

    A server that is full or refuses it keeps no result from being committed.

    Raises:
        redis.RedisError: the server is away.
    """
    if not report.output:
        return
    recovery, life = claimed.run.recovery, milliseconds(service.settings.retention.recoveries)
    try:
        keep_output(service.client, recovery.run_id, recovery.attempt, report.output, life)
    except redis.ResponseError as trouble:
        if passes(trouble):
            raise
        log.warning("run %s: what its repair printed is not kept: %s", recovery.run_id, trouble)


def _persist(ask: Callable[[], Answer]) -> Answer:
    """Ask a server that may be away for a while; the fence makes a repeated commit harmless.

    Raises:
        redis.RedisError: it stayed away.
    """
    tries = 0
    while True:
        try:
            return ask()
        except redis.RedisError as trouble:
            tries += 1
            if tries == COMMIT_TRIES:
                raise
            log.warning("a repair's result waits for the server: %s", trouble)
            time.sleep(COMMIT_PAUSE)


@contextmanager
def own_scratch() -> Iterator[Path]:
    """A folder for this process's repairs and notices, gone at its end; those of killed processes go now."""
    root = Path(tempfile.gettempdir())
    for left in root.glob(f"{SCRATCH_PREFIX}*"):
        if not _is_alive(left.name.removeprefix(SCRATCH_PREFIX)):
            shutil.rmtree(left, ignore_errors=True)
    mine = root / f"{SCRATCH_PREFIX}{os.getpid()}"
    shutil.rmtree(mine, ignore_errors=True)
    mine.mkdir(mode=0o700)
    try:
        yield mine
    finally:
        shutil.rmtree(mine, ignore_errors=True)


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True
