"""What GitHub says of the event that started a workflow: a JSON file, read within bounds and never trusted."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

_READ_AT_MOST = 4 * 1024 * 1024
"""A push of many commits has a large event; one that is larger still tells nothing here."""


class Event(NamedTuple):
    """The pull request that a workflow is about, and the repository's default branch; None for what is not told."""

    number: str | None = None
    head_ref: str | None = None
    head_commit: str | None = None
    fork: bool | None = None
    default_branch: str | None = None


class _Repository(msgspec.Struct):
    full_name: str | None = None
    default_branch: str | None = None


class _Side(msgspec.Struct):
    ref: str | None = None
    sha: str | None = None
    repo: _Repository | None = None


class _PullRequest(msgspec.Struct):
    number: int | None = None
    head: _Side | None = None
    base: _Side | None = None


class _File(msgspec.Struct):
    pull_request: _PullRequest | None = None
    repository: _Repository | None = None


_decode = msgspec.json.Decoder(_File).decode


def read_event(path: str | None) -> Event:
    """The event in this file; an empty one when there is none, or it cannot be read."""
    try:
        told = _decode(_bounded(path)) if path else _File()
    except (OSError, ValueError, RecursionError, msgspec.MsgspecError):
        return Event()
    default_branch = told.repository.default_branch if told.repository else None
    request = told.pull_request
    if request is None or request.number is None:
        return Event(default_branch=default_branch)
    head, base = request.head or _Side(), request.base or _Side()
    return Event(str(request.number), head.ref, head.sha, _is_fork(head, base), default_branch)


def _is_fork(head: _Side, base: _Side) -> bool | None:
    """Whether the branch belongs to another repository; a fork that was deleted since has no repository at all."""
    if base.repo is None or base.repo.full_name is None:
        return None
    return head.repo is None or head.repo.full_name != base.repo.full_name


def _bounded(path: str) -> bytes:
    with Path(path).open("rb") as file:
        data = file.read(_READ_AT_MOST + 1)
    if len(data) > _READ_AT_MOST:
        raise ValueError("too large")
    return data
