"""What this process itself committed last, so that it need not read a run again when it takes the run's next job.

A memory, never a truth: a run that somebody else has moved meanwhile is told apart by the fence of the next commit.
"""

from __future__ import annotations

from threading import Lock

from heald_worker import keys
from heald_worker.ledger import Held

MOST_BYTES = 8 * 1024 * 1024
"""Room for the states of runs whose next job another process may take: the oldest are forgotten first."""


class Recall:
    """Runs by id and version. Several threads may use one."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._bytes = most_bytes, 0
        self._kept: dict[tuple[str, int], tuple[Held, int]] = {}
        self._lock = Lock()

    def keep(self, held: Held, size: int) -> None:
        """Remember a run, whose encoded state has this many bytes, until its job is taken."""
        place = keys.fold(held.run.recovery.run_id), held.version
        with self._lock:
            self._bytes += size - self._kept.pop(place, (held, 0))[1]
            self._kept[place] = held, size
            while self._bytes > self._most:
                self._bytes -= self._kept.pop(next(iter(self._kept)))[1]

    def take(self, run_id: str, version: int) -> Held | None:
        """The run at this version, once; None when it is not remembered."""
        with self._lock:
            held, size = self._kept.pop((keys.fold(run_id), version), (None, 0))
            self._bytes -= size
        return held
