"""Which files are read: regular files that a pattern names, bounded in number and bytes, and never one that blocks."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from heald_producer.reports.search import Search

MAX_FILES = 10_000
MAX_BYTES = 4 * 1024 * 1024 * 1024
"""Of all reports together."""
_PIECE_BYTES = 256 * 1024
_WHOLE_SECOND = 10**9


class Found(NamedTuple):
    """What patterns lead to.

    Attributes:
        paths: files to read, in an order that does not depend on the disk.
        unmatched: patterns that name nothing.
        stale: how many files are left out because they were there before.
        more: whether there are files beyond `MAX_FILES`, which are left out.
        cut: whether the search was ended by its bounds, so that files may have been missed.
    """

    paths: tuple[Path, ...]
    unmatched: tuple[str, ...] = ()
    stale: int = 0
    more: bool = False
    cut: bool = False


class CannotRead(Exception):
    """A file is not read: one clause why."""


def find(patterns: Sequence[str], since: int | None = None, clock: Callable[[], float] = time.monotonic) -> Found:
    """Files by name or glob; `**` is any depth of folders, without following links to folders.

    Args:
        since: nanoseconds since the epoch; what was last modified before is left out.
        clock: tells seconds, for the bound on the search's time.
    """
    search = Search(clock)
    paths: dict[Path, None] = {}
    unmatched, stale, more = [], 0, False
    for pattern in patterns:
        matched = False
        for path in _matches(pattern, search):
            matched = True
            if path in paths:
                continue
            if since is not None and is_older(path, since):
                stale += 1
            elif len(paths) == MAX_FILES:
                more = True
                break
            else:
                paths[path] = None
        if not matched and not search.ended:
            unmatched.append(pattern)
    return Found(tuple(sorted(paths)), tuple(unmatched), stale, more, search.ended)


def _matches(pattern: str, search: Search) -> Iterator[Path]:
    """Everything but folders that a pattern names; a name with brackets may be meant as it is."""
    try:
        if os.path.lexists(pattern):
            yield Path(pattern)
            return
        yield from map(Path, search.files(pattern))
    except ValueError:  # no pattern, as one with a NUL
        return


def is_older(path: Path, since: int) -> bool:
    """Whether a file was last modified before. Some disks keep whole seconds, or even ones, only."""
    try:
        modified = path.stat().st_mtime_ns
    except OSError:
        return False
    if modified % _WHOLE_SECOND == 0:
        since -= since % (2 * _WHOLE_SECOND)
    return modified < since


def open_report(path: Path) -> int:
    """A descriptor of a regular file; nothing else is opened, as pipes and devices may block or act.

    Raises:
        CannotRead: it is something else, or cannot be opened.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            raise CannotRead(f"it is {_kind(mode)}, not a file")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        raise CannotRead((error.strerror or str(error)).lower()) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise CannotRead("it is not a file any more")
    return descriptor


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def pieces(descriptor: int, head: bytes, room: int) -> Iterator[bytes]:
    """The head and what follows it, up to `room` bytes.

    Raises:
        CannotRead: the disk fails.
    """
    yield head[:room]
    room -= len(head)
    while room > 0:
        data = read(descriptor, min(_PIECE_BYTES, room))
        if not data:
            return
        room -= len(data)
        yield data


def read(descriptor: int, size: int) -> bytes:
    """At most so many bytes.

    Raises:
        CannotRead: the disk fails.
    """
    try:
        return os.read(descriptor, size)
    except OSError as error:
        raise CannotRead((error.strerror or str(error)).lower()) from None


def names(paths: Iterable[Path | str], shown: int = 3) -> str:
    """The first names, and how many more."""
    listed = [str(path) for path in paths]
    more = f" and {len(listed) - shown:,} more" if len(listed) > shown else ""
    return ", ".join(listed[:shown]) + more
