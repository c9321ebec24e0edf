"""What stands broken or forged in Redis costs the run it belongs to at most some time, and everybody else nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from heald_worker import keys, queues
from support.service import House, report, settings


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
