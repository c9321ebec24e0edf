"""The outputs of a command on their way: a pipe or a pseudo-terminal each, by what heald's own outputs are."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STDOUT, STDERR = 1, 2
PIPE_BYTES = 1024 * 1024
"""What one read takes, and what a pipe holds where the system allows: no more can be left in it at the end."""


class Stream:
    """One output on its way: read from `source`, written to `sink`; `slave` is the command's end."""

    def __init__(self, sink: int, source: int, slave: int) -> None:
        self.sink, self.source, self.slave = sink, source, slave
        self.left = PIPE_BYTES
        self.broken = False


def fill_standard_streams() -> None:
    """Descriptors 0 to 2 that are closed become /dev/null, so that no pipe of ours takes their place."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= STDERR:
        descriptor = os.dup(descriptor)
    os.close(descriptor)


def open_streams(warn: Callable[[str], None]) -> tuple[bool, list[Stream]]:
    """Whether a person is typing, and the streams for stdout and stderr: one when they are the same file."""
    same = os.path.sameopenfile(STDOUT, STDERR)
    sinks = [STDOUT] if same else [STDOUT, STDERR]
    terminals = [sink for sink in sinks if os.isatty(sink)]
    if not terminals:
        return False, [_open_pipe(sink) for sink in sinks]
    from termios import error as termios_error

    from heald_producer.terminal import is_interactive, open_pty

    interactive = is_interactive()
    try:
        ptys = {sink: open_pty(sink, raw_output=not (interactive and sink == STDOUT)) for sink in terminals}
    except (OSError, termios_error) as error:
        warn(f"there is no pseudo-terminal ({error}); the command sees a pipe")
        return False, [_open_pipe(sink) for sink in sinks]
    return interactive, [Stream(sink, *ptys[sink]) if sink in ptys else _open_pipe(sink) for sink in sinks]


def _open_pipe(sink: int) -> Stream:
    source, slave = os.pipe()
    try:
        from fcntl import F_SETPIPE_SZ, fcntl

        fcntl(slave, F_SETPIPE_SZ, PIPE_BYTES)
    except (ImportError, OSError):  # not Linux, or more than this user may have
        pass
    return Stream(sink, source, slave)
