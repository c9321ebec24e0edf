"""The `heald` command as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HEALD = [sys.executable, "-c", "import sys; from heald_worker.cli import main; sys.exit(main(sys.argv[1:]))"]
"""What to start before the verb; the same as the installed script."""

AWAY = "redis://127.0.0.1:1/0"
"""A server that nobody runs."""


def clean_environment(**more: str) -> dict[str, str]:
    """An environment that tells of no CI, no server and no secret; `more` is added."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path)} | more


def heald(
    *arguments: str | bytes | Path, stdin: bytes = b"", timeout: float = 60, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run `heald` to its end."""
    return subprocess.run(
        [*HEALD, *arguments],
        input=stdin,
        capture_output=True,
        timeout=timeout,
        env=clean_environment(**environment),
        check=False,
    )
