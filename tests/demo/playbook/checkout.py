"""What the repairs share: a clone of their own, the check that decides, and landing the result.

A repair trusts its own configuration only. What the failure report says (branch, commit, stage) picks from
what is known here; above all, the command to run again comes from `CHECKS`, not from the report.

Each attempt works in a fresh clone, so repairs never meet on disk; they meet in `land`, where git accepts a
push only on top of what the clone had seen.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKS = {
    "build": ["python3", "-m", "compileall", "-q", "shop"],
    "test": ["python3", "-m", "pytest", "-q"],
    "runtime": ["python3", "-m", "shop", "apple=3", "milk=1"],
}
"""What must pass, by stage."""


class Checkout:
    """A clone of the repository, standing on the commit that failed."""

    def __init__(self, folder: Path) -> None:
        facts = json.loads(Path(os.environ["HEALD_FACTS"]).read_text("utf-8"))
        self.folder = folder
        self.stage = facts["failure"]["stage"]
        self.commit = facts["context"]["commit"] or ""
        self.branch = (facts["context"]["ref"] or "").removeprefix("refs/heads/")
        if self.stage not in CHECKS:
            sys.exit(f"nobody told this playbook what to check for stage {self.stage!r}")
        if not re.fullmatch("[0-9a-f]{40}", self.commit) or not re.fullmatch("[a-z0-9][a-z0-9-]*", self.branch):
            sys.exit(f"the report names no commit and branch to work on: {self.commit!r}, {self.branch!r}")
        self.git("clone", "--quiet", "--branch", self.branch, os.environ["SHOP_ORIGIN"], ".")

    def git(self, *arguments: str | Path) -> str:
        """Run git here and return what it printed; end the repair with git's complaint when it fails."""
        done = self._git(*arguments)
        if done.returncode:
            sys.exit(f"git {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout.strip()

    def accepts(self, patch: Path) -> bool:
        """Whether a patch fits this tree."""
        return self._git("apply", "--check", patch).returncode == 0

    def tells(self, words: str) -> bool:
        """Whether a commit of this branch says these words: how a repeated attempt knows its first half."""
        return bool(self.git("log", "--format=%H", "--fixed-strings", f"--grep={words}"))

    def check(self) -> None:
        """Run the check of this stage. When it fails, its output and exit code become the repair's own."""
        print("checking:", *CHECKS[self.stage], flush=True)
        code = subprocess.run(CHECKS[self.stage], cwd=self.folder).returncode
        if code:
            sys.exit(code)

    def land(self) -> None:
        """Push to the branch; git refuses if somebody else has pushed meanwhile."""
        self.git("push", "--quiet", "origin", f"HEAD:refs/heads/{self.branch}")

    def _git(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", *arguments], cwd=self.folder, capture_output=True, text=True)


@contextmanager
def checkout() -> Iterator[Checkout]:
    """A checkout for this attempt, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="repair-") as folder:
        yield Checkout(Path(folder))


def tell(detail: str) -> None:
    """Leave one line for the run's timeline."""
    Path(os.environ["HEALD_RESULT"]).write_text(json.dumps({"detail": detail}), "utf-8")
