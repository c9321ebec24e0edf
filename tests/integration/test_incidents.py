"""One cause, one run; a later attempt of the CI is the verdict of the retry; one repair of a branch at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from msgspec.structs import replace

from heald_worker import keys
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.policy import Bounds, RecoveryAction
from heald_worker.core.recovery import Ending, Phase
from heald_worker.core.remedies import Remedy, RemedyTable
from heald_worker.decisions import cancel
from heald_worker.ledger import Held
from heald_worker.playbook import CommandNotice, PythonRepair
from heald_worker.remedy_tables import RemedyTables
from heald_worker.repairing import carry_out, claim
from heald_worker.rulepack import read_pack
from heald_worker.streams import RECOVERIES, RecoveryEntry
from heald_worker.views import find_run
from support import scripted
from support.service import ACTIONS, SWIFT, House, report, settings
from support.wait import until

RETRY, PATCH, _, ESCALATE = RecoveryAction
RULES = """
[[rule]]
name = "t-outage"
class = "integration"
subclass = "outage"
match = 'registry is away'
[[rule]]
name = "t-compile"
class = "build"
subclass = "broken"
match = 'does not compile'
"""
AWAY, BROKEN = "registry is away", "the till does not compile"
TABLE = RemedyTable(
    causes={
        "outage": (Remedy(RETRY, "outages end"), Remedy(ESCALATE, "whoever runs it has to look")),
        "broken": (Remedy(PATCH, "the code is broken"), Remedy(ESCALATE, "its author has to look")),
    }
)
CODE = {"repository": "acme/shop", "commit": "c0ffee", "ref": "refs/heads/main", "job": "unit"}
FIRST, SECOND = CODE | {"ci_run": "77", "ci_attempt": "1"}, CODE | {"ci_run": "77", "ci_attempt": "2"}
FAILED, MENDED = RecoveryAttemptResult(success=False), RecoveryAttemptResult(success=True)
Make = Callable[..., House]


@pytest.fixture
def house(conn: redis.Redis, tmp_path: Path) -> Iterator[Make]:
    made: list[House] = []

    def make(name: str = "test-worker", **more: Any) -> House:
        more.setdefault("repairs", dict.fromkeys(ACTIONS, PythonRepair("support.scripted:repair")))
        more = {"taxonomy": "heald", "diagnosis": (read_pack("rules.toml", RULES),)} | more
        it = House(conn, settings(tmp_path, **more), name)
        it.service.remedies = RemedyTables(conn, TABLE)
        made.append(it)
        return it

    yield make
    for each in made:
        each.close()


@pytest.fixture
def pager(tmp_path: Path) -> Path:
    return tmp_path / "pages"


def paging(pager: Path) -> dict[str, Any]:
    script = f"import os; open({str(pager)!r}, 'a').write(os.environ['HEALD_RUN_ID'] + '\\n')"
    notice = CommandNotice(("python3", "-c", script))
    return {"notices": {Ending.ESCALATED: notice, Ending.EXHAUSTED: notice}}


def failure(run_id: str, message: str = BROKEN, *script: scripted.Scripted, **more: Any) -> bytes:
    scripted.SCRIPTS[run_id] = list(script)
    return report(run_id, **({"stage": "unit", "message": message, "context": CODE} | more))


def accepted(it: House, *reports: bytes) -> None:
    it.push(*reports)
    until(lambda: it.control.turn() is None and not it.conn.llen(keys.INBOX), "the reports are taken in")


def ended(it: House, run_id: str) -> RecoveryEntry:
    entries = [RECOVERIES.entry(row) for row in it.conn.xrange(keys.RECOVERIES)]
    [entry] = [entry for entry in entries if isinstance(entry, RecoveryEntry) and entry.run == run_id]
    return entry


def actions(entry: RecoveryEntry) -> list[str]:
    return [str(decision.action) for decision in entry.log.decisions]


def stats(it: House) -> dict[str, int]:
    return {field.decode(): int(count) for field, count in it.conn.hgetall(keys.STATS).items()}


def told(it: House, kind: str) -> list[tuple[str, dict[str, Any]]]:
    rows = [fields for _, fields in it.conn.xrange(keys.EVENTS)]
    return [(row[b"run"].decode(), json.loads(row[b"facts"])) for row in rows if row[b"kind"] == kind.encode()]


# -- one cause, one run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [True, False])
def test_a_broken_commit_in_a_matrix_of_six_is_one_run_one_patch_and_one_page(
    house: Make, pager: Path, at_once: bool
) -> None:
    it = house(**paging(pager))
    systems = ("ubuntu-22.04", "ubuntu-24.04", "macos-14", "windows-2022", "ubuntu-20.04", "macos-13")
    reports = [failure(f"run-{n}", stage=f"unit ({system})") for n, system in enumerate(systems)]
    for batch in [reports] if at_once else [[each] for each in reports]:
        accepted(it, *batch)
    it.settle()
    assert list(it.logs()) == ["run-0"]
    assert actions(ended(it, "run-0")) == ["patch_forward", "escalate"]
    assert pager.read_text() == "run-0\n"
    assert (stats(it)["accepted"], stats(it)["joined"]) == (1, 5)
    assert it.entry("run-0")["joined"] == "5"
    assert [run for run, _ in told(it, "joined")] == ["run-0"] * 5
    assert {facts["report"] for _, facts in told(it, "joined")} == {f"run-{n}" for n in range(1, 6)}


def test_a_report_that_joined_joins_once_and_its_id_is_taken(house: Make) -> None:
    it = house()
    accepted(it, failure("run-1"), failure("run-2"))
    accepted(it, failure("run-2"))
    accepted(it, failure("run-2", AWAY))
    assert (stats(it)["joined"], stats(it)["duplicate"]) == (1, 1)
    it.settle()
    accepted(it, failure("RUN-2"))
    assert it.dead() == ["run_id_conflict", "run_id_conflict"]
    assert list(it.logs()) == ["run-1"]
    assert 0 < it.conn.pttl(keys.tombstone("run-2")) <= 30 * 86_400_000


def test_who_asks_for_a_report_that_joined_sees_its_run_open_and_ended(house: Make) -> None:
    it = house()
    accepted(it, failure("run-1"), failure("run-2"))
    found = find_run(it.conn, "Run-2")
    assert found is not None
    assert found.run_id == "run-1"  # type: ignore[union-attr]
    it.settle()
    entry = find_run(it.conn, "run-2")
    assert isinstance(entry, RecoveryEntry)
    assert entry.run == "run-1"


@pytest.mark.parametrize(
    "other",
    [
        {"message": "the desk does not compile"},
        {"context": CODE | {"commit": "d00d"}},
        {"context": CODE | {"repository": "acme/api"}},
        {"stage": "package"},
        {"context": {"repository": "acme/shop"}},
        {"context": {"commit": "c0ffee"}},
        {"context": CODE | {"parent_run": "run-0"}},
    ],
)
def test_what_is_not_known_to_be_the_same_cause_opens_a_run_of_its_own(house: Make, other: dict[str, Any]) -> None:
    it = house()
    accepted(it, failure("run-1"), failure("run-2", **other))
    assert (stats(it)["accepted"], stats(it).get("joined", 0)) == (2, 0)
    it.settle()
    assert set(it.logs()) == {"run-1", "run-2"}


def test_after_an_unhealed_run_the_same_cause_is_escalated_at_once_and_nobody_is_paged_again(
    house: Make, pager: Path
) -> None:
    it = house(**paging(pager))
    accepted(it, failure("run-1"))
    it.settle()
    accepted(it, failure("run-2"))
    it.settle()
    second = ended(it, "run-2")
    assert actions(second) == ["escalate"]
    assert "run run-1 was escalated about the same cause" in second.log.decisions[0].rationale
    assert (second.facts.follows, second.facts.quiet) == ("run-1", True)
    assert pager.read_text() == "run-1\n"


def test_for_how_long_nobody_is_told_again_counts_from_the_run_that_was_told_of(house: Make, pager: Path) -> None:
    """A cause that is reported again within each window would else be told once, and then never more."""
    it = house(**paging(pager))
    accepted(it, failure("run-1"))
    it.settle()
    [key] = it.conn.scan_iter(f"{keys.INCIDENT_PREFIX}*")
    it.conn.hincrby(key, "at", -1_200_000)  # twenty minutes pass
    accepted(it, failure("run-2"))
    it.settle()
    it.conn.hincrby(key, "at", -1_200_000)
    accepted(it, failure("run-3"))
    it.settle()
    assert (ended(it, "run-2").facts.quiet, ended(it, "run-3").facts.quiet) == (True, False)
    assert pager.read_text() == "run-1\nrun-3\n"


def test_a_dry_run_silences_nobody_s_page(house: Make, pager: Path) -> None:
    dry = house(dry_run=True, **paging(pager))
    accepted(dry, failure("run-1"))
    dry.settle()
    assert not pager.exists()
    it = house(**paging(pager))
    accepted(it, failure("run-2"))
    it.settle()
    assert ended(it, "run-2").facts.quiet is False
    assert pager.read_text() == "run-2\n"


def test_when_the_incident_s_window_is_over_a_run_begins_anew_and_is_linked(house: Make, pager: Path) -> None:
    it = house(timing=replace(SWIFT, incident_window=0.001), **paging(pager))
    for run_id in ("run-1", "run-2"):
        accepted(it, failure(run_id))
        it.settle()
    second = ended(it, "run-2")
    assert (second.facts.follows, second.facts.quiet) == ("run-1", False)
    assert second.facts.grounds[1].tried == (PATCH,)
    assert pager.read_text() == "run-1\nrun-2\n"


def test_after_a_recovered_run_the_same_cause_is_a_new_run_that_counts_into_the_budget(house: Make) -> None:
    it = house()
    accepted(it, failure("run-1", BROKEN, MENDED))
    it.settle()
    accepted(it, failure("run-2", BROKEN, MENDED))
    it.settle()
    second = ended(it, "run-2")
    assert (actions(second), second.facts.follows, second.facts.quiet) == (["escalate"], "run-1", False)


def test_a_run_that_is_closing_as_recovered_takes_no_report_in(house: Make) -> None:
    it = house()
    accepted(it, failure("run-1", BROKEN, MENDED))
    it.service.artifacts.parent.joinpath("artifacts").write_text("no folder: the log cannot be written")
    until(lambda: it.turn() is False and it.conn.hget(keys.run("run-1"), "a") == b"over", "run-1 is closing")
    accepted(it, failure("run-2"))
    assert stats(it)["accepted"] == 2
    it.service.artifacts.unlink()
    it.settle()
    assert ended(it, "run-2").facts.follows == "run-1"


def test_a_lost_run_does_not_swallow_the_reports_of_its_cause(house: Make) -> None:
    it = house()
    accepted(it, failure("run-1"))
    it.conn.delete(keys.run("run-1"))
    accepted(it, failure("run-2"))
    it.settle()
    assert list(it.logs()) == ["run-2"]


def test_a_flood_of_reports_about_one_cause_leaves_its_run_small(house: Make) -> None:
    it = house()
    it.push(*(failure(f"run-{n}") for n in range(250)))
    it.control._take_in(it.control.backlog())
    assert it.conn.hget(keys.run("run-0"), "j") == b"249"
    assert len(it.conn.hget(keys.run("run-0"), "e").split()) < 120


# -- attempts of the CI -----------------------------------------------------------------------------------------------


def test_a_later_attempt_of_the_ci_is_the_verdict_of_the_retry_that_waits(house: Make) -> None:
    it = house(timing=replace(SWIFT, transient_first=600.0, transient_most=600.0))
    accepted(it, failure("run-1", AWAY, context=FIRST))
    until(lambda: it.turn() is False and it.conn.hget(keys.run("run-1"), "a") == b"retry", "the retry waits")
    accepted(it, failure("run-1-again", BROKEN, context=SECOND))
    it.settle()
    [(run, facts)] = told(it, "verdict")
    assert (run, facts["report"], facts["ci_attempt"]) == ("run-1", "run-1-again", "2")
    assert list(it.logs()) == ["run-1"]
    assert actions(ended(it, "run-1")) == ["retry", "patch_forward", "escalate"]
    left = ended(it, "run-1").log.final_failure
    assert left is not None
    assert left.message == BROKEN


def test_a_retry_in_hand_that_ends_after_the_verdict_changes_nothing(house: Make) -> None:
    it = house()
    accepted(it, failure("run-1", AWAY, MENDED, context=FIRST))
    until(lambda: it.control.turn() is None and it.conn.hget(keys.run("run-1"), "a") == b"retry", "the retry waits")
    claimed = claim(it.service, "run-1", int(it.conn.hget(keys.run("run-1"), "v")))
    assert claimed is not None
    it.push(failure("run-1-again", AWAY, context=SECOND))
    it.control._take_in(it.control.backlog())
    carry_out(
        it.service, claimed, lambda: False
    )  # it says that it has mended the failure, and the CI says that it has not
    it.settle()
    entry = ended(it, "run-1")
    assert (actions(entry), entry.ending) == (["retry", "retry", "escalate"], Ending.ESCALATED)


def test_a_job_that_always_fails_and_whose_retry_restarts_the_ci_is_retried_within_its_budget_and_told_once(
    house: Make, pager: Path
) -> None:
    it = house(**paging(pager))
    attempts = 12
    for attempt in range(1, attempts + 1):
        run_id = f"run-{attempt}"
        accepted(it, failure(run_id, AWAY, MENDED, context=CODE | {"ci_run": "77", "ci_attempt": str(attempt)}))
        it.settle()
    entries = [RECOVERIES.entry(row) for row in it.conn.xrange(keys.RECOVERIES)]
    taken = [action for entry in entries if isinstance(entry, RecoveryEntry) for action in actions(entry)]
    assert taken.count("retry") == 2
    assert pager.read_text().split() == ["run-3"]
    assert ended(it, "run-2").facts.generation == 1


@pytest.mark.parametrize(("again", "pages"), [(SECOND, ["run-1"]), (SECOND | {"ci_run": "78"}, ["run-1", "run-2"])])
def test_who_restarts_a_job_long_after_it_was_escalated_is_not_told_again(
    house: Make, pager: Path, again: dict[str, str], pages: list[str]
) -> None:
    it = house(timing=replace(SWIFT, incident_window=0.001), **paging(pager))
    for run_id, context in (("run-1", FIRST), ("run-2", again)):
        accepted(it, failure(run_id, context=context))
        it.settle()
    second = ended(it, "run-2")
    assert (second.facts.follows, second.facts.quiet) == ("run-1", pages == ["run-1"])
    assert pager.read_text().split() == pages


@pytest.mark.parametrize(
    "context", [FIRST, FIRST | {"ci_attempt": "0"}, SECOND | {"ci_run": "78"}, SECOND | {"job": "lint"}, CODE]
)
def test_what_is_no_later_attempt_of_that_job_is_no_verdict(house: Make, context: dict[str, str]) -> None:
    it = house(timing=replace(SWIFT, transient_first=600.0, transient_most=600.0))
    accepted(it, failure("run-1", AWAY, context=FIRST))
    until(lambda: it.turn() is False and it.conn.hget(keys.run("run-1"), "a") == b"retry", "the retry waits")
    accepted(it, failure("run-2", BROKEN, context=context))
    assert told(it, "verdict") == []
    assert it.conn.exists(keys.run("run-2"))


def test_a_person_s_cancel_goes_before_a_verdict_that_waits(house: Make) -> None:
    it = house(timing=replace(SWIFT, transient_first=600.0, transient_most=600.0))
    accepted(it, failure("run-1", AWAY, context=FIRST))
    until(lambda: it.turn() is False and it.conn.hget(keys.run("run-1"), "a") == b"retry", "the retry waits")
    it.push(failure("run-2", AWAY, context=SECOND))
    it.control._take_in(it.control.backlog())
    assert cancel(it.service, "run-1") == "cancelled"
    it.settle()
    assert (ended(it, "run-1").ending, list(it.logs())) == (Ending.CANCELLED, ["run-1"])


def test_a_job_of_a_matrix_that_reports_after_the_repair_is_old_news(house: Make, pager: Path) -> None:
    it = house(**paging(pager))
    accepted(it, failure("run-1", BROKEN, MENDED, context=FIRST))
    it.settle()
    accepted(it, failure("run-2", BROKEN, stage="unit (3.12)", context=FIRST))
    it.settle()
    late = ended(it, "run-2")
    assert (actions(late), late.facts.follows, late.facts.quiet) == (["escalate"], "run-1", True)
    assert "run run-1 has recovered from it" in late.log.decisions[0].rationale
    accepted(it, failure("run-3", BROKEN, context=SECOND))
    it.settle()
    assert (ended(it, "run-3").facts.quiet, pager.read_text()) == (False, "run-3\n")


def test_a_later_attempt_of_a_job_that_had_joined_is_a_verdict_too(house: Make) -> None:
    """Some CIs call each job of a matrix another name, so that each has a record of its own."""
    it = house(timing=replace(SWIFT, transient_first=600.0, transient_most=600.0))
    accepted(it, failure("run-1", AWAY, context=FIRST | {"job": "unit 1/2"}))
    accepted(it, failure("run-2", AWAY, context=FIRST | {"job": "unit 2/2"}))
    until(lambda: it.turn() is False and it.conn.hget(keys.run("run-1"), "a") == b"retry", "the retry waits")
    accepted(it, failure("run-2-again", BROKEN, context=SECOND | {"job": "unit 2/2"}))
    it.settle()
    assert [(run, facts["report"]) for run, facts in told(it, "verdict")] == [("run-1", "run-2-again")]
    assert list(it.logs()) == ["run-1"]


# -- one repair of a branch -------------------------------------------------------------------------------------------


def claimable(it: House, run_id: str) -> int:
    """The version of a run whose repair waits to be claimed."""

    def waits() -> object:
        it.control.turn()
        _, [held] = it.service.ledger.load([run_id])
        return isinstance(held, Held) and held.run.recovery.phase is Phase.WAITING

    until(waits, f"the repair of {run_id} waits")
    return int(it.conn.hget(keys.run(run_id), "v"))


def two_repairs(it: House, **other: Any) -> None:
    second = {"message": "the desk does not compile", "context": CODE | {"commit": "d00d"}} | other
    accepted(it, failure("run-1", BROKEN, MENDED))
    accepted(it, failure("run-2", *[second.pop("message")], MENDED, **second))


def test_two_repairs_of_one_branch_never_run_at_the_same_time(house: Make) -> None:
    one, other = house("one"), house("other")
    two_repairs(one)
    first = claim(one.service, "run-1", claimable(one, "run-1"))
    assert first is not None
    assert claim(other.service, "run-2", claimable(one, "run-2")) is None
    assert one.conn.hget(keys.run("run-2"), "q") == b"run-1"
    assert one.conn.zscore(keys.AGENDA, "run-2") is not None
    carry_out(one.service, first, lambda: False)
    due, now = one.conn.zscore(keys.AGENDA, "run-2"), one.conn.time()
    assert due <= now[0] * 1000 + now[1] / 1000, "what waited for the branch is due at once"
    second = claim(other.service, "run-2", claimable(one, "run-2"))
    assert second is not None
    carry_out(other.service, second, lambda: False)
    one.settle()
    assert {run: ended(one, run).ending for run in ("run-1", "run-2")} == dict.fromkeys(("run-1", "run-2"), "recovered")
    assert one.conn.keys(keys.BRANCH_PREFIX + "*") == []


@pytest.mark.parametrize(
    "other",
    [
        {"context": CODE | {"commit": "d00d", "ref": "refs/heads/fix"}},
        {"context": CODE | {"commit": "d00d", "repository": "acme/api"}},
        {"context": {"repository": "acme/shop", "commit": "d00d"}},
        {"message": AWAY},
    ],
)
def test_other_branches_retries_and_runs_without_a_branch_do_not_wait(house: Make, other: dict[str, Any]) -> None:
    it = house()
    two_repairs(it, **other)
    assert claim(it.service, "run-1", claimable(it, "run-1")) is not None
    assert claim(it.service, "run-2", claimable(it, "run-2")) is not None


def test_a_pull_request_s_branch_is_its_head(house: Make) -> None:
    it = house()
    pull = CODE | {"ref": "refs/pull/7/merge", "head_ref": "refs/heads/fix"}
    accepted(it, failure("run-1", context=pull | {"head_commit": "a"}))
    accepted(it, failure("run-2", context=pull | {"head_commit": "b", "ref": "refs/pull/9/merge"}))
    assert claim(it.service, "run-1", claimable(it, "run-1")) is not None
    assert claim(it.service, "run-2", claimable(it, "run-2")) is None


def test_a_cancelled_a_lost_and_a_forgotten_repair_free_the_branch(house: Make) -> None:
    it = house(bounds={"default": Bounds()})
    two_repairs(it)
    assert claim(it.service, "run-1", claimable(it, "run-1")) is not None
    assert cancel(it.service, "run-1") == "cancelled"
    assert claim(it.service, "run-2", claimable(it, "run-2")) is not None
    it.conn.delete(keys.run("run-2"))  # as a server that lost its last second may have
    accepted(it, failure("run-3", "a third part does not compile", context=CODE | {"commit": "feed"}))
    assert claim(it.service, "run-3", claimable(it, "run-3")) is not None


def test_a_parked_run_holds_no_branch_and_takes_none_from_who_has_it_now(house: Make) -> None:
    """Its repair has ended long ago, and until a person looks at it every other repair would wait."""
    it = house()
    two_repairs(it)
    first = claim(it.service, "run-1", claimable(it, "run-1"))
    assert first is not None
    assert it.service.ledger.park("run-1", first.version, "its rules are gone")
    assert claim(it.service, "run-2", claimable(it, "run-2")) is not None
    assert cancel(it.service, "run-1") == "cancelled"
    [branch] = it.conn.keys(keys.BRANCH_PREFIX + "*")
    assert it.conn.hget(branch, "run") == b"run-2"


def test_nonsense_where_a_branch_is_kept_lets_no_two_repairs_at_it(house: Make) -> None:
    it = house()
    two_repairs(it)
    assert claim(it.service, "run-1", claimable(it, "run-1")) is not None
    [branch] = it.conn.keys(keys.BRANCH_PREFIX + "*")
    assert cancel(it.service, "run-1") == "cancelled"
    it.conn.set(branch, "nonsense")
    assert claim(it.service, "run-2", claimable(it, "run-2")) is not None
    accepted(it, failure("run-3", "a third part does not compile", context=CODE | {"commit": "feed"}))
    assert claim(it.service, "run-3", claimable(it, "run-3")) is None
