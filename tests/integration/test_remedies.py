"""The service decides by remedies: frozen at intake, bounded by what was done about one job, replayable."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from msgspec.structs import replace

from heald_producer.signals import FailureSignal
from heald_worker import execute_recovery_loop, keys, queues
from heald_worker.config import Settings
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.policy import Bounds, RecoveryAction, RecoveryPolicy, RetryTestsOn
from heald_worker.core.recovery import Ending
from heald_worker.core.remedies import Remedy, RemedyTable
from heald_worker.ledger import Held
from heald_worker.playbook import CommandNotice, Playbook, PlaybookEntry, PythonRepair, Repair, RepairMatch
from heald_worker.playbooks import Teller
from heald_worker.records import canonical_bytes
from heald_worker.remedy_tables import RemedyTables
from heald_worker.rulepack import read_pack
from heald_worker.streams import RECOVERIES, RecoveryEntry
from support import scripted
from support.service import ACTIONS, SWIFT, House, report, settings
from support.wait import until

RETRY, PATCH, ROLLBACK, ESCALATE = RecoveryAction
RULES = """
[[rule]]
name = "t-outage"
class = "integration"
subclass = "outage"
transient = true
confidence = 0.9
match = 'registry is away'

[[rule]]
name = "t-compile"
class = "build"
subclass = "broken"
confidence = 0.9
match = 'does not compile'

[[rule]]
name = "t-guess"
class = "build"
subclass = "broken"
confidence = 0.3
match = 'may not compile'

[[rule]]
name = "t-assert"
class = "test"
subclass = "assert"
confidence = 0.9
match = 'assertion broke'
"""
AWAY, BROKEN, GUESSED, ASSERTED = "registry is away", "it does not compile", "it may not compile", "assertion broke"
CODE = (Remedy(PATCH, "the code is broken"), Remedy(ROLLBACK, "undo it"), Remedy(ESCALATE, "its author has to look"))
TABLE = RemedyTable(
    causes={
        "outage": (Remedy(RETRY, "outages end"), Remedy(ESCALATE, "whoever runs it has to look")),
        "broken": CODE,
        "assert": CODE,
    }
)
OTHER = RemedyTable(causes={"outage": (Remedy(ESCALATE, "we do not wait"),)})
MAIN = {
    "repository": "acme/shop",
    "commit": "c0ffee",
    "ref": "refs/heads/main",
    "job": "unit",
    "default_branch": "main",
}
PULL = MAIN | {"ref": "refs/pull/7/merge", "pull_request": "7", "head_commit": "beef"}
FAILED, MENDED = RecoveryAttemptResult(success=False), RecoveryAttemptResult(success=True)
Make = Callable[..., House]


@pytest.fixture
def house(conn: redis.Redis, tmp_path: Path) -> Iterator[Make]:
    made: list[House] = []

    def make(table: RemedyTable = TABLE, **more: Any) -> House:
        repair: Repair = PythonRepair("support.scripted:repair")
        more.setdefault("repairs", dict.fromkeys(ACTIONS, repair))
        more = {"taxonomy": "heald", "diagnosis": (read_pack("rules.toml", RULES),)} | more
        it = House(conn, settings(tmp_path, **more))
        it.service.remedies = RemedyTables(conn, table)
        made.append(it)
        return it

    yield make
    for each in made:
        each.close()


def accept(it: House, run_id: str, message: str, *script: scripted.Scripted, **more: Any) -> None:
    scripted.SCRIPTS[run_id] = list(script)
    it.push(report(run_id, message=message, **({"stage": "unit", "context": MAIN} | more)))


def run(it: House, run_id: str, message: str, *script: scripted.Scripted, **more: Any) -> RecoveryEntry:
    accept(it, run_id, message, *script, **more)
    it.settle()
    return ended(it, run_id)


def ended(it: House, run_id: str) -> RecoveryEntry:
    entries = [RECOVERIES.entry(row) for row in it.conn.xrange(keys.RECOVERIES)]
    [entry] = [entry for entry in entries if isinstance(entry, RecoveryEntry) and entry.run == run_id]
    return entry


def actions(entry: RecoveryEntry) -> list[str]:
    return [str(decision.action) for decision in entry.log.decisions]


def replayed(it: House, entry: RecoveryEntry) -> bytes:
    results = map(scripted.result_of, scripted.SCRIPTS[entry.run])
    log = execute_recovery_loop(
        entry.run,
        entry.log.initial_failure,
        entry.log.policy,
        lambda _action, _failure: next(results, FAILED),
        now=entry.log.evaluated_at,
        diagnose=it.service.taxonomy_of(entry.facts.taxonomy).diagnose,
        advice=entry.facts.advice,
        max_transient_retries=entry.facts.max_transient_retries,
        corrections=entry.facts.corrections,
        grounds=entry.facts.grounds,
    )
    return canonical_bytes(log)


def test_an_outage_is_waited_for_and_then_told_and_nothing_is_rolled_back(house: Make) -> None:
    it = house()
    entry = run(it, "run-1", AWAY)
    assert (actions(entry), entry.ending) == (["retry", "retry", "escalate"], Ending.ESCALATED)
    assert entry.log.decisions[0].rationale == "outage: outages end"
    assert entry.log.decisions[2].rationale == (
        "outage: whoever runs it has to look (not retry: 2 of 2 retries are used)"
    )
    assert replayed(it, entry) == entry.data


def test_an_action_without_a_repair_burns_no_attempt(house: Make) -> None:
    it = house(repairs={RETRY: PythonRepair("support.scripted:repair")})
    entry = run(it, "run-1", BROKEN)
    assert (actions(entry), entry.ending) == (["escalate"], Ending.ESCALATED)
    assert "not patch_forward: no repair is configured for it" in entry.log.decisions[0].rationale
    assert entry.facts.grounds[1].available == (RETRY,)


def test_a_diagnosis_that_is_not_sure_patches_nothing(house: Make) -> None:
    assert actions(run(house(), "run-1", GUESSED)) == ["escalate"]
    it = house(bounds={"default": Bounds(min_confidence=0.2)})
    assert actions(run(it, "run-2", GUESSED, MENDED, context=MAIN | {"commit": "d00d"})) == ["patch_forward"]


@pytest.mark.parametrize(
    ("stage", "job", "rolled_back"), [("unit", "unit", False), ("Deploy-prod", "x", True), ("x", "canary-eu", True)]
)
def test_a_rollback_needs_a_stage_or_a_job_that_deploys(house: Make, stage: str, job: str, rolled_back: bool) -> None:
    entry = run(house(), "run-1", BROKEN, stage=stage, context=MAIN | {"job": job})
    assert actions(entry) == ["patch_forward", *["rollback"] * rolled_back, "escalate"]


@pytest.mark.parametrize(
    ("where", "context", "retried"),
    [
        ("default_branch", MAIN, True),
        ("default_branch", PULL, False),
        ("default_branch", {key: MAIN[key] for key in MAIN if key != "default_branch"}, False),
        ("all", PULL, True),
        ("none", MAIN, False),
    ],
)
def test_flaky_tests_are_retried_only_where_that_hides_nothing(
    house: Make, where: str, context: dict[str, str], retried: bool
) -> None:
    it = house(bounds={"default": Bounds(retry_tests_on=RetryTestsOn(where))})
    entry = run(it, "run-1", ASSERTED, FAILED, MENDED, flaky_hint=True, context=context)
    assert actions(entry)[0] == ("retry" if retried else "patch_forward")
    assert replayed(it, entry) == entry.data


def test_retries_of_one_commit_s_job_count_together_whatever_the_runs_are_called(house: Make) -> None:
    it = house()
    assert actions(run(it, "run-1", AWAY, FAILED, FAILED)) == ["retry", "retry", "escalate"]
    again = run(it, "run-2", f"{AWAY} once more")
    assert actions(again) == ["escalate"]
    assert (again.facts.grounds[1].transient_spent, replayed(it, again)) == (2, again.data)
    assert actions(run(it, "run-3", AWAY, MENDED, context=MAIN | {"commit": "d00d"})) == ["retry"]
    assert actions(run(it, "run-4", f"{AWAY} for lint", MENDED, context=MAIN | {"job": "lint"})) == ["retry"]


def test_the_last_retry_of_a_job_is_given_to_one_of_two_runs_that_ask_at_once(house: Make) -> None:
    it = house(bounds={"default": Bounds(max_transient_retries=1)})
    for number in (1, 2):
        accept(it, f"run-{number}", f"{AWAY} {number * 'x'}", MENDED)
    it.settle()
    assert sorted(actions(ended(it, f"run-{number}")) for number in (1, 2)) == [["escalate"], ["retry"]]


def test_a_patch_that_did_not_help_is_not_made_again_in_another_run_of_the_same_commit(house: Make) -> None:
    it = house(timing=replace(SWIFT, incident_window=0.001))
    assert actions(run(it, "run-1", BROKEN)) == ["patch_forward", "escalate"]
    second = run(it, "run-2", BROKEN)
    assert (actions(second), second.facts.grounds[1].tried) == (["escalate"], (PATCH,))


def test_a_dry_run_takes_nothing_from_a_budget(house: Make) -> None:
    assert actions(run(house(dry_run=True), "run-1", AWAY)) == ["retry", "retry", "escalate"]
    assert actions(run(house(), "run-2", f"{AWAY} again", MENDED)) == ["retry"]


def test_a_run_is_decided_by_the_remedies_that_it_was_accepted_with(house: Make) -> None:
    first = house()
    accept(first, "run-1", AWAY, MENDED)
    until(lambda: first.control.turn() is None and first.conn.exists(keys.run("run-1")), "the run is accepted")
    it = house(OTHER)
    it.settle()
    assert actions(ended(it, "run-1")) == ["retry"]
    assert actions(run(it, "run-2", AWAY, context=MAIN | {"job": "lint"})) == ["escalate"]


def test_a_table_of_remedies_is_kept_until_the_last_run_that_uses_it_has_ended(house: Make) -> None:
    it = house()
    accept(it, "run-1", AWAY)
    accept(it, "run-2", BROKEN)
    digest = it.service.remedies.own.digest.encode()
    until(lambda: it.control.turn() is None and it.conn.exists(keys.run("run-1")), "the runs are accepted")
    kept = it.conn.hgetall(keys.REMEDIES)
    assert (set(kept), kept[digest + b":runs"]) == ({digest, digest + b":runs"}, b"2")
    assert json.loads(kept[digest])["causes"]["outage"][0] == ["retry", "outages end"]
    it.settle()
    assert not it.conn.exists(keys.REMEDIES)


def test_with_the_reference_s_actions_no_remedy_counts(house: Make) -> None:
    it = house(remedies="aivcs")
    entry = run(it, "run-1", BROKEN)
    assert (actions(entry), entry.facts.grounds, entry.facts.remedies) == (["patch_forward"] * 3, {}, "")
    assert Settings(taxonomy="aivcs").has_remedies is False


def test_a_worker_without_repairs_and_notices_decides_and_records_as_in_a_dry_run(house: Make) -> None:
    entry = run(house(repairs={}), "run-1", BROKEN)
    assert (actions(entry), entry.facts.dry_run) == (["patch_forward", "escalate"], True)


def test_a_worker_that_only_tells_escalates_what_it_has_no_repair_for(house: Make, tmp_path: Path) -> None:
    told = tmp_path / "told"
    notice = CommandNotice(("touch", str(told)))
    entry = run(house(repairs={}, notices={Ending.ESCALATED: notice}), "run-1", BROKEN)
    assert (actions(entry), entry.facts.dry_run, told.exists()) == (["escalate"], False, True)


def test_a_next_failure_has_its_own_remedies(house: Make) -> None:
    it = house()
    entry = run(it, "run-1", BROKEN, RecoveryAttemptResult(False, FailureSignal("unit", AWAY)), MENDED)
    assert actions(entry) == ["patch_forward", "retry"]
    assert replayed(it, entry) == entry.data


def test_policy_permissions_hold_for_remedies(house: Make) -> None:
    it = house(policy=replace(RecoveryPolicy(), allow_patch_forward=False))
    assert actions(run(it, "run-1", BROKEN)) == ["escalate"]


# -- which repairs there are ------------------------------------------------------------------------------------------

REPAIR = PythonRepair("support.scripted:repair")


def test_only_a_repair_that_fits_the_failure_makes_an_action_available(house: Make) -> None:
    entries = (PlaybookEntry(PATCH, REPAIR, RepairMatch(subclass="outage")), PlaybookEntry(RETRY, REPAIR))
    it = house(entries=entries)
    entry = run(it, "run-1", BROKEN)
    assert (actions(entry), entry.facts.grounds[1].available) == (["escalate"], (RETRY,))
    it = house(entries=(PlaybookEntry(PATCH, REPAIR, RepairMatch(subclass="brok*", job="unit")),))
    assert actions(run(it, "run-2", f"{BROKEN} too", MENDED)) == ["patch_forward"]


@pytest.mark.parametrize(
    ("context", "stage", "taken"),
    [
        (MAIN, "unit", ["patch_forward", "rollback", "escalate"]),
        (MAIN, "deploy", ["patch_forward", "rollback", "escalate"]),
        (PULL, "unit", ["patch_forward", "escalate"]),
        (PULL, "deploy", ["patch_forward", "escalate"]),
        ({key: MAIN[key] for key in MAIN if key != "default_branch"}, "unit", ["patch_forward", "escalate"]),
    ],
)
def test_a_repair_that_reverts_is_for_the_default_branch_alone_and_needs_no_deployment(
    house: Make, context: dict[str, str], stage: str, taken: list[str]
) -> None:
    it = house(entries=(PlaybookEntry(PATCH, REPAIR), PlaybookEntry(ROLLBACK, REPAIR, reverts=True)))
    entry = run(it, "run-1", BROKEN, stage=stage, context=context)
    assert actions(entry) == taken
    assert replayed(it, entry) == entry.data


def test_a_repair_that_only_another_living_worker_has_is_available(house: Make) -> None:
    it = house(repairs={RETRY: REPAIR})
    teller = Teller(Playbook((PlaybookEntry(PATCH, REPAIR, RepairMatch(subclass="broken")),)), "")
    it.conn.sadd(queues.workers_key(queues.REPAIR), "rq:worker:another")
    it.conn.hset("rq:worker:another", mapping={"birth": "now", **teller.fields})
    teller.tell(it.conn)
    accept(it, "run-1", BROKEN)
    until(lambda: it.control.turn() is None and it.conn.llen(queues.queue_key(queues.REPAIR)), "its repair is queued")
    _, [held] = it.service.ledger.load(["run-1"])
    assert isinstance(held, Held)
    assert held.run.recovery.grounds[0].available == (RETRY, PATCH)
    assert held.run.recovery.action is PATCH


def test_a_success_is_claimed_unless_the_repair_shows_how_it_knows(house: Make) -> None:
    it = house()
    claimed = run(it, "run-1", BROKEN, MENDED)
    proven = run(it, "run-2", f"{BROKEN} too", scripted.PROVEN)
    assert (claimed.known, claimed.facts.proof) == ("claimed", None)
    assert (proven.known, proven.facts.proof) == ("proven", "the same command, run again")
    assert b"proof" not in proven.data
