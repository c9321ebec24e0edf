"""Escalations and exhaustions are told to somebody, retried, and lose nothing when that fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from heald_worker import keys, queues
from heald_worker.config import Limits
from heald_worker.core.policy import RecoveryPolicy
from heald_worker.core.recovery import Ending
from heald_worker.playbook import CommandNotice, Notice, RecordRepair
from support.service import House, report, settings
from support.wait import until


@pytest.fixture
def told(tmp_path: Path) -> Path:
    return tmp_path / "told"


def notice(told: Path, *, fails: int = 0) -> CommandNotice:
    """A notice that keeps a copy of its facts, and fails this often before."""
    script = f"""
        count=$(cat {told}.count 2>/dev/null || echo 0)
        echo $((count + 1)) > {told}.count
        cp "$HEALD_FACTS" {told}
        [ "$count" -ge {fails} ]
    """
    return CommandNotice(("/bin/sh", "-c", script))


@pytest.fixture
def houses(conn: redis.Redis) -> Iterator[list[House]]:
    made: list[House] = []
    yield made
    for house in made:
        house.close()


def escalated(conn: redis.Redis, folder: Path, houses: list[House], chosen: Notice, **more: object) -> House:
    """A house where run-1 has just been escalated and settled."""
    house = House(conn, settings(folder, notices={Ending.ESCALATED: chosen}, **more))  # type: ignore[arg-type]
    houses.append(house)
    house.push(report("run-1", stage="deploy", message="nobody knows"))
    house.settle()
    return house


def test_an_escalation_is_told_with_the_whole_log(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House]
) -> None:
    house = escalated(conn, tmp_path, houses, notice(told))
    facts = json.loads(told.read_text())
    assert (facts["run_id"], facts["ending"]) == ("run-1", "escalated")
    assert facts["log"] == json.loads(house.logs()["run-1"])
    assert house.events("run-1")[-3:] == ["notice_started", "notice_ended", "ended"]


def test_a_notice_that_fails_is_tried_again(conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House]) -> None:
    house = escalated(conn, tmp_path, houses, notice(told, fails=2))
    assert Path(f"{told}.count").read_text().strip() == "3"
    assert house.entry("run-1")["facts"]["notice_tries"] == 3


def test_a_notice_that_fails_for_good_is_recorded_and_the_run_still_ends(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House]
) -> None:
    house = escalated(conn, tmp_path, houses, notice(told, fails=99), limits=Limits(notice_tries=2))
    assert Path(f"{told}.count").read_text().strip() == "2"
    assert house.entry("run-1")["ending"] == "escalated"
    ended = [json.loads(f[b"facts"]) for _, f in conn.xrange(keys.EVENTS) if f[b"kind"] == b"notice_ended"]
    assert [(each["final"], each["delivered"]) for each in ended] == [(False, False), (True, False)]


def test_a_notice_command_that_does_not_exist_is_recorded(
    conn: redis.Redis, tmp_path: Path, houses: list[House]
) -> None:
    house = escalated(conn, tmp_path, houses, CommandNotice(("/no/such/program",)), limits=Limits(notice_tries=1))
    assert house.events("run-1")[-2:] == ["notice_ended", "ended"]


def test_the_artifact_stands_before_anybody_is_told(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House]
) -> None:
    script = f"cat {tmp_path}/artifacts/run-1/recovery.digest > {told}"
    house = escalated(conn, tmp_path, houses, CommandNotice(("/bin/sh", "-c", script)))
    assert told.read_text() == house.entry("run-1")["digest"]


def test_exhaustion_has_its_own_notice_and_recovery_none(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House]
) -> None:
    chosen = settings(
        tmp_path,
        RecordRepair(succeed=False),
        notices={Ending.EXHAUSTED: notice(told)},
        policy=RecoveryPolicy(max_attempts=1),
    )
    house = House(conn, chosen)
    houses.append(house)
    house.push(report("run-1"), report("run-2", stage="deploy", message="?"))
    house.settle()
    assert json.loads(told.read_text())["run_id"] == "run-1"
    assert Path(f"{told}.count").read_text().strip() == "1"


def test_a_notice_whose_worker_died_is_told_again(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House]
) -> None:
    from heald_worker.core.recovery import Claim, Phase, advance
    from heald_worker.ledger import Held
    from heald_worker.moves import move_for
    from support.wait import until

    house = House(conn, settings(tmp_path, notices={Ending.ESCALATED: notice(told)}))
    houses.append(house)
    house.push(report("run-1", stage="deploy", message="?"))

    def settling() -> Held | None:
        _, [held] = house.service.ledger.load(["run-1"])
        return held if isinstance(held, Held) and held.run.recovery.phase is Phase.SETTLING else None

    held = None
    for _ in range(10):
        backlog = house.control.backlog()
        house.control._take_in(backlog)
        house.control._work_off("heald-decide", backlog.decide, 10)
        if held := settling():
            break
    assert held is not None
    now = house.service.ledger.now()
    dead = move_for(house.service, held, advance(held.run.recovery, Claim("a dead worker"), now), now)
    assert house.service.ledger.commit([dead]) == ["committed"]
    conn.zadd(keys.AGENDA, {"run-1": 0})  # its lease is over
    house.settle()
    until(told.exists, "it was told")
    assert house.entry("run-1")["facts"]["notice_tries"] == 2


def test_a_told_notice_leaves_no_job_and_no_mark_behind(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House]
) -> None:
    house = escalated(conn, tmp_path, houses, notice(told))
    assert house.leftovers() == set()
    assert not conn.exists(queues.started_key(queues.ESCALATE))
    assert not conn.keys("rq:job:*")


def test_a_notice_that_is_cut_short_by_a_stop_is_never_the_last_try(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House]
) -> None:
    script = f"[ -e {told} ] && exit 0; touch {told}; sleep 600"
    chosen = settings(
        tmp_path,
        notices={Ending.ESCALATED: CommandNotice(("/bin/sh", "-c", script))},
        limits=Limits(notice_tries=1),
    )
    stopped = House(conn, chosen)
    stopped.push(report("run-1", stage="deploy", message="?"))
    until(lambda: (stopped.turn(), told.exists())[1], "the notice is under way")
    stopped.control.close(0)
    until(lambda: "notice_ended" in stopped.events("run-1"), "it was cut short")
    assert not stopped.logs()
    house = House(conn, chosen)
    houses.append(house)
    house.settle()
    assert house.entry("run-1")["facts"]["notice_tries"] == 2
