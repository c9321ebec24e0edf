"""Clocks need not agree: a machine whose clock is ten minutes off changes nothing. And idle processes stay idle."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import redis

from heald_worker import keys
from heald_worker.records import decode_log
from support.server import Server
from support.service import report
from support.verbs import Process, environment
from support.wait import until

OFF = """
import datetime, os, time
_off = float(os.environ["CLOCK_OFF"])
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + _off
time.time_ns = lambda: _time_ns() + int(_off * 1e9)
class datetime_(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
    @classmethod
    def utcnow(cls):
        return cls.now(datetime.timezone.utc).replace(tzinfo=None)
datetime.datetime = datetime_
"""
"""What Python loads first, in a process whose clock is off."""

CONFIG = """
taxonomy = "aivcs"
[timing]
resend_first = 0.5
resend_most = 1
lease = 10
renewal = 1
[repairs.patch_forward]
kind = "command"
command = ["/bin/sh", "-c", "echo $HEALD_IDEMPOTENCY_KEY >> marks"]
"""


def worker(server: Server, folder: Path, role: str, off: float, name: str) -> Process:
    """A process whose clock is this many seconds off."""
    (folder / "clock").mkdir(exist_ok=True)
    (folder / "clock" / "sitecustomize.py").write_text(OFF)
    path = os.pathsep.join([str(folder / "clock"), *sys.path])
    env = environment(server.url, folder, CLOCK_OFF=str(off), PYTHONPATH=path)
    return Process("worker", "--role", role, env=env, cwd=folder, name=name)


def test_machines_whose_clocks_are_ten_minutes_off_change_nothing(
    server: Server, conn: redis.Redis, tmp_path: Path
) -> None:
    (tmp_path / "heald.toml").write_text(CONFIG)
    runs = {f"run-{n}" for n in range(30)}
    conn.rpush(keys.INBOX, *(report(run_id) for run_id in sorted(runs)))
    began = int(conn.time()[0])
    with (
        worker(server, tmp_path, "control", 600, "ahead"),
        worker(server, tmp_path, "control", -600, "behind"),
        worker(server, tmp_path, "repairs", 600, "repairs ahead"),
        worker(server, tmp_path, "repairs", -600, "repairs behind"),
    ):
        until(lambda: conn.xlen(keys.RECOVERIES) == len(runs), "all runs have ended", 60)
    entries = [fields for _, fields in conn.xrange(keys.RECOVERIES)]
    assert {fields[b"run"].decode() for fields in entries} == runs
    assert sorted((tmp_path / "marks").read_text().split()) == sorted(f"{run_id}:1" for run_id in runs)
    for fields in entries:
        log = decode_log(fields[b"log"])
        assert (log.outcome, log.attempts_used) == ("recovered", 1)
        assert began <= log.evaluated_at.seconds <= int(conn.time()[0])
        assert began * 10**6 <= json.loads(fields[b"facts"])["accepted_at"]
    assert not list(conn.scan_iter("heald:run:*"))


def test_idle_processes_send_fewer_than_two_commands_a_second_each(
    server: Server, conn: redis.Redis, tmp_path: Path
) -> None:
    (tmp_path / "heald.toml").write_text('taxonomy = "aivcs"\n')

    def seconds() -> float:
        now, micros = conn.time()
        return int(now) + int(micros) / 1e6

    def calls() -> dict[str, int]:
        """Commands by name, those of scripts included, but for this test's own."""
        stats = conn.info("commandstats")
        return {name: stat["calls"] for name, stat in stats.items() if name not in ("cmdstat_time", "cmdstat_info")}

    with worker(server, tmp_path, "control", 0, "control"), worker(server, tmp_path, "repairs", 0, "repairs"):
        for queue in ("heald-decide", "heald-repair"):
            until(lambda queue=queue: conn.smembers(f"rq:workers:{queue}"), "it is registered")  # type: ignore[misc]
        settled = seconds() + 1
        until(lambda: seconds() > settled, "they have found nothing to do")
        before, end = calls(), seconds() + 10
        until(lambda: seconds() > end, "ten seconds are over")
        sent = {name: count - before.get(name, 0) for name, count in calls().items() if count > before.get(name, 0)}
    assert sum(sent.values()) < 2 * 2 * 10, sent
