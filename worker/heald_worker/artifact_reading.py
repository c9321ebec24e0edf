"""Reading artifacts back: `<directory>/<run id>/recovery.json`, believed only if `recovery.digest` agrees.

No symlink is followed below the directory, no file that is not plain is opened, and no more is read than an artifact
can hold, so that a folder which somebody else may write to does no harm.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from heald_producer.signals import check_run_id
from heald_worker.core.log import RecoveryLog
from heald_worker.core.whitespace import WHITESPACE
from heald_worker.keys import fold
from heald_worker.records import MalformedLog, decode_log, digest_of

LOG_FILE, DIGEST_FILE = "recovery.json", "recovery.digest"
MAX_LOG_BYTES = 64 * 1024 * 1024
"""A larger `recovery.json` is refused unread."""
MAX_DIGEST_BYTES = 64 * 1024
"""As for `recovery.digest`, which holds 64 characters and perhaps white space."""

Directory = str | os.PathLike[str]

_REBUILD = "`heald artifacts rebuild` writes it again from the recovery stream"
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class ArtifactError(Exception):
    """An artifact that cannot be believed, or not be read: what is wrong, and what to do.

    `kind` is the word for it in machine-readable output.
    """

    kind: ClassVar[str] = "unreadable"

    def __init__(self, run_id: str, problem: str, hint: str = _REBUILD) -> None:
        self.run_id, self.problem, self.hint = run_id, f"artifact of run {run_id}: {problem}", hint
        super().__init__(f"{self.problem}; {hint}")


class ArtifactMissing(ArtifactError):
    """There is no such folder, or one of its two files is not there."""

    kind = "missing"


class ArtifactUnreadable(ArtifactError):
    """Something is there that is no artifact's file, or it cannot be read."""


class ArtifactTampered(ArtifactError):
    """The log does not have the digest that stands beside it.

    Attributes:
        expected: what `recovery.digest` says, without white space around it.
        actual: the digest of `recovery.json`.
    """

    kind = "tampered"

    def __init__(self, run_id: str, expected: str, actual: str) -> None:
        self.expected, self.actual = expected, actual
        shown = expected if len(expected) <= 80 else expected[:80] + "..."
        super().__init__(run_id, f"{DIGEST_FILE} says {shown!r}, {LOG_FILE} has {actual}")


class ArtifactMalformed(ArtifactError):
    """The digest is right, but what it covers is no recovery log; or a file is larger than any artifact."""

    kind = "malformed"


class ArtifactMisplaced(ArtifactError):
    """A true artifact in the folder of another run."""

    kind = "misplaced"


def read_recovery_artifact(directory: Directory, run_id: str) -> RecoveryLog:
    """The log of a run, after its digest was checked.

    Raises:
        InvalidReport: the run id is none that heald writes.
        ArtifactError: `ArtifactMissing`, `ArtifactUnreadable`, `ArtifactTampered` or `ArtifactMalformed`.
    """
    check_run_id(run_id)
    try:
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise ArtifactMissing(run_id, f"there is no folder {os.fspath(directory)}", "name another folder") from None
    except OSError as error:
        raise ArtifactUnreadable(run_id, f"{os.fspath(directory)}: {error.strerror}", "") from None
    try:
        return read_in(folder, run_id)
    finally:
        os.close(folder)


def verify_artifact(directory: Directory, run_id: str) -> RecoveryLog:
    """As `read_recovery_artifact`, and the log must be the one of this run.

    Raises:
        ArtifactMisplaced: it is another run's. Run ids that differ by case alone are one run.
    """
    return _at_home(run_id, read_recovery_artifact(directory, run_id))


def verify_in(folder: int, run_id: str) -> RecoveryLog:
    """As `verify_artifact`, for a directory that is open already and a run id that was checked."""
    return _at_home(run_id, read_in(folder, run_id))


def _at_home(run_id: str, log: RecoveryLog) -> RecoveryLog:
    if fold(log.run_id) != fold(run_id):
        raise ArtifactMisplaced(run_id, f"its log is that of run {log.run_id!a}", "move it to where it belongs")
    return log


def read_in(folder: int, run_id: str) -> RecoveryLog:
    """As `read_recovery_artifact`, for a directory that is open already and a run id that was checked."""
    data, digest = read_files(folder, run_id)
    try:
        expected = digest.decode().strip(WHITESPACE)
    except UnicodeDecodeError:
        raise ArtifactUnreadable(run_id, f"{DIGEST_FILE} is not UTF-8") from None
    actual = digest_of(data)
    if expected != actual:
        raise ArtifactTampered(run_id, expected, actual)
    try:
        return decode_log(data)
    except MalformedLog as error:
        raise ArtifactMalformed(run_id, f"{LOG_FILE}: {error}") from None


def read_files(folder: int, run_id: str) -> tuple[bytes, bytes]:
    """The bytes of both files of an artifact."""
    with _opened(folder, run_id, _FOLDER_FLAGS, run_id, "its folder") as own:
        data = _read(own, LOG_FILE, MAX_LOG_BYTES, run_id)
        return data, _read(own, DIGEST_FILE, MAX_DIGEST_BYTES, run_id)


def _read(own: int, name: str, most: int, run_id: str) -> bytes:
    with _opened(own, name, _FILE_FLAGS, run_id, name) as file:
        info = os.fstat(file)
        if not stat.S_ISREG(info.st_mode):
            raise ArtifactUnreadable(run_id, f"{name} is not a plain file")
        if info.st_size > most:
            raise ArtifactMalformed(run_id, f"{name} is larger than {most:,} bytes")
        data = os.read(file, info.st_size)
        while len(data) < info.st_size and (more := os.read(file, info.st_size - len(data))):
            data += more
        return data


@contextmanager
def _opened(folder: int, name: str, flags: int, run_id: str, shown: str) -> Iterator[int]:
    try:
        opened = os.open(name, flags, dir_fd=folder)
    except FileNotFoundError:
        raise ArtifactMissing(run_id, f"{shown} is missing") from None
    except OSError as error:
        raise ArtifactUnreadable(run_id, _why_not(shown, error)) from None
    try:
        yield opened
    except OSError as error:
        raise ArtifactUnreadable(run_id, f"{shown}: {error.strerror}") from None
    finally:
        os.close(opened)


def _why_not(shown: str, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return f"{shown} is a symlink, which heald does not follow"
    if error.errno == errno.ENOTDIR:
        return f"{shown} is a file or a symlink, not a folder"
    return f"{shown}: {error.strerror}"
