"""What a new run inherits: the regression index answers as the reference's scan, and lineage is bounded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from heald_worker import keys
from heald_worker.config import Limits, Retention
from heald_worker.core.policy import RecoveryPolicy
from heald_worker.core.regression import check_regression
from heald_worker.playbook import PythonRepair, RecordRepair
from heald_worker.records import decode_log
from support import scripted
from support.service import House, report, settings

REPO = {"context": {"repository": "acme/shop"}}


def house(conn: redis.Redis, folder: Path, *args: Any, **more: Any) -> House:
    return House(conn, settings(folder, *args, **more))


def run(it: House, run_id: str, **more: Any) -> dict[str, Any]:
    it.push(report(run_id, **(REPO | more)))
    it.settle()
    return it.entry(run_id)


def test_a_first_failure_is_no_regression(conn: redis.Redis, tmp_path: Path) -> None:
    it = house(conn, tmp_path)
    assert run(it, "run-1")["facts"]["regression"]["recommendation"] == "proceed_normally"


def test_a_failure_that_was_mended_before_suggests_another_action(conn: redis.Redis, tmp_path: Path) -> None:
    it = house(conn, tmp_path)
    run(it, "run-1")
    check = run(it, "run-2")["facts"]["regression"]
    assert check == {
        "is_regression": True,
        "prior_outcome": "recovered",
        "prior_run_id": "run-1",
        "recommendation": "try_alternate_action",
    }


def test_observing_changes_no_decision(conn: redis.Redis, tmp_path: Path) -> None:
    it = house(conn, tmp_path)
    for n in range(3):
        assert run(it, f"run-{n}")["ending"] == "recovered"


def test_enforced_a_second_regression_is_escalated_at_once(conn: redis.Redis, tmp_path: Path) -> None:
    it = house(conn, tmp_path, RecordRepair(succeed=False), regression="enforce", policy=RecoveryPolicy(max_attempts=1))
    assert run(it, "run-1")["ending"] == "exhausted"
    entry = run(it, "run-2")
    assert entry["ending"] == "escalated"
    [decision] = decode_log(entry["log"].encode()).decisions
    assert "regression of run run-1" in decision.rationale


def test_enforced_the_action_that_mended_it_before_is_not_taken_first(conn: redis.Redis, tmp_path: Path) -> None:
    it = house(conn, tmp_path, PythonRepair("support.scripted:repair"), regression="enforce")
    scripted.SCRIPTS |= {"run-1": [scripted.PROVEN], "run-2": [scripted.PROVEN]}
    first = run(it, "run-1", flaky_hint=True)
    assert decode_log(first["log"].encode()).decisions[0].action == "retry"
    assert first["facts"]["proof"] == "the same command, run again"
    second = run(it, "run-2", flaky_hint=True)
    assert decode_log(second["log"].encode()).decisions[0].action == "patch_forward"


def test_enforced_a_recovery_that_was_only_claimed_counts_as_none(conn: redis.Redis, tmp_path: Path) -> None:
    it = house(conn, tmp_path, regression="enforce")
    assert run(it, "run-1", flaky_hint=True)["facts"]["proof"] is None
    second = run(it, "run-2", flaky_hint=True)
    [decision] = decode_log(second["log"].encode()).decisions
    assert decision.action == "escalate"
    assert "regression of run run-1, whose retry only claimed to have helped" in decision.rationale


def test_enforced_with_no_other_action_permitted_it_is_escalated(conn: redis.Redis, tmp_path: Path) -> None:
    it = house(conn, tmp_path, regression="enforce")
    run(it, "run-1")
    assert run(it, "run-2")["ending"] == "escalated"


@pytest.mark.parametrize("other", [{"context": {"repository": "acme/other"}}, {"stage": "Test"}, {"context": {}}])
def test_another_repository_or_stage_is_no_regression(conn: redis.Redis, tmp_path: Path, other: dict[str, Any]) -> None:
    it = house(conn, tmp_path)
    run(it, "run-1")
    check = run(it, "run-2", **other)["facts"]["regression"]
    assert check is None or check["recommendation"] == "proceed_normally"


def test_off_asks_nothing(conn: redis.Redis, tmp_path: Path) -> None:
    it = house(conn, tmp_path, regression="off")
    run(it, "run-1")
    assert run(it, "run-2")["facts"]["regression"] is None


def test_what_lies_before_the_window_is_forgotten(conn: redis.Redis, tmp_path: Path) -> None:
    it = house(conn, tmp_path, retention=Retention(regression_window=3600))
    run(it, "run-1")
    [key] = conn.keys(keys.PRIOR_PREFIX + "*")
    rows = json.loads(conn.get(key))
    rows[0][0] = str(int(rows[0][0]) - 3_700_000_000)
    conn.set(key, json.dumps(rows))
    assert run(it, "run-2")["facts"]["regression"]["recommendation"] == "proceed_normally"


@given(script=st.lists(st.tuples(st.sampled_from(["test", "build", "deploy"]), st.booleans()), min_size=1, max_size=8))
@profile(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_index_answers_as_a_scan_over_all_ended_runs(
    conn: redis.Redis, tmp_path: Path, script: list[tuple[str, bool]]
) -> None:
    conn.flushall()
    ended = []
    for number, (stage, succeed) in enumerate(script):
        it = house(conn, tmp_path, RecordRepair(succeed=succeed), policy=RecoveryPolicy(max_attempts=1))
        entry = run(it, f"run-{number}", stage=stage)
        it.close()
        log = decode_log(entry["log"].encode())
        check = check_regression(log.initial_failure, ended)
        assert entry["facts"]["regression"] == json.loads(
            json.dumps({name: getattr(check, name) for name in check.__struct_fields__})
        )
        ended.append(log)


def test_a_child_of_a_repair_counts_its_generation_and_beyond_the_limit_is_escalated(
    conn: redis.Redis, tmp_path: Path
) -> None:
    it = house(conn, tmp_path, limits=Limits(max_lineage=2))
    run(it, "run-0")
    endings = []
    for number in range(1, 4):
        entry = run(it, f"run-{number}", context={"parent_run": f"run-{number - 1}"})
        endings.append((entry["facts"]["generation"], entry["ending"]))
    assert endings == [(1, "recovered"), (2, "recovered"), (3, "escalated")]


def test_an_unknown_parent_counts_as_the_first_generation(conn: redis.Redis, tmp_path: Path) -> None:
    it = house(conn, tmp_path)
    assert run(it, "run-1", context={"parent_run": "never-seen"})["facts"]["generation"] == 1
