"""What is due later, for a loop that waits in `select`: no thread and no signal is needed."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_WAIT = 3600.0
"""Seconds; `select` refuses waits of many years."""


class Alarms:
    """Actions that are due after some time on `clock`, which tells seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: list[tuple[float, Callable[[], None]]] = []

    def set(self, seconds: float, action: Callable[[], None]) -> None:
        """Have `action` called by the first `ring` after so many seconds. A signal's handler may call this."""
        self._due.append((self._clock() + seconds, action))

    def wait(self) -> float | None:
        """How long to wait for the next one: `LONGEST_WAIT` at most, None without any."""
        return min((max(0.0, min(at - self._clock(), LONGEST_WAIT)) for at, _ in self._due), default=None)

    def ring(self) -> None:
        """Call what is due now, once."""
        for alarm in [each for each in self._due if each[0] <= self._clock()]:
            self._due.remove(alarm)
            alarm[1]()
