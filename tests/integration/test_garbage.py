"""What stands broken or forged in Redis costs the run it belongs to at most some time, and everybody else nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from heald_worker import keys, queues
from heald_worker.agenda import TRIES_BEFORE_PARKING, give_up, tend
from heald_worker.upkeep import registered
from heald_worker.workers import ControlWorker
from support.server import Server
from support.service import House, report, settings
from support.verbs import environment, heald


@pytest.fixture
def it(conn: redis.Redis, tmp_path: Path) -> Iterator[House]:
    house = House(conn, settings(tmp_path))
    yield house
    house.close()


REPO = {"context": {"repository": "acme/shop"}}


@pytest.mark.parametrize("stored", [b"\xff", b"{", b"5", b"[[]]", b'[["1", "recovered"]]', b'[["x", 1, {}, []]]'])
def test_garbage_in_the_regression_index_holds_no_ending_up(it: House, stored: bytes) -> None:
    it.push(report("run-0", **REPO))
    it.settle()
    [index] = it.conn.keys(keys.PRIOR_PREFIX + "*")
    it.conn.set(index, stored)
    it.push(*(report(f"run-{n}", **REPO) for n in range(1, 4)))
    while it.control.turn() is None:
        pass
    assert set(it.logs()) == {f"run-{n}" for n in range(4)}
    assert it.conn.hget(keys.STATS, "ended_recovered") == b"4"
    assert not it.conn.keys("rq:job:*")
    assert json.loads(it.conn.get(index))[0][2] in {"run-1", "run-2", "run-3"}


@pytest.mark.parametrize(("field", "value"), [("v", b"x"), ("v", b"\xff"), ("v", b""), ("d", b"\xff"), ("n", b"x")])
def test_a_broken_field_of_one_run_holds_no_other_up(it: House, field: str, value: bytes) -> None:
    it.push(report("run-1"), report("run-2"))
    it.control._take_in(it.control.backlog())
    it.conn.hset(keys.run("run-1"), field, value)
    it.conn.delete(queues.queue_key(queues.DECIDE))  # so that the janitor meets it, too
    it.settle(lambda: "run-2" in it.logs())


def test_a_left_intake_batch_that_cannot_be_read_holds_no_run_up(it: House) -> None:
    it.conn.set(keys.intake("broken"), "no list")
    it.push(report("run-1"))
    it.control._take_in(it.control.backlog())
    it.conn.delete(queues.queue_key(queues.DECIDE))
    it.conn.zadd(keys.AGENDA, {"intake:broken": 0, "run-1": 1})
    it.settle(lambda: "run-1" in it.logs())


def test_a_server_that_fails_for_a_moment_parks_no_run(it: House, monkeypatch: pytest.MonkeyPatch) -> None:
    it.push(report("run-1"))
    it.control._take_in(it.control.backlog())
    it.conn.hset(keys.run("run-1"), "n", 99)  # it has waited long in its queue

    def away(*_: object) -> str:
        raise redis.TimeoutError("Timeout reading from server")

    with monkeypatch.context() as broken:
        broken.setattr(it.service.ledger, "resend", away)
        it.conn.zadd(keys.AGENDA, {"run-1": 0})
        with pytest.raises(redis.TimeoutError):
            tend(it.service, lambda token: None)
    assert not it.conn.exists(keys.PARKED)
    it.settle()
    assert set(it.logs()) == {"run-1"}


def test_a_parked_run_that_ends_after_all_is_parked_no_more(it: House) -> None:
    it.push(report("run-1"))
    it.control._take_in(it.control.backlog())
    assert it.service.ledger.park("run-1", 1, "a mistake")  # while its nudge stands in the queue
    it.settle()
    assert set(it.logs()) == {"run-1"}
    assert it.leftovers() == set()


def test_a_server_without_memory_loses_no_dead_letter(it: House, monkeypatch: pytest.MonkeyPatch) -> None:
    it.push(b"no report")
    take = it.service.ledger.scripts["intake_take"]

    def then_full(**kwargs: object) -> object:
        taken = take(**kwargs)
        it.conn.config_set("maxmemory", 1)
        return taken

    monkeypatch.setitem(it.service.ledger.scripts, "intake_take", then_full)  # type: ignore[arg-type]
    try:
        with pytest.raises(redis.ResponseError):
            it.control._take_in(it.control.backlog())
    finally:
        it.conn.config_set("maxmemory", 0)
    monkeypatch.undo()
    [left] = it.conn.zrange(keys.AGENDA, 0, -1)
    it.conn.zadd(keys.AGENDA, {left: 0})
    it.settle()
    assert it.dead() == ["not_json"]


def test_a_wrong_key_of_rq_costs_no_nudge(it: House) -> None:
    it.conn.set("rq:queues", "no set")
    it.conn.set(queues.started_key(queues.DECIDE), "no sorted set")
    it.push(report("run-1"), report("run-2"))
    it.control._take_in(it.control.backlog())
    it.conn.delete(queues.queue_key(queues.DECIDE))
    for job in it.conn.keys("rq:job:run-1*"):
        it.conn.set(job, "no hash")
    it.settle()
    assert set(it.logs()) == {"run-1", "run-2"}


def test_a_run_that_waited_long_is_not_parked_for_one_failure(it: House) -> None:
    it.push(report("run-1"))
    it.control._take_in(it.control.backlog())
    it.conn.hset(keys.run("run-1"), "n", 99)
    give_up(it.service, "run-1", 1, "once")
    assert not it.conn.exists(keys.PARKED)
    for _ in range(TRIES_BEFORE_PARKING - 1):
        give_up(it.service, "run-1", 1, "again")
    assert it.conn.hget(keys.PARKED, "run-1") == b"again"


def test_what_is_no_worker_is_not_listed_as_one(it: House, server: Server, tmp_path: Path) -> None:
    it.conn.sadd("rq:workers:heald-decide", b"\xff", "elsewhere", "rq:worker:a", "rq:worker:b", "rq:worker:c")
    it.conn.set("rq:worker:a", "no hash")
    it.conn.hset("rq:worker:b", "pid", "many")
    it.conn.hset("rq:worker:c", mapping={"pid": 7, "state": "\x1b[31mred", "queues": "heald-decide"})
    seen = heald("workers", env=environment(server.url, tmp_path), cwd=tmp_path)
    assert (seen.returncode, seen.stdout.count("\n")) == (0, 1), seen.stderr
    assert seen.stdout.startswith("c  \\x1b[31mred  decide")
    assert "Traceback" not in seen.stderr


def test_a_worker_whose_record_is_lost_registers_again(it: House) -> None:
    worker = ControlWorker(it.service)
    worker.register_birth()
    it.conn.flushall()
    worker._busy_since = 0.0
    worker._beat()
    [known] = registered(it.conn)
    assert (known.name, known.get_state()) == (it.service.name, "idle")
    assert known.queue_names() == [queues.DECIDE, queues.RECORD, queues.ESCALATE]
    assert it.leftovers() == {"rq:workers", *(f"rq:workers:{name}" for name in known.queue_names())}
