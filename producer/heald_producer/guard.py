"""Ends the command when heald is ended by what nobody can catch, such as SIGKILL to its process group.

The command has a process group of its own, which such a signal does not reach. So a small copy of heald waits at a pipe
whose other ends are heald's, and the command's until it is executed: the pipe's end means that heald is gone. Unlike
`PR_SET_PDEATHSIG` it reaches all of the command's group, not only the command itself, and every POSIX system has it.
"""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


class Guard:
    """A process that kills what it was told when this process ends, unless it is dismissed before.

    Attributes:
        tell: where the command writes, before it is executed, whom to kill: a process, or minus a process group.

    Raises:
        OSError: there is no pipe or process left.
    """

    def __init__(self) -> None:
        wait, self.tell = os.pipe()
        try:
            self._process = os.fork()
        except OSError:
            os.close(wait)
            os.close(self.tell)
            raise
        if self._process == 0:
            _watch(wait, self.tell)
        os.close(wait)
        try:
            os.setpgid(self._process, self._process)  # here, too: what our group is sent must not find it there
        except OSError:  # it has done that itself, and may be gone
            return

    def dismiss(self) -> None:
        """The command has ended, or was not started: nobody is to be killed any more."""
        if self._process:
            try:
                os.kill(self._process, signal.SIGKILL)
                os.waitpid(self._process, 0)
            except OSError:  # it is gone, and somebody has collected it
                pass
            os.close(self.tell)
            self._process = 0


def _watch(wait: int, tell: int) -> NoReturn:
    try:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        os.setpgid(0, 0)
        os.close(tell)
        target = b""
        while piece := os.read(wait, 16):
            target += piece
        if target:
            os.kill(int(target), signal.SIGKILL)
    finally:
        os._exit(0)
