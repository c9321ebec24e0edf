"""Real `heald` processes for tests: with an environment of their own, always ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

HEALD = [sys.executable, "-P", "-m", "heald_worker"]
_FOREIGN = ("HEALD_", "REDIS_", "GITHUB_", "CI", "GITLAB_", "BUILDKITE")


def environment(url: str, folder: Path, **more: str) -> dict[str, str]:
    """The environment of a process under test: no settings of the person or the CI that runs the suite, and the
    reference's rules, under which a stage's name gives the class."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    return kept | {
        "HEALD_REDIS_URL": url,
        "HEALD_ARTIFACTS": str(folder / "artifacts"),
        "HEALD_SPOOL": str(folder / "spool"),
        "HEALD_TAXONOMY": "aivcs",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def heald(*argv: str, env: dict[str, str], cwd: Path, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    """Run one verb to its end."""
    return subprocess.run(
        [*HEALD, *argv], env=env, cwd=cwd, capture_output=True, text=True, timeout=seconds, check=False
    )


class Process:
    """One long-running `heald` process; what it says is kept in a file."""

    def __init__(self, *argv: str, env: dict[str, str], cwd: Path, name: str = "process") -> None:
        self.log = cwd / f"{name}.log"
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen([*HEALD, *argv], env=env, cwd=cwd, stdout=log, stderr=log)

    @property
    def pid(self) -> int:
        return self.popen.pid

    def children(self) -> list[int]:
        """The process's direct children (Linux)."""
        return children_of(self.pid)

    def kill(self) -> None:
        self.popen.kill()
        self.popen.wait(10)

    def terminate(self, seconds: float = 60) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(seconds)

    def wait(self, seconds: float = 60) -> int:
        return self.popen.wait(seconds)

    def said(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


def children_of(pid: int) -> list[int]:
    """Direct children of a process, by /proc (Linux)."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in task.read_text().split()]
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def descendants(pid: int) -> list[int]:
    """Every process below this one (Linux)."""
    found = children_of(pid)
    for child in list(found):
        found += descendants(child)
    return found
