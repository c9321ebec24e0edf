"""The outputs of a command on their way: a pipe or a pseudo-terminal each, by what heald's own outputs are."""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from heald_producer.kept import Kept

STDOUT, STDERR = 1, 2
PIPE_BYTES = 1024 * 1024
"""What a pipe holds where the system allows: no more can be left in it at the end."""


class Stream:
    """One output on its way: read from `source`, written to `sink`; `slave` is the command's end.

    Attributes:
        serves: the command's descriptors that lead here.
        left: bytes that may still come once the command has ended, whoever else holds the pipe.
        broken: it cannot be written any more; what comes is read all the same.
        reader_left: nobody reads it any more, so that the command is to meet a closed pipe too.
    """

    def __init__(self, sink: int, source: int, slave: int) -> None:
        self.sink, self.source, self.slave = sink, source, slave
        self.serves = [sink]
        self.left = PIPE_BYTES
        self.broken = self.reader_left = False

    def pass_on(self, kept: Kept, warn: Callable[[str], None], *, draining: bool) -> bool:
        """One read, and its writing. Returns whether more may come; `draining` bounds that."""
        try:
            size = os.readv(self.source, kept.room())
        except BlockingIOError:
            return True
        except OSError:  # a pseudo-terminal whose last user is gone
            size = 0
        for data in kept.take(size):
            self._write(data, warn)
        if draining:
            self.left -= size
        return size > 0 and self.left > 0 and not self.reader_left

    def lost_reader(self) -> bool:
        """Whether whoever read the sink is gone."""
        poll = select.poll()
        poll.register(self.sink, 0)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))

    def _write(self, data: memoryview, warn: Callable[[str], None]) -> None:
        while data and not (self.broken or self.reader_left):
            try:
                data = data[os.write(self.sink, data) :]
            except BlockingIOError:  # somebody made our output non-blocking
                select.select([], [self.sink], [])
            except BrokenPipeError:
                self.reader_left = True
            except OSError as error:
                self.broken = True
                warn(f"the command's output cannot be written: {error.strerror}")


def fill_standard_streams() -> list[int]:
    """Descriptors 0 to 2 that are closed become /dev/null, so that no pipe of ours takes their place.

    Returns them. They are closed again for a command that is executed, as without heald.
    """
    filled = []
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= STDERR:
        filled.append(descriptor)
        descriptor = os.dup(descriptor)
    os.close(descriptor)
    return filled


def open_streams(warn: Callable[[str], None], closed: list[int]) -> tuple[bool, list[Stream]]:
    """Whether a person is typing, and the streams for stdout and stderr: one when they are the same file.

    One that was `closed` has no stream.
    """
    sinks = [sink for sink in (STDOUT, STDERR) if sink not in closed]
    if len(sinks) == 2 and os.path.sameopenfile(STDOUT, STDERR):
        interactive, [stream] = _open(warn, [STDOUT])
        stream.serves = [STDOUT, STDERR]
        return interactive, [stream]
    return _open(warn, sinks)


def _open(warn: Callable[[str], None], sinks: list[int]) -> tuple[bool, list[Stream]]:
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
