"""Running one command, whatever it does: bounded in time and memory, and nothing of it is left behind.

The command lives under a keeper (see `keeper.py`), which ends it with everything that it has started; this module
is the worker's side: it reads the output, keeps its end, and lets go when it is time to stop.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from heald_worker.repairs.keeper import KILL_WITHIN, become_subreaper, kill_descendants, tie_to_parent

__all__ = ["Fate", "ProcessEnd", "become_subreaper", "kill_descendants", "run", "tie_to_parent"]

POLL = 0.5
"""Seconds between two looks at `stopping`."""
TERM_GRACE = 3.0
"""Seconds between SIGTERM and SIGKILL."""
TAIL_BYTES = 64 * 1024
KEEPER_PATIENCE = 10.0
"""Seconds beyond everything that a keeper is given before it is taken for broken."""

_CHUNK = 64 * 1024
_KEEPER = Path(__file__).with_name("keeper.py")


class Fate(StrEnum):
    """How a command came to its end.

    Attributes:
        EXITED: by itself, or by a signal of somebody else.
        TIME_LIMIT: ended after its time limit.
        STOPPED: ended because the worker stops.
        NOT_STARTED: there was nothing that could be started.
        LOST: its keeper was killed, so nobody knows.
    """

    EXITED = "exited"
    TIME_LIMIT = "time_limit"
    STOPPED = "stopped"
    NOT_STARTED = "not_started"
    LOST = "lost"


class ProcessEnd(msgspec.Struct, frozen=True):
    """What is known of a command that has ended.

    Attributes:
        exit_code: 0 to 255, or 128 + n when signal n ended it; None when it did not end by itself.
        output: the last bytes of what it printed, standard output and error as they came.
        printed: how many bytes it printed in all.
        left: processes that it started and that could not be killed.
        problem: why it did not start.
    """

    fate: Fate
    exit_code: int | None = None
    output: bytes = b""
    printed: int = 0
    left: int = 0
    problem: str = ""

    @property
    def stopped(self) -> bool:
        """Whether it was ended because the worker stops."""
        return self.fate is Fate.STOPPED


class _Tail:
    """The last bytes of a stream of any length."""

    def __init__(self, size: int) -> None:
        self._size, self._kept, self.seen = size, bytearray(), 0

    def add(self, data: bytes) -> None:
        self.seen += len(data)
        self._kept += data
        if len(self._kept) > 4 * self._size:
            del self._kept[: -self._size]

    @property
    def end(self) -> bytes:
        return bytes(self._kept[-self._size :])


def _never() -> bool:
    return False


def run(
    argv: Sequence[str],
    *,
    time_limit: float,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    tail_bytes: int = TAIL_BYTES,
    stopping: Callable[[], bool] = _never,
    grace: float = TERM_GRACE,
) -> ProcessEnd:
    """Run a command to its end, and end everything that it has started. Never raises for what the command does.

    It reads nothing (standard input is empty). At the time limit, or within a moment of `stopping()` turning true,
    all of it gets SIGTERM and, `grace` seconds later, SIGKILL. What it leaves running when it ends by itself is
    killed. The same happens when this process dies.

    Args:
        argv: program and arguments; no shell.
        time_limit: seconds, on the monotonic clock.
        cwd: working folder; this process's own without it.
        env: the whole environment; this process's own without it.
        tail_bytes: how much of the end of the output is kept.
        stopping: asked about every half second.
    """
    program = [sys.executable, "-I", "-S", str(_KEEPER), repr(time_limit), repr(grace), cwd or "", *argv]
    pipe = subprocess.PIPE
    try:
        keeper = subprocess.Popen(
            program, stdin=pipe, stdout=pipe, stderr=pipe, env=env, bufsize=0, start_new_session=True
        )
    except (OSError, ValueError) as error:
        return ProcessEnd(Fate.NOT_STARTED, problem=getattr(error, "strerror", None) or str(error))
    try:
        return _attend(keeper, _Tail(tail_bytes), stopping, time_limit + grace)
    finally:
        _let_go(keeper, grace)


def _attend(keeper: subprocess.Popen[bytes], tail: _Tail, stopping: Callable[[], bool], longest: float) -> ProcessEnd:
    """Read the output and the report of a keeper until it has ended."""
    assert keeper.stdin
    assert keeper.stdout
    assert keeper.stderr
    report = b""
    look_at = time.monotonic() + POLL
    give_up = time.monotonic() + longest + KILL_WITHIN + KEEPER_PATIENCE
    with selectors.DefaultSelector() as selector:
        report_key = selector.register(keeper.stdout, selectors.EVENT_READ)
        selector.register(keeper.stderr, selectors.EVENT_READ)
        while report_key.fileobj in selector.get_map():
            now = time.monotonic()
            if now >= look_at:
                look_at = now + POLL
                if stopping():
                    keeper.stdin.close()
                if now >= give_up:
                    keeper.kill()
            for key, _ in selector.select(max(0.0, look_at - now)):
                data = os.read(key.fd, _CHUNK)
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fd == report_key.fd:
                    report += data
                else:
                    tail.add(data)
    _drain(keeper.stderr.fileno(), tail)
    return _read_report(os.fsdecode(report), tail)


def _drain(descriptor: int, tail: _Tail) -> None:
    """Read what is there, and no more: where a process could not be found, it may hold the pipe open for good."""
    os.set_blocking(descriptor, False)
    with contextlib.suppress(BlockingIOError):
        for _ in range(64):
            data = os.read(descriptor, _CHUNK)
            if not data:
                return
            tail.add(data)


def _read_report(report: str, tail: _Tail) -> ProcessEnd:
    fate, _, rest = report.partition(" ")
    if fate == Fate.NOT_STARTED:
        return ProcessEnd(Fate.NOT_STARTED, problem=rest)
    if not fate:
        return ProcessEnd(Fate.LOST, None, tail.end, tail.seen)
    code, _, left = rest.partition(" ")
    exit_code = int(code) if fate == Fate.EXITED else None
    if exit_code is not None and exit_code < 0:
        exit_code = 128 - exit_code
    return ProcessEnd(Fate(fate), exit_code, tail.end, tail.seen, int(left))


def _let_go(keeper: subprocess.Popen[bytes], grace: float) -> None:
    """Wait for the keeper's end; when this is the way out of an exception, it still has to end the command."""
    assert keeper.stdin
    assert keeper.stdout
    assert keeper.stderr
    keeper.stdin.close()
    keeper.stderr.close()
    try:
        keeper.wait(grace + KILL_WITHIN + KEEPER_PATIENCE)
    except subprocess.TimeoutExpired:
        keeper.send_signal(signal.SIGKILL)
        keeper.wait()
    keeper.stdout.close()
