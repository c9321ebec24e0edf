"""Writing artifacts: `<directory>/<run id>/recovery.json` and `recovery.digest`, both there or neither.

An artifact is made in the staging folder, synced, and its folder renamed once. Below the directory everything is
reached through file descriptors, and no symlink is followed.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from heald_producer.signals import InvalidReport, check_run_id
from heald_worker.artifact_reading import (
    DIGEST_FILE,
    LOG_FILE,
    ArtifactError,
    ArtifactMalformed,
    ArtifactMisplaced,
    ArtifactMissing,
    ArtifactTampered,
    ArtifactUnreadable,
    Directory,
    read_files,
    read_recovery_artifact,
    verify_artifact,
)
from heald_worker.artifact_staging import OWN_FOLDER_FLAGS, clear, opened, staging_in, sweep
from heald_worker.core.log import RecoveryLog
from heald_worker.disk import sync, sync_all
from heald_worker.records import MalformedLog, UnwritableLog, canonical_bytes, decode_log, digest_of

__all__ = [
    "ArtifactError",
    "ArtifactMalformed",
    "ArtifactMisplaced",
    "ArtifactMissing",
    "ArtifactTampered",
    "ArtifactUnreadable",
    "ArtifactsUnavailable",
    "WriteResult",
    "read_recovery_artifact",
    "sweep",
    "verify_artifact",
    "write_artifacts",
    "write_recovery_artifact",
]

Item = tuple[str, bytes, str]
"""Run id, canonical bytes of the log, and their digest."""

TOGETHER = 16
"""From so many artifacts on, the whole file system is synced once instead of each file. It may hold more to be written
than they do, so it has to be worth it."""
_SYNC_THREADS = 16
"""Artifacts synced at once: a journalling file system then makes one commit of many."""
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_TAKEN = frozenset({errno.ENOTEMPTY, errno.EEXIST})
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})
_ROOM = "make room on that disk"
_RIGHTS = "let the user whom heald runs as write there, or choose another folder"
_KIND = "a folder is needed there: choose another one"
_HINTS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EROFS: "mount that disk writable, or choose another folder",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.ENOTDIR: _KIND,
    errno.EEXIST: _KIND,
    errno.ELOOP: _KIND,
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


class ArtifactsUnavailable(Exception):
    """The directory as a whole cannot be written: which, why, and what to do."""

    exit_code = 74

    def __init__(self, directory: Directory, error: OSError) -> None:
        self.problem = f"artifacts cannot be written to {os.fspath(directory)}: {error.strerror or error}"
        self.hint = _HINTS.get(error.errno or 0, "")
        super().__init__(self.problem + (f"; {self.hint}" if self.hint else ""))


class WriteResult(NamedTuple):
    """What came of one item.

    Attributes:
        state: `written`; `same` when it stood there already; `replaced` when something else did; `failed`.
        trouble: why it failed; empty otherwise.
    """

    run_id: str
    state: Literal["written", "same", "replaced", "failed"]
    trouble: str = ""


def write_recovery_artifact(log: RecoveryLog, directory: Directory, *, fsync: bool = True) -> Path:
    """Write the artifact of a log and return the path of its `recovery.json`.

    Raises:
        InvalidReport: the log's run id is none that heald writes.
        UnwritableLog: the log holds what could not be read back.
        ArtifactsUnavailable: the directory cannot be written.
        ArtifactUnreadable: something that is not a folder stands in the run's place.
    """
    run_id = check_run_id(log.run_id)
    data = canonical_bytes(log)
    try:
        decode_log(data)
    except MalformedLog as error:
        raise UnwritableLog(f"the log of run {run_id} could not be read back: {error}") from None
    [result] = write_artifacts(directory, [(run_id, data, digest_of(data))], fsync=fsync)
    if result.trouble:
        raise ArtifactUnreadable(run_id, result.trouble, "move away what stands in its place")
    return Path(directory, run_id, LOG_FILE)


def write_artifacts(directory: Directory, items: Sequence[Item], *, fsync: bool) -> list[WriteResult]:
    """Write many artifacts with one sync of the directory at the end; one bad item does not spoil the others.

    An artifact that stands there and differs is replaced, as the caller's log is the truth: by two renames, so that
    a reader in between finds none. Repeating a call whose end was not seen is harmless.

    Args:
        fsync: what this call writes would survive a power failure when it returns.

    Raises:
        ArtifactsUnavailable: the directory cannot be written; some of the artifacts may have been.
    """
    refusals = [_refusal(run_id) for run_id, _, _ in items]
    token = os.urandom(6).hex()
    drafts = [(f"{token}-{place}", item) for place, item in enumerate(items) if not refusals[place]]
    with _directory(directory) as folder, staging_in(folder) as staging:
        try:
            _stage(staging, drafts, fsync)
            placed = iter([_place(folder, staging, name, item) for name, item in drafts])
        except BaseException:
            for name, _ in drafts:
                clear(staging, name)
            raise
        if fsync:
            sync(folder)
    return [
        WriteResult(item[0], "failed", refusal) if refusal else next(placed)
        for item, refusal in zip(items, refusals, strict=True)
    ]


def _refusal(run_id: str) -> str:
    try:
        check_run_id(run_id)
    except InvalidReport as error:
        return str(error)
    return ""


@contextmanager
def _directory(directory: Directory) -> Iterator[int]:
    """The open directory, made where it is missing; `ArtifactsUnavailable` for what the disk refuses within."""
    try:
        Path(directory).mkdir(parents=True, exist_ok=True)
        with opened(directory) as folder:
            yield folder
    except OSError as error:
        raise ArtifactsUnavailable(directory, error) from None


def _stage(staging: int, drafts: Sequence[tuple[str, Item]], fsync: bool) -> None:
    """Write every artifact under its temporary name, and force all of them to the disk."""
    for name, item in drafts:
        _draft(staging, name, item)
    if not fsync or (len(drafts) >= TOGETHER and sync_all(staging)):
        return
    names = [name for name, _ in drafts]
    if len(names) == 1:
        _sync_draft(staging, names[0])
    elif names:
        with ThreadPoolExecutor(min(_SYNC_THREADS, len(names))) as pool:
            list(pool.map(lambda name: _sync_draft(staging, name), names))


def _draft(staging: int, name: str, item: Item) -> None:
    _, data, digest = item
    os.mkdir(name, dir_fd=staging)
    with opened(name, OWN_FOLDER_FLAGS, staging) as own:
        _write(own, LOG_FILE, data)
        _write(own, DIGEST_FILE, digest.encode())


def _write(own: int, name: str, data: bytes) -> None:
    file = os.open(name, _NEW_FILE, 0o666, dir_fd=own)
    try:
        written = os.write(file, data)
        while written < len(data):
            written += os.write(file, data[written:])
    finally:
        os.close(file)


def _sync_draft(staging: int, name: str) -> None:
    with opened(name, OWN_FOLDER_FLAGS, staging) as own:
        for file in (LOG_FILE, DIGEST_FILE):
            with opened(file, _OLD_FILE, own) as written:
                sync(written)
        sync(own)


def _place(folder: int, staging: int, name: str, item: Item) -> WriteResult:
    """Give a staged artifact its own name; what goes wrong here is this item's trouble alone, as long as the directory
    takes any."""
    run_id = item[0]
    try:
        try:
            os.rename(name, run_id, src_dir_fd=staging, dst_dir_fd=folder)
        except OSError as error:
            if error.errno not in _TAKEN:
                raise
            return _settle(folder, staging, name, item)
    except OSError as error:
        if error.errno in _DISK or not os.access(".", os.W_OK | os.X_OK, dir_fd=folder):
            raise
        clear(staging, name)
        in_the_way = "a file or symlink stands in its place" if error.errno == errno.ENOTDIR else error.strerror
        return WriteResult(run_id, "failed", f"its artifact cannot be put in place: {in_the_way}")
    return WriteResult(run_id, "written")


def _settle(folder: int, staging: int, name: str, item: Item) -> WriteResult:
    """The run's folder is there: keep it when it says the same, put the staged one in its place otherwise."""
    run_id, data, digest = item
    try:
        same = read_files(folder, run_id) == (data, digest.encode())
    except ArtifactError:
        same = False
    if not same:
        os.rename(run_id, f"{name}-old", src_dir_fd=folder, dst_dir_fd=staging)
        os.rename(name, run_id, src_dir_fd=staging, dst_dir_fd=folder)
    clear(staging, name if same else f"{name}-old")
    return WriteResult(run_id, "same" if same else "replaced")
