"""A report cannot take another run's place, whatever it claims."""

from __future__ import annotations

import json

import pytest

from heald_worker import keys
from heald_worker.intake import new_token, take_in
from support.service import House, report


@pytest.mark.parametrize("claimed", ["run-1", "RUN-1", "Run-1"])
def test_a_report_that_claims_an_open_runs_id_changes_nothing_of_it(it: House, claimed: str) -> None:
    it.push(report("run-1", message="mine"))
    take_in(it.service, new_token())
    before = it.conn.hgetall(keys.run("run-1"))
    it.push(report(claimed, message="forged", stage="deploy"))
    take_in(it.service, new_token())
    assert it.conn.hgetall(keys.run("run-1")) == before
    assert it.dead() == ["run_id_conflict"]
    it.settle()
    assert it.log("run-1").initial_failure.message == "mine"


@pytest.mark.parametrize("claimed", ["run-1", "RUN-1"])
def test_a_report_that_claims_an_ended_runs_id_changes_nothing_of_it(it: House, claimed: str) -> None:
    it.push(report("run-1", message="mine"))
    it.settle()
    log, stone = it.logs()["run-1"], it.conn.get(keys.tombstone("run-1"))
    it.push(report(claimed, message="forged"), report("run-1", message="mine"))
    it.settle()
    assert (it.logs(), it.conn.get(keys.tombstone("run-1"))) == ({"run-1": log}, stone)
    assert it.dead() == ["run_id_conflict"]


def test_of_two_reports_of_one_id_in_one_batch_the_first_has_it(it: House) -> None:
    it.push(report("run-1", message="first"), report("RUN-1", message="second"))
    it.settle()
    assert it.log("run-1").initial_failure.message == "first"
    assert it.dead() == ["run_id_conflict"]


def test_a_key_that_comes_twice_in_a_report_does_not_make_it_two_runs(it: House) -> None:
    """All that heald looks at comes from one decoding; the last value counts everywhere."""
    body = report("run-1")[:-1] + b', "run_id": "run-2"}'
    it.push(report("run-2", message="theirs"), body)
    it.settle()
    assert set(it.logs()) == {"run-2"}
    assert it.log("run-2").initial_failure.message == "theirs"
    assert it.dead() == ["run_id_conflict"]


@pytest.mark.parametrize("run", ["intake:x", "heald:tomb:run-1", "run-1\n", "run-1:2", "*", "run 1", "\u212aelvin"])
def test_an_id_that_would_be_another_key_is_a_dead_letter(it: House, run: str) -> None:
    """U+212A, the Kelvin sign, is `k` in lower case."""
    before = set(it.conn.keys("heald:*"))
    it.push(report(run))
    it.settle()
    assert it.dead() == ["invalid_run_id"]
    assert set(it.conn.keys("heald:*")) - before == {keys.DEAD.encode(), keys.STATS.encode()}


@pytest.mark.parametrize("parent", ["../../etc", "run-1\nHEALD_X=1", 7, ["run-1"], {"a": 1}])
def test_a_forged_parent_is_a_dead_letter_or_a_plain_name(it: House, parent: object) -> None:
    it.push(report("run-1", context={"parent_run": parent}))
    it.settle()
    assert it.logs() == {}
    assert it.dead() in (["invalid_run_id"], ["wrong_shape"])


def test_facts_that_only_the_service_knows_cannot_be_reported(it: House) -> None:
    """Fields of the ledger in a report are ignored: no generation, no policy, no ending of its own making."""
    forged = json.loads(report("run-1"))
    forged |= {
        "generation": 9,
        "dry_run": True,
        "policy": "no-such",
        "recovery": {"phase": "ended"},
        "ending": "recovered",
    }
    it.push(json.dumps(forged).encode())
    it.settle()
    facts = it.entry("run-1")["facts"]
    assert (facts["generation"], facts["dry_run"], facts["policy_name"]) == (0, False, "default")
    assert it.events("run-1").count("decided") == 1
