"""Waiting for what must become true, with a deadline instead of a sleep."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Return when `condition()` is true; fail, naming `what`, when it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:g} s it is not true that {what}")
        time.sleep(0.005)
