"""A terminal for a command that is watched: a pseudo-terminal of the same size and settings as the real one."""

from __future__ import annotations

import fcntl
import os
import signal
import termios
import tty

STDIN, STDOUT = 0, 1
_TYPED_AHEAD = 64 * 1024
_OUTPUT_FLAGS, _LOCAL_FLAGS, _SPECIAL = 1, 3, 6


def open_pty(like: int, *, raw_output: bool) -> tuple[int, int]:
    """A pseudo-terminal with the size and settings of the terminal `like`: its master and its slave.

    With `raw_output` it changes nothing in what is written to it, as the real terminal is yet to do that.
    """
    master, slave = os.openpty()
    settings = termios.tcgetattr(like)
    if raw_output:
        settings[_OUTPUT_FLAGS] &= ~termios.OPOST
    termios.tcsetattr(slave, termios.TCSANOW, settings)
    copy_size(like, master)
    return master, slave


def copy_size(source: int, target: int) -> None:
    """Give one terminal the size of another; nothing happens when either is gone."""
    try:
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(target, termios.TIOCSWINSZ, size)
    except OSError:
        return


def is_interactive() -> bool:
    """Whether a person sits at stdin and stdout, and this process is in the terminal's foreground."""
    try:
        same = os.fstat(STDIN).st_rdev == os.fstat(STDOUT).st_rdev
        return os.isatty(STDIN) and os.isatty(STDOUT) and same and os.tcgetpgrp(STDIN) == os.getpgrp()
    except OSError:
        return False


class Keyboard:
    """Passes what is typed on to a command in a session of its own.

    The real terminal is in raw mode meanwhile, so that Ctrl-C and the like reach the command through its
    terminal, as they would without heald. Ctrl-Z is the exception: nobody could stop a session of its own, so
    heald stops the command and itself, and both go on together.
    """

    def __init__(self, master: int) -> None:
        self.master = master
        self.watched = True
        self.interrupted = False
        self.typed = bytearray()
        self.child = 0
        self._settings = termios.tcgetattr(STDIN)

    def take_over(self) -> None:
        """Put the real terminal into raw mode, without losing what was typed already."""
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
        tty.setraw(STDIN, termios.TCSADRAIN)
        os.set_blocking(self.master, False)

    def give_back(self) -> None:
        """Restore the real terminal; when it is gone, there is nothing to restore."""
        try:
            termios.tcsetattr(STDIN, termios.TCSADRAIN, self._settings)
        except (termios.error, OSError):
            self.watched = False

    @property
    def reads(self) -> bool:
        """Whether more may be read from the real terminal now."""
        return self.watched and len(self.typed) < _TYPED_AHEAD

    def read(self) -> None:
        """Take what was typed."""
        try:
            data = os.read(STDIN, 4096)
        except OSError:
            data = b""
        if not data:
            self.watched = False
            return
        suspend = self._heed(data)
        if suspend:
            data = data.replace(suspend, b"")
        self.typed += data
        if suspend:
            self.suspend()

    def write(self) -> None:
        """Hand on as much of it as the command's terminal takes."""
        try:
            del self.typed[: os.write(self.master, self.typed)]
        except BlockingIOError:
            return
        except OSError:
            self.typed.clear()

    def _heed(self, data: bytes) -> bytes:
        """Note an interrupt; return the suspend character when it was typed and is for us to obey."""
        local = termios.tcgetattr(self.master)
        special = local[_SPECIAL]
        if not local[_LOCAL_FLAGS] & termios.ISIG:
            return b""  # the command reads every key itself
        if special[termios.VINTR] in data or special[termios.VQUIT] in data:
            self.interrupted = True
        suspend: bytes = special[termios.VSUSP]
        is_ours = suspend in data and suspend != b"\0" and os.tcgetpgrp(self.master) == self.child
        return suspend if is_ours else b""

    def suspend(self) -> None:
        """Stop the command and everything in heald's own process group, as Ctrl-Z does; returns when continued."""
        os.killpg(self.child, signal.SIGSTOP)
        self.give_back()
        ours = signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(0, signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, ours)
        self.resume()

    def resume(self) -> None:
        """Go on after a stop: with the keyboard when heald is in the foreground again, without it behind."""
        self.watched = is_interactive()
        if self.watched:
            self.take_over()
            copy_size(STDOUT, self.master)
        os.killpg(self.child, signal.SIGCONT)
