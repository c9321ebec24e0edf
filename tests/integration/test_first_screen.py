"""The README's first screen, typed as it stands there by somebody who has just run `make install`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.server import free_port

README = Path(__file__).parents[2] / "README.md"
INSTALL = "make install && . .venv/bin/activate\n"


@pytest.mark.server
def test_the_first_screen_ends_in_a_verified_recovery_log(tmp_path: Path) -> None:
    """The block is run unchanged but for its first line, which makes this environment, and a port that is free."""
    block = re.search(r"^```sh\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert block is not None
    assert block[1].startswith(INSTALL)
    script = block[1].removeprefix(INSTALL).replace("6390", str(free_port()))
    environ = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    # -m: jobs have process groups, as in a terminal, so that `kill %1` ends the server itself too.
    done = subprocess.run(
        ["bash", "-m", "-c", f"{script}\nwait\n"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    told = done.stdout + done.stderr
    log = json.loads((tmp_path / "heald-artifacts" / "hello" / "recovery.json").read_text())
    assert log["outcome"] == "recovered", told
    assert (tmp_path / "ready").exists()
    assert '"outcome": "recovered"' in done.stdout
    assert "hello" in done.stdout
    assert "verified" in done.stdout
    assert "Traceback" not in told
