"""`heald verify` and `heald artifacts prune`: offline, streaming, every bad artifact named."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from heald_worker import artifact_walk
from heald_worker.artifact_staging import STAGING
from heald_worker.artifact_walk import problem_of, walk
from heald_worker.artifacts import write_artifacts
from heald_worker.cli import main
from support.artifacts import an_item, filled, staged

LONG_AGO, FAR_AHEAD = 0, 2**40


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration file, no variables of heald."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("HEALD_"):
            monkeypatch.delenv(name)


def tampered(directory: Path, run_id: str) -> None:
    log = directory / run_id / "recovery.json"
    log.write_bytes(log.read_bytes().replace(b"t red", b"t rad"))


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_good_artifact_is_confirmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    filled(tmp_path / "a", "run-1")
    assert main(["verify", "run-1", "--dir", "a"]) == 0
    assert capsys.readouterr().out == "run run-1: verified (failed, attempts 0, 2026-02-02T02:40:00Z)\n"
    assert main(["verify", "run-1", "--dir", "a", "--json"]) == 0
    assert records(capsys.readouterr().out) == [
        {
            "run": "run-1",
            "ok": True,
            "outcome": "failed",
            "attempts_used": 0,
            "evaluated_at": "2026-02-02T02:40:00Z",
        }
    ]


def test_one_bad_artifact_is_named_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tampered(filled(tmp_path / "a", "run-1"), "run-1")
    assert main(["verify", "run-1", "--dir", "a"]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith("heald: artifact of run run-1: recovery.digest says '")
    assert "`heald artifacts rebuild`" in shown
    assert main(["verify", "run-1", "--dir", "a", "--json"]) == 1
    [facts] = records(capsys.readouterr().out)
    assert (facts["run"], facts["ok"], facts["kind"]) == ("run-1", False, "tampered")
    assert facts["expected"] == an_item()[2] != facts["actual"]


def test_all_names_every_bad_artifact_and_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = filled(tmp_path / "a", *(f"run-{number}" for number in range(300)))
    tampered(folder, "run-7")
    (folder / "run-8" / "recovery.digest").unlink()
    (folder / "run-9").rename(folder / "run-X")
    (folder / "link").symlink_to("run-1")
    (folder / "empty").mkdir()
    assert main(["verify", "--all", "--dir", "a"]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert sorted(line.split(":")[0] for line in shown[:-1]) == [
        "artifact of run empty",
        "artifact of run link",
        "artifact of run run-7",
        "artifact of run run-8",
        "artifact of run run-X",
    ]
    assert shown[-1] == "302 artifacts checked, 5 bad"
    assert main(["verify", "--all", "--dir", "a", "--json"]) == 1
    *bad, summary = records(capsys.readouterr().out)
    assert {facts["run"]: facts["kind"] for facts in bad} == {
        "empty": "missing",
        "link": "unreadable",
        "run-7": "tampered",
        "run-8": "missing",
        "run-X": "misplaced",
    }
    assert summary == {"checked": 302, "bad": 5, "ignored": 0}


def test_what_is_no_artifact_is_ignored_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = filled(tmp_path / "a", "run-1")
    (folder / "README.md").write_text("")
    (folder / "lost+found").mkdir()
    (folder / ".git").mkdir()
    (folder / "a\x1b[31mb").mkdir()
    (folder / os.fsdecode(b"\xff")).mkdir()
    assert main(["verify", "--all", "--dir", "a"]) == 0
    said = capsys.readouterr()
    assert said.out == "1 artifacts checked, 0 bad\n"
    assert said.err.startswith("4 entries that are no artifacts were ignored: ")
    assert "\x1b" not in said.err


def test_an_artifact_that_goes_away_meanwhile_is_not_bad(tmp_path: Path) -> None:
    filled(tmp_path, "run-1")
    folder = os.open(tmp_path, os.O_RDONLY)
    assert problem_of(folder, "run-1") is None
    assert problem_of(folder, "gone") is None
    os.close(folder)


def test_the_walk_holds_a_bounded_number_of_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path, *(f"run-{number}" for number in range(40)))
    monkeypatch.setattr(artifact_walk, "_CHUNK", 3)
    monkeypatch.setattr(artifact_walk, "_AHEAD", 2)
    taken = 0

    def look(_folder: int, name: str) -> str:
        nonlocal taken
        taken += 1
        return name

    walking = walk(tmp_path, look, lambda _: None)
    first = next(walking)
    assert len(first) == 3
    assert taken <= 2 * 3
    seen = first + [name for chunk in walking for name in chunk]
    assert sorted(seen) == sorted(f"run-{number}" for number in range(40))


def test_an_empty_folder_is_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").mkdir()
    assert main(["verify", "--all", "--dir", "a"]) == 0
    assert capsys.readouterr().out == "0 artifacts checked, 0 bad\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["verify"], "name one run, or give --all"),
        (["verify", "run-1", "--all"], "name one run, or give --all"),
        (["verify", "--all", "--dir", "nowhere"], "nowhere does not exist"),
        (["verify", "--all", "--dir", "file"], "file is not a folder"),
        (["verify", "../run-1", "--dir", "."], "'../run-1' is not allowed"),
        (["artifacts", "prune", "--older-than", "soon"], "--older-than must be a duration"),
        (["artifacts", "prune", "--older-than", "-1"], "--older-than must be a"),
        (["artifacts", "prune", "--older-than", "1d", "--dir", "nowhere"], "nowhere does not exist"),
        (["artifacts", "rebuild", "--since", "yesterday"], "an id of the stream is milliseconds"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    argv: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(argv) == 2
    assert words in capsys.readouterr().err


def test_verify_and_prune_import_no_client_library(tmp_path: Path) -> None:
    filled(tmp_path / "a", "run-1")
    for argv in (["verify", "--all", "--dir", "a"], ["artifacts", "prune", "--older-than", "1d", "--dir", "a"]):
        code = f"import sys; from heald_worker.cli import main; main({argv!r}); print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
        loaded = set(done.stdout.splitlines()[-1].split())
        assert "heald_worker.records" in loaded
        assert not loaded & {"redis", "rq"}


def test_a_watching_person_sees_progress_and_a_pipe_gets_whole_lines(tmp_path: Path) -> None:
    for number in range(5):
        tampered(filled(tmp_path / "a", f"run-{number}"), f"run-{number}")
    terminal, there = os.openpty()
    argv = [sys.executable, "-m", "heald_worker", "verify", "--all", "--json", "--dir", "a"]
    environment = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "COLUMNS": "100"}
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=there, env=environment) as process:
        out, _ = process.communicate(timeout=60)
    os.close(there)
    seen = b""
    while chunk := _read(terminal):
        seen += chunk
    os.close(terminal)
    assert process.returncode == 1
    assert [facts.get("run") for facts in records(out.decode())].count(None) == 1
    assert len(records(out.decode())) == 6
    assert b"verifying" in seen
    assert b"5/5" in seen


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # what Linux says at the end of a terminal
        return b""


def aged(directory: Path) -> Path:
    """Two old artifacts, a young one, one that is tampered with, and one with a foreign file."""
    items = [an_item(name, ended=LONG_AGO) for name in ("old-1", "old-2", "bad", "shared")]
    write_artifacts(directory, [*items, an_item("young", ended=FAR_AHEAD)], fsync=False)
    tampered(directory, "bad")
    (directory / "shared" / "notes.txt").write_text("keep me")
    return directory


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()} - {STAGING}


def test_prune_removes_what_is_old_and_keeps_what_it_cannot_vouch_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = aged(tmp_path / "a")
    assert main(["artifacts", "prune", "--older-than", "30d", "--dir", "a"]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert names(folder) == {"bad", "shared", "young"}
    assert "kept: artifact of run shared: other files are in its folder" in shown
    assert any(line.startswith("kept: artifact of run bad: recovery.digest says") for line in shown)
    assert shown[-1] == "2 removed, 1 kept, 2 kept as bad"
    assert staged(folder) == []


def test_a_dry_prune_removes_nothing_and_tells_what_would_go(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = aged(tmp_path / "a")
    before = names(folder)
    assert main(["artifacts", "prune", "--older-than", "30d", "--dry-run", "--json", "--dir", "a"]) == 1
    told = records(capsys.readouterr().out)
    assert names(folder) == before
    assert {facts["run"] for facts in told[:-1] if "problem" not in facts} == {"old-1", "old-2"}
    assert not any(facts["removed"] for facts in told[:-1])
    assert told[-1] == {"removed": 0, "old": 2, "young": 1, "bad": 2}


def test_prune_never_follows_symlinks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    real = tmp_path / "elsewhere"
    write_artifacts(real, [an_item("old", ended=LONG_AGO)], fsync=False)
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").symlink_to("../elsewhere/old")
    assert main(["artifacts", "prune", "--older-than", "1d", "--dir", "a"]) == 1
    assert "its folder is a file or a symlink" in capsys.readouterr().out
    assert (real / "old" / "recovery.json").exists()
    assert (tmp_path / "a" / "old").is_symlink()


def test_prune_clears_away_what_killed_writers_left(tmp_path: Path) -> None:
    folder = filled(tmp_path / "a", "run-1")
    (folder / STAGING / "dead-0").mkdir()
    os.utime(folder / STAGING / "dead-0", (0, 0))
    assert main(["artifacts", "prune", "--older-than", "3650d", "--dir", "a"]) == 0
    assert staged(folder) == []
