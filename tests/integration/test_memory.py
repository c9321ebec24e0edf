"""A server without memory refuses writes: nothing is half done meanwhile, and everything goes on when there is some."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from heald_producer.connection import connect, trouble
from heald_worker import keys, queues
from heald_worker.playbook import CommandRepair
from heald_worker.repairing import claim
from support.server import Server
from support.service import House, report, settings


@pytest.fixture
def tight(tmp_path: Path, server: Server) -> Iterator[Server]:
    """A server of the same kind that evicts nothing."""
    folder = tmp_path / "tight"
    folder.mkdir()
    with Server(server.kind, folder, "--maxmemory-policy", "noeviction") as running:
        yield running


@pytest.fixture
def house(tight: Server, tmp_path: Path) -> Iterator[House]:
    client = redis.Redis.from_url(tight.url)
    it = House(client, settings(tmp_path))
    yield it
    it.close()
    client.close()


def fill(conn: redis.Redis) -> None:
    conn.config_set("maxmemory", 1)


def make_room(conn: redis.Redis) -> None:
    conn.config_set("maxmemory", 0)


def everything(conn: redis.Redis) -> dict[bytes, object]:
    """What stands in the server, but for what RQ's tools alone read."""
    kinds: dict[bytes, Any] = {key: conn.type(key) for key in conn.scan_iter("heald:*")}
    return {key: conn.hgetall(key) if kind == b"hash" else conn.dump(key) for key, kind in kinds.items()}


def turn(it: House) -> str:
    """One turn; the error that it ends with."""
    try:
        it.control.turn()
    except redis.RedisError as error:
        return type(error).__name__
    return ""


def test_a_producer_is_told_what_helps(house: House, tight: Server) -> None:
    fill(house.conn)
    with pytest.raises(redis.OutOfMemoryError) as refused:
        connect(tight.url).rpush(keys.INBOX, report("run-1"))
    told = trouble(refused.value, tight.url)
    assert "out of memory" in told.problem
    assert told.hint == "raise its maxmemory: until then no worker can move either"


def test_without_memory_intake_takes_nothing_and_later_everything(house: House) -> None:
    house.push(*(report(f"run-{n}") for n in range(20)))
    before = everything(house.conn)
    fill(house.conn)
    assert turn(house) == "OutOfMemoryError"
    assert everything(house.conn) == before
    make_room(house.conn)
    house.settle()
    assert len(house.logs()) == 20
    assert house.leftovers() == set()


@pytest.mark.parametrize("step", [queues.DECIDE, queues.RECORD])
def test_without_memory_a_batch_is_not_committed_at_all_and_later_whole(house: House, step: str) -> None:
    house.push(*(report(f"run-{n}") for n in range(20)))
    house.control._take_in(house.control.backlog())
    if step == queues.RECORD:
        house.control._work_off(queues.DECIDE, 20, 20)
    before = everything(house.conn)
    fill(house.conn)
    assert {turn(house) for _ in range(3)} <= {"OutOfMemoryError", ""}
    assert everything(house.conn) == before
    make_room(house.conn)
    house.settle()
    assert len(house.logs()) == 20
    assert all(house.events(f"run-{n}").count("decided") == 1 for n in range(20))
    assert house.leftovers() <= {queues.started_key(step)}  # for RQ's tools; the next cleaning takes it


def test_without_memory_no_repair_is_claimed_and_later_it_is_made(tight: Server, tmp_path: Path) -> None:
    it = House(redis.Redis.from_url(tight.url), settings(tmp_path, CommandRepair(("/bin/true",))))
    it.push(report("run-1"))
    while not it.conn.llen(queues.queue_key(queues.REPAIR)):
        it.control.turn()
    version = int(it.conn.hget(keys.run("run-1"), "v"))
    fill(it.conn)
    with pytest.raises(redis.OutOfMemoryError):
        claim(it.service, "run-1", version)
    make_room(it.conn)
    it.settle()
    assert it.events("run-1").count("repair_started") == 1
    it.close()
    it.conn.close()
