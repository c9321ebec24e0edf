"""Forcing what was written to the disk: one file or folder, or all of a file system in one go."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import sys
from collections.abc import Callable
from functools import cache

TELLS_ERRORS = (5, 8)
"""The first Linux whose `syncfs` tells that something could not be written."""
_UNABLE = frozenset({errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP})


def sync(file: int) -> None:
    """Force a file or folder to the disk itself; macOS has its own word for that."""
    if sys.platform == "darwin":
        fcntl.fcntl(file, fcntl.F_FULLFSYNC)
    else:
        os.fsync(file)


def sync_all(folder: int) -> bool:
    """Force everything that was written on a folder's file system to the disk, since the folder was opened or before.

    Returns:
        False where this system cannot do it, or would not tell when it failed: sync each file then.

    Raises:
        OSError: something could not be written.
    """
    call = _syncfs()
    if call is None:
        return False
    while call(folder) != 0:
        code = ctypes.get_errno()
        if code in _UNABLE:
            return False
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))
    return True


@cache
def _syncfs() -> Callable[[int], int] | None:
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    if sys.platform != "linux" or not release or (int(release[1]), int(release[2])) < TELLS_ERRORS:
        return None
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
