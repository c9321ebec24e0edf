"""An alarm that ends this process at its time, whatever the process does then: it may hang in C, or be stopped.

On Linux the kernel's own timer sends SIGKILL, which also ends a process that is stopped (SIGSTOP) before it can go on.
Elsewhere a thread outside of Python ends the process; one that is stopped ends right after it is let go.
"""

from __future__ import annotations

import ctypes
import faulthandler
import math
import os
import signal
import sys
import time
from functools import cache

SOONEST = 0.001
"""Seconds. A timer that is set to nothing would be none."""


class _Event(ctypes.Structure):
    """`struct sigevent` as far as a signal needs it; the rest is room."""

    _fields_ = (
        ("value", ctypes.c_void_p),
        ("signo", ctypes.c_int),
        ("notify", ctypes.c_int),
        ("rest", ctypes.c_byte * 64),
    )


class _Times(ctypes.Structure):
    """`struct itimerspec`."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


def set_alarm(seconds: float) -> None:
    """End this process in so many seconds, in place of what was set before. A fork does not inherit it."""
    timer, seconds = _timer(), max(SOONEST, seconds)
    if timer is None:
        faulthandler.dump_traceback_later(seconds, exit=True)
    else:
        _set(timer, seconds)


def clear_alarm() -> None:
    """Let this process live on."""
    timer = _timer()
    if timer is None:
        faulthandler.cancel_dump_traceback_later()
    else:
        _set(timer, 0)


def _set(timer: ctypes.c_void_p, seconds: float) -> None:
    rest, whole = math.modf(seconds)
    if _libc().timer_settime(timer, 0, ctypes.byref(_Times(0, 0, int(whole), int(rest * 1e9))), None) != 0:
        raise OSError(ctypes.get_errno(), "timer_settime")


def _timer() -> ctypes.c_void_p | None:
    return _timer_of(os.getpid())


@cache
def _timer_of(pid: int) -> ctypes.c_void_p | None:
    """This process's timer: one for its life, as a fork has none of its parent's. None where there are none."""
    timer = ctypes.c_void_p()
    event = _Event(None, signal.SIGKILL, 0)  # 0: SIGEV_SIGNAL
    if sys.platform != "linux" or not hasattr(_libc(), "timer_create"):
        return None
    if _libc().timer_create(time.CLOCK_MONOTONIC, ctypes.byref(event), ctypes.byref(timer)) != 0:
        return None
    return timer


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)
