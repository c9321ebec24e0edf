"""Between fork and exec: how a copy of heald becomes the command, with everything as without heald."""

from __future__ import annotations

import errno
import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import NoReturn

    from heald_producer.streams import Stream

CANNOT_START = 127


def become_command(
    argv: list[str],
    streams: list[Stream],
    *,
    place: str,
    caught: Iterable[int],
    mask: Iterable[int],
    guard: int,
    tell: int,
) -> NoReturn:
    """Execute the command in this forked process; when that fails, write the errno to `tell` and exit.

    Args:
        place: `session` for one of its own whose terminal is the first stream, `group` for a process group of its
            own, `here` for neither.
        caught: signals that heald handles; they get their default back unless they were ignored.
        mask: the signals to block, as before heald.
        guard: where to say whom to kill when heald is killed.
    """
    try:
        os.write(guard, b"%d" % (os.getpid() if place == "here" else -os.getpid()))
        if place == "session":
            os.login_tty(os.dup(streams[0].slave))
        elif place == "group":
            os.setpgid(0, 0)
        for stream in streams:
            for descriptor in stream.serves:
                os.dup2(stream.slave, descriptor)
        for signum in caught:
            if signal.getsignal(signum) != signal.SIG_IGN:
                signal.signal(signum, signal.SIG_DFL)
        for signum in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them for itself
            signal.signal(signum, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.write(tell, b"%d" % _execute(argv))
    finally:
        os._exit(CANNOT_START)


def _execute(argv: list[str]) -> int:
    """Look for the command in PATH and execute it; return the errno for which that cannot be done."""
    name, problem = argv[0], errno.ENOENT
    folders = [""] if "/" in name else os.environ.get("PATH", os.defpath).split(":") if name else []
    for folder in folders:
        try:
            os.execv(f"{folder}/{name}" if folder else name, argv)
        except OSError as error:  # the first that tells more than "not here" counts, as for a shell
            if problem == errno.ENOENT and error.errno not in (None, errno.ENOTDIR):
                problem = error.errno
    return problem
