"""One machine's worker: a control process and its repair processes, started, watched and stopped together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import FrameType

from heald_worker.service import log

RESTART_FIRST, RESTART_MOST = 0.5, 30.0
"""Seconds before a process that ended is started again: doubling while it keeps ending young."""
GROWN_UP = 60.0
"""Seconds after which a process has proved that it runs."""
BURST_TRIES = 4
"""How often a burst's control process may end in trouble before the burst gives up with its exit code."""
POLL = 0.1
LAST_PATIENCE = 10.0
"""Seconds beyond the grace time that a process gets to end before it is killed."""
LEAST_PATIENCE = 5.0
"""Seconds that the control process gets in any case, however long the repairs before it took."""

SUPERVISED = "HEALD_SUPERVISED"
"""Environment variable that tells a child to end with its parent."""

CONTROL, REPAIRS = "control", "repairs"


class Child:
    """One process of a role, and when it may be started again."""

    def __init__(self, role: str, environ: Mapping[str, str], burst: bool) -> None:
        self.role, self._environ, self._burst = role, environ, burst
        self.process: subprocess.Popen[bytes] | None = None
        self._born, self._not_before = 0.0, 0.0
        self.young_ends = 0

    def start(self) -> None:
        """Start the process, in a process group of its own so that a terminal's Ctrl-C reaches only the supervisor."""
        # -P: the current folder may hold anything, also a redis.py; it is not to be imported from.
        argv = [sys.executable, "-P", "-m", "heald_worker", "worker", "--role", self.role]
        if self._burst and self.role == CONTROL:
            argv.append("--burst")
        self._born = time.monotonic()
        environ = {**self._environ, SUPERVISED: str(os.getpid())}
        self.process = subprocess.Popen(argv, env=environ, process_group=0)

    def ended(self) -> int | None:
        """The exit code if the process has just been found ended; it may be started again after a pause."""
        code = self.process.poll() if self.process else None
        if code is None:
            return None
        now = time.monotonic()
        self.young_ends = 0 if now - self._born > GROWN_UP else self.young_ends + 1
        self._not_before = now + min(RESTART_FIRST * 2.0**self.young_ends, RESTART_MOST)
        self.process = None
        return code

    @property
    def may_start(self) -> bool:
        """Whether the process is down and its pause over."""
        return self.process is None and time.monotonic() >= self._not_before

    @property
    def runs(self) -> bool:
        """Whether the process is there."""
        return self.process is not None and self.process.poll() is None

    def send(self, signum: int) -> None:
        """Pass a signal on, if the process runs."""
        if self.process is not None and self.runs:
            self.process.send_signal(signum)


class Supervisor:
    """Keeps one control process and some repair processes running until a signal, or with `burst` until all is done."""

    def __init__(self, repairs: int, environ: Mapping[str, str], *, burst: bool, stop_grace: float) -> None:
        self._children = [Child(CONTROL, environ, burst)]
        self._children += [Child(REPAIRS, environ, burst) for _ in range(repairs)]
        self._burst, self._stop_grace = burst, stop_grace
        self._stopping, self._asked, self._code = False, 0, 0

    def run(self) -> int:
        """Run until told to stop. Returns the exit code."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        try:
            while not self._stopping:
                self._watch()
                time.sleep(POLL)
        finally:
            self._end_all()
        return self._code

    def _stop(self, signum: int, frame: FrameType | None) -> None:
        self._stopping, self._asked = True, self._asked + 1

    def _watch(self) -> None:
        for child in self._children:
            code = child.ended()
            if code is not None:
                if self._burst and child.role == CONTROL and (code == 0 or child.young_ends >= BURST_TRIES):
                    self._stopping, self._code = True, code
                    return
                log.warning("a %s process ended with %d; another is started", child.role, code)
            if child.may_start and not self._stopping:
                child.start()

    def _end_all(self) -> None:
        """End the repairs, and then the control process: it takes up what the last repairs came to."""
        deadline = time.monotonic() + self._stop_grace + LAST_PATIENCE
        if self._asked and any(child.runs for child in self._children):
            log.info("stopping; repairs in hand may end within %g s, a second signal gives them back", self._stop_grace)
        self._end([child for child in self._children if child.role == REPAIRS], deadline)
        deadline = max(deadline, time.monotonic() + LEAST_PATIENCE)
        self._end([child for child in self._children if child.role == CONTROL], deadline)
        if self._asked:
            log.info("stopped")

    def _end(self, children: Sequence[Child], deadline: float) -> None:
        """Ask processes to end, each further signal again, and kill what has not ended in time."""
        asked = 0
        while any(child.runs for child in children) and time.monotonic() < deadline:
            if asked < max(1, self._asked):
                asked = max(1, self._asked)
                for child in children:
                    child.send(signal.SIGTERM)
            time.sleep(POLL)
        for child in children:
            if child.process is not None and child.runs:
                log.error("the %s process %d did not end and is killed", child.role, child.process.pid)
                child.process.kill()
                child.process.wait()
