"""The clock of the replayed day: FACTOR times as fast as ours, with jumps over hours in which nothing happens."""

from __future__ import annotations

import time

FACTOR = 400
"""Seconds of the day within one of ours. heald's waits in the trial's configuration are divided by it."""

GAP = 33 * 60.0
"""What is left of idle time, in seconds of the day: a little more than `timing.incident_window`, so that what is over
after hours is over after this, too. No other time that heald counts ends within an idle part of the day."""


class Clock:
    """Seconds since the day began."""

    def __init__(self, start: float) -> None:
        self._origin, self._ahead = time.monotonic(), start

    def now(self) -> float:
        return self._ahead + (time.monotonic() - self._origin) * FACTOR

    def jump(self, moment: float) -> None:
        """Go on `GAP` before a moment, if that is later than now."""
        self._ahead += max(0.0, moment - GAP - self.now())


def at(time_of_day: str) -> float:
    """Seconds since the day began, of a time as `06:30` or `06:30:15`."""
    hours, minutes, *seconds = (int(part) for part in time_of_day.split(":"))
    return hours * 3600.0 + minutes * 60 + sum(seconds)
