"""Going through every artifact of a directory, millions of them, without holding their names in memory.

Folders are looked at in threads: most of the time goes to opening files, and on a disk that is not cached several
waits pass at once.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from heald_producer.signals import InvalidReport, check_run_id
from heald_worker.artifact_reading import ArtifactError, ArtifactMissing, Directory, verify_in
from heald_worker.artifact_staging import opened

Answer = TypeVar("Answer")
Look = Callable[[int, str], Answer]
"""What to do with one artifact: given the open directory and the run's folder name."""

_THREADS = 8
_CHUNK = 128
_AHEAD = 4 * _THREADS
"""Chunks handed to the threads before the first is waited for."""


def walk(directory: Directory, look: Look[Answer], stray: Callable[[str], None]) -> Iterator[list[Answer]]:
    """Look at every run's folder, and at symlinks in the place of one; the answers come in chunks.

    Args:
        stray: called with the name of each entry that is no run's folder; hidden ones do not count.

    Raises:
        OSError: the directory cannot be read.
    """
    with opened(directory) as folder, os.scandir(folder) as entries:
        names = _run_names(entries, stray)
        pool = ThreadPoolExecutor(_THREADS)
        waiting: deque[Future[list[Answer]]] = deque()
        try:
            while chunk := list(islice(names, _CHUNK)):
                waiting.append(pool.submit(_look_at, folder, chunk, look))
                if len(waiting) == _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def count(directory: Directory) -> int:
    """How many entries that are not hidden a directory has."""
    with os.scandir(directory) as entries:
        return sum(1 for entry in entries if not entry.name.startswith("."))


def problem_of(folder: int, run_id: str) -> ArtifactError | None:
    """What is wrong with an artifact; nothing if its folder went away meanwhile."""
    try:
        verify_in(folder, run_id)
    except ArtifactMissing as error:
        return error if _exists(folder, run_id) else None
    except ArtifactError as error:
        return error
    return None


def _run_names(entries: Iterable[os.DirEntry[str]], stray: Callable[[str], None]) -> Iterator[str]:
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if _is_run_id(entry.name) and (entry.is_dir(follow_symlinks=False) or entry.is_symlink()):
            yield entry.name
        else:
            stray(entry.name)


def _is_run_id(name: str) -> bool:
    try:
        check_run_id(name)
    except InvalidReport:
        return False
    return True


def _look_at(folder: int, names: list[str], look: Look[Answer]) -> list[Answer]:
    return [look(folder, name) for name in names]


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
