"""What a diagnosis changes in the service: transient retries, corrections, flaky tests that are learned."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from heald_producer.signals import FailureSignal
from heald_worker import execute_recovery_loop, keys, queues
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.policy import Bounds, RecoveryAction, RecoveryPolicy
from heald_worker.core.recovery import Decide, RepairEnded, advance, open_recovery
from heald_worker.core.taxonomy import FailureClass, TaxonomyRef
from heald_worker.ledger import Held
from heald_worker.moves import backoff
from heald_worker.outputs import read_outputs
from heald_worker.playbook import CommandRepair, PlaybookEntry, PythonRepair, RecordRepair, RepairMatch
from heald_worker.records import canonical_bytes
from heald_worker.rulepack import read_pack
from heald_worker.streams import RECOVERIES, RecoveryEntry
from support import scripted
from support.calls import Caller
from support.server import Server
from support.service import ACTIONS, House, report, settings
from support.wait import until

RULES = """
[[rule]]
name = "t-dns"
class = "integration"
subclass = "dns"
transient = true
match = "no such host in the test"
[[rule]]
name = "t-test"
class = "test"
match = "the test is red"
[[rule]]
name = "t-build"
class = "build"
match = "it does not compile in the test"
"""
DNS, RED, BROKEN = "dial: no such host in the test", "the test is red after 3.5 s", "it does not compile in the test"
REPO = {"repository": "acme/shop"}
FAILED, MENDED = RecoveryAttemptResult(False), scripted.PROVEN
NOW = Instant(1_770_000_000)
Make = Callable[..., House]


@pytest.fixture
def house(conn: redis.Redis, tmp_path: Path) -> Iterator[Make]:
    """Services with rules of their own, whose repairs follow `scripted.SCRIPTS`."""
    made: list[House] = []

    def make(**more: Any) -> House:
        more.setdefault("repairs", dict.fromkeys(ACTIONS, PythonRepair("support.scripted:repair")))
        more.setdefault("taxonomy", "heald")
        more.setdefault("remedies", "aivcs")
        more.setdefault("diagnosis", (read_pack("rules.toml", RULES),))
        made.append(House(conn, settings(tmp_path, **more)))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def heald(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Caller:
    (tmp_path / "rules.toml").write_text(RULES)
    (tmp_path / "heald.toml").write_text('remedies = "aivcs"\n[diagnosis]\nfiles = ["rules.toml"]\n')
    return Caller(server.url, tmp_path, monkeypatch, capsys)


def run(it: House, run_id: str, message: str, *script: scripted.Scripted, **more: Any) -> RecoveryEntry:
    scripted.SCRIPTS[run_id] = list(script)
    it.push(report(run_id, stage="unit", message=message, **({"context": REPO} | more)))
    it.settle()
    return ended(it, run_id)


def ended(it: House, run_id: str) -> RecoveryEntry:
    entries = [RECOVERIES.entry(row) for row in it.conn.xrange(keys.RECOVERIES)]
    [entry] = [entry for entry in entries if isinstance(entry, RecoveryEntry) and entry.run == run_id]
    return entry


def told(it: House, run_id: str, kind: str) -> list[dict[str, Any]]:
    rows = [fields for _, fields in it.conn.xrange(keys.EVENTS)]
    return [
        json.loads(row[b"facts"]) for row in rows if (row[b"run"], row[b"kind"]) == (run_id.encode(), kind.encode())
    ]


def actions(entry: RecoveryEntry) -> list[str]:
    return [str(decision.action) for decision in entry.log.decisions]


def assert_replays(it: House, entry: RecoveryEntry) -> None:
    """The entry's facts and the repairs' results are all that its log needs to come out again."""
    results = map(scripted.result_of, scripted.SCRIPTS[entry.run])
    again = execute_recovery_loop(
        entry.run,
        entry.log.initial_failure,
        entry.log.policy,
        lambda _action, _failure: next(results, FAILED),
        now=entry.log.evaluated_at,
        diagnose=it.service.taxonomy_of(entry.facts.taxonomy).diagnose,
        advice=entry.facts.advice,
        max_transient_retries=entry.facts.max_transient_retries,
        corrections=entry.facts.corrections,
    )
    assert canonical_bytes(again) == entry.data


def test_a_transient_failure_is_retried_twice_and_then_rolled_back(house: Make) -> None:
    it = house()
    entry = run(it, "run-1", DNS, FAILED, FAILED, MENDED)
    assert actions(entry) == ["retry", "retry", "rollback"]
    assert (entry.ending, entry.facts.max_transient_retries) == ("recovered", 2)
    assert_replays(it, entry)
    [first, *_] = told(it, "run-1", "decided")
    assert (first["subclass"], first["rule"], first["transient"]) == ("dns", "t-dns", True)
    assert first["evidence"] == {"line": 1, "start": 6, "end": 30, "text": DNS}


def test_each_transient_retry_waits_longer() -> None:
    recovery = open_recovery("run-1", FailureSignal("unit", DNS), RecoveryPolicy(), NOW, max_transient_retries=2)
    waits = []
    for _ in range(2):
        recovery = advance(recovery, Decide(FailureClass.INTEGRATION, transient=True), NOW).recovery
        waits.append(backoff(8.0, 60.0, recovery))
        recovery = advance(recovery, RepairEnded(FAILED), NOW).recovery
    first, second = waits
    assert 6000 <= first <= 8000 < 12_000 <= second <= 16_000


def test_the_policy_bounds_transient_retries_and_the_bound_is_frozen_at_intake(house: Make) -> None:
    assert actions(run(house(bounds={"default": Bounds(max_transient_retries=0)}), "run-0", DNS)) == ["rollback"] * 3
    it = house(bounds={"default": Bounds(max_transient_retries=1)})
    it.push(report("run-1", stage="unit", message=DNS))
    it.control._take_in(it.control.backlog())
    scripted.SCRIPTS["run-1"] = []
    later = house(bounds={"default": Bounds(max_transient_retries=9)})
    later.settle()
    assert actions(ended(later, "run-1")) == ["retry", "rollback", "rollback"]


def test_with_the_reference_s_rules_nothing_is_transient(house: Make) -> None:
    entry = run(house(taxonomy="aivcs"), "run-1", f"{DNS}: handshake")
    assert actions(entry) == ["rollback"] * 3


def test_a_correction_wins_for_failures_like_it_and_is_kept_with_the_logs(house: Make, heald: Caller) -> None:
    it = house()
    before = run(it, "run-1", RED, MENDED)
    answer = heald("correct", "run-1", "--class", "integration", "--reason", "the grid was down", "--json")
    assert answer.code == 0, answer.err
    after = run(it, "run-2", "the test is red after 59 s", MENDED)
    other = run(it, "run-3", f"{RED} and more", MENDED)
    assert (before.log.decisions[0].failure_class, other.log.decisions[0].failure_class) == ("test", "test")
    assert (after.log.decisions[0].failure_class, actions(after)) == ("integration", ["rollback"])
    assert after.facts.corrections == {1: FailureClass.INTEGRATION}
    [decided] = told(it, "run-2", "decided")
    assert decided["fingerprint"] == answer.records[0]["fingerprint"]
    [event] = told(it, "run-1", "corrected")
    assert (event["class"], event["reason"]) == ("integration", "the grid was down")

    assert heald("correct", "--forget", decided["fingerprint"][:8]).code == 0
    assert run(it, "run-4", RED, MENDED).log.decisions[0].failure_class == "test"
    for entry in (before, after, other):
        assert_replays(it, entry)


def test_a_correction_of_an_open_run_holds_from_its_next_decision_on(house: Make, heald: Caller) -> None:
    it = house()
    scripted.SCRIPTS["run-1"] = [FAILED, MENDED]
    it.push(report("run-1", stage="unit", message=BROKEN, context=REPO))
    waiting = queues.queue_key(queues.REPAIR)
    until(lambda: (it.control.turn(), it.conn.llen(waiting))[1], "its first repair waits")
    assert heald("correct", "RUN-1", "--class", "runtime").code == 0
    it.settle()
    entry = ended(it, "run-1")
    assert [str(decision.failure_class) for decision in entry.log.decisions] == ["build", "runtime"]
    assert entry.facts.corrections == {2: FailureClass.RUNTIME}
    assert_replays(it, entry)
    assert "corrected" in heald("show", "run-1").out


def test_the_latest_failure_of_a_run_can_be_meant(house: Make, heald: Caller) -> None:
    it = house(policy=RecoveryPolicy(max_attempts=1))
    run(it, "run-1", RED, RecoveryAttemptResult(False, FailureSignal("unit", BROKEN)))
    assert heald("correct", "run-1", "--class", "runtime", "--latest").code == 0
    assert run(it, "run-2", BROKEN).log.decisions[0].failure_class == "runtime"
    assert run(it, "run-3", RED).log.decisions[0].failure_class == "test"


def test_corrections_are_listed_and_bounded(house: Make, heald: Caller, tmp_path: Path) -> None:
    it = house()
    for number, message in enumerate((RED, BROKEN, DNS)):
        run(it, f"run-{number}", message, MENDED)
    with (tmp_path / "heald.toml").open("a") as file:
        file.write("[limits]\ncorrections = 2\n")
    assert [heald("correct", f"run-{n}", "--class", "unknown").code for n in range(3)] == [0, 0, 1]
    assert heald("correct", "run-0", "--class", "test", "--reason", "after all").code == 0
    listed = {each["run"]: each["failure_class"] for each in heald("correct", "--list", "--json").records}
    assert listed == {"run-0": "test", "run-1": "unknown"}
    assert "after all" in heald("correct", "--list").out
    assert "2 corrections already" in heald("correct", "run-2", "--class", "test").err


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["nope", "--class", "test"], 1, "nothing is known of run nope"),
        (["../up", "--class", "test"], 2, "'../up' is not allowed"),
        (["run-1"], 2, "give RUN with --class"),
        (["--list", "--forget", "abcdef"], 2, "give RUN with --class"),
        (["run-1", "--class", "tset"], 2, "'tset' is not one of"),
        (["--forget", "0123456789"], 1, "there is no correction of 0123456789"),
        (["--forget", "ab"], 1, "may be any of several"),
    ],
)
def test_what_cannot_be_corrected_is_refused_in_a_sentence(
    conn: redis.Redis, heald: Caller, argv: list[str], code: int, said: str
) -> None:
    answer = heald("correct", *argv)
    assert (answer.code, answer.out) == (code, "")
    assert said in answer.err


def test_corrections_that_cannot_be_read_stop_nothing(house: Make) -> None:
    it = house()
    it.conn.hset(keys.CORRECTIONS, mapping={"f" * 32: "no json", "version": "7"})
    assert run(it, "run-1", RED, MENDED).ending == "recovered"
    it.conn.delete(keys.CORRECTIONS)
    it.conn.set(keys.CORRECTIONS, "no hash")
    assert run(it, "run-2", RED, MENDED).ending == "recovered"
    it.service.corrections.look()
    assert it.service.corrections.table == {}


def test_reading_corrections_costs_a_decision_no_round_trip(house: Make, heald: Caller) -> None:
    """The hash is read when it has changed, once, and not again for all the batches after it."""
    it = house()
    run(it, "run-1", RED, MENDED)
    heald("correct", "run-1", "--class", "integration")
    it.conn.config_resetstat()
    for number in range(10):
        run(it, f"run-{number + 2}", RED, MENDED)
    assert it.conn.info("commandstats")["cmdstat_hgetall"]["calls"] < 10 + 10  # RQ's own fetch of each repair's job
    assert it.service.corrections.table


def test_a_retry_that_recovers_a_test_teaches_that_it_is_flaky(house: Make) -> None:
    it = house()
    teacher = run(it, "run-1", RED, MENDED, flaky_hint=True)
    assert (actions(teacher), teacher.facts.flaky) == (["retry"], None)
    learned = run(it, "run-2", "the test is red after 12 s", FAILED, MENDED)
    assert (actions(learned), learned.facts.flaky) == (["retry", "patch_forward"], "run-1")
    assert learned.log.initial_failure.flaky_hint is True
    assert_replays(it, learned)
    [accepted] = told(it, "run-2", "accepted")
    assert (accepted["flaky"], accepted["shown_by"]) == ("run-1", "retry")
    [key] = it.conn.keys(keys.FLAKY_PREFIX + "*")
    assert 0 < it.conn.pttl(key) <= 30 * 86_400_000


def test_a_report_that_says_so_teaches_too(house: Make) -> None:
    it = house()
    run(it, "run-1", RED, FAILED, FAILED, FAILED, flaky_hint=True)
    assert run(it, "run-2", RED, MENDED).facts.flaky == "run-1"


def test_what_was_learned_does_not_confirm_itself(house: Make) -> None:
    """A hint that a run has from history is no evidence; a retry that recovers it is."""
    it = house()
    run(it, "run-1", RED, MENDED, flaky_hint=True)
    run(it, "run-2", RED, FAILED, FAILED, FAILED)
    assert run(it, "run-3", RED, MENDED).facts.flaky == "run-1"
    assert run(it, "run-4", RED, MENDED).facts.flaky == "run-3"


UNTAUGHT: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"flaky_learning": False}, {}),
    ({}, {"context": {}}),
    ({"dry_run": True}, {}),
    ({"repairs": dict.fromkeys(ACTIONS, RecordRepair())}, {}),
]


@pytest.mark.parametrize(
    ("chosen", "reported"), UNTAUGHT, ids=["switched off", "no repository", "dry", "only recorded"]
)
def test_what_shows_nothing_teaches_nothing(house: Make, chosen: dict[str, Any], reported: dict[str, Any]) -> None:
    it = house(**chosen)
    run(it, "run-1", RED, MENDED, flaky_hint=True, **reported)
    assert it.conn.keys(keys.FLAKY_PREFIX + "*") == []
    assert run(it, "run-2", RED, MENDED, **reported).facts.flaky is None


@pytest.mark.parametrize("other", [{"context": {"repository": "acme/page"}}, {"message": f"{RED} too"}])
def test_only_the_very_test_counts_as_flaky(house: Make, other: dict[str, Any]) -> None:
    it = house()
    run(it, "run-1", RED, MENDED, flaky_hint=True)
    assert run(it, "run-2", **({"message": RED} | other)).facts.flaky is None  # type: ignore[arg-type]


def test_a_flaky_note_that_cannot_be_read_counts_for_nothing(house: Make) -> None:
    it = house()
    run(it, "run-1", RED, MENDED, flaky_hint=True)
    [key] = it.conn.keys(keys.FLAKY_PREFIX + "*")
    it.conn.set(key, "no json")
    assert run(it, "run-2", RED, MENDED).facts.flaky is None


def test_explain_asks_the_server_when_told_to(house: Make, heald: Caller) -> None:
    it = house()
    run(it, "run-1", RED, MENDED, flaky_hint=True)
    failure = ("--stage", "unit", "--message", RED, "--repository", "acme/shop")
    assert "flaky" not in heald("explain", *failure).out.split("policy")[0]
    known = heald("explain", *failure, "--ask").out
    assert "shown by run run-1: a retry recovered it" in known
    assert known.split("decision")[1].split()[0] == "retry"
    heald("correct", "run-1", "--class", "runtime", "--reason", "it is the grid")
    [corrected] = heald("explain", *failure, "--ask", "--json").records
    assert corrected["failure_class"] == "runtime"
    assert corrected["attempts"][0]["action"] == "rollback"
    assert corrected["known"]["correction"]["reason"] == "it is the grid"


def chosen_by(**globs: str) -> tuple[PlaybookEntry, ...]:
    """One repair for failures that these globs fit, which says so, and one for all others, which records."""
    chosen, others = CommandRepair(("true",)), RecordRepair()
    entries = [
        (
            PlaybookEntry(action, chosen, RepairMatch(**globs), f"{action} of some"),
            PlaybookEntry(action, others, name=f"{action} of others"),
        )
        for action in ACTIONS
    ]
    return tuple(entry for pair in entries for entry in pair)


@pytest.mark.parametrize(
    ("globs", "made"),
    [
        ({"rule": "t-build"}, {"broken": "patch_forward of some", "dns": "retry of others"}),
        ({"subclass": "dns"}, {"broken": "patch_forward of others", "dns": "retry of some"}),
        ({"failure_class": "build"}, {"broken": "patch_forward of some", "dns": "retry of others"}),
        ({"repository": "acme/*", "stage": "unit"}, {"broken": "patch_forward of some", "dns": "retry of some"}),
        ({"repository": "other/*"}, {"broken": "patch_forward of others", "dns": "retry of others"}),
    ],
)
def test_the_first_repair_that_fits_the_failure_is_made_and_named(
    house: Make, heald: Caller, globs: dict[str, str], made: dict[str, str]
) -> None:
    it = house(entries=chosen_by(**globs))
    for run_id, message in (("broken", BROKEN), ("dns", DNS)):
        run(it, run_id, message)
        [end] = told(it, run_id, "repair_ended")
        assert end["repair"] == made[run_id]
        assert f"succeeded: {end['repair']}: " in heald("show", run_id).out
        commanded = "repair_started" in it.events(run_id)
        assert commanded is made[run_id].endswith("of some")


def test_a_failure_that_no_repair_fits_fails_the_attempt_and_says_so(house: Make) -> None:
    only = PlaybookEntry(RecoveryAction.PATCH_FORWARD, CommandRepair(("true",)), RepairMatch(rule="another"), "other")
    it = house(entries=(only,), policy=RecoveryPolicy(max_attempts=1))
    run(it, "run-1", BROKEN)
    [end] = told(it, "run-1", "repair_ended")
    assert (end["success"], end["repair"]) == (False, "")
    assert "no repair is configured for patch_forward of this failure" in end["detail"]


def test_a_persons_word_chooses_by_its_class_and_by_nothing_finer(house: Make, heald: Caller) -> None:
    it = house(entries=chosen_by(subclass="dns"))
    run(it, "run-1", DNS)
    assert heald("correct", "run-1", "--class", "build").code == 0
    run(it, "run-2", DNS)
    assert [told(it, each, "repair_ended")[0]["repair"] for each in ("run-1", "run-2")] == [
        "retry of some",
        "patch_forward of others",
    ]


def test_a_worker_that_has_not_the_rules_of_a_run_chooses_by_its_class(house: Make, conn: redis.Redis) -> None:
    it = house(entries=chosen_by(failure_class="build"))
    it.push(report("run-1", stage="unit", message=BROKEN))
    while it.control.turn() is None:
        pass
    elsewhere = house(diagnosis=(), entries=chosen_by(rule="t-build", failure_class="build"))
    _, [held] = elsewhere.service.ledger.load(["run-1"])
    assert isinstance(held, Held)
    entry = elsewhere.service.entry_for(held.run)
    assert entry is not None
    assert entry.name == "patch_forward of others"
    assert elsewhere.service.diagnosis_of(held.run).rule == ""


def test_a_repair_is_told_what_the_diagnosis_says(house: Make, tmp_path: Path) -> None:
    script = 'printf "%s|" "$HEALD_SUBCLASS" "$HEALD_RULE" "$HEALD_EVIDENCE" "$HEALD_CONFIDENCE" "$HEALD_FORK"'
    it = house(repair=CommandRepair(("sh", "-c", script)), repairs=None)
    run(it, "run-1", f"line one\n{DNS}", context=REPO | {"fork": True})
    assert read_outputs(it.conn, "run-1") == {1: f"dns|t-dns|{DNS}|0.8|true|"}


def test_cancelled_and_dry_runs_count_for_nothing_in_the_regression_check(house: Make, heald: Caller) -> None:
    dry = house(dry_run=True)
    run(dry, "run-1", RED)
    it = house()
    it.push(report("run-2", stage="unit", message=RED, context=REPO))
    it.control._take_in(it.control.backlog())
    assert heald("cancel", "run-2").code == 0
    it.settle()
    assert it.conn.keys(keys.PRIOR_PREFIX + "*") == []
    regression = run(it, "run-3", RED, MENDED).facts.regression
    assert regression is not None
    assert not regression.is_regression


def test_the_regression_check_follows_a_correction(house: Make, heald: Caller) -> None:
    it = house()
    run(it, "run-1", RED, MENDED)
    heald("correct", "run-1", "--class", "integration")
    first = run(it, "run-2", RED, MENDED).facts.regression
    second = run(it, "run-3", RED, MENDED).facts.regression
    assert first is not None
    assert second is not None
    assert (first.is_regression, second.prior_run_id) == (False, "run-2")


def test_a_run_is_judged_by_the_rules_it_was_accepted_with_or_parked(house: Make, conn: redis.Redis) -> None:
    it = house()
    it.push(report("run-1", stage="unit", message=RED))
    it.control._take_in(it.control.backlog())
    scripted.SCRIPTS["run-1"] = [MENDED]
    other = House(conn, settings(it.service.settings.artifacts.parent, taxonomy="heald"))
    other.settle()
    other.close()
    assert b"this heald has no taxonomy heald" in conn.hget(keys.PARKED, "run-1")


def test_a_process_with_rules_of_its_own_still_judges_runs_of_the_shipped_ones(house: Make, conn: redis.Redis) -> None:
    plain = House(conn, settings(Path("unused"), taxonomy="heald"))
    reference = House(conn, settings(Path("unused"), taxonomy="aivcs"))
    it = house()
    for each in (plain, reference, it):
        ref = each.service.taxonomy.ref
        assert it.service.taxonomy_of(ref).ref == ref
    assert len({each.service.taxonomy.ref.digest for each in (plain, reference, it)}) == 3
    for each in (plain, reference):
        each.close()
    with pytest.raises(Exception, match="no taxonomy heald"):
        it.service.taxonomy_of(TaxonomyRef("heald", "0", "0" * 64))
