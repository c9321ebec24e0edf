"""What set a GitHub workflow off, from the file that the runner leaves for it (`GITHUB_EVENT_PATH`).

The pull request's head stands nowhere else: `GITHUB_SHA` is a merge that only the CI has made.
"""

from __future__ import annotations

import os
from stat import S_ISREG

import msgspec

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""A larger file is not read; events of pull requests are below 100 kB."""


class Repository(msgspec.Struct, frozen=True):
    """A repository as `owner/name`, and its default branch where it is told."""

    full_name: str
    default_branch: str | None = None


class Side(msgspec.Struct, frozen=True):
    """One side of a pull request; `repo` is None when the repository is gone, as deleted forks are."""

    ref: str
    sha: str
    repo: Repository | None


class Pull(msgspec.Struct, frozen=True):
    """A pull request: `head` is what it wants merged into `base`."""

    number: int
    head: Side
    base: Side


class Event(msgspec.Struct, frozen=True):
    """The parts of an event that say what a job works on."""

    pull_request: Pull | None = None
    repository: Repository | None = None


def read_event(path: str | None) -> Event:
    """The event in this file; an empty one when it is missing, too large, or not as GitHub writes it."""
    try:
        return msgspec.json.decode(_read(path or os.devnull), type=Event)
    except (OSError, ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return Event()


def _read(path: str) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a pipe would have us wait
        if not S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("not a file")
        raw = file.read(MAX_EVENT_BYTES + 1)
    if len(raw) > MAX_EVENT_BYTES:
        raise ValueError("too large")
    return raw
