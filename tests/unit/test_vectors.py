"""The golden vectors: what aivcs-core 0.3.0 answered, heald answers. `tests/vectors/` holds one file per operation."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from heald_producer.signals import FailureSignal, InvalidReport, check_run_id
from heald_worker.artifacts import (
    ArtifactError,
    ArtifactMalformed,
    ArtifactMissing,
    ArtifactsUnavailable,
    ArtifactTampered,
    ArtifactUnreadable,
    read_recovery_artifact,
    write_recovery_artifact,
)
from heald_worker.core.instant import parse_instant
from heald_worker.core.log import RecoveryAttemptResult, RecoveryLog
from heald_worker.core.memory import recovery_log_to_memory_fields
from heald_worker.core.policy import RecoveryAction, RecoveryPolicy
from heald_worker.core.recovery import execute_recovery_loop
from heald_worker.core.regression import check_regression
from heald_worker.core.taxonomy import classify_failure
from heald_worker.records import canonical_bytes, decode_log, digest_of

VECTORS = Path(__file__).parent.parent / "vectors"
EXPECTED = {
    "classify": 1823,
    "loop": 692,
    "regression": 486,
    "memory": 501,
    "artifact": 509,
    "read_artifact": 938,
    "path": 61,
}
KINDS: dict[str, tuple[type[Exception], ...]] = {
    "json": (ArtifactMalformed,),
    "digest_mismatch": (ArtifactTampered,),
    "io": (ArtifactMissing, ArtifactUnreadable),
}
RUN = "run-1"


class Case(msgspec.Struct):
    """One line of a vector file."""

    line: int
    tag: str
    given: dict[str, Any]
    answer: dict[str, Any]

    def __str__(self) -> str:
        return f"line {self.line} ({self.tag})"


def cases(operation: str) -> Iterator[Case]:
    """Every case of one operation; the number is checked, so that none is lost on the way."""
    lines = (VECTORS / f"{operation}.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == EXPECTED[operation]
    for number, line in enumerate(lines, 1):
        case = json.loads(line)
        assert case["in"]["op"] == operation
        yield Case(number, case["in"]["tag"], case["in"], case["out"])


def a_log(facts: dict[str, Any]) -> RecoveryLog:
    return decode_log(json.dumps(facts).encode())


def a_signal(facts: dict[str, Any]) -> FailureSignal:
    return msgspec.convert(facts, FailureSignal)


def accepts(run_id: str) -> bool:
    try:
        return bool(check_run_id(run_id))
    except InvalidReport:
        return False


def test_every_signal_gets_the_class_of_the_reference() -> None:
    for case in cases("classify"):
        assert classify_failure(a_signal(case.given["signal"])) == case.answer["class"], case


def test_every_loop_makes_the_same_calls_and_the_same_log() -> None:
    for case in cases("loop"):
        script = iter(case.given["results"])
        calls: list[dict[str, Any]] = []

        def apply(action: RecoveryAction, failure: FailureSignal) -> RecoveryAttemptResult:
            attempt = len(calls) + 1  # noqa: B023  called within the iteration only
            calls.append({"attempt": attempt, "action": action, "signal": msgspec.to_builtins(failure)})  # noqa: B023
            scripted = next(script, {"success": False})  # noqa: B023
            return msgspec.convert(scripted, RecoveryAttemptResult)

        log = execute_recovery_loop(
            case.given["run_id"],
            a_signal(case.given["initial_failure"]),
            msgspec.convert(case.given["policy"], RecoveryPolicy),
            apply,
            now=parse_instant(case.given["evaluated_at"]),
        )
        assert json.loads(canonical_bytes(log)) == case.answer["log"], case
        assert calls == case.answer["calls"], case


def test_every_regression_check_gives_the_same_answer() -> None:
    for case in cases("regression"):
        priors = [a_log(facts) for facts in case.given["prior_logs"]]
        found = check_regression(a_signal(case.given["signal"]), priors)
        assert msgspec.to_builtins(found) == case.answer, case


def test_every_log_gives_the_same_memory_fields() -> None:
    for case in cases("memory"):
        fields = recovery_log_to_memory_fields(a_log(case.given["log"]))
        assert json.loads(msgspec.json.encode(fields)) == case.answer, case


def test_every_artifact_has_the_same_bytes_digest_and_place_and_other_run_ids_are_refused(tmp_path: Path) -> None:
    refused = 0
    for case in cases("artifact"):
        log = a_log(case.given["log"])
        data, digest = (base64.b64decode(case.answer[name]) for name in ("json_b64", "digest_b64"))
        assert canonical_bytes(log) == data, case
        assert digest_of(data).encode() == digest, case
        folder = tmp_path / str(case.line)
        if not accepts(log.run_id):
            refused += 1
            with pytest.raises(InvalidReport):
                write_recovery_artifact(log, folder, fsync=False)
            assert not folder.exists()
            continue
        path = write_recovery_artifact(log, folder, fsync=False)
        assert str(path.relative_to(folder)) == case.answer["rel_path"], case
        assert path.read_bytes() == data, case
        assert path.with_name("recovery.digest").read_bytes() == digest, case
        assert read_recovery_artifact(folder, log.run_id) == log, case
    assert refused == 151


def test_every_artifact_is_read_as_the_reference_reads_it(tmp_path: Path) -> None:
    stricter = []
    for case in cases("read_artifact"):
        folder = tmp_path / str(case.line) / RUN
        folder.mkdir(parents=True)
        for name, key in (("recovery.json", "json_b64"), ("recovery.digest", "digest_b64")):
            if case.given[key] is not None:
                (folder / name).write_bytes(base64.b64decode(case.given[key]))
        found = _reading(folder.parent)
        if isinstance(found, RecoveryLog):
            assert case.answer["ok"], case
            assert json.loads(canonical_bytes(found)) == case.answer["log"], case
        elif case.answer["ok"]:
            assert isinstance(found, ArtifactMalformed), case
            stricter.append(case.tag)
        else:
            assert isinstance(found, KINDS[case.answer["error"]["kind"]]), case
            if isinstance(found, ArtifactTampered):
                assert found.expected == case.answer["error"]["expected"], case
                assert found.actual == case.answer["error"]["actual"], case
    assert stricter == ["edge/depth/unknown-array"] * 2 + ["edge/depth/unknown-object"]


def _reading(directory: Path) -> RecoveryLog | ArtifactError:
    try:
        return read_recovery_artifact(directory, RUN)
    except ArtifactError as error:
        return error


def test_hostile_run_ids_are_refused_and_the_others_go_where_the_reference_puts_them(tmp_path: Path) -> None:
    log = a_log(next(cases("artifact")).given["log"])
    refused_by_both = []
    for case in cases("path"):
        root = tmp_path / str(case.line)
        base = root / "base" / "dir"
        for entry in case.given.get("pre", ()):
            _make(root / entry, folder=entry.endswith("/"))
        before = _tree(root)
        named = msgspec.structs.replace(log, run_id=case.given["run_id"].replace("@ROOT@", str(root)))
        if not accepts(named.run_id):
            with pytest.raises(InvalidReport):
                write_recovery_artifact(named, base, fsync=False)
            assert _tree(root) == before, case
            continue
        try:
            path = write_recovery_artifact(named, base, fsync=False)
        except (ArtifactsUnavailable, ArtifactUnreadable):
            refused_by_both.append(case.tag)
            continue
        assert read_recovery_artifact(base, named.run_id) == named, case
        if case.answer["ok"]:  # the reference cannot write over a folder in the place of a file
            assert str(path).replace(str(root), "@ROOT@") == case.answer["returned"], case
    assert refused_by_both == ["edge/run-is-a-file", "edge/base-is-a-file"]


def _make(path: Path, *, folder: bool) -> None:
    (path if folder else path.parent).mkdir(parents=True, exist_ok=True)
    if not folder:
        path.write_text("old")


def _tree(root: Path) -> list[str]:
    return sorted(os.path.join(place, name) for place, folders, files in os.walk(root) for name in folders + files)
