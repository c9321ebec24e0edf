"""`heald` verbs whose bytes matter, in an environment that tells of no CI, no server and no secret."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from support.verbs import HEALD

AWAY = "redis://127.0.0.1:1/0"
"""A server that nobody runs."""
NOWHERE = "/dev/null/nowhere"
"""A spool that cannot be: no test sends what waits in the spool of whoever runs it."""


def clean_environment(**more: str) -> dict[str, str]:
    """An environment of the barest; `more` is added."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONPATH": os.pathsep.join(sys.path), "HEALD_SPOOL": NOWHERE} | more


def heald(
    *arguments: str | bytes | Path, stdin: bytes = b"", cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run `heald` to its end."""
    return subprocess.run(
        [*HEALD, *arguments],
        input=stdin,
        capture_output=True,
        cwd=cwd,
        timeout=60,
        env=clean_environment(**environment),
        check=False,
    )
