"""The bell that wakes the control process may be rung by anybody, at any moment."""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import Any

import redis

from heald_worker.bell import Bell


def test_a_signal_may_ring_the_bell_at_any_moment_of_a_wait() -> None:
    bell = Bell(redis.Redis(), ())

    def interrupted(frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            bell.ring()  # where a signal's handler could run
        return interrupted

    def wait() -> None:
        sys.settrace(interrupted)
        for _ in range(3):
            bell.wait(0.001, ())
        sys.settrace(None)

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    waiter.join(10)
    assert not waiter.is_alive()


def test_a_ring_before_the_wait_is_not_lost_and_counts_once() -> None:
    bell = Bell(redis.Redis(), ())
    bell.ring()
    bell.ring()
    rung = threading.Thread(target=bell.wait, args=(60, ()), daemon=True)
    rung.start()
    rung.join(10)
    assert not rung.is_alive()
    again = threading.Thread(target=bell.wait, args=(60, ()), daemon=True)
    again.start()
    again.join(0.05)
    assert again.is_alive()
    bell.ring()
    again.join(10)
    assert not again.is_alive()
