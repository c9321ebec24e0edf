"""Reports that could not be pushed wait in a folder: one file each, its name the time it was written.

The folder never holds more than `MAX_FILES` files and `MAX_BYTES` bytes, and never takes a disk's last space.
When it is full the oldest make room: a fresh failure says more about the code of today than one that will soon
be too old to be taken in.
"""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from heald_producer.signals import KIB, MAX_REPORT_BYTES
from heald_producer.wire import PoisonReport, decode_report

MAX_FILES = 1000
MAX_BYTES = 32 * KIB * KIB
MIN_FREE_BYTES = 64 * KIB * KIB
MAX_AGE = 7 * 86_400.0
"""Seconds; the server refuses reports that are older."""
BATCH = 64

_REPORT, _BAD, _LOCK = ".json", ".bad", ".lock"

Warn = Callable[[str], None]


class SpoolTrouble(Exception):
    """A report cannot be kept, or the spool cannot be read: what is wrong, and what to do next."""

    exit_code = 74

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem, self.hint = problem, hint
        super().__init__(problem + (f"; {hint}" if hint else ""))


class Drained(NamedTuple):
    """What a drain did: reports sent, removed as too old, set aside as unreadable, and still waiting.

    `busy`: another process was at it, so nothing was done.
    """

    sent: int = 0
    expired: int = 0
    bad: int = 0
    waiting: int = 0
    busy: bool = False


def spool_folder(flag: str | None, environ: Mapping[str, str]) -> Path:
    """The folder: the flag > HEALD_SPOOL > XDG_STATE_HOME/heald/spool > ~/.local/state/heald/spool."""
    named = flag or environ.get("HEALD_SPOOL")
    if named:
        return Path(named)
    state = environ.get("XDG_STATE_HOME", "")
    home = environ.get("HOME") or "/"
    return (Path(state) if state.startswith("/") else Path(home) / ".local" / "state") / "heald" / "spool"


class Spool:
    """One spool folder. Files are readable by their owner only."""

    def __init__(self, folder: Path, *, max_files: int = MAX_FILES, max_bytes: int = MAX_BYTES) -> None:
        self.folder, self.max_files, self.max_bytes = folder, max_files, max_bytes

    def keep(self, raw: bytes, *, now: float, token: str, warn: Warn) -> Path:
        """Write one encoded report, whole or not at all, and return its file.

        Args:
            now: seconds since the epoch; becomes part of the file's name.
            token: tells files of the same instant apart.
            warn: is told of reports that had to make room.

        Raises:
            SpoolTrouble: it cannot be kept.
        """
        path = self.folder / f"{int(now * 1e6):017d}-{token}{_REPORT}"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            disk = os.statvfs(self.folder)
            if disk.f_bavail * disk.f_frsize < MIN_FREE_BYTES:
                raise SpoolTrouble(f"the disk of {self.folder} is almost full", "free it, or set HEALD_SPOOL")
            self._make_room(len(raw), warn)
            _write(path, raw)
        except OSError as error:
            raise SpoolTrouble(
                f"{self.folder} cannot keep a report: {error.strerror or error}", "set HEALD_SPOOL to a writable folder"
            ) from None
        return path

    def waiting(self) -> list[Path]:
        """The files that wait to be sent, oldest first."""
        return [path for path in self._files() if path.suffix == _REPORT]

    def _files(self) -> list[Path]:
        with suppress(FileNotFoundError, NotADirectoryError):
            return sorted(path for path in self.folder.iterdir() if path.name != _LOCK and path.is_file())
        return []

    def _make_room(self, size: int, warn: Warn) -> None:
        files = self._files()
        sizes = [_size(path) for path in files]
        total, oldest = sum(sizes), 0
        while len(files) - oldest >= self.max_files or (total + size > self.max_bytes and oldest < len(files)):
            files[oldest].unlink(missing_ok=True)
            total -= sizes[oldest]
            oldest += 1
        if oldest:
            warn(f"the spool {self.folder} is full: its oldest {oldest} files made room")


def drain(
    spool: Spool,
    send: Callable[[list[bytes]], object],
    *,
    now: float,
    max_age: float,
    warn: Warn,
    may_send: Callable[[], bool] = lambda: True,
) -> Drained:
    """Send what waits, oldest first; a file goes only after `send` returned for it.

    One drain works at a time; where another is at work, nothing is done. A process that dies between the
    acknowledgement and the removal leaves files that are sent again, which intake takes for duplicates.

    Args:
        send: pushes encoded reports and returns when the server has acknowledged them all.
        now: seconds since the epoch.
        max_age: seconds; older reports are removed.
        warn: is told of what is removed or set aside.
        may_send: is asked before each batch of `BATCH` reports; what it does not let go waits on.

    Raises:
        SpoolTrouble: the folder cannot be used.
        Exception: what `send` raises; the files that it had in hand stay.
    """
    try:
        if not spool.waiting():
            return Drained()
        with _alone(spool.folder) as alone:
            if not alone:
                return Drained(waiting=len(spool.waiting()), busy=True)
            return _drain(spool, send, now - max_age, warn, may_send)
    except OSError as error:
        raise SpoolTrouble(f"{error.filename or spool.folder} cannot be used: {error.strerror or error}") from None


def _drain(
    spool: Spool, send: Callable[[list[bytes]], object], oldest: float, warn: Warn, may_send: Callable[[], bool]
) -> Drained:
    fates = Counter[str]()
    waiting = iter(spool.waiting())
    while (paths := list(islice(waiting, BATCH))) and may_send():
        looked_at = [(path, *_look_at(path, oldest, warn)) for path in paths]
        fates.update(fate for _, _, fate in looked_at)
        _send([(path, raw) for path, raw, _ in looked_at if raw is not None], send)
    return Drained(fates["sent"], fates["expired"], fates["bad"], len(spool.waiting()))


def _look_at(path: Path, oldest: float, warn: Warn) -> tuple[bytes | None, str]:
    """The report to send, or None; and what becomes of the file."""
    try:
        if _written(path) < oldest:
            path.unlink()
            warn(f"{path.name} was removed: it is too old to be taken in")
            return None, "expired"
        with path.open("rb") as file:
            raw = file.read(MAX_REPORT_BYTES + 1)
        decode_report(raw)
    except FileNotFoundError:  # it made room for a newer one
        return None, "gone"
    except PoisonReport as poison:
        path.replace(path.with_suffix(_BAD))
        warn(f"{path.name} is no report and was set aside as {path.stem}{_BAD}: {poison}")
        return None, "bad"
    return raw, "sent"


def _send(batch: list[tuple[Path, bytes]], send: Callable[[list[bytes]], object]) -> None:
    if batch:
        send([raw for _, raw in batch])
    for path, _ in batch:
        path.unlink(missing_ok=True)


def _written(path: Path) -> float:
    """Seconds since the epoch: from the file's name (its first 14 digits), or its time where somebody else named it."""
    digits = path.name.partition("-")[0][:14]
    return int(digits) / 1000 if digits.isascii() and digits.isdigit() else path.stat().st_mtime


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:  # another process sent it meanwhile
        return 0


def _write(path: Path, raw: bytes) -> None:
    partial = path.with_suffix(".part")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(descriptor)
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether this process holds the folder's lock; the system frees it with the process, however that ends."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)
