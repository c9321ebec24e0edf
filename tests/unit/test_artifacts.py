"""Artifacts on a real disk: both files or neither, never through a symlink, believed only with their digest."""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from heald_producer.signals import InvalidReport
from heald_worker import artifacts, disk
from heald_worker.artifact_reading import MAX_DIGEST_BYTES, MAX_LOG_BYTES
from heald_worker.artifact_staging import STAGING, holds_foreign_files, remove_artifact, sweep
from heald_worker.artifacts import (
    TOGETHER,
    ArtifactError,
    ArtifactMalformed,
    ArtifactMisplaced,
    ArtifactMissing,
    ArtifactsUnavailable,
    ArtifactTampered,
    ArtifactUnreadable,
    read_recovery_artifact,
    verify_artifact,
    write_artifacts,
    write_recovery_artifact,
)
from heald_worker.core.log import RecoveryLog
from heald_worker.core.policy import RecoveryPolicy
from heald_worker.records import UnwritableLog, digest_of
from support.artifacts import a_log, an_item, staged
from support.strategies import logs, run_ids

HOSTILE = ["", ".", "..", "../up", "/absolute", "a/b", "a\\b", "a\0b", "a\nb", "-a", ".hidden", "ä", "a" * 129, STAGING]


@pytest.fixture
def refusing(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make a function of `os` fail as the disk would, from its n-th call on that fits."""

    def refuse(name: str, code: int, fits: Callable[..., bool] = lambda *_: True, after: int = 0) -> None:
        real, seen = getattr(os, name), 0

        def instead(*args: object, **options: object) -> object:
            nonlocal seen
            seen += fits(*args)
            if seen > after and fits(*args):
                raise OSError(code, os.strerror(code))
            return real(*args, **options)

        monkeypatch.setattr(os, name, instead)

    return refuse


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(logs, run_ids)
def test_what_is_written_is_read_back(tmp_path: Path, log: RecoveryLog, run_id: str) -> None:
    named = replace(log, run_id=run_id)
    path = write_recovery_artifact(named, tmp_path, fsync=False)
    assert path == tmp_path / run_id / "recovery.json"
    assert verify_artifact(tmp_path, run_id) == named


@pytest.mark.parametrize("fsync", [True, False])
def test_an_artifact_is_two_files_and_nothing_else_stays(tmp_path: Path, fsync: bool) -> None:
    folder = tmp_path / "deep" / "artifacts"
    run_id, data, digest = an_item()
    results = write_artifacts(folder, [an_item(), an_item("run-2")], fsync=fsync)
    assert [(result.run_id, result.state) for result in results] == [("run-1", "written"), ("run-2", "written")]
    assert sorted(path.name for path in folder.iterdir()) == [STAGING, "run-1", "run-2"]
    assert {path.name: path.read_bytes() for path in (folder / run_id).iterdir()} == {
        "recovery.json": data,
        "recovery.digest": digest.encode(),
    }
    assert staged(folder) == []


def test_everything_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    sync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda file: (order.append("sync"), sync(file)))
    monkeypatch.setattr(os, "rename", lambda *args, **more: (order.append("rename"), rename(*args, **more)))
    write_artifacts(tmp_path, [an_item("run-1"), an_item("run-2")], fsync=True)
    assert order == ["sync"] * 6 + ["rename"] * 2 + ["sync"]


def test_many_artifacts_are_synced_in_one_go_before_they_get_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, rename = os.fsync, os.rename
    monkeypatch.setattr(os, "fsync", lambda file: (order.append("sync"), sync(file)))
    monkeypatch.setattr(os, "rename", lambda *args, **more: (order.append("rename"), rename(*args, **more)))
    monkeypatch.setattr(artifacts, "sync_all", lambda staging: (order.append("all"), disk.sync_all(staging))[1])
    write_artifacts(tmp_path, [an_item(f"run-{n}") for n in range(TOGETHER)], fsync=True)
    if not disk.sync_all(os.open(tmp_path, os.O_RDONLY)):
        pytest.skip("this system syncs no file system as a whole")
    assert order == ["all"] + ["rename"] * TOGETHER + ["sync"]


@pytest.mark.parametrize("release", ["4.18.0-553.el8", "5.7.19", "unheard-of"])
def test_a_system_that_tells_no_errors_has_each_file_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, release: str
) -> None:
    uname = SimpleNamespace(release=release)
    monkeypatch.setattr(os, "uname", lambda: uname)
    monkeypatch.setattr(disk, "_syncfs", disk._syncfs.__wrapped__)
    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: (synced.append(file), sync(file)))
    write_artifacts(tmp_path, [an_item(f"run-{n}") for n in range(TOGETHER)], fsync=True)
    assert len(synced) == 3 * TOGETHER + 1


def test_an_error_of_the_disk_while_many_are_synced_leaves_no_artifact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_folder: int) -> int:
        ctypes.set_errno(errno.EIO)
        return -1

    monkeypatch.setattr(disk, "_syncfs", lambda: failing)
    with pytest.raises(ArtifactsUnavailable, match=os.strerror(errno.EIO)):
        write_artifacts(tmp_path, [an_item(f"run-{n}") for n in range(TOGETHER)], fsync=True)
    assert [path.name for path in tmp_path.iterdir()] == [STAGING]
    assert staged(tmp_path) == []


def test_writing_the_same_again_changes_nothing(tmp_path: Path) -> None:
    write_artifacts(tmp_path, [an_item()], fsync=False)
    before = (tmp_path / "run-1").stat()
    [result] = write_artifacts(tmp_path, [an_item()], fsync=False)
    assert result.state == "same"
    assert (tmp_path / "run-1").stat() == before
    assert staged(tmp_path) == []


def test_the_callers_log_replaces_another_and_says_so(tmp_path: Path) -> None:
    write_artifacts(tmp_path, [an_item(message="tampered with")], fsync=False)
    [result] = write_artifacts(tmp_path, [an_item()], fsync=False)
    assert result.state == "replaced"
    assert verify_artifact(tmp_path, "run-1") == a_log()
    assert staged(tmp_path) == []


@pytest.mark.parametrize("leftover", [[], ["recovery.json"], ["recovery.digest"]])
def test_half_an_artifact_is_completed(tmp_path: Path, leftover: list[str]) -> None:
    (tmp_path / "run-1").mkdir()
    for name in leftover:
        (tmp_path / "run-1" / name).write_text("half")
    [result] = write_artifacts(tmp_path, [an_item()], fsync=False)
    assert result.state == ("replaced" if leftover else "written")
    assert verify_artifact(tmp_path, "run-1") == a_log()


def test_files_of_others_in_a_replaced_folder_are_not_deleted(tmp_path: Path) -> None:
    (tmp_path / "run-1").mkdir()
    (tmp_path / "run-1" / "notes.txt").write_text("keep me")
    [result] = write_artifacts(tmp_path, [an_item()], fsync=False)
    assert result.state == "replaced"
    assert verify_artifact(tmp_path, "run-1") == a_log()
    assert [path.read_text() for path in (tmp_path / STAGING).rglob("notes.txt")] == ["keep me"]


def test_one_bad_item_does_not_spoil_the_others(tmp_path: Path) -> None:
    (tmp_path / "run-2").write_text("a file in the way")
    (tmp_path / "target").mkdir()
    (tmp_path / "run-3").symlink_to("target")
    items = [an_item("run-1"), an_item("run-2"), an_item("run-3"), ("../run-4", b"", ""), an_item("run-5")]
    results = write_artifacts(tmp_path, items, fsync=False)
    assert [result.state for result in results] == ["written", "failed", "failed", "failed", "written"]
    assert "a file or symlink stands in its place" in results[1].trouble
    assert "a file or symlink stands in its place" in results[2].trouble
    assert "run_id: '../run-4' is not allowed" in results[3].trouble
    assert list((tmp_path / "target").iterdir()) == []
    assert (tmp_path / "run-2").read_text() == "a file in the way"
    assert staged(tmp_path) == []


@pytest.mark.parametrize("run_id", HOSTILE)
def test_hostile_run_ids_are_refused_by_reader_and_writer(tmp_path: Path, run_id: str) -> None:
    with pytest.raises(InvalidReport):
        write_recovery_artifact(a_log(run_id), tmp_path)
    with pytest.raises(InvalidReport):
        read_recovery_artifact(tmp_path, run_id)
    assert list(tmp_path.iterdir()) == []


def test_a_staging_folder_that_is_a_symlink_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / STAGING).symlink_to("../elsewhere")
    with pytest.raises(ArtifactsUnavailable, match="a folder is needed there"):
        write_artifacts(tmp_path / "artifacts", [an_item()], fsync=False)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_log_that_could_not_be_read_back_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnwritableLog, match=r"policy\.max_attempts: is not a whole number"):
        write_recovery_artifact(replace(a_log(), policy=RecoveryPolicy(max_attempts=-1)), tmp_path)
    with pytest.raises(UnwritableLog, match="lone surrogate"):
        write_recovery_artifact(a_log(message="\udcff"), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("function", "code", "hint"),
    [
        ("write", errno.ENOSPC, "make room on that disk"),
        ("write", errno.EDQUOT, "make room on that disk"),
        ("mkdir", errno.EROFS, "mount that disk writable"),
        ("mkdir", errno.EACCES, "let the user whom heald runs as write there"),
        ("fsync", errno.EIO, ""),
    ],
)
def test_a_disk_that_refuses_is_one_clear_error_and_leaves_nothing_behind(
    tmp_path: Path, refusing: Callable[..., None], function: str, code: int, hint: str
) -> None:
    write_artifacts(tmp_path, [an_item("run-0")], fsync=False)
    refusing(function, code, lambda path, *_: path != tmp_path, after=3)
    with pytest.raises(ArtifactsUnavailable) as caught:
        write_artifacts(tmp_path, [an_item(f"run-{number}") for number in range(1, 6)], fsync=True)
    assert str(tmp_path) in caught.value.problem
    assert os.strerror(code) in caught.value.problem
    assert hint in caught.value.hint
    assert sorted(path.name for path in tmp_path.iterdir()) == [STAGING, "run-0"]
    assert staged(tmp_path) == []


def test_a_file_in_the_place_of_the_directory_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for directory in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ArtifactsUnavailable, match="a folder is needed there"):
            write_artifacts(directory, [an_item()], fsync=False)


@pytest.mark.parametrize(("code", "writable"), [(errno.EACCES, False), (errno.EROFS, True), (errno.ENOSPC, True)])
def test_a_directory_that_takes_no_more_names_is_no_single_artifact_s_trouble(
    code: int, writable: bool, tmp_path: Path, refusing: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing("rename", code, lambda *_: True)
    monkeypatch.setattr(os, "access", lambda *_, **__: writable)
    with pytest.raises(ArtifactsUnavailable, match=re.escape(os.strerror(code))):
        write_artifacts(tmp_path, [an_item("run-1"), an_item("run-2")], fsync=False)
    assert staged(tmp_path) == []


def test_what_may_not_be_replaced_is_one_artifact_s_trouble(tmp_path: Path, refusing: Callable[..., None]) -> None:
    refusing("rename", errno.EACCES, lambda name, *_: str(name).endswith("-0"))
    first, second = write_artifacts(tmp_path, [an_item("run-1"), an_item("run-2")], fsync=False)
    assert (first.state, second.state) == ("failed", "written")
    assert "Permission denied" in first.trouble


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_may_not_be_written_is_one_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ArtifactsUnavailable, match="let the user whom heald runs as write there"):
        write_artifacts(tmp_path, [an_item()], fsync=False)


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:7]))
    write_artifacts(tmp_path, [an_item()], fsync=False)
    assert verify_artifact(tmp_path, "run-1") == a_log()


def test_a_writer_killed_before_the_rename_leaves_no_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(os, "rename", lambda *args, **more: os._exit(9))
        write_artifacts(tmp_path, [an_item()], fsync=False)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    with pytest.raises(ArtifactMissing):
        read_recovery_artifact(tmp_path, "run-1")
    assert len(staged(tmp_path)) == 1
    assert [result.state for result in write_artifacts(tmp_path, [an_item()], fsync=False)] == ["written"]


def test_sweep_removes_what_killed_writers_left_and_nothing_else(tmp_path: Path) -> None:
    write_artifacts(tmp_path, [an_item()], fsync=False)
    ages = {"dead-0": 7200, "dead-1": 7200, "alive-0": 10}
    for name, age in ages.items():
        (tmp_path / STAGING / name).mkdir()
        (tmp_path / STAGING / name / "recovery.json").write_text("half")
        os.utime(tmp_path / STAGING / name, (1_000_000 - age, 1_000_000 - age))
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "recovery.json").write_text("not heald's")
    (tmp_path / STAGING / "link").symlink_to("../outside")
    (tmp_path / STAGING / "dead-1" / "foreign").write_text("keep me")
    os.utime(tmp_path / STAGING / "dead-1", (0, 0))
    assert sweep(tmp_path, 3600, 1_000_000) == 1
    assert staged(tmp_path) == ["alive-0", "dead-1", "link"]
    assert (tmp_path / "outside" / "recovery.json").exists()
    assert verify_artifact(tmp_path, "run-1") == a_log()


def test_sweep_of_a_directory_without_artifacts_does_nothing(tmp_path: Path) -> None:
    assert sweep(tmp_path, 0, 1e10) == 0
    assert sweep(tmp_path / "missing", 0, 1e10) == 0


def test_removing_an_artifact_touches_neither_symlinks_nor_foreign_files(tmp_path: Path) -> None:
    write_artifacts(tmp_path, [an_item("run-1"), an_item("run-2")], fsync=False)
    (tmp_path / "run-2" / "notes.txt").write_text("keep me")
    (tmp_path / "run-3").symlink_to("run-2")
    folder = os.open(tmp_path, os.O_RDONLY)
    assert not holds_foreign_files(folder, "run-1")
    assert holds_foreign_files(folder, "run-2")
    with pytest.raises(OSError):
        holds_foreign_files(folder, "run-3")
    for name in ("run-1", "run-2", "run-3"):
        remove_artifact(folder, name)
    os.close(folder)
    assert [path.name for path in tmp_path.iterdir()] == [STAGING]
    assert [path.read_text() for path in (tmp_path / STAGING).rglob("notes.txt")] == ["keep me"]


def broken(directory: Path, how: str) -> None:
    """An artifact of run-1 that is broken in one way."""
    write_artifacts(directory, [an_item()], fsync=False)
    run = directory / "run-1"
    log, digest = run / "recovery.json", run / "recovery.digest"
    match how:
        case "no log":
            log.unlink()
        case "no digest":
            digest.unlink()
        case "changed log":
            log.write_bytes(log.read_bytes().replace(b"t red", b"t rad"))
        case "changed digest":
            digest.write_text("0" * 64)
        case "digest in capitals":
            digest.write_text(digest.read_text().upper())
        case "digest not text":
            digest.write_bytes(b"\xff")
        case "not a log":
            log.write_text("{}")
            digest.write_text(digest_of(b"{}"))
        case "folder is a symlink":
            run.rename(directory / "run-2")
            run.symlink_to("run-2")
        case "log is a symlink":
            log.rename(directory / "real.json")
            log.symlink_to("../real.json")
        case "digest is a symlink":
            digest.rename(directory / "real.digest")
            digest.symlink_to("../real.digest")
        case "folder is a file":
            for file in (log, digest):
                file.unlink()
            run.rmdir()
            run.write_text("")
        case "log is a folder":
            log.unlink()
            log.mkdir()
        case "log is a pipe":
            log.unlink()
            os.mkfifo(log)


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("no log", ArtifactMissing, "recovery.json is missing"),
        ("no digest", ArtifactMissing, "recovery.digest is missing"),
        ("changed log", ArtifactTampered, "recovery.digest says"),
        ("changed digest", ArtifactTampered, "'0000"),
        ("digest in capitals", ArtifactTampered, "recovery.digest says"),
        ("digest not text", ArtifactUnreadable, "recovery.digest is not UTF-8"),
        ("not a log", ArtifactMalformed, "recovery.json: run_id: is missing"),
        ("folder is a symlink", ArtifactUnreadable, "its folder is a file or a symlink"),
        ("log is a symlink", ArtifactUnreadable, "recovery.json is a symlink, which heald does not follow"),
        ("digest is a symlink", ArtifactUnreadable, "recovery.digest is a symlink"),
        ("folder is a file", ArtifactUnreadable, "its folder is a file or a symlink"),
        ("log is a folder", ArtifactUnreadable, "recovery.json is not a plain file"),
        ("log is a pipe", ArtifactUnreadable, "recovery.json is not a plain file"),
    ],
)
def test_every_way_to_break_an_artifact_has_its_own_clear_error(
    tmp_path: Path, how: str, error: type[ArtifactError], words: str
) -> None:
    broken(tmp_path, how)
    with pytest.raises(error) as caught:
        read_recovery_artifact(tmp_path, "run-1")
    assert type(caught.value) is error
    assert caught.value.problem.startswith("artifact of run run-1: ")
    assert words in caught.value.problem
    assert caught.value.hint


def test_a_missing_run_and_a_missing_directory_are_missing(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissing, match="its folder is missing"):
        read_recovery_artifact(tmp_path, "run-1")
    with pytest.raises(ArtifactMissing, match="there is no folder"):
        read_recovery_artifact(tmp_path / "nowhere", "run-1")


@pytest.mark.parametrize(("name", "most"), [("recovery.json", MAX_LOG_BYTES), ("recovery.digest", MAX_DIGEST_BYTES)])
def test_a_file_larger_than_any_artifact_is_refused_unread(tmp_path: Path, name: str, most: int) -> None:
    write_artifacts(tmp_path, [an_item()], fsync=False)
    os.truncate(tmp_path / "run-1" / name, most + 1)
    with pytest.raises(ArtifactMalformed, match=f"{name} is larger than {most:,} bytes"):
        read_recovery_artifact(tmp_path, "run-1")


def test_white_space_around_the_digest_does_not_matter(tmp_path: Path) -> None:
    write_artifacts(tmp_path, [an_item()], fsync=False)
    digest = tmp_path / "run-1" / "recovery.digest"
    digest.write_bytes(f"\u3000{digest.read_text()}\r\n".encode())
    assert read_recovery_artifact(tmp_path, "run-1") == a_log()


def test_a_true_artifact_in_another_runs_folder_is_misplaced(tmp_path: Path) -> None:
    write_artifacts(tmp_path, [an_item()], fsync=False)
    (tmp_path / "run-1").rename(tmp_path / "run-2")
    assert read_recovery_artifact(tmp_path, "run-2") == a_log()
    with pytest.raises(ArtifactMisplaced, match="its log is that of run 'run-1'"):
        verify_artifact(tmp_path, "run-2")


def test_folders_compare_without_regard_to_case(tmp_path: Path) -> None:
    write_artifacts(tmp_path, [an_item("Run-1")], fsync=False)
    (tmp_path / "Run-1").rename(tmp_path / "rUN-1")
    assert verify_artifact(tmp_path, "rUN-1") == a_log("Run-1")


@settings(max_examples=25)
@given(st.lists(st.sampled_from(["run-1", "RUN-2", "..", "run-3"]), max_size=6))
def test_there_is_one_result_per_item_in_their_order(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    results = write_artifacts(tmp_path_factory.mktemp("a"), [(name, b"{}", "d") for name in names], fsync=False)
    assert [result.run_id for result in results] == names
    assert all((result.state == "failed") == (result.run_id == "..") for result in results)
