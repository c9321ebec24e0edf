"""The staging folder inside an artifact directory: where artifacts are made, and where replaced ones go.

Its name starts with a dot, as no run id does. What is in it belongs to a process at work or was left by a killed one;
`sweep` removes the latter. Nothing here follows a symlink, and only files that heald writes are removed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from heald_worker.artifact_reading import DIGEST_FILE, LOG_FILE, Directory

STAGING = ".heald-staging"

FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
OWN_FOLDER_FLAGS = FOLDER_FLAGS | os.O_NOFOLLOW


@contextmanager
def opened(path: Directory, flags: int = FOLDER_FLAGS, within: int | None = None) -> Iterator[int]:
    """A file descriptor of a folder, or with other flags of a file, closed at the end."""
    opened_file = os.open(path, flags, dir_fd=within)
    try:
        yield opened_file
    finally:
        os.close(opened_file)


@contextmanager
def staging_in(directory: int) -> Iterator[int]:
    """The staging folder of an open artifact directory, made where it is missing."""
    with suppress(FileExistsError):
        os.mkdir(STAGING, dir_fd=directory)
    with opened(STAGING, OWN_FOLDER_FLAGS, directory) as staging:
        yield staging


def clear(staging: int, name: str) -> bool:
    """Remove one staged folder and the two files in it. Returns False when something else is in it, which stays."""
    try:
        with opened(name, OWN_FOLDER_FLAGS, staging) as own:
            for file in (LOG_FILE, DIGEST_FILE):
                with suppress(FileNotFoundError):
                    os.unlink(file, dir_fd=own)
        os.rmdir(name, dir_fd=staging)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def holds_foreign_files(directory: int, run_id: str) -> bool:
    """Whether a run's folder holds anything but an artifact's two files."""
    with opened(run_id, OWN_FOLDER_FLAGS, directory) as own, os.scandir(own) as entries:
        return any(entry.name not in (LOG_FILE, DIGEST_FILE) for entry in entries)


def remove_artifact(directory: int, run_id: str) -> None:
    """Remove a run's folder from an open artifact directory.

    It goes through the staging folder, so that no reader sees half of it; foreign files stay there.

    Raises:
        OSError: it may not be removed.
    """
    with staging_in(directory) as staging:
        name = f"{os.urandom(6).hex()}-old"
        os.rename(run_id, name, src_dir_fd=directory, dst_dir_fd=staging)
        clear(staging, name)


def sweep(directory: Directory, older_than_seconds: float, now: float) -> int:
    """Remove what killed processes left in the staging folder. Returns how many folders went.

    Args:
        older_than_seconds: what is younger may belong to a process at work.
        now: seconds since the epoch, on the clock of the disk.

    Raises:
        OSError: the directory cannot be read.
    """
    removed = 0
    with (
        suppress(FileNotFoundError),
        opened(directory) as folder,
        opened(STAGING, OWN_FOLDER_FLAGS, folder) as staging,
        os.scandir(staging) as entries,
    ):
        for entry in entries:
            with suppress(FileNotFoundError):
                age = now - entry.stat(follow_symlinks=False).st_mtime
                if age > older_than_seconds and entry.is_dir(follow_symlinks=False):
                    removed += clear(staging, entry.name)
    return removed
