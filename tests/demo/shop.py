"""The demo's repository: `shop.git`, which everybody pushes to, and the clone in which CI runs."""

from __future__ import annotations

import shutil
from pathlib import Path

from house import DemoFailed, House
from scenes import Change

PROJECT = Path(__file__).parent / "project"
DEVELOPER = ("-c", "user.name=Dana Developer", "-c", "user.email=dana@localhost")


class Shop:
    """The repository and CI's clone of it."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.origin, self.clone = house.folder / "shop.git", house.folder / "ci"

    def open(self) -> None:
        """Make the repository with a first commit on main, and CI's clone."""
        shutil.copytree(PROJECT, self.clone, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
        self._house.must("git", "init", "--quiet", "--bare", "--initial-branch=main", self.origin)
        self._git("init", "--quiet", "--initial-branch=main")
        self._git("remote", "add", "origin", self.origin)
        self._git("add", "--all")
        self._commit("The shop", "main")

    def check_out(self, branch: str, change: Change | None) -> None:
        """Put CI on a branch; with a change, on a new branch from main to which a developer has pushed it."""
        if change is None:
            self._git("checkout", "--quiet", branch)
            return
        self._git("checkout", "--quiet", "-b", branch, "main")
        file = self.clone / change.file
        text = file.read_text("utf-8")
        if change.old not in text:
            raise DemoFailed(f"{change.file} is not what the demo wants to change")
        file.write_text(text.replace(change.old, change.new), "utf-8")
        self._git("add", "--all")
        self._commit(change.subject, branch)

    def pull(self, branch: str) -> None:
        """Bring CI's clone to what the branch is now."""
        self._git("checkout", "--quiet", branch)
        self._git("pull", "--quiet", "--ff-only", "origin", branch)

    def subjects(self, branch: str) -> list[str]:
        """The subjects of a branch's commits in the repository, the oldest first."""
        return self._at_origin("log", "--reverse", "--format=%s", branch).splitlines()

    def tree(self, branch: str) -> str:
        """The hash of everything that a branch holds."""
        return self._at_origin("rev-parse", f"{branch}^{{tree}}")

    def _commit(self, subject: str, branch: str) -> None:
        self._git(*DEVELOPER, "commit", "--quiet", "-m", subject)
        self._git("push", "--quiet", "origin", branch)

    def _git(self, *arguments: str | Path) -> str:
        return self._house.must("git", *arguments, cwd=self.clone)

    def _at_origin(self, *arguments: str | Path) -> str:
        return self._house.must("git", "--git-dir", self.origin, *arguments)
