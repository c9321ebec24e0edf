"""`heald cancel`, `heald pause`, `heald resume`: what a person may do to runs and to the whole service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from heald_worker import keys
from support.calls import Caller
from support.server import Server
from support.service import House, report, settings


@pytest.fixture
def heald(
    server: Server,
    conn: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Caller:
    return Caller(server.url, tmp_path, monkeypatch, capsys)


@pytest.fixture
def house(conn: redis.Redis, tmp_path: Path) -> Iterator[House]:
    it = House(conn, settings(tmp_path))
    yield it
    it.close()


def opened(it: House, *reports: bytes) -> None:
    it.push(*reports)
    it.control.turn()


def park(it: House, run_id: str) -> None:
    assert it.service.ledger.park(run_id, int(it.conn.hget(keys.run(run_id), "v")), "it cannot be read")


def test_a_cancelled_run_ends_in_a_log_without_a_repair(heald: Caller, house: House) -> None:
    opened(house, report("run-1"))
    assert heald("cancel", "RUN-1", "--json").records == [{"run": "RUN-1", "verdict": "cancelled"}]
    house.settle()
    assert house.entry("run-1")["ending"] == "cancelled"
    assert house.log("run-1").outcome == "failed"
    assert house.events("run-1") == ["accepted", "cancelled", "ended"]


def test_what_cannot_be_cancelled_is_an_error_with_a_hint(heald: Caller, house: House) -> None:
    answer = heald("cancel", "nope")
    assert (answer.code, answer.out) == (1, "")
    assert "run nope is not open" in answer.err
    house.push(report("run-1"))
    house.settle()
    assert "run run-1 is not open" in heald("cancel", "run-1").err
    opened(house, report("run-2"))
    assert heald("cancel", "run-2").code == 0
    answer = heald("cancel", "run-2")
    assert answer.code == 1
    assert "run run-2 is ending: its log is fixed" in answer.err
    assert heald("cancel", "../x").code == 2


def test_a_parked_run_can_be_cancelled(heald: Caller, house: House, conn: redis.Redis) -> None:
    opened(house, report("run-1"))
    park(house, "run-1")
    assert heald("cancel", "run-1").code == 0
    assert not conn.exists(keys.PARKED)
    house.settle()
    assert house.entry("run-1")["ending"] == "cancelled"


def test_a_run_whose_state_cannot_be_read_is_not_cancelled(heald: Caller, house: House, conn: redis.Redis) -> None:
    opened(house, report("run-1"))
    state = json.loads(conn.hget(keys.run("run-1"), "s"))
    conn.hset(keys.run("run-1"), "s", json.dumps(state | {"format": 99}))
    answer = heald("cancel", "run-1")
    assert answer.code == 1
    assert "format 99" in answer.err


def test_a_parked_run_that_is_resumed_goes_on(heald: Caller, house: House, conn: redis.Redis) -> None:
    opened(house, report("run-1"))
    park(house, "run-1")
    assert house.control.nothing_left(house.control.backlog())
    assert heald("resume", "Run-1", "--json").records == [{"run": "Run-1", "verdict": "resumed"}]
    assert not conn.exists(keys.PARKED)
    house.settle()
    assert house.log("run-1").outcome == "recovered"
    assert house.events("run-1")[:3] == ["accepted", "parked", "resumed"]
    kinds = [event["kind"] for event in heald("show", "run-1", "--json").records[0]["timeline"]]
    assert kinds == house.events("run-1")


def test_a_run_that_is_not_parked_cannot_be_resumed(heald: Caller, house: House, conn: redis.Redis) -> None:
    opened(house, report("run-1"))
    score = conn.zscore(keys.AGENDA, "run-1")
    for run_id in ("run-1", "nope"):
        answer = heald("resume", run_id)
        assert answer.code == 1
        assert f"run {run_id} is not parked" in answer.err
    assert conn.zscore(keys.AGENDA, "run-1") == score


def test_a_parked_name_without_a_run_is_cleared_away(heald: Caller, conn: redis.Redis) -> None:
    conn.hset(keys.PARKED, "ghost", "why")
    answer = heald("resume", "ghost")
    assert answer.code == 1
    assert "there is no such run any more" in answer.err
    assert not conn.exists(keys.PARKED)
    assert not conn.exists(keys.AGENDA)


def test_while_paused_nothing_begins_and_afterwards_everything_does(heald: Caller, house: House) -> None:
    answer = heald("pause", "--reason", "moving\nthe \x1bdisk")
    assert answer.out.startswith("paused: moving the \\x1bdisk (by ")
    house.push(report("run-1"))
    assert house.control.turn() is not None
    assert house.conn.llen(keys.INBOX) == 1
    again = heald("pause", "--json")
    assert again.records[0]["before"].startswith("moving the \x1bdisk (by ")
    assert "it was paused already: moving" in again.err
    [record] = heald("resume", "--json").records
    assert record["resumed"] is True
    assert record["before"].startswith("no reason given (by ")
    house.settle()
    assert house.log("run-1").outcome == "recovered"


def test_resuming_what_was_not_paused_is_no_error(heald: Caller) -> None:
    answer = heald("resume")
    assert (answer.code, answer.out) == (0, "nothing was paused\n")
    assert heald("resume", "--json").records == [{"resumed": False, "before": None}]


@pytest.mark.parametrize("verb", [["cancel", "r"], ["pause"], ["resume"], ["resume", "r"], ["runs"], ["dead", "list"]])
def test_a_server_that_cannot_be_reached_is_named(heald: Caller, verb: list[str]) -> None:
    answer = heald(*verb, "--redis-url", "redis://:secret@127.0.0.1:1/0")
    assert answer.code == 69
    assert "127.0.0.1:1" in answer.err
    assert "secret" not in answer.err
