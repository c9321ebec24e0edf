"""`make demo`, as a process: it proves its claims, says so when they are wrong, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
pytestmark = [pytest.mark.server, pytest.mark.xdist_group("demo"), pytest.mark.timeout(180)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the demo makes its temporary folder."""
    folder = tmp_path / "demo"
    folder.mkdir()
    return folder


def start(folder: Path, demo: Path = TESTS / "demo" / "demo.py") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(demo)],
        env={**os.environ, "TMPDIR": str(folder), "CI": "true", "GITHUB_ACTIONS": "true", "HEALD_RUN_ID": "x"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that belong to a demo in this folder (Linux)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(f"{folder}/heald-demo-") in told:
            found.append(told[:200].decode("utf-8", "replace"))
    return found


def test_the_demo_proves_its_claims_and_leaves_nothing(folder: Path) -> None:
    demo = start(folder)
    told, _ = demo.communicate(timeout=150)
    assert demo.returncode == 0, told
    assert "claims hold" in told.splitlines()[-1]
    assert not any(line.startswith("Traceback") for line in told.splitlines())
    assert list(folder.iterdir()) == []
    assert processes_of(folder) == []


def test_a_demo_whose_repair_fails_names_what_differs(folder: Path, tmp_path: Path) -> None:
    for name in ("demo", "support"):
        shutil.copytree(TESTS / name, tmp_path / "tests" / name)
    playbook = tmp_path / "tests" / "demo" / "playbook"
    (playbook / "patches" / "close-the-bracket.patch").unlink()
    toml = (playbook / "heald.toml").read_text()
    (playbook / "heald.toml").write_text(toml.replace("[policies.default]\n", "[policies.default]\nmax_attempts = 1\n"))
    demo = start(folder, tmp_path / "tests" / "demo" / "demo.py")
    told, _ = demo.communicate(timeout=150)
    assert demo.returncode == 1, told
    complaints = told.partition("claims are not true:")[2]
    assert "ci-1-build has the outcome: claimed 'recovered', found 'failed'" in complaints
    assert "commits on sum-basket" in complaints
    assert "ci-2-test" not in complaints
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_ends_everything(folder: Path, signum: signal.Signals) -> None:
    demo = start(folder)
    assert demo.stdout is not None
    for line in demo.stdout:
        if "test $ heald run" in line:
            break
    demo.send_signal(signum)
    told, _ = demo.communicate(timeout=90)
    assert demo.returncode == 130, told
    assert "Traceback" not in told
    assert list(folder.iterdir()) == []
    assert processes_of(folder) == []
