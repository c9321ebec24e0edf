"""Keeps one command: starts it, watches it, and at the end ends everything that it has started.

Every command of heald runs under a keeper of its own, a small process between the worker and the command:

    worker ──lifeline──▶ keeper ──▶ command ──▶ whatever it starts
       ▲───one line──────'            '──output──▶ worker

The *lifeline* is the keeper's standard input, a pipe on which nothing is ever written. It ends when the worker
lets go or dies in whatever way, and then the keeper ends the command: this needs no signal, works on every POSIX
system, and from any thread of the worker. The command itself dies with its keeper (Linux).

On Linux the keeper is a *subreaper*: a process that leaves its family by `setsid` and a double fork becomes the
keeper's child instead of init's, so "everything that it has started" is exact. Elsewhere it is the process group.

The file is run by its path, in an isolated interpreter, and so imports nothing but the standard library. Its one
line on standard output is `FATE EXITCODE LEFT`, or `not_started` and the reason.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
KILL_WITHIN = 5.0
"""Seconds that killed processes get to be gone; what waits for a dead disk may need longer."""
LOOK_AGAIN = 0.02
LONGEST_WAIT = 60.0
LIFELINE, REPORT, OUTPUT = 0, 1, 2


def become_subreaper() -> None:
    """Descendants whose parents die become this process's children (Linux; elsewhere this does nothing)."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def tie_to_parent(signum: int = signal.SIGKILL) -> None:
    """Get `signum` when the thread that started this process ends (Linux; elsewhere this does nothing).

    A parent that is dead already sends nothing: compare `os.getppid()` afterwards. The tie is to the *thread*,
    so it is for processes that are started by a main thread.
    """
    _prctl(PR_SET_PDEATHSIG, signum)


def _prctl(option: int, value: int) -> None:
    if LINUX and ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def kill_descendants(within: float = KILL_WITHIN) -> int:
    """Kill and reap everything below this process. Returns how many still live after `within` seconds.

    For processes all of whose children are meant to end. A subreaper misses none, however they forked away.
    Without /proc there is nothing to find them by, and this does nothing.
    """
    deadline = time.monotonic() + within
    while LINUX and reap({}):
        left = signal_descendants(signal.SIGKILL)
        if time.monotonic() > deadline:
            return max(left, 1)
        time.sleep(LOOK_AGAIN)
    return 0


class Process(NamedTuple):
    """One process as /proc shows it."""

    pid: int
    parent: int
    group: int
    lives: bool


def signal_descendants(signum: int) -> int:
    """Send a signal to everything below this process. Returns how many there are, zombies not counted."""
    everyone = processes()
    inside = below(os.getpid(), everyone)
    living = [process for process in everyone if process.pid in inside and process.lives]
    shared = {process.group for process in everyone if process.pid not in inside}
    # A signal to a group cannot be outrun by forking, one to a process can; so groups where nobody else is in them.
    for target in {process.pid if process.group in shared else -process.group for process in living}:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(target, signum)
    return len(living)


def processes() -> list[Process]:
    """All processes of this system."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ended meanwhile
            state, parent, group, *_ = stat.read_bytes().rpartition(b")")[2].split()
            found.append(Process(int(stat.parent.name), int(parent), int(group), state not in b"ZX"))
    return found


def below(root: int, everyone: Iterable[Process]) -> set[int]:
    """The process ids of all that descends from `root`."""
    children: dict[int, list[int]] = {}
    for process in everyone:
        children.setdefault(process.parent, []).append(process.pid)
    found: set[int] = set()
    unseen = [root]
    while unseen:
        pids = children.get(unseen.pop(), [])
        found.update(pids)
        unseen += pids
    return found


def reap(ended: dict[int, int]) -> bool:
    """Collect the exit codes of children that have ended. Returns whether this process has any child left."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        ended[pid] = os.waitstatus_to_exitcode(status)


class Keeper:
    """One command from its start to the death of its last process.

    Attributes:
        pid: the command's process id, and its process group's.
        ended: exit codes of the children that were reaped, negative for signals.
    """

    def __init__(self, command: list[str]) -> None:
        self.ended: dict[int, int] = {}
        self._wakened = _wake_on_child()
        keeper = os.getpid()
        libc = ctypes.CDLL(None) if LINUX else None  # before the fork: loading is not for the child

        def become_the_command() -> None:
            for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGCHLD):
                signal.signal(signum, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            if libc is not None:
                libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                if os.getppid() != keeper:
                    os._exit(1)

        # Kept, as a Popen that is thrown away would collect the exit code itself.
        self._command = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=OUTPUT,
            stderr=OUTPUT,
            process_group=0,
            preexec_fn=become_the_command,
        )
        self.pid = self._command.pid

    def watch(self, deadline: float) -> str:
        """Wait for the first of: the command's end, the lifeline's, the deadline. Returns which it was."""
        while True:
            reap(self.ended)
            if self.pid in self.ended:
                return "exited"
            left = deadline - time.monotonic()
            if left <= 0:
                return "time_limit"
            if LIFELINE in self._wait(left, LIFELINE):
                reap(self.ended)
                return "exited" if self.pid in self.ended else "stopped"

    def end(self, grace: float) -> None:
        """Ask everything to end, and wait for it at most `grace` seconds."""
        deadline = time.monotonic() + grace
        if not signal_descendants(signal.SIGTERM):
            self._signal_group(signal.SIGTERM)
        while reap(self.ended) and (left := deadline - time.monotonic()) > 0:
            self._wait(min(left, LOOK_AGAIN * 5))

    def clear(self) -> int:
        """Kill whatever is left. Returns how many processes could not be killed."""
        self._signal_group(signal.SIGKILL)
        return kill_descendants()

    def _signal_group(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signum)

    def _wait(self, seconds: float, *more: int) -> list[int]:
        ready, _, _ = select.select([self._wakened, *more], [], [], min(seconds, LONGEST_WAIT))
        if self._wakened in ready:
            os.read(self._wakened, 4096)
        return ready


def _wake_on_child() -> int:
    """A descriptor that becomes readable when a child ends."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    return reader


def report(line: str) -> None:
    """Tell the worker how it ended."""
    os.write(REPORT, os.fsencode(line))


def main(arguments: list[str]) -> None:
    """Run as `keeper.py TIME_LIMIT GRACE CWD COMMAND...` with an empty CWD for "stay here"."""
    time_limit, grace, cwd, *command = arguments
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(signum, signal.SIG_IGN)  # only the lifeline ends a keeper
    become_subreaper()
    deadline = time.monotonic() + float(time_limit)
    try:
        if cwd:
            os.chdir(cwd)
    except OSError as error:
        report(f"not_started its working folder {cwd} cannot be used: {error.strerror}")
        return
    try:
        keeper = Keeper(command)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        report(f"not_started {command[0]} cannot be run: {reason}")
        return
    fate = keeper.watch(deadline)
    if fate != "exited":
        keeper.end(float(grace))
    left = keeper.clear()
    report(f"{fate} {keeper.ended.get(keeper.pid, '')} {left}")


if __name__ == "__main__":
    main(sys.argv[1:])
