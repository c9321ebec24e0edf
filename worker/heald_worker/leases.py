"""The lease of a claim as its holder sees it: on a monotonic clock of its own, and never as too long.

Whoever works under a lease has two bounds. When it cannot be renewed, the work is ended while the lease still runs
(`left`); and a process that was stopped itself, and wakes too late, ends at once (`enforce`).
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread

import redis

from heald_worker.alarm import clear_alarm, set_alarm
from heald_worker.ledger import Held
from heald_worker.repairs.keeper import signal_descendants
from heald_worker.service import Service, log, milliseconds

MARGIN = 4.0
"""Seconds, or a quarter of the lease if that is more, before its end at which a repair is killed that could not be
renewed: one look a second, and two seconds for a server that does not answer, fit in."""
LAST_MARGIN = 2.0
"""The same for a process that ends itself: one look every half second, and the time to kill, fit in."""
ALARM_MARGIN = 1.0
"""The same for the alarm, which ends what did not end itself in the second before."""
LOOK = 0.5
"""Seconds between two tries to renew a lease that is due."""
LEASE_LOST = 75
"""Exit code of a process that ended because its lease did."""


class Lease:
    """One claim's lease.

    Args:
        renewals: the client that renews it; it must neither wait long nor repeat a command.
        began: when the claim was sent, on the monotonic clock. The server counts from a later moment; a reply may be
            late by any time.
        longest: seconds after which it is not renewed any more, so that what does not end by then ends with it.
    """

    def __init__(
        self, service: Service, renewals: redis.Redis, claimed: Held, began: float, longest: float = math.inf
    ) -> None:
        self.claimed = claimed
        self._ledger, self._renewals, self._until = service.ledger, renewals, began + longest
        self._every = service.settings.timing.renewal
        self._length_ms = milliseconds(service.settings.timing.lease)
        # Shared with a work-horse that is forked off: its parent renews, and both look at it.
        self._renewed_at = memoryview(mmap.mmap(-1, 8)).cast("d")
        self._renewed_at[0] = began

    @property
    def due_in(self) -> float:
        """Seconds until it is time to renew it, 0 or less when it is; infinite when it is to end."""
        now = time.monotonic()
        return self._every - (now - self._renewed_at[0]) if now < self._until else math.inf

    @property
    def is_due(self) -> bool:
        """Whether it is time to renew it."""
        return self.due_in <= 0

    @property
    def left(self) -> float:
        """Seconds until a repair has to be killed, to be gone for sure when the lease ends."""
        length = self._length_ms / 1000
        return self.rest - max(MARGIN, length / 4)

    @property
    def last_left(self) -> float:
        """Seconds until this process has to end, if its work cannot be ended otherwise."""
        return self.rest - LAST_MARGIN

    @property
    def rest(self) -> float:
        """Seconds until the lease ends."""
        return self._length_ms / 1000 - (time.monotonic() - self._renewed_at[0])

    def renew(self) -> bool:
        """Renew it. False when it was taken away.

        Raises:
            redis.RedisError: nobody knows.
        """
        asked_at = time.monotonic()
        if not self._ledger.renew(self.claimed, self._length_ms, self._renewals):
            return False
        self._renewed_at[0] = asked_at
        return True

    def enforce(self) -> None:
        """End this process, and all that it has started, when the lease may be over: nothing else could be in time."""
        if self.last_left < 0:
            end_at_once()


def end_at_once() -> None:
    """End this process and everything below it, now: a repair that is not its own any more must have no effect."""
    with contextlib.suppress(OSError):
        signal_descendants(signal.SIGKILL)
    os._exit(LEASE_LOST)


@contextmanager
def renewing(lease: Lease, taken: Callable[[], None], beat: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Renew a lease from a thread while the body runs.

    Args:
        taken: called in the thread, once, when the lease is somebody else's.
        beat: called after every look at the lease, also when it could not be renewed.
    """
    over = Event()

    def look_after() -> None:
        while not over.wait(max(LOOK, min(lease.due_in, 1.0))):
            try:
                if lease.is_due and not lease.renew() and not over.is_set():
                    taken()
                    return
            except (redis.RedisError, OSError) as trouble:
                log.warning("the lease of run %s cannot be renewed: %s", lease.claimed.run.recovery.run_id, trouble)
            beat()

    Thread(target=look_after, name="heald-lease", daemon=True).start()
    try:
        yield
    finally:
        over.set()


@contextmanager
def kept(lease: Lease, beat: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Keep a lease while this very process works under it: renew it, or end the process before the lease can end.

    A lease that was taken away, or is about to end, ends the process and everything below it. Where no Python code
    runs, because a C function hangs or the process is stopped, an alarm ends it; every renewal sets it anew.

    Args:
        beat: called about every second.
    """
    armed, lock = True, Lock()

    def alarm() -> None:
        set_alarm(lease.rest - ALARM_MARGIN)

    def end_because(reason: str) -> None:
        log.error("the repair of run %s %s, which ends with it", lease.claimed.run.recovery.run_id, reason)
        end_at_once()

    def look() -> None:
        with lock:
            if armed and lease.last_left < 0:
                end_because("has outlived its lease in this process")
            elif armed:
                alarm()
        beat()

    def taken() -> None:
        with lock:
            if armed:
                end_because("was taken from this process")

    alarm()
    try:
        with renewing(lease, taken, look):
            yield
    finally:
        with lock:
            armed = False
            clear_alarm()
