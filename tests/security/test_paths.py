"""Nothing that a report says, and nothing that stands in the artifact folder, makes heald write or read elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from heald_worker import artifacts, keys
from heald_worker.artifact_staging import STAGING
from heald_worker.artifacts import (
    ArtifactError,
    ArtifactsUnavailable,
    read_recovery_artifact,
    verify_artifact,
    write_artifacts,
    write_recovery_artifact,
)
from heald_worker.records import digest_of
from support.artifacts import a_log, an_item
from support.service import House, report
from support.verbs import environment, heald

ESCAPES = [
    "../evil", "..", ".", "", "/etc/heald", "a/../../b", "a/b", "a\\b", "\0", "a\0b", "a\n", "\n", ".hidden", STAGING,
    "-rf", "~root", "%2e%2e%2f", "..%c0%af", "\u2024\u2024/x", "\uff0e\uff0e\uff0fx", "a" * 129, "a:b",
    "$(touch x)", "a\u202eb", "CON ",
]  # fmt: skip


class Ground:
    """An artifact folder, and a place beside it that nobody may touch."""

    def __init__(self, folder: Path) -> None:
        self.artifacts, self.outside = folder / "artifacts", folder / "outside"
        self.artifacts.mkdir(exist_ok=True)
        self.outside.mkdir()
        (self.outside / "recovery.json").write_text("theirs")
        (self.outside / "keep").write_text("theirs")

    def untouched(self) -> bool:
        names = sorted(path.name for path in self.outside.iterdir())
        return names == ["keep", "recovery.json"] and {p.read_text() for p in self.outside.iterdir()} == {"theirs"}


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path)
    yield made
    assert made.untouched()


def test_a_run_id_that_would_leave_the_folder_is_a_dead_letter(it: House, ground: Ground) -> None:
    it.push(*(report(run) for run in ESCAPES))
    it.settle()
    assert it.dead() == ["invalid_run_id"] * len(ESCAPES)
    assert it.logs() == {}
    assert list(ground.artifacts.iterdir()) == []


@pytest.mark.parametrize("run", ESCAPES)
def test_a_run_id_that_would_leave_the_folder_is_neither_written_nor_read(ground: Ground, run: str) -> None:
    [result] = write_artifacts(ground.artifacts, [(run, b"{}", digest_of(b"{}"))], fsync=False)
    assert result.state == "failed"
    for read in (read_recovery_artifact, verify_artifact):
        with pytest.raises(ValueError, match="run_id"):
            read(ground.artifacts, run)
    assert [path.name for path in ground.artifacts.iterdir()] == [STAGING]


def test_a_stage_that_looks_like_a_path_is_only_a_text(it: House, ground: Ground) -> None:
    stages = ["../../outside/recovery.json", "/etc/passwd", "..", "a\n/../b"]
    it.push(*(report(f"run-{n}", stage=stage, message="test failed") for n, stage in enumerate(stages)))
    it.settle()
    names = {path.name for path in ground.artifacts.iterdir()} - {STAGING}
    assert names == {f"run-{n}" for n in range(len(stages))} == set(it.logs())


def test_a_symlink_in_a_runs_place_is_not_followed_and_the_run_waits(it: House, ground: Ground) -> None:
    (ground.artifacts / "run-1").symlink_to(ground.outside)
    it.push(report("run-1"), report("run-2"))
    it.settle(lambda: "run-2" in it.logs())
    assert ground.untouched()
    assert "run-1" not in it.logs()
    assert it.conn.exists(keys.run("run-1"))
    (ground.artifacts / "run-1").unlink()
    it.settle(lambda: "run-1" in it.logs())
    assert verify_artifact(ground.artifacts, "run-1").run_id == "run-1"


@pytest.mark.parametrize("name", ["recovery.json", "recovery.digest"])
def test_a_symlink_in_a_files_place_is_neither_written_through_nor_read(ground: Ground, name: str) -> None:
    log = a_log()
    folder = write_recovery_artifact(log, ground.artifacts, fsync=False).parent
    copy = ground.artifacts.parent / name
    copy.write_bytes((folder / name).read_bytes())  # a true file, but elsewhere
    (folder / name).unlink()
    (folder / name).symlink_to(copy)
    with pytest.raises(ArtifactError):
        read_recovery_artifact(ground.artifacts, "run-1")
    (folder / name).unlink()
    (folder / name).symlink_to(ground.outside / "recovery.json")
    write_recovery_artifact(log, ground.artifacts, fsync=False)
    assert read_recovery_artifact(ground.artifacts, "run-1") == log
    assert not (folder / name).is_symlink()


def test_a_symlink_in_place_of_the_staging_folder_is_not_followed(ground: Ground) -> None:
    (ground.artifacts / STAGING).symlink_to(ground.outside)
    with pytest.raises(ArtifactsUnavailable):
        write_recovery_artifact(a_log(), ground.artifacts, fsync=False)
    with pytest.raises(OSError, match=r"symbolic|Not a directory"):
        artifacts.sweep(ground.artifacts, -1, 4_000_000_000)


def test_a_symlink_within_the_staging_folder_is_not_swept_through(ground: Ground) -> None:
    staging = ground.artifacts / STAGING
    (staging / "old").mkdir(parents=True)
    (staging / "old" / "recovery.json").symlink_to(ground.outside / "recovery.json")
    (staging / "left").symlink_to(ground.outside)
    assert artifacts.sweep(ground.artifacts, -1, 4_000_000_000) == 1
    assert [path.name for path in staging.iterdir()] == ["left"]


def test_pruning_does_not_follow_symlinks(ground: Ground, tmp_path: Path) -> None:
    log = a_log()
    write_recovery_artifact(log, ground.artifacts / "elsewhere", fsync=False)
    (ground.artifacts / "run-1").symlink_to(ground.artifacts / "elsewhere" / "run-1")
    (ground.artifacts / "run-2").symlink_to(ground.outside)
    argv = ("artifacts", "prune", "--older-than", "1s", "--dir", str(ground.artifacts))
    pruned = heald(*argv, env=environment("redis://127.0.0.1:1/0", tmp_path), cwd=tmp_path)
    assert pruned.returncode == 1, pruned.stderr
    assert read_recovery_artifact(ground.artifacts / "elsewhere", "run-1") == log
    assert (ground.artifacts / "run-1").is_symlink()


@pytest.mark.parametrize("moment", ["_stage", "_place", "read_files"])
def test_a_directory_that_is_swapped_for_a_symlink_meanwhile_is_written_where_it_was(
    ground: Ground, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check and the use the attacker renames the folder and puts a symlink in its place."""
    old, log = a_log(message="old"), a_log(message="new")
    write_recovery_artifact(old, ground.artifacts, fsync=False)
    moved = ground.artifacts.parent / "moved"
    as_it_was = getattr(artifacts, moment)

    def then(*args: object) -> object:
        if not moved.exists():
            ground.artifacts.rename(moved)
            ground.artifacts.symlink_to(ground.outside)
        return as_it_was(*args)

    monkeypatch.setattr(artifacts, moment, then)
    assert [result.state for result in write_artifacts(ground.artifacts, [an_item("run-1", "new")], fsync=False)] == [
        "replaced"
    ]
    assert read_recovery_artifact(moved, "run-1") == log


@pytest.mark.parametrize("step", range(4))
def test_a_folder_that_turns_into_a_symlink_meanwhile_is_never_read_through(
    ground: Ground, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attacker has a true artifact of the run elsewhere, with another end; heald never takes it for its own."""
    mine, theirs = a_log(message="mine"), a_log(message="theirs")
    folder = write_recovery_artifact(mine, ground.artifacts, fsync=False).parent
    elsewhere = write_recovery_artifact(theirs, ground.artifacts.parent / "theirs", fsync=False).parent
    as_it_was, opened = os.open, 0

    def then(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        nonlocal opened
        if opened == step:
            folder.rename(ground.artifacts / "aside")
            folder.symlink_to(elsewhere)
        opened += 1
        return as_it_was(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", then)
    try:
        read = read_recovery_artifact(ground.artifacts, "run-1")
    except ArtifactError:
        assert step < 2, "the run's own folder was open already"
    else:
        assert read == mine
