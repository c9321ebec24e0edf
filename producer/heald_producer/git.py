"""What a git working copy says about itself, read from its files: no git is run, so no hook or helper is either."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
"""A revision's full hash, SHA-1 or SHA-256."""
_SECTION = re.compile(r'\s*\[\s*remote\s+"origin"\s*\]', re.IGNORECASE)
_URL = re.compile(r"\s*url\s*=\s*(\S+)", re.IGNORECASE)
_SCP_URL = re.compile(r"(?:[^@/\s]+@)?[^:/\s]{2,}:(?!//)(.+)")
_REMOTE_HEAD = "ref: refs/remotes/origin/"
_READ_AT_MOST = 64 * 1024


class GitState(NamedTuple):
    """Where a working copy stands; None for what its files do not say."""

    repository: str | None = None
    commit: str | None = None
    ref: str | None = None
    default_branch: str | None = None


def read_git(folder: Path) -> GitState:
    """The state of the working copy that holds `folder`; empty when there is none, or it cannot be read."""
    try:
        found = _git_folder(folder)
        if found is None:
            return GitState()
        common = _common_folder(found)
        head = _read(found / "HEAD")
        ref = head.removeprefix("ref: ") if head.startswith("ref: refs/") else None
        told = head if ref is None else _resolve(ref, found, common)
        origin = _origin(common)
        default = _default_branch(common)
    except (OSError, ValueError):
        return GitState()
    commit = told if COMMIT.fullmatch(told) else None
    return GitState(repository_of(origin) if origin else None, commit, ref, default)


def repository_of(url: str) -> str:
    """A remote's URL as `owner/name`, without host and credentials; a path on this machine stays a path."""
    scheme, separator, rest = url.partition("://")
    scp = None if separator else _SCP_URL.fullmatch(url)
    if scp is not None:
        path = scp[1].lstrip("/")
    elif separator and scheme != "file":
        path = rest.partition("/")[2].partition("?")[0].lstrip("/")
    else:
        path = rest if separator else url
    return path.rstrip("/").removesuffix(".git")


def _git_folder(folder: Path) -> Path | None:
    for place in (folder, *folder.parents):
        entry = place / ".git"
        if entry.is_dir():
            return entry
        if entry.is_file():  # a worktree or a submodule
            return place / _read(entry).removeprefix("gitdir: ")
    return None


def _default_branch(common: Path) -> str | None:
    """The branch that the remote's HEAD named when the repository was cloned."""
    head = common / "refs" / "remotes" / "origin" / "HEAD"
    told = _read(head) if head.is_file() else ""
    return told.removeprefix(_REMOTE_HEAD) if told.startswith(_REMOTE_HEAD) else None


def _common_folder(git: Path) -> Path:
    pointer = git / "commondir"
    return git / _read(pointer) if pointer.is_file() else git


def _resolve(ref: str, git: Path, common: Path) -> str:
    for place in (git, common):
        if (place / ref).is_file():
            return _read(place / ref)
    packed = common / "packed-refs"
    if packed.is_file():
        with packed.open(encoding="utf-8", errors="replace") as lines:
            for line in lines:
                commit, _, name = line.rstrip("\n").partition(" ")
                if name == ref:
                    return commit
    return ""


def _origin(common: Path) -> str | None:
    inside = False
    for line in _read(common / "config").splitlines():
        if line.lstrip().startswith("["):
            inside = _SECTION.match(line) is not None
        elif inside and (found := _URL.match(line)):
            return found[1]
    return None


def _read(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_READ_AT_MOST).strip()
