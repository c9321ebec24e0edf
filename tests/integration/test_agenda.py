"""Nothing is forgotten: what is lost is sent again, what is not lost is not, and a killed worker holds nothing up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest
import redis

from heald_worker import decisions, keys, queues
from heald_worker.agenda import AGENDA_BATCH, TRIES_BEFORE_PARKING, tend
from heald_worker.config import Limits, Timing
from heald_worker.control import RUNS_PER_NUDGE
from heald_worker.core.recovery import Ending
from heald_worker.intake import new_token
from heald_worker.ledger import Held
from heald_worker.playbook import CommandNotice, CommandRepair
from heald_worker.repairing import claim
from heald_worker.states import STATE_FORMAT, encode_opened
from support.service import House, report, settings

WAITING = CommandRepair(("/bin/true",))
REPAIRS = queues.queue_key(queues.REPAIR)


@pytest.fixture
def houses() -> Iterator[list[House]]:
    made: list[House] = []
    yield made
    for house in made:
        house.close()


@pytest.fixture
def it(conn: redis.Redis, tmp_path: Path, houses: list[House]) -> House:
    houses.append(House(conn, settings(tmp_path, WAITING, timing=Timing())))
    return houses[0]


def waiting_runs(it: House, count: int) -> list[str]:
    """This many runs that wait for their repair, each with its nudge in the queue."""
    it.push(*(report(f"run-{n}") for n in range(count)))
    while it.conn.llen(REPAIRS) < count:
        it.control.turn()
    return [f"run-{n}" for n in range(count)]


def all_due(it: House) -> None:
    if members := it.conn.zrange(keys.AGENDA, 0, -1):
        it.conn.zadd(keys.AGENDA, dict.fromkeys(members, 0))


def pass_of(it: House) -> None:
    """One pass of the janitor over everything that is due."""
    while tend(it.service, lambda token: None) == 0:
        pass


def due_in(it: House, member: str) -> float:
    """Seconds until somebody looks at a run."""
    score = it.conn.zscore(keys.AGENDA, member)
    assert score is not None
    seconds, micros = it.conn.time()
    return float(score) / 1000 - (int(seconds) + int(micros) / 1e6)


def test_nudges_that_still_wait_are_not_sent_again_however_often_they_are_due(it: House) -> None:
    waiting_runs(it, 600)
    for _ in range(5):
        all_due(it)
        pass_of(it)
    assert it.conn.llen(REPAIRS) == 600


def test_of_a_backlog_only_the_lost_nudges_are_sent_again(it: House) -> None:
    waiting_runs(it, 600)
    lost = it.conn.lrange(REPAIRS, 0, -1)[100:700:200]
    for job_id in lost:
        it.conn.lrem(REPAIRS, 1, job_id)  # as a worker does that dies before it has begun
    all_due(it)
    pass_of(it)
    assert set(it.conn.lrange(REPAIRS, -3, -1)) == set(lost)
    assert it.conn.llen(REPAIRS) == 600


def test_a_pass_costs_a_few_round_trips_however_many_runs_are_due(it: House) -> None:
    waiting_runs(it, AGENDA_BATCH - 1)
    all_due(it)
    before = it.conn.info("commandstats")
    pass_of(it)
    after = it.conn.info("commandstats")
    calls: Any = {name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after}
    assert sum(calls.get(f"cmdstat_{name}", 0) for name in ("eval", "evalsha")) <= 4
    assert calls.get("cmdstat_lrange", 0) == 1
    assert calls.get("cmdstat_lpos", 0) == 0


def test_two_janitors_at_once_send_every_lost_nudge_once(
    it: House, houses: list[House], conn: redis.Redis, tmp_path: Path
) -> None:
    houses.append(House(conn, settings(tmp_path, WAITING, timing=Timing()), "another"))
    runs = waiting_runs(it, 600)
    it.conn.delete(REPAIRS)
    all_due(it)
    janitors = [Thread(target=pass_of, args=(house,)) for house in houses]
    for janitor in janitors:
        janitor.start()
    for janitor in janitors:
        janitor.join(30)
    sent = it.conn.lrange(REPAIRS, 0, -1)
    assert len(sent) == len(set(sent)) == len(runs)


def test_two_janitors_at_once_take_a_claim_away_once(
    it: House, houses: list[House], conn: redis.Redis, tmp_path: Path
) -> None:
    houses.append(House(conn, settings(tmp_path, WAITING, timing=Timing()), "another"))
    for run_id in waiting_runs(it, 8):
        version = int(it.conn.hget(keys.run(run_id), "v"))
        assert claim(it.service, run_id, version) is not None
    all_due(it)
    janitors = [Thread(target=pass_of, args=(house,)) for house in houses]
    for janitor in janitors:
        janitor.start()
    for janitor in janitors:
        janitor.join(30)
    assert all(it.events(f"run-{n}").count("repair_lost") == 1 for n in range(8))
    it.settle()
    assert len(it.logs()) == 8


# -- what a killed worker holds up ------------------------------------------------------------------------------------


@pytest.mark.parametrize("queue", [queues.DECIDE, queues.RECORD])
def test_what_a_killed_control_process_had_in_hand_is_due_within_the_lease(
    conn: redis.Redis, tmp_path: Path, houses: list[House], queue: str
) -> None:
    houses.append(House(conn, settings(tmp_path, timing=Timing())))
    [it] = houses
    it.push(report("run-1"))
    it.control._take_in(it.control.backlog())
    if queue == queues.RECORD:
        it.control._work_off(queues.DECIDE, 1, 1)
    for _ in range(9):  # it had waited long before
        all_due(it)
        pass_of(it)
    [taken] = it.control._take(queue, 10)
    assert taken.run_id == "run-1"
    assert due_in(it, "run-1") <= it.service.settings.timing.lease
    all_due(it)
    it.settle()
    assert it.log("run-1").outcome == "recovered"


def test_a_batch_that_a_killed_intake_had_in_hand_is_due_within_the_lease(it: House) -> None:
    it.push(report("run-1"))
    token = new_token()
    it.service.ledger.scripts["intake_take"](
        keys=[keys.INBOX, keys.intake(token), keys.AGENDA, keys.PAUSED],
        args=[keys.INTAKE_MEMBER + token, 256, 10**6, 10**6, 10_000],
    )
    assert due_in(it, keys.INTAKE_MEMBER + token) <= it.service.settings.timing.lease
    all_due(it)
    it.settle()
    assert it.log("run-1").outcome == "recovered"


def test_a_notice_of_a_killed_worker_is_due_within_the_lease_and_told_again_at_once(
    conn: redis.Redis, tmp_path: Path, houses: list[House]
) -> None:
    slow = CommandNotice(("/bin/sh", "-c", f"echo told >> {tmp_path}/told"), time_limit=900)
    timing = Timing(notice_first=600, notice_most=600)
    houses.append(House(conn, settings(tmp_path, notices={Ending.ESCALATED: slow}, timing=timing)))
    [it] = houses
    it.service.notices_out = lambda: None
    it.push(report("run-1", stage="deploy", message="?"))
    while not it.conn.llen(queues.queue_key(queues.ESCALATE)):
        it.control._in_lanes(it.control.backlog())
    it.conn.delete(queues.queue_key(queues.ESCALATE))
    hold_notice(it, "run-1")
    assert 25 < due_in(it, "run-1") <= it.service.settings.timing.lease
    all_due(it)
    pass_of(it)
    assert it.conn.llen(queues.queue_key(queues.ESCALATE)) == 0, "its lease still runs"
    it.conn.hset(keys.run("run-1"), "u", 0)
    all_due(it)
    pass_of(it)
    assert it.conn.llen(queues.queue_key(queues.ESCALATE)) == 1
    it.settle()
    assert (tmp_path / "told").read_text() == "told\n"


def hold_notice(it: House, run_id: str) -> None:
    """Claim a notice as a worker does that is killed right after."""
    from heald_worker.core.recovery import Claim, advance
    from heald_worker.moves import move_for

    now, [held] = it.service.ledger.load([run_id])
    assert isinstance(held, Held)
    step = advance(held.run.recovery, Claim("a dead worker"), now)
    assert it.service.ledger.commit([move_for(it.service, held, step, now)]) == ["committed"]


# -- what cannot go on ------------------------------------------------------------------------------------------------


def test_a_run_that_waits_for_its_artifact_is_noted_until_it_ends(
    conn: redis.Redis, tmp_path: Path, houses: list[House]
) -> None:
    disk = tmp_path / "artifacts"
    disk.write_text("a file, where the disk should be mounted")
    houses.append(House(conn, settings(tmp_path)))
    [it] = houses
    it.push(report("run-1", stage="deploy", message="?"))
    it.settle(lambda: conn.zcard(keys.UNCLOSED))
    _, [held] = it.service.ledger.load(["run-1"])
    assert isinstance(held, Held)
    assert held.run.recovery.evaluated_at is not None
    assert conn.zscore(keys.UNCLOSED, "run-1") == held.run.recovery.evaluated_at.to_micros() // 1000
    disk.unlink()
    it.settle()
    assert not conn.exists(keys.UNCLOSED)


def test_intake_pauses_while_the_artifact_disk_is_away(conn: redis.Redis, tmp_path: Path, houses: list[House]) -> None:
    (tmp_path / "artifacts").write_text("a file, where the disk should be mounted")
    houses.append(House(conn, settings(tmp_path, limits=Limits(open_nudges=10, intake_reports=5))))
    [it] = houses
    it.push(*(report(f"run-{n}", stage="deploy", message="?") for n in range(60)))
    for _ in range(60):
        all_due(it)
        it.control.turn()
    most = RUNS_PER_NUDGE * 10 + 5
    assert it.conn.zcard(keys.AGENDA) <= most
    assert it.conn.llen(keys.INBOX) >= 60 - most
    (tmp_path / "artifacts").unlink()
    it.settle()
    assert len(it.logs()) == 60


@pytest.mark.parametrize("obstacle", ["file", "symlink"])
def test_an_artifact_whose_place_is_taken_parks_its_run_alone_until_a_person_has_mended_it(
    conn: redis.Redis, tmp_path: Path, houses: list[House], obstacle: str
) -> None:
    place = tmp_path / "artifacts" / "run-1"
    place.parent.mkdir()
    place.write_text("in the way") if obstacle == "file" else place.symlink_to(tmp_path)
    houses.append(House(conn, settings(tmp_path)))
    [it] = houses
    it.push(report("run-1"), report("run-2"))
    it.settle(lambda: it.conn.exists(keys.PARKED))
    assert set(it.logs()) == {"run-2"}
    reason = it.conn.hget(keys.PARKED, "run-1").decode()
    assert "its artifact cannot be put in place" in reason
    assert it.control.nothing_left(it.control.backlog())
    place.unlink()
    it.service.ledger.scripts["unpark"](
        keys=[keys.run("run-1"), keys.AGENDA, keys.PARKED, keys.EVENTS], args=["run-1", "{}", 1000]
    )
    it.settle()
    assert set(it.logs()) == {"run-1", "run-2"}


def test_an_obstacle_that_goes_by_itself_parks_nothing(conn: redis.Redis, tmp_path: Path, houses: list[House]) -> None:
    place = tmp_path / "artifacts" / "run-1"
    place.parent.mkdir()
    place.write_text("in the way")
    houses.append(House(conn, settings(tmp_path)))
    [it] = houses
    it.push(report("run-1"))
    it.settle(lambda: int(it.conn.hget(keys.run("run-1"), "f") or 0) == TRIES_BEFORE_PARKING - 1)
    place.unlink()
    it.settle()
    assert set(it.logs()) == {"run-1"}
    assert not it.conn.exists(keys.PARKED)


# -- what is left behind ----------------------------------------------------------------------------------------------


def test_a_cancelled_run_leaves_no_job_behind(it: House) -> None:
    waiting_runs(it, 1)
    assert decisions.cancel(it.service, "run-1") == "unknown"
    assert decisions.cancel(it.service, "run-0") == "cancelled"
    assert not [job for job in it.conn.keys("rq:job:*") if it.conn.hget(job, "origin") == queues.REPAIR.encode()]
    it.conn.delete(REPAIRS)
    it.settle()
    assert it.leftovers() == set()
    assert not it.conn.keys("rq:job:*")


def test_a_killed_worker_s_job_goes_with_its_claim(it: House) -> None:
    waiting_runs(it, 1)
    it.conn.delete(REPAIRS)
    assert claim(it.service, "run-0", int(it.conn.hget(keys.run("run-0"), "v"))) is not None
    [spent] = it.conn.keys("rq:job:*")
    all_due(it)
    pass_of(it)
    assert not it.conn.exists(spent)
    assert it.conn.llen(REPAIRS) == 1


def test_the_mark_of_a_job_that_a_killed_process_took_is_over_in_a_minute(it: House) -> None:
    it.push(report("run-1"))
    it.control._take_in(it.control.backlog())
    it.control._take(queues.DECIDE, 10)
    [(_, until)] = it.conn.zrange(queues.started_key(queues.DECIDE), 0, -1, withscores=True)
    assert until - int(it.conn.time()[0]) <= 60


# -- states of other versions -----------------------------------------------------------------------------------------


def state_of(it: House, run_id: str) -> dict[str, Any]:
    return msgspec.json.decode(it.conn.hget(keys.run(run_id), "s"), type=dict[str, Any])


@pytest.mark.parametrize("number", [1, 2])
def test_a_state_of_an_older_format_is_read_and_written_in_this_one(it: House, number: int) -> None:
    [run_id] = waiting_runs(it, 1)
    _, [held] = it.service.ledger.load([run_id])
    assert isinstance(held, Held)
    old = msgspec.json.decode(encode_opened(held.run), type=dict[str, Any]) | {"format": number}
    if number == 1:
        del old["format"]
        del old["recovery"]["max_transient_retries"]
    it.conn.hset(keys.run(run_id), "s", msgspec.json.encode(old))
    it.conn.hdel(keys.run(run_id), "i")
    assert claim(it.service, run_id, int(it.conn.hget(keys.run(run_id), "v"))) is not None
    assert state_of(it, run_id)["format"] == STATE_FORMAT
    _, [claimed] = it.service.ledger.load([run_id])
    assert isinstance(claimed, Held)
    assert claimed.run.recovery.initial_failure == held.run.recovery.initial_failure
    assert claimed.run.context == held.run.context
    all_due(it)
    it.settle()
    assert it.log(run_id).outcome == "recovered"


@pytest.mark.parametrize("shape", [{}, {"decisions": "of another shape"}], ids=["same shape", "another shape"])
def test_a_newer_format_is_parked_and_goes_on_after_the_upgrade(
    it: House, monkeypatch: pytest.MonkeyPatch, shape: dict[str, Any]
) -> None:
    [run_id] = waiting_runs(it, 1)
    state = state_of(it, run_id)
    it.conn.hset(keys.run(run_id), "s", msgspec.json.encode(state | {"format": STATE_FORMAT + 1} | shape))
    it.conn.delete(REPAIRS)
    for _ in range(TRIES_BEFORE_PARKING):
        all_due(it)
        pass_of(it)
    assert (
        it.conn.hget(keys.PARKED, run_id)
        == f"its state has format {STATE_FORMAT + 1}, this heald reads up to {STATE_FORMAT}".encode()
    )
    monkeypatch.setattr("heald_worker.states.STATE_FORMAT", STATE_FORMAT + 1)
    it.conn.hset(keys.run(run_id), "s", msgspec.json.encode(state | {"format": STATE_FORMAT + 1}))  # readable now
    it.service.ledger.scripts["unpark"](
        keys=[keys.run(run_id), keys.AGENDA, keys.PARKED, keys.EVENTS], args=[run_id, "{}", 1000]
    )
    it.settle()
    assert it.log(run_id).outcome == "recovered"
