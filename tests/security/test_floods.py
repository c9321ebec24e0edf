"""What a producer can send at most: huge elements, many elements, numbers and nestings made to break a reader."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from heald_producer.signals import INBOX, MAX_REPORT_BYTES
from heald_producer.wire import PoisonReport, decode_report
from heald_worker import keys
from heald_worker.config import Limits
from heald_worker.intake import POISON_PREFIX
from support.server import Server
from support.service import House, report, settings
from support.verbs import Process, environment, heald
from support.wait import until

MIB = 1024 * 1024
MOST = 512 * MIB
"""Bytes of the largest element that a server takes with its own settings."""
ROOM = 8 * 1024 * MIB
"""Memory that the machine should have left for the server to hold such an element, and its copies."""


def size() -> int:
    """As large as this machine allows without hurting it."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return MOST if int(line.split()[1]) * 1024 > ROOM else MOST // 8
    return MOST // 8


def rpush_huge(port: int, length: int) -> None:
    """RPUSH one element of this length, without ever holding it."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as raw:
        raw.sendall(f"*3\r\n$5\r\nRPUSH\r\n${len(INBOX)}\r\n{INBOX}\r\n${length}\r\n".encode())
        for start in range(0, length, MIB):
            raw.sendall(b"x" * min(MIB, length - start))
        raw.sendall(b"\r\n")
        assert raw.recv(64).startswith(b":")


def peak(process: Process) -> int:
    """The most memory that a process has had, in bytes."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the process is gone")


@pytest.fixture
def own(server: Server, tmp_path: Path) -> Iterator[redis.Redis]:
    """A server for this test alone, so that its memory goes with it."""
    with Server(server.kind, tmp_path) as running, redis.Redis.from_url(running.url, socket_timeout=120) as client:
        yield client


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_largest_element_that_a_server_takes_never_reaches_a_worker(own: redis.Redis, tmp_path: Path) -> None:
    port = own.connection_pool.connection_kwargs["port"]
    env = environment(f"redis://127.0.0.1:{port}/0", tmp_path)
    with Process("worker", "--role", "control", env=env, cwd=tmp_path) as worker:
        own.rpush(INBOX, report("before"))
        until(lambda: own.xlen(keys.RECOVERIES) == 1, "the worker works")
        before, length = peak(worker), size()
        rpush_huge(port, length)
        own.rpush(INBOX, report("after"))
        until(lambda: own.xlen(keys.RECOVERIES) == 2, "the next run has ended")
        assert worker.popen.poll() is None, worker.said()
        assert peak(worker) - before < 32 * MIB
    [(_, letter)] = own.xrange(keys.DEAD)
    assert (letter[b"reason"], int(letter[b"length"]), letter[b"whole"]) == (b"too_large", length, b"0")
    assert letter[b"body"] == b"x" * POISON_PREFIX


def test_a_huge_element_that_waits_is_not_fetched_by_those_who_look(own: redis.Redis, tmp_path: Path) -> None:
    own.set(keys.PAUSED, "by the test")
    port = own.connection_pool.connection_kwargs["port"]
    rpush_huge(port, 64 * MIB)
    env = environment(f"redis://127.0.0.1:{port}/0", tmp_path)
    for verb in ("health", "doctor", "runs"):
        heald(verb, env=env, cwd=tmp_path)
    with Process("worker", "--role", "control", env=env, cwd=tmp_path) as worker:
        until(lambda: own.smembers("rq:workers"), "the worker is there")
        sent = int(own.info("stats")["total_net_output_bytes"])
        worker.terminate()
    assert sent < 8 * MIB
    assert own.llen(INBOX) == 1


def test_a_flood_of_tiny_elements_costs_bounded_memory(conn: redis.Redis, tmp_path: Path) -> None:
    """Of a million nothing else is true than of these: batches are bounded, and so are the letters that are kept."""
    house = House(conn, settings(tmp_path, limits=Limits(dead_letters=500)))
    for _ in range(10):
        house.push(*[b"x"] * 2_000)
    house.push(report("run-1"))
    most = 0
    while house.control.turn() is None:
        most = max(most, *(conn.llen(key) for key in conn.keys(keys.INTAKE_PREFIX + "*")), 0)
    house.settle()
    house.close()
    assert set(house.logs()) == {"run-1"}
    assert conn.hget(keys.STATS, "dead") == b"20000"
    assert conn.xlen(keys.DEAD) < 1_000  # a stream is trimmed by whole nodes
    assert most <= house.service.settings.limits.intake_reports
    assert house.leftovers() == set()


DEEP = 20_000
NESTED = {
    "arrays": b"[" * DEEP,
    "closed arrays": b"[" * DEEP + b"]" * DEEP,
    "objects": b'{"a":' * DEEP,
    "in the signal": b'{"v":1,"run_id":"r","signal":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "in an unknown field": b'{"v":1,"run_id":"r","signal":{"stage":"t","message":"m"},"x":'
    + b"[" * DEEP
    + b"]" * DEEP
    + b"}",
    "a huge version": b'{"v":' + b"9" * 100_000 + b',"run_id":"r","signal":{"stage":"t","message":"m"}}',
    "a huge exponent": b'{"v":1e999999999,"run_id":"r","signal":{"stage":"t","message":"m"}}',
    "a version that is one, nearly": b'{"v":1.00000000000000000001,"run_id":"r","signal":{"stage":"t","message":"m"}}',
    "a huge exit code": b'{"v":1,"run_id":"r","signal":{"stage":"t","message":"m","exit_code":' + b"9" * 50_000 + b"}}",
    "an exit code beyond 32 bits": b'{"v":1,"run_id":"r","signal":{"stage":"t","message":"m","exit_code":2147483648}}',
    "a fraction": b'{"v":1,"run_id":"r","signal":{"stage":"t","message":"m","exit_code":1.5}}',
    "not a number": b'{"v":NaN,"run_id":"r","signal":{"stage":"t","message":"m"}}',
    "infinity": b'{"v":1,"run_id":"r","signal":{"stage":"t","message":"m","exit_code":Infinity}}',
    "minus zero": b'{"v":-0,"run_id":"r","signal":{"stage":"t","message":"m"}}',
    "a boolean for a number": b'{"v":true,"run_id":"r","signal":{"stage":"t","message":"m"}}',
    "a list for a report": b"[1]",
    "a string for a report": b'"r"',
    "a second document": b'{"v":1,"run_id":"r","signal":{"stage":"t","message":"m"}}{}',
    "a byte-order mark": b'\xef\xbb\xbf{"v":1,"run_id":"r","signal":{"stage":"t","message":"m"}}',
    "UTF-16": '{"v":1}'.encode("utf-16"),
    "an overlong encoding": b'{"v":1,"run_id":"\xc0\xae\xc0\xae/r","signal":{"stage":"t","message":"m"}}',
    "nothing": b"",
    "blanks": b" " * 100_000,
    "a pickle": b"\x80\x04\x95\x1e\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94",
    "ten thousand keys": b"{" + b",".join(b'"k%d":1' % n for n in range(10_000)) + b"}",
    "many keys of one name": b"{" + b",".join([b'"v":1'] * 10_000) + b"}",
}


@pytest.mark.parametrize("kind", NESTED)
def test_json_that_is_made_to_break_a_reader_is_one_dead_letter(it: House, kind: str) -> None:
    """Where a reader may take it, as for an unknown field that is nested, it may become a run; nothing in between."""
    assert len(NESTED[kind]) <= MAX_REPORT_BYTES
    it.push(NESTED[kind], report("run-1"))
    it.settle()
    ended = set(it.logs())
    assert "run-1" in ended
    assert len(it.dead()) + len(ended - {"run-1"}) == 1
    if ended == {"run-1"}:
        with pytest.raises(PoisonReport) as poison:
            decode_report(NESTED[kind])
        assert [poison.value.reason] == it.dead()


def test_of_a_report_with_a_key_that_comes_twice_the_last_value_counts(it: House) -> None:
    it.push(
        b'{"v":9,"v":1,"run_id":"a","run_id":"b","signal":{"stage":"x","stage":"test","message":"1","message":"2"}}'
    )
    it.settle()
    failure = it.log("b").initial_failure
    assert (failure.stage, failure.message) == ("test", "2")


@pytest.mark.parametrize("over", [1, MAX_REPORT_BYTES])
def test_a_report_over_the_bound_is_kept_only_in_its_beginning(it: House, over: int) -> None:
    body = report("run-9", message="m" * MAX_REPORT_BYTES)[:MAX_REPORT_BYTES] + b"x" * over
    it.push(body)
    it.settle()
    [(_, letter)] = it.conn.xrange(keys.DEAD)
    assert (letter[b"reason"], int(letter[b"length"]), len(letter[b"body"])) == (b"too_large", len(body), POISON_PREFIX)
