"""Escalations and exhaustions are told to somebody, retried, and lose nothing when that fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
import redis

from heald_worker import closing, keys, notifying, queues
from heald_worker.artifacts import write_artifacts
from heald_worker.config import Limits
from heald_worker.core.policy import RecoveryPolicy
from heald_worker.core.recovery import Claim, Ending, Phase, advance
from heald_worker.ledger import Held
from heald_worker.moves import move_for
from heald_worker.notices import Delivery
from heald_worker.playbook import CommandNotice, Notice, RecordRepair, WebhookNotice
from heald_worker.unheard import unheard_notices
from support.calls import Caller
from support.server import Server
from support.service import House, report, settings
from support.wait import until
from support.web import WebServer, status


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
    assert sorted(house.events("run-1")[2:]) == ["ended", "notice_ended", "notice_started", "recorded"]


def test_who_is_told_gets_the_evidence_and_what_came_close(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House]
) -> None:
    house = House(conn, settings(tmp_path, notices={Ending.ESCALATED: notice(told)}, taxonomy="heald"))
    houses.append(house)
    secret = "ghp_" + "a1B2" * 9
    house.push(
        report("run-1", stage="unit", message=f"make: *** [all] Error 2\ntoken {secret}: No space left on device")
    )
    house.settle()
    said = json.loads(told.read_text())["diagnosis"]
    assert (said["subclass"], said["rule"], said["confidence"]) == ("disk_full", "disk-full", 0.97)
    assert "No space left on device" in said["evidence"]
    assert secret not in json.dumps(said)
    assert "wrapper" in {close["rule"] for close in said["runners_up"]}
    assert len(said["runners_up"]) <= 3


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


def tries(told: Path) -> int:
    return int(Path(f"{told}.count").read_text())


def phase_of(house: House, run_id: str) -> Phase | None:
    _, [held] = house.service.ledger.load([run_id])
    return held.run.recovery.phase if isinstance(held, Held) else None


def test_a_page_does_not_wait_for_the_artifact_s_disk(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House]
) -> None:
    disk = tmp_path / "artifacts"
    disk.write_text("a file, where the disk should be mounted")
    house = House(conn, settings(tmp_path, notices={Ending.ESCALATED: notice(told)}))
    houses.append(house)
    house.push(report("run-1", stage="deploy", message="nobody knows"))
    house.settle(lambda: "notice_ended" in house.events("run-1"))
    assert (phase_of(house, "run-1"), house.logs()) == (Phase.CLOSING, {})
    disk.unlink()
    house.settle()
    assert house.events("run-1")[-1] == "ended"
    assert tries(told) == 1
    assert json.loads(told.read_text())["digest"] == house.entry("run-1")["digest"]


def test_a_disk_that_hangs_holds_no_page_up(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(*args: object, **more: object) -> object:
        until(lambda: "notice_ended" in houses[0].events("run-1"), "somebody was told while the disk hung")
        return write_artifacts(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(closing, "write_artifacts", hangs)
    house = escalated(conn, tmp_path, houses, notice(told))
    assert (tries(told), house.entry("run-1")["facts"]["notice_tries"]) == (1, 1)


def test_a_log_that_is_recorded_while_somebody_tells_loses_neither_and_the_lease_goes_on(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House], monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed = []

    def delivered(*_args: object, **_more: object) -> Delivery:
        house = houses[0]
        until(lambda: phase_of(house, "run-1") is Phase.SETTLING, "the log was recorded meanwhile")
        _, [held] = house.service.ledger.load(["run-1"])
        assert isinstance(held, Held)
        claim = held._replace(commit_id=held.claim)
        renewed.extend([claim.commit_id != held.commit_id, house.service.ledger.renew(claim, 30_000)])
        return Delivery(True, "scripted")

    def begun(*args: object, **more: object) -> object:
        until(lambda: "notice_started" in houses[0].events("run-1"), "somebody has the notice in hand")
        return write_artifacts(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(notifying, "deliver", delivered)
    monkeypatch.setattr(closing, "write_artifacts", begun)
    house = escalated(conn, tmp_path, houses, notice(told))
    assert renewed == [True, True]
    assert house.events("run-1")[2:] == ["notice_started", "recorded", "notice_ended", "ended"]
    assert house.leftovers() == set()


def test_a_log_is_recorded_also_while_nobody_can_be_told(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House]
) -> None:
    house = House(conn, settings(tmp_path, notices={Ending.ESCALATED: notice(told)}))
    houses.append(house)

    def refused() -> None:
        raise redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")

    house.service.notices_out = refused
    house.push(report("run-1", stage="deploy", message="nobody knows"))
    house.settle(lambda: (tmp_path / "artifacts" / "run-1" / "recovery.json").exists())
    house.settle()
    assert tries(told) == 1


def test_while_somebody_tells_an_artifact_that_is_due_is_written_and_the_notice_left_alone(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House], monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, released = tmp_path / "artifacts", Event()
    disk.write_text("a file, where the disk should be mounted")

    def delivered(*_args: object, **_more: object) -> Delivery:
        assert released.wait(60)
        return Delivery(True, "scripted")

    monkeypatch.setattr(notifying, "deliver", delivered)
    house = House(conn, settings(tmp_path, notices={Ending.ESCALATED: notice(told)}))
    houses.append(house)
    house.push(report("run-1", stage="deploy", message="nobody knows"))
    house.settle(lambda: "notice_started" in house.events("run-1"))
    disk.unlink()
    house.settle(lambda: phase_of(house, "run-1") is Phase.SETTLING)
    released.set()
    house.settle()
    assert house.entry("run-1")["facts"]["notice_tries"] == 1


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
    house = House(conn, settings(tmp_path, notices={Ending.ESCALATED: notice(told)}))
    houses.append(house)
    house.service.notices_out = lambda: None
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
    conn.hset(keys.run("run-1"), "u", 0)  # its lease is over
    conn.zadd(keys.AGENDA, {"run-1": 0})
    house.settle()
    until(told.exists, "it was told")
    assert house.entry("run-1")["facts"]["notice_tries"] == 2


def test_a_notice_that_was_refused_is_not_repeated_and_is_kept_with_the_answer(
    conn: redis.Redis, tmp_path: Path, houses: list[House]
) -> None:
    with WebServer(status(400, b"no such channel")) as server:
        house = escalated(conn, tmp_path, houses, WebhookNotice(server.url))
    assert len(server.requests) == 1
    assert house.entry("run-1")["facts"]["notice_tries"] == 1
    [kept] = unheard_notices(conn)
    assert (kept.run, kept.ending, kept.tries) == ("run-1", "escalated", 1)
    assert kept.reason == "answered 400 Bad Request: no such channel"
    assert conn.hget(keys.STATS, "notices_failed") == b"1"


@pytest.mark.parametrize(("code", "asked", "waits"), [(503, "200", 200), (429, "86400", 300)])
def test_who_asks_to_wait_is_not_told_again_before_but_within_minutes(
    conn: redis.Redis, tmp_path: Path, houses: list[House], code: int, asked: str, waits: int
) -> None:
    with WebServer(status(code, Retry_After=asked)) as server:
        house = House(conn, settings(tmp_path, notices={Ending.ESCALATED: WebhookNotice(server.url)}))
        houses.append(house)
        house.push(report("run-1", stage="deploy", message="?"))
        house.settle(lambda: "notice_ended" in house.events("run-1"))
        now, [held] = house.service.ledger.load(["run-1"])
        assert isinstance(held, Held)
        assert waits - 10 < held.until / 1000 - now.seconds <= waits + 1


def test_a_notice_whose_last_worker_died_is_kept_as_unheard(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House]
) -> None:
    chosen = settings(tmp_path, notices={Ending.ESCALATED: notice(told)}, limits=Limits(notice_tries=1))
    house = House(conn, chosen)
    houses.append(house)
    house.service.notices_out = lambda: None
    house.push(report("run-1", stage="deploy", message="?"))
    while phase_of(house, "run-1") is not Phase.SETTLING:
        house.control._in_lanes(house.control.backlog())
    now, [held] = house.service.ledger.load(["run-1"])
    assert isinstance(held, Held)
    dead = move_for(house.service, held, advance(held.run.recovery, Claim("a dead worker"), now), now)
    assert house.service.ledger.commit([dead]) == ["committed"]
    conn.hset(keys.run("run-1"), "u", 0)
    conn.zadd(keys.AGENDA, {"run-1": 0})
    house.settle()
    assert [kept.reason for kept in unheard_notices(conn)] == [
        "it was lost with a dead worker; nobody knows whether it was delivered"
    ]


def test_unheard_notices_are_bounded(conn: redis.Redis, tmp_path: Path, houses: list[House]) -> None:
    fill = "for i = 1, 1000 do redis.call('XADD', KEYS[1], '*', 'run', i) end"
    conn.execute_command("EVAL", fill, 1, keys.UNHEARD)
    escalated(conn, tmp_path, houses, CommandNotice(("/no/such/program",)), limits=Limits(notice_tries=1))
    assert conn.xlen(keys.UNHEARD) == 1000
    assert unheard_notices(conn)[-1].run == "run-1"


@pytest.fixture
def heald(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Caller:
    return Caller(server.url, tmp_path, monkeypatch, capsys)


def configure(folder: Path, url: str) -> None:
    (folder / "heald.toml").write_text(f"[notices.on_escalated]\nkind = 'webhook'\nurl = '{url}'\n")


def test_a_notice_that_failed_is_listed_and_sent_again_as_it_was(
    conn: redis.Redis, tmp_path: Path, houses: list[House], heald: Caller
) -> None:
    with WebServer(status(400, b"no such channel")) as wrong, WebServer(status(200)) as right:
        house = escalated(conn, tmp_path, houses, WebhookNotice(wrong.url))
        [listed] = heald("notices", "list", "--json").records
        assert (listed["run"], listed["tries"]) == ("run-1", 1)
        assert "no such channel" in heald("notices", "list").out
        configure(tmp_path, wrong.url)
        again = heald("notices", "resend", "--all")
        assert (again.code, "no such channel" in again.out) == (1, True)
        configure(tmp_path, right.url)
        assert heald("notices", "resend", "RUN-1").code == 0
        assert heald("notices", "resend", "run-1").code == 1
    first, sent = json.loads(wrong.requests[0].body), json.loads(right.requests[0].body)
    assert sent == first
    assert sent["digest"] == house.entry("run-1")["digest"]
    assert not heald("notices", "list", "--json").records


def test_a_notice_that_failed_is_sent_again_also_while_its_log_waits_for_a_disk(
    conn: redis.Redis, tmp_path: Path, houses: list[House], heald: Caller
) -> None:
    (tmp_path / "artifacts").write_text("a file, where the disk should be mounted")
    with WebServer(status(404)) as wrong, WebServer(status(200)) as right:
        house = House(conn, settings(tmp_path, notices={Ending.ESCALATED: WebhookNotice(wrong.url)}))
        houses.append(house)
        house.push(report("run-1", stage="deploy", message="nobody knows"))
        house.settle(lambda: unheard_notices(conn))
        configure(tmp_path, right.url)
        assert heald("notices", "resend", "run-1").code == 0
    assert json.loads(right.requests[0].body) == json.loads(wrong.requests[0].body)


def test_a_notice_that_somebody_knows_of_by_now_is_forgotten(
    conn: redis.Redis, tmp_path: Path, houses: list[House], heald: Caller
) -> None:
    escalated(conn, tmp_path, houses, CommandNotice(("/no/such/program",)), limits=Limits(notice_tries=1))
    assert heald("notices", "purge").code == 2
    assert heald("notices", "purge", "run-1").out == "1 notice forgotten\n"
    assert unheard_notices(conn) == []


def test_a_notice_that_a_worker_of_format_3_had_in_hand_is_told_again_when_its_lease_is_over(
    conn: redis.Redis, tmp_path: Path, told: Path, houses: list[House]
) -> None:
    house = House(conn, settings(tmp_path, notices={Ending.ESCALATED: notice(told)}))
    houses.append(house)
    house.service.notices_out = lambda: None
    house.push(report("run-1", stage="deploy", message="?"))
    while phase_of(house, "run-1") is not Phase.SETTLING:
        house.control._in_lanes(house.control.backlog())
    state = json.loads(conn.hget(keys.run("run-1"), "s") or b"")
    older = state | {"format": 3, "holder": "an older worker", "notice_tries": 1}
    conn.hset(keys.run("run-1"), "s", json.dumps(older))
    conn.hdel(keys.run("run-1"), "l", "u")
    conn.delete(queues.queue_key(queues.ESCALATE))
    conn.zadd(keys.AGENDA, {"run-1": 0})
    house.settle()
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
