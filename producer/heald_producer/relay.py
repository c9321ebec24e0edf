"""Run a command and pass its output on, unchanged and as it comes, while some of it is kept.

stdout and stderr go through a pipe each, or through one where both are the same file, so that their order stays.
Where one of them is a terminal the command gets a pseudo-terminal instead, and a session of its own when a person
is typing too. Nothing heavy is imported here: a green build pays for this module only.

Signals: in a terminal, the keyboard's reach the command by themselves. Without one (in a CI), the command has a
process group of its own, and what heald is sent is forwarded to all of it, once. What would stop heald stops both, and
both go on together. When heald is killed, its guard kills the command.

The relay ends when the command has ended and its output is drained: up to the end, or to a moment of silence when
something that it left behind still holds its output open. What that prints later is lost, as heald is gone.
"""

from __future__ import annotations

import errno
import os
import select
import signal

from heald_producer.foreground import has_terminal, in_foreground
from heald_producer.guard import Guard
from heald_producer.spawn import become_command
from heald_producer.stopping import Stopping, Target
from heald_producer.streams import Stream, fill_standard_streams, open_streams

TYPE_CHECKING = False  # `typing` would cost a green build more than all the rest
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from heald_producer.kept import Kept
    from heald_producer.terminal import Keyboard

    Warn = Callable[[str], None]

SILENCE = 0.05
"""Seconds without output after which an output that is still held open counts as drained."""
TIMED_OUT, NOT_EXECUTABLE, NOT_FOUND = 124, 126, 127

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_REAL_TIME = range(signal.SIGRTMIN, signal.SIGRTMAX + 1) if hasattr(signal, "SIGRTMIN") else ()
_FORWARDED = (
    *(*_STOPPING, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF, signal.SIGIO),
    *(signal.SIGPIPE, *_REAL_TIME),
)
_HALTING = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_CAUGHT = (*_FORWARDED, *_HALTING, signal.SIGCONT, signal.SIGCHLD, signal.SIGWINCH)
_KEYBOARD = (signal.SIGINT, signal.SIGQUIT)


class Ended:
    """How a command ended.

    Attributes:
        code: its exit code; 128 + n when signal n killed it; 127 when it was not found, 126 when it cannot be executed.
        killed_by: the signal that killed it, or 0.
        stopped_by: the first signal with which somebody stopped heald, and so the command; SIGPIPE when its reader
            left.
        problem: what there is to say about its start or its end, as one line.
        timed_out: whether heald has ended it, as it was out of time; its code is 124 then.
    """

    def __init__(
        self, code: int, killed_by: int = 0, stopped_by: int = 0, problem: str = "", *, timed_out: bool = False
    ) -> None:
        self.code, self.killed_by, self.stopped_by, self.problem = code, killed_by, stopped_by, problem
        self.timed_out = timed_out


class CannotWatch(Exception):
    """This machine has no pipe or process left for heald; nothing was started."""


def run(
    argv: list[str], kept: Kept, warn: Warn, *, timeout: float | None = None, late: Callable[[], None] | None = None
) -> Ended:
    """Run a command to its end and pass its output on.

    Args:
        timeout: seconds after which the command is ended.
        late: is called when the command does not end soon after heald was sent SIGTERM.

    Raises:
        CannotWatch: nothing was started.
    """
    guard: Guard | None = None
    try:
        closed = fill_standard_streams()
        guard = Guard()  # before the streams, which it is not to hold open
        interactive, streams = open_streams(warn, closed)
    except OSError as error:
        if guard:
            guard.dismiss()
        raise CannotWatch(str(error)) from None
    relay = Relay(argv, streams, guard, kept, warn)
    relay.stopping.late = late
    if timeout is not None:
        relay.stopping.after(timeout)
    if interactive:
        from heald_producer.terminal import Keyboard

        relay.keyboard, relay.place = Keyboard(streams[0].source), "session"
        relay.target.whole_group = True
    try:
        return relay.run()
    except CannotWatch:
        for stream in streams:
            _let_go(stream)  # whoever starts the command without us needs descriptors, too
        raise
    finally:
        guard.dismiss()


class Relay:
    """One command, its streams, and the signals in between.

    `place` is where it runs: a `session` of its own behind a pseudo-terminal, a process `group` of its own, or
    `here`, in heald's group, where the terminal's keyboard speaks to both.
    """

    def __init__(self, argv: list[str], streams: list[Stream], guard: Guard, kept: Kept, warn: Warn) -> None:
        self.argv, self.streams, self.guard, self.kept, self.warn = argv, streams, guard, kept, warn
        self.keyboard: Keyboard | None = None
        self.child = 0
        self.status: int | None = None
        self.reader_left = self.continued = False
        self.place = "here" if has_terminal() else "group"
        self.target = Target(whole_group=self.place == "group")
        self.stopping = Stopping(self.target)

    def run(self) -> Ended:
        """Start the command and stay with it to its end.

        Raises:
            CannotWatch: it was not started.
        """
        try:
            wakeup, wake = os.pipe()
            told, tell = os.pipe()
        except OSError as error:
            raise CannotWatch(str(error)) from None
        os.set_blocking(wake, False)
        os.set_blocking(wakeup, False)
        previous = signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        try:
            mask = self._fork(tell)
            try:
                problem = self._begin(told, mask)
                if not problem:
                    self._relay(wakeup)
            except Exception as error:  # noqa: BLE001  the command runs, so whatever this is must not end us
                problem = 0
                self._abandon(error)
        finally:
            if self.keyboard:
                self.keyboard.give_back()
            signal.set_wakeup_fd(previous)
            for descriptor in (wakeup, wake, *(stream.source for stream in self.streams)):
                os.close(descriptor)
        return self._unstarted(problem) if problem else self._ended()

    def _fork(self, tell: int) -> Iterable[int]:
        """Fork; the child becomes the command, or writes into `tell`. Returns the signal mask to restore.

        A signal that comes until the command's first instruction waits, and meets whom it is for.
        """
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _CAUGHT)
        try:
            self.child = os.fork()
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            raise CannotWatch(str(error)) from None
        if self.child == 0:
            become_command(
                self.argv,
                self.streams,
                place=self.place,
                caught=_CAUGHT,
                mask=mask,
                guard=self.guard.tell,
                tell=tell,
            )
        os.close(tell)
        self.target.pid = self.child
        return mask

    def _begin(self, told: int, mask: Iterable[int]) -> int:
        """Take up the parent's part; return 0 once the command runs, or the errno for which it does not."""
        self._take_signals()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if self.place == "group":
            _quietly(os.setpgid, self.child, self.child)
        for stream in self.streams:
            os.close(stream.slave)
        if self.keyboard:
            self.keyboard.child = self.child
            self.keyboard.take_over()
        problem = int(os.read(told, 16) or b"0")  # the end of the pipe means that the command runs
        os.close(told)
        return problem

    def _abandon(self, error: Exception) -> None:
        """Heald itself has failed: let go of the output, wait for the command, keep its exit code."""
        self.warn(f"the command's output is not passed on any more: {type(error).__name__}: {error}")
        for stream in list(self.streams):
            self._close(stream)
        if self.status is None:
            _, self.status = os.waitpid(self.child, 0)

    def _take_signals(self) -> None:
        """Forward what was not ignored when heald was started, as under `nohup`. Python itself ignores SIGPIPE."""
        for signum in _FORWARDED:
            if signum == signal.SIGPIPE or signal.getsignal(signum) != signal.SIG_IGN:
                signal.signal(signum, self._forward)
        signal.signal(signal.SIGCHLD, lambda signum, frame: None)
        signal.signal(signal.SIGWINCH, self._resize)
        if self.keyboard:
            keyboard = self.keyboard
            for signum in (signal.SIGTSTP, signal.SIGTTIN):
                signal.signal(signum, lambda signum, frame: keyboard.suspend())
            signal.signal(signal.SIGCONT, lambda signum, frame: keyboard.resume())
        elif self.place == "group":
            signal.signal(signal.SIGCONT, self._forward)
            for signum in _HALTING:
                if signal.getsignal(signum) != signal.SIG_IGN:
                    signal.signal(signum, self._halt)

    def _forward(self, signum: int, frame: FrameType | None) -> None:
        if signum in _STOPPING:
            self.stopping.note(signum)
        self.continued |= signum == signal.SIGCONT
        if self.status is not None or (signum == signal.SIGPIPE and self._lost_reader()):
            return
        if self.place != "here" or signum not in _KEYBOARD or not in_foreground():
            self.target.send(signum)

    def _lost_reader(self) -> bool:
        """Whether SIGPIPE is our own; then the command meets its closed pipe by itself."""
        return self.reader_left or any(stream.lost_reader() for stream in self.streams)

    def _halt(self, signum: int, frame: FrameType | None) -> None:
        """Stop the command and ourselves, and go on together; at once where the system lets nobody stop us so."""
        self._forward(signum, frame)
        self.continued = False
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)
        signal.signal(signum, self._halt)
        if not self.continued:
            self._forward(signal.SIGCONT, frame)

    def _resize(self, signum: int, frame: FrameType | None) -> None:
        if any(os.isatty(stream.sink) for stream in self.streams):
            from heald_producer.terminal import copy_size

            for stream in self.streams:
                copy_size(stream.sink, stream.source)
        if not self.keyboard and self.status is None:
            _quietly(os.kill, self.child, signum)

    def _relay(self, wakeup: int) -> None:
        keyboard, stdin = self.keyboard, 0
        while True:
            self._reap()
            if self.status is not None and not (self.streams or self.stopping.lingers()):
                return
            sources = {stream.source: stream for stream in self.streams}
            watched = [wakeup, *sources]
            writable: list[int] = []
            if keyboard and self.status is None:
                watched += [stdin] if keyboard.reads else []
                writable += [keyboard.master] if keyboard.typed and keyboard.master in sources else []
            wait = self.stopping.alarms.wait() if self.status is None else SILENCE
            ready, takes, _ = select.select(watched, writable, [], wait)
            self.stopping.alarms.ring()
            if self.status is not None and not (ready or self.stopping.lingers()):
                return
            for descriptor in ready:
                if descriptor in sources:
                    self._pass_on(sources[descriptor])
                elif descriptor == wakeup:
                    os.read(wakeup, 4096)
                elif keyboard:
                    keyboard.read()
            if takes and keyboard:
                keyboard.write()

    def _reap(self) -> None:
        if self.status is None:
            pid, status = os.waitpid(self.child, os.WNOHANG)
            if pid:
                self.status, self.target.runs = status, False
                self.guard.dismiss()

    def _pass_on(self, stream: Stream) -> None:
        if not stream.pass_on(self.kept, self.warn, draining=self.status is not None):
            self.reader_left |= stream.reader_left
            self._close(stream)

    def _close(self, stream: Stream) -> None:
        if stream in self.streams:
            self.streams.remove(stream)
            os.close(stream.source)

    def _unstarted(self, number: int) -> Ended:
        os.waitpid(self.child, 0)
        if number == errno.ENOENT:
            return Ended(NOT_FOUND, problem=f"{self.argv[0]}: command not found")
        return Ended(NOT_EXECUTABLE, problem=f"{self.argv[0]}: {os.strerror(number)}")

    def _ended(self) -> Ended:
        assert self.status is not None
        killed_by = os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else 0
        stopped_by, timed_out = self.stopping.by, self.stopping.timed_out
        if self.keyboard and self.keyboard.interrupted:
            stopped_by = signal.SIGINT
        if self.reader_left and killed_by == signal.SIGPIPE:
            stopped_by = signal.SIGPIPE
        code = TIMED_OUT if timed_out else 128 + killed_by if killed_by else os.WEXITSTATUS(self.status)
        return Ended(code, killed_by, stopped_by, timed_out=timed_out)


def _let_go(stream: Stream) -> None:
    for descriptor in (stream.source, stream.slave):
        try:
            os.close(descriptor)
        except OSError:  # it is closed
            continue


def _quietly(call: Callable[[int, int], None], target: int, value: int) -> None:
    """For signals and groups of a command that may have ended meanwhile."""
    try:
        call(target, value)
    except (ProcessLookupError, PermissionError):
        return
