"""How a command is stopped: by its time limit, which heald keeps, or by a signal that heald was sent and forwards."""

from __future__ import annotations

import os
import signal

from heald_producer.alarms import Alarms

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

GRACE = 10.0
"""Seconds from SIGTERM to SIGKILL for a command that is out of time."""
PATIENCE = 1.0
"""Seconds that a command has to end after a SIGTERM to heald until that is told: SIGKILL may be near."""


class Target:
    """The command's process, and how to signal it: with its whole group, or alone where it shares heald's group."""

    def __init__(self, *, whole_group: bool) -> None:
        self.pid, self.whole_group, self.runs = 0, whole_group, True

    def send(self, signum: int) -> None:
        """Send a signal; a command that is gone does not mind."""
        try:
            (os.killpg if self.whole_group else os.kill)(self.pid, signum)
        except (ProcessLookupError, PermissionError):
            return

    def has_group(self) -> bool:
        """Whether anything of its group is left."""
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True


class Stopping:
    """What stops a command, and what is due then.

    Attributes:
        by: the first signal with which somebody stopped heald, or 0. What follows, as a SIGTERM that a CI sends when
            its SIGINT did not do, belongs to the same stop.
        timed_out: whether its time limit has stopped it.
    """

    def __init__(self, target: Target, late: Callable[[], None] | None = None) -> None:
        self.target, self.late, self.alarms = target, late, Alarms()
        self.by = 0
        self.timed_out = self._has_grace = False

    def after(self, seconds: float) -> None:
        """Stop the command after so long."""
        self.alarms.set(seconds, self._time_out)

    def note(self, signum: int) -> None:
        """Heald was told to stop."""
        if not self.by:
            self.by = signum
            if signum == signal.SIGTERM:
                self.alarms.set(PATIENCE, self._tell_late)

    def lingers(self) -> bool:
        """Whether something of a command that was out of time still has time to end itself, so that it is relayed."""
        return self._has_grace and self.target.whole_group and self.target.has_group()

    def _time_out(self) -> None:
        if self.target.runs:
            self.timed_out = self._has_grace = True
            self.target.send(signal.SIGTERM)
            self.alarms.set(GRACE, self._kill)

    def _kill(self) -> None:
        self._has_grace = False
        self.target.send(signal.SIGKILL)

    def _tell_late(self) -> None:
        if self.target.runs and self.late:
            self.late()
