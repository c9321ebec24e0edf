"""Looking at processes from outside."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from support.wait import until


def lives(pid: int) -> bool:
    """Whether a process runs; one that only waits to be collected does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False).stdout
    return bool(state.strip()) and not state.startswith(b"Z")


def pid_in(file: Path) -> int:
    """The process id that a command writes into a file, as soon as it stands there whole."""
    until(lambda: file.exists() and file.read_text().endswith("\n"), f"{file.name} holds a process id")
    return int(file.read_text())
