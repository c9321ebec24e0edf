"""The repairs and the pager of the trial: `python playbook.py ACTION`. Whatever it does is a line of the deeds file.

It imports nothing of heald and of the suite, as a team's own scripts would not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

TYPO, WORD = "retrun", "return"


def retry() -> int:
    """Ask the CI for another attempt of the job; what comes of it, the CI tells."""
    time.sleep(float(os.environ["SECONDS_TO_RETRY"]))
    return 0


def patch() -> int:
    """Mend the one mistake that this team knows, on a branch of its own."""
    checkout = Path(os.environ["CHECKOUTS"]) / os.environ["HEALD_REPOSITORY"]
    source = _git(checkout, "show", f"{os.environ['HEALD_COMMIT']}:main.c")
    time.sleep(float(os.environ["SECONDS_TO_PATCH"]))
    if TYPO not in source:
        print("nothing that this script can mend")
        return 1
    branch = "heald/" + os.environ["HEALD_IDEMPOTENCY_KEY"].replace(":", "-")
    _git(checkout, "checkout", "--quiet", "-B", branch, os.environ["HEALD_COMMIT"])
    (checkout / "main.c").write_text(source.replace(TYPO, WORD))
    _git(checkout, "commit", "--quiet", "--all", "--message", "Mend a typo")
    return 0


def broken_patch() -> int:
    """A script with trouble of its own: its token has expired, and its traceback tells the token."""
    raise PermissionError(f"401 Unauthorized: token={os.environ['FORGE_TOKEN']} has expired")


def revert() -> int:
    """Take the newest commit back."""
    checkout = Path(os.environ["CHECKOUTS"]) / os.environ["HEALD_REPOSITORY"]
    _git(checkout, "revert", "--no-edit", "main")
    return 0


def page() -> int:
    """Wake somebody up."""
    return 0


def _git(checkout: Path, *argv: str) -> str:
    return subprocess.run(["git", "-C", checkout, *argv], check=True, capture_output=True, text=True).stdout


def _write_down(action: str) -> None:
    told = {name.lower(): os.environ[f"HEALD_{name}"] for name in ("RUN_ID", "REPOSITORY", "JOB", "CI_RUN")}
    with Path(os.environ["DEEDS"]).open("a") as deeds:
        deeds.write(json.dumps({"at": time.time(), "action": action, **told}) + "\n")


DEEDS = {"retry": retry, "patch": patch, "broken_patch": broken_patch, "revert": revert, "page": page}

if __name__ == "__main__":
    _write_down(sys.argv[1].removeprefix("broken_"))
    sys.exit(DEEDS[sys.argv[1]]())
