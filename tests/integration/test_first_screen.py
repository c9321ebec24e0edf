"""The README's first screen, typed as it stands there by somebody who has just run `make install`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from support.server import free_port

README = Path(__file__).parents[2] / "README.md"
INSTALL = "make install && . .venv/bin/activate\n"


@pytest.fixture
def port() -> Iterator[int]:
    """A free port; whatever server is left on it is shut down."""
    port = free_port()
    yield port
    with redis.Redis(port=port, retry=None) as client, contextlib.suppress(redis.ConnectionError):
        client.shutdown(nosave=True)


@pytest.mark.server
def test_the_first_screen_ends_in_a_verified_recovery_log(tmp_path: Path, port: int) -> None:
    """The block is run unchanged but for its first line, which makes this environment, and a port that is free."""
    block = re.search(r"^```sh\n(.*?)^```", README.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    assert block is not None
    assert block[1].startswith(INSTALL)
    typed = block[1].removeprefix(INSTALL).replace("6390", str(port))
    environ = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
    # set -m: background jobs have process groups of their own, as in a terminal.
    done = subprocess.run(
        ["bash", "-c", f"set -m\n{typed}\nwait\n"],
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
    assert (tmp_path / "hello.py").read_text() == 'print("hello")'
    assert '"outcome": "recovered"' in done.stdout
    assert "run hello: verified" in done.stdout
    assert "Traceback" not in told
    with pytest.raises(redis.ConnectionError):
        redis.Redis(port=port, retry=None).ping()
