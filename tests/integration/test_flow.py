"""The flow of one run: from a report on the inbox to exactly one recovery log."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis

from heald_worker import decisions, keys, queues, repairing
from heald_worker.artifacts import read_recovery_artifact
from heald_worker.core.policy import RecoveryPolicy
from heald_worker.intake import take_in
from heald_worker.ledger import Ledger, Resend
from heald_worker.outputs import read_outputs
from heald_worker.packing import pack, unpack
from heald_worker.playbook import CommandRepair, RecordRepair
from support.service import House, report, settings

MakeHouse = Callable[..., House]


@pytest.fixture
def house(conn: redis.Redis, tmp_path: Path) -> Iterator[MakeHouse]:
    made: list[House] = []

    def make(*args: object, name: str = "test-worker", **more: object) -> House:
        made.append(House(conn, settings(tmp_path, *args, **more), name))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_failure_whose_repair_succeeds_ends_recovered(house: MakeHouse) -> None:
    it = house()
    it.push(report("run-1"))
    it.settle()
    log = it.log("run-1")
    assert (log.outcome, log.attempts_used, log.final_failure) == ("recovered", 1, None)
    assert [d.action for d in log.decisions] == ["patch_forward"]
    assert it.events("run-1") == ["accepted", "decided", "repair_ended", "ended"]
    assert it.entry("run-1")["ending"] == "recovered"
    assert read_recovery_artifact(it.service.artifacts, "run-1") == log


def test_a_failure_that_no_repair_mends_is_exhausted_after_its_attempts(house: MakeHouse) -> None:
    it = house(RecordRepair(succeed=False))
    it.push(report("run-1", flaky_hint=True))
    it.settle()
    log = it.log("run-1")
    assert [d.action for d in log.decisions] == ["retry", "patch_forward", "patch_forward"]
    assert (log.outcome, it.entry("run-1")["ending"]) == ("failed", "exhausted")


def test_an_unknown_failure_is_escalated_without_a_repair(house: MakeHouse) -> None:
    it = house()
    it.push(report("run-1", stage="deploy", message="it broke"))
    it.settle()
    assert it.events("run-1") == ["accepted", "decided", "ended"]
    assert it.entry("run-1")["ending"] == "escalated"


def test_no_attempts_allowed_still_ends_in_a_log(house: MakeHouse) -> None:
    it = house(policy=RecoveryPolicy(max_attempts=0))
    it.push(report("run-1"))
    it.settle()
    assert (it.log("run-1").attempts_used, it.entry("run-1")["ending"]) == (0, "exhausted")


def test_nothing_configured_for_an_action_fails_the_attempt_with_a_reason(house: MakeHouse) -> None:
    it = house(repairs={"retry": RecordRepair()}, policy=RecoveryPolicy(max_attempts=1))
    it.push(report("run-1"))
    it.settle()
    log = it.log("run-1")
    assert log.outcome == "failed"
    assert log.final_failure == log.initial_failure
    details = [json.loads(fields[b"facts"]).get("detail", "") for _, fields in it.conn.xrange(keys.EVENTS)]
    assert any("no repair is configured for patch_forward" in detail for detail in details)


def test_a_repair_that_cannot_be_started_is_no_reason_for_a_stronger_one(house: MakeHouse) -> None:
    rollback = CommandRepair(("/bin/true",))
    it = house(repairs={"patch_forward": CommandRepair(("/etc/passwd",)), "rollback": rollback})
    it.push(report("run-1", stage="build", message="main.c:1:1: error: expected ';'"))
    it.settle()
    assert [decision.action for decision in it.log("run-1").decisions] == ["patch_forward"] * 3
    assert it.entry("run-1")["ending"] == "exhausted"


TRACEBACK = "echo 'Traceback (most recent call last):'; echo 'RuntimeError: panic: handshake refused'; exit 1"


def test_a_repairs_own_traceback_leads_to_no_stronger_repair(house: MakeHouse, tmp_path: Path) -> None:
    rollback = CommandRepair(("touch", str(tmp_path / "rolled-back")))
    it = house(repairs={"patch_forward": CommandRepair(("sh", "-c", TRACEBACK)), "rollback": rollback})
    it.push(report("run-1", stage="build", message="main.c:1:1: error: expected ';'"))
    it.settle()
    assert [decision.action for decision in it.log("run-1").decisions] == ["patch_forward"] * 3
    assert not (tmp_path / "rolled-back").exists()


def test_what_repairs_printed_is_kept_as_long_as_the_recovery(house: MakeHouse) -> None:
    it = house(CommandRepair(("sh", "-c", "echo attempt $HEALD_ATTEMPT; exit $((2 - HEALD_ATTEMPT))")))
    it.push(report("Run-1"))
    it.settle()
    assert read_outputs(it.conn, "Run-1") == {1: "attempt 1", 2: "attempt 2"}
    life = it.conn.ttl(keys.output("run-1"))
    assert 0 < life <= it.service.settings.retention.recoveries
    assert b"attempt 1" not in it.logs()["Run-1"]


def test_a_repair_may_print_as_much_as_it_likes_in_as_many_attempts(house: MakeHouse) -> None:
    it = house(CommandRepair(("sh", "-c", "yes é | head -c 100000; exit 1")), policy=RecoveryPolicy(max_attempts=24))
    it.push(report("run-1"))
    it.settle()
    kept = read_outputs(it.conn, "run-1")
    assert list(kept) == list(range(5, 25))
    assert all(0 < len(text.encode()) <= 8192 for text in kept.values())


def test_a_server_that_takes_no_output_still_takes_the_result(
    house: MakeHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise redis.ResponseError("OOM command not allowed when used memory > 'maxmemory'.")

    monkeypatch.setattr(repairing, "keep_output", full)
    it = house(CommandRepair(("echo", "patched")))
    it.push(report("run-1"))
    it.settle()
    assert it.entry("run-1")["ending"] == "recovered"


def test_a_dry_run_decides_and_records_and_says_so(house: MakeHouse) -> None:
    it = house(dry_run=True)
    it.push(report("run-1"))
    it.settle()
    assert it.entry("run-1")["facts"]["dry_run"] is True
    assert it.log("run-1").attempts_used == 3


def test_many_runs_leave_nothing_behind_but_what_has_a_life(house: MakeHouse) -> None:
    it = house(RecordRepair(succeed_from=2))
    it.push(*(report(f"run-{n}") for n in range(700)))
    it.settle()
    assert len(it.logs()) == 700
    assert it.leftovers() == set()
    assert it.conn.zcard(keys.AGENDA) == 0
    assert not it.conn.keys("rq:job:*")
    assert not it.conn.zcard(queues.started_key(queues.DECIDE))


def test_the_same_report_again_is_a_duplicate_and_changes_nothing(house: MakeHouse) -> None:
    it = house()
    it.push(report("run-1"), report("run-1"))
    it.settle()
    it.push(report("run-1"))
    it.settle()
    assert list(it.logs()) == ["run-1"]
    assert it.conn.hget(keys.STATS, "duplicate") == b"2"
    assert it.dead() == []


def test_another_report_under_a_taken_id_is_a_dead_letter(house: MakeHouse) -> None:
    it = house()
    it.push(report("run-1"), report("RUN-1", message="other"))
    it.settle()
    it.push(report("run-1", message="third"))
    it.settle()
    assert it.dead() == ["run_id_conflict", "run_id_conflict"]
    assert it.log("run-1").initial_failure.message == "t red"


POISON = [
    (b"", "not_json"),
    (b"{", "not_json"),
    (b"\xff\xfe{}", "not_utf8"),
    (b"[]", "wrong_shape"),
    (b"x" * 200_000, "too_large"),
    (report("run-2").replace(b'"v": 1', b'"v": 9'), "unknown_version"),
    (report("../up"), "invalid_run_id"),
    (report("a" * 300), "invalid_run_id"),
    (report("run-2", exit_code=2**31), "wrong_shape"),
    (report("run-2", reported_at="2001-02-03T04:05:06Z"), "too_old"),
]


@pytest.mark.parametrize(("raw", "reason"), POISON, ids=[f"{reason}-{n}" for n, (_, reason) in enumerate(POISON)])
def test_poison_is_one_dead_letter_and_stops_nothing(house: MakeHouse, raw: bytes, reason: str) -> None:
    it = house()
    it.push(report("run-0"), raw, report("run-1"))
    it.settle()
    assert it.dead() == [reason]
    assert set(it.logs()) == {"run-0", "run-1"}


def test_a_dead_letter_keeps_a_bounded_beginning_and_the_true_length(house: MakeHouse) -> None:
    it = house()
    it.push(b"y" * 1_000_000)
    it.settle()
    [(_, letter)] = it.conn.xrange(keys.DEAD)
    assert (int(letter[b"length"]), letter[b"body"], letter[b"whole"]) == (1_000_000, b"y" * 4096, b"0")


def test_a_report_of_a_newer_version_is_kept_whole_for_a_replay(house: MakeHouse) -> None:
    it = house()
    raw = report("run-1", message="m" * 10_000).replace(b'"v": 1', b'"v": 2')
    it.push(raw)
    it.settle()
    [(_, letter)] = it.conn.xrange(keys.DEAD)
    assert (letter[b"run"], letter[b"body"], letter[b"whole"]) == (b"run-1", raw, b"1")


def test_a_pause_begins_nothing_new_and_a_resume_goes_on(house: MakeHouse) -> None:
    it = house()
    it.conn.set(keys.PAUSED, "a person")
    it.push(report("run-1"))
    assert not it.turn()
    assert it.conn.llen(keys.INBOX) == 1
    it.conn.delete(keys.PAUSED)
    it.settle()
    assert set(it.logs()) == {"run-1"}


def test_intake_waits_while_too_many_nudges_are_open(house: MakeHouse) -> None:
    it = house()
    it.conn.rpush(queues.queue_key(queues.REPAIR), *(f"job-{n}" for n in range(10_000)))
    it.push(report("run-1"))
    it.control.turn()
    assert it.conn.llen(keys.INBOX) == 1


def test_a_doubled_nudge_decides_once(house: MakeHouse) -> None:
    it = house()
    it.push(report("run-1"))
    it.control._take_in(it.control.backlog())
    [job_id] = it.conn.lrange(queues.queue_key(queues.DECIDE), 0, -1)
    it.conn.rpush(queues.queue_key(queues.DECIDE), job_id, job_id)
    it.settle()
    assert it.events("run-1").count("decided") == 1


def test_a_nudge_from_the_past_changes_nothing(house: MakeHouse) -> None:
    it = house(RecordRepair(succeed_from=2))
    it.push(report("run-1"))
    it.control._take_in(it.control.backlog())
    old = decisions.nudged(queues.DECIDE, "run-1", 1)
    it.control.turn()
    decisions.decide(it.service, [old])
    decisions.record(it.service, [old])
    it.settle()
    assert it.log("run-1").attempts_used == 2
    assert it.events("run-1").count("decided") == 2


def test_a_lost_nudge_is_sent_again(house: MakeHouse) -> None:
    it = house()
    it.push(report("run-1"))
    it.control._take_in(it.control.backlog())
    it.conn.delete(queues.queue_key(queues.DECIDE))
    it.settle()
    assert it.log("run-1").outcome == "recovered"


def test_a_nudge_that_still_waits_in_its_queue_is_not_sent_again(house: MakeHouse) -> None:
    it = house()
    it.push(report("run-1"))
    it.control._take_in(it.control.backlog())
    now, [held] = it.service.ledger.load(["run-1"])
    from heald_worker.moves import job_for

    job = job_for(it.service, held.run, held.version, now)  # type: ignore[union-attr]
    assert job is not None
    assert it.service.ledger.resend([Resend("run-1", 1, job), Resend("run-1", 2, job)]) == ["queued", "moved"]
    assert it.conn.llen(queues.queue_key(queues.DECIDE)) == 1


def test_a_batch_left_behind_by_a_dead_intake_is_taken_up(house: MakeHouse) -> None:
    it = house()
    it.push(report("run-1"), report("run-2"))
    taken = it.service.ledger.scripts["intake_take"](
        keys=[keys.INBOX, keys.intake("dead"), keys.AGENDA, keys.PAUSED],
        args=["intake:dead", 256, 10**6, 10**6, 1],
    )
    assert len(unpack(taken)) == 4  # two reports and their lengths
    it.settle()
    assert set(it.logs()) == {"run-1", "run-2"}


def test_an_intake_commit_repeated_after_a_lost_reply_changes_nothing(house: MakeHouse) -> None:
    it = house()
    it.push(report("run-1"))
    commit = it.service.ledger.scripts["intake_commit"]
    calls: list[object] = []

    def twice(**kwargs: object) -> object:
        calls.append(commit(**kwargs))
        calls.append(commit(**kwargs))
        return calls[0]

    it.service.ledger.scripts["intake_commit"] = twice  # type: ignore[assignment]
    assert take_in(it.service, "t1").reports == 1
    assert calls == [b"accepted", b"gone"]
    it.settle()
    assert it.events("run-1").count("accepted") == 1


def test_an_intake_that_breaks_off_forgets_nothing_that_it_has_created(house: MakeHouse) -> None:
    it, raws = house(), [report("run-1"), report("run-2")]
    it.conn.rpush(keys.intake("t1"), *raws)
    it.conn.zadd(keys.AGENDA, {keys.INTAKE_MEMBER + "t1": 1})
    commit = it.service.ledger.scripts["intake_commit"]

    def with_an_item_that_breaks(**call: Any) -> Any:
        member, packed, *rest = call["args"]
        items, shared = msgspec.msgpack.decode(packed, type=tuple[list[Any], list[Any]])
        items[1][5] = "no number"
        return commit(**call | {"args": [member, pack([items, shared]), *rest]})

    it.service.ledger.scripts["intake_commit"] = with_an_item_that_breaks
    with pytest.raises(redis.ResponseError, match="attempt to perform arithmetic"):
        take_in(it.service, "t1")
    assert set(it.conn.zrange(keys.AGENDA, 0, -1)) == {b"run-1", b"intake:t1"}
    assert it.conn.lrange(keys.intake("t1"), 0, -1) == raws
    it.service.ledger.scripts["intake_commit"] = commit
    assert take_in(it.service, "t1").reports == 2
    it.settle()
    assert set(it.logs()) == {"run-1", "run-2"}
    assert it.leftovers() == set()


def test_a_commit_repeated_after_a_lost_reply_is_recognised(house: MakeHouse) -> None:
    it = house(RecordRepair(succeed_from=2))
    commit, verdicts = Ledger.commit, []

    def twice(self: Ledger, moves: list[object]) -> list[str]:
        first, second = commit(self, moves), commit(self, moves)  # type: ignore[arg-type]
        verdicts.append((first, second))
        return second

    it.service.ledger.commit = twice.__get__(it.service.ledger)  # type: ignore[method-assign]
    it.push(report("run-1"))
    it.settle()
    assert all(first == ["committed"] and second == ["already_mine"] for first, second in verdicts if first)
    assert it.events("run-1") == ["accepted", "decided", "repair_ended"] * 1 + [
        "decided",
        "repair_ended",
        "ended",
    ]
    assert len(it.logs()) == 1


def test_a_run_that_cannot_be_read_is_parked_and_stops_nothing(house: MakeHouse) -> None:
    it = house()
    it.push(report("run-1"), report("run-2"))
    it.control._take_in(it.control.backlog())
    state = json.loads(it.conn.hget(keys.run("run-1"), "s"))
    it.conn.hset(keys.run("run-1"), "s", json.dumps(state | {"format": 99}))
    it.settle()
    assert "format 99" in it.conn.hget(keys.PARKED, "run-1").decode()
    assert set(it.logs()) == {"run-2"}


def test_a_wrong_type_under_a_key_of_heald_writes_nothing_and_loses_nothing(house: MakeHouse) -> None:
    it = house()
    it.push(report("run-1"))
    it.control._take_in(it.control.backlog())
    it.conn.rename(keys.RECOVERIES, "aside") if it.conn.exists(keys.RECOVERIES) else None
    it.conn.set(keys.RECOVERIES, "not a stream")
    for _ in range(20):
        it.turn()
    assert it.conn.hget(keys.run("run-1"), "v") == b"1"
    it.conn.delete(keys.RECOVERIES)
    it.settle()
    assert set(it.logs()) == {"run-1"}


def test_cancelling_an_open_run_ends_it_in_a_log(house: MakeHouse) -> None:
    it = house()
    it.push(report("run-1"))
    it.control._take_in(it.control.backlog())
    assert decisions.cancel(it.service, "run-1") == "cancelled"
    it.settle()
    assert it.entry("run-1")["ending"] == "cancelled"
    assert decisions.cancel(it.service, "run-1") == "unknown"


def test_two_control_processes_on_one_server_commit_nothing_twice(house: MakeHouse) -> None:
    one, two = (
        house(RecordRepair(succeed_from=3), name="one"),
        house(RecordRepair(succeed_from=3), name="two"),
    )
    one.push(*(report(f"run-{n}") for n in range(300)))

    def both_idle() -> bool:
        return not two.turn() and one.control.nothing_left(one.control.backlog())

    one.settle(both_idle)
    logs = one.logs()
    assert len(logs) == 300
    for run_id in logs:
        assert one.events(run_id).count("decided") == 3 if run_id == "run-7" else True


def test_a_full_artifact_folder_holds_the_run_until_it_is_back(house: MakeHouse, tmp_path: Path) -> None:
    it = house()
    it.service.artifacts.parent.mkdir(exist_ok=True)
    it.service.artifacts.write_text("a file where the folder should be")
    it.push(report("run-1"))
    for _ in range(20):
        it.turn()
    assert it.conn.exists(keys.run("run-1"))
    assert not it.conn.exists(keys.RECOVERIES)
    it.service.artifacts.unlink()
    it.settle()
    assert set(it.logs()) == {"run-1"}
