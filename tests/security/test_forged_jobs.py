"""Whoever may write RQ's keys can write jobs. No worker runs anything because of what stands in one.

Each attack is set up on all four queues at once, and met by a real control process and a real repair process.
"""

from __future__ import annotations

import json
import os
import pickle
import zlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import product
from pathlib import Path

import pytest
import redis
from rq.exceptions import NoSuchJobError

from heald_worker import keys, queues
from heald_worker.playbook import CommandRepair
from support.service import House, report, settings
from support.web import WebServer, status
from support.workplace import Workplace

EVIL = "import pathlib\n\ndef fire(*args, **kwargs):\n    pathlib.Path('canary').touch()\n"
"""A module that a worker could import: `fire` can be called as a job and as any kind of callback."""
MARK = "import os; open('marks', 'a').write(os.environ['HEALD_IDEMPOTENCY_KEY'] + '\\n')\n"
Fields = Mapping[str, str | bytes]


class Explosive:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch canary",)


def call(function: str, *args: object, **kwargs: object) -> bytes:
    """What RQ's JSON serializer writes for a call."""
    return json.dumps([function, None, args, kwargs]).encode()


def harmless(queue: str) -> bytes:
    """A call that heald itself could have made, for a run that is not there."""
    return call(queues.FUNCTION_OF[queue], "nobody", 1)


ATTACKS: dict[str, Callable[[str], Fields]] = {
    "check_output": lambda _: {"data": call("subprocess.check_output", ["touch", "canary"])},
    "check_output, compressed": lambda _: {"data": zlib.compress(call("subprocess.check_output", ["touch", "canary"]))},
    "a module in reach": lambda _: {"data": call("evil.fire")},
    "the name in a field of its own": lambda queue: {"data": harmless(queue), "func_name": "evil.fire"},
    "heald's own function that is no job": lambda _: {"data": call("heald_worker.jobs.bind", None)},
    "keyword arguments": lambda queue: {"data": call(queues.FUNCTION_OF[queue], "nobody", 1, out="canary")},
    "pickled data": lambda _: {"data": pickle.dumps(Explosive())},
    "pickled data, compressed": lambda _: {"data": zlib.compress(pickle.dumps(("os.system", None, Explosive(), {})))},
    "pickled meta": lambda queue: {"data": harmless(queue), "meta": pickle.dumps(Explosive())},
    "callbacks": lambda queue: {
        "data": harmless(queue),
        "success_callback_name": "evil.fire",
        "failure_callback_name": "evil.fire",
        "stopped_callback_name": "evil.fire",
    },
    "callbacks of a job that fails": lambda _: {
        "data": call("heald_worker.jobs.repair", "\u0000", -1),
        "failure_callback_name": "evil.fire",
    },
    "an exception handler and an instance": lambda queue: {
        "data": json.dumps([queues.FUNCTION_OF[queue], "evil.fire", ["nobody", 1], {}]).encode(),
        "exc_info": zlib.compress(pickle.dumps(Explosive())),
        "result": pickle.dumps(Explosive()),
    },
}


def plant(conn: redis.Redis, queue: str, fields: Fields, job_id: str = "") -> str:
    """Write a job as RQ would, and enqueue it."""
    job_id = job_id or f"forged-{queue}"
    plain = {"origin": queue, "status": "queued", "timeout": "30", "created_at": "2026-01-02T03:04:05.678901Z"}
    conn.hset(f"rq:job:{job_id}", mapping={**plain, **fields})  # type: ignore[arg-type]
    conn.sadd("rq:queues", queues.queue_key(queue))
    conn.rpush(queues.queue_key(queue), job_id)
    return job_id


@pytest.fixture
def armed(workplace: Workplace) -> Workplace:
    """A workplace whose workers can import the attacker's module."""
    workplace.configure(MARK)
    (workplace.folder / "evil.py").write_text(EVIL)
    workplace.env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(workplace.folder), os.environ.get("PYTHONPATH")]))
    return workplace


def test_no_worker_runs_what_a_forged_job_holds(armed: Workplace) -> None:
    for number, attack in enumerate(ATTACKS.values()):
        for queue in queues.QUEUES:
            plant(armed.conn, queue, attack(queue), f"forged-{queue}-{number}")
    armed.push(report("run-1"))
    said = armed.burst()
    assert not (armed.folder / "canary").exists(), said
    assert "Traceback" not in said
    assert (armed.ended(), armed.marks()) == (["run-1"], ["run-1:1"])
    assert not armed.conn.keys("rq:queue:*")


def test_the_attacks_work_where_there_is_no_defence(
    conn: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RQ's own worker runs them, so what the other tests see is heald's doing."""
    from rq import Queue, SimpleWorker
    from rq.serializers import JSONSerializer

    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "evil.py").write_text(EVIL)
    for attack, serializer in (("check_output", JSONSerializer), ("a module in reach", JSONSerializer)):
        plant(conn, "stock", ATTACKS[attack](queues.DECIDE))
        SimpleWorker(
            [Queue("stock", connection=conn, serializer=serializer)], connection=conn, serializer=serializer
        ).work(burst=True, logging_level="CRITICAL")
        assert (tmp_path / "canary").exists(), attack
        (tmp_path / "canary").unlink()
    assert pickle.loads(pickle.dumps(Explosive())) == 0
    assert (tmp_path / "canary").exists()


def test_a_webhook_in_a_jobs_hash_is_not_called(armed: Workplace) -> None:
    with WebServer(status(200)) as hook:
        for queue in queues.QUEUES:
            events = [{"url": hook.url, "events": ["finished", "failed"], "event": "finished"}]
            for data in (harmless(queue), call("evil.fire")):
                fields = {"data": data, "webhooks": json.dumps(events), "webhook_url": hook.url}
                plant(armed.conn, queue, fields, f"hook-{queue}-{len(data)}")
        armed.burst()
        assert hook.requests == []


def test_retries_repeats_and_dependents_in_a_jobs_hash_start_nothing(armed: Workplace) -> None:
    for queue in queues.QUEUES:
        more = {
            "retries_left": "3",
            "retry_intervals": "[0]",
            "repeats_left": "3",
            "repeat_intervals": "[0]",
            "dependency_ids": '["x"]',
            "allow_dependency_failures": "1",
            "enqueue_at_front": "1",
            "group_id": "g",
            "result_ttl": "500",
            "failure_ttl": "500",
        }
        job_id = plant(armed.conn, queue, {"data": harmless(queue), **more})
        plant(armed.conn, queue, {"data": call("evil.fire"), **more}, f"broken-{queue}")
        heir = f"heir-{queue}"
        armed.conn.hset(f"rq:job:{heir}", mapping={"data": call("evil.fire"), "status": "deferred", "origin": queue})
        armed.conn.sadd(f"rq:job:{job_id}:dependents", heir)
        armed.conn.zadd(f"rq:deferred:{queue}", {heir: 0})
    armed.push(report("run-1"))
    armed.burst()
    assert not (armed.folder / "canary").exists()
    assert armed.ended() == ["run-1"]
    kept = {
        key.decode()
        for pattern in ("queue", "scheduled", "finished", "failed", "results")
        for key in armed.conn.keys(f"rq:{pattern}:*")
    }
    assert kept == set()
    assert {armed.conn.hget(f"rq:job:heir-{queue}", "status") for queue in queues.QUEUES} == {b"deferred"}


@pytest.mark.parametrize("function", sorted(set(queues.FUNCTION_OF.values())))
def test_a_forged_job_for_a_run_that_is_not_in_that_state_does_nothing(armed: Workplace, function: str) -> None:
    """Runs that have ended, wait in the inbox, are unknown or at another version, on every queue, several times."""
    armed.push(report("ended"))
    armed.burst()
    marks, entries = armed.marks(), armed.conn.xlen(keys.RECOVERIES)
    for queue in queues.QUEUES:
        for run, version in (("ended", 1), ("ended", 2), ("ended", 99), ("unknown", 1), ("../ended", 1), ("", 0)):
            for number in range(2):
                plant(
                    armed.conn,
                    queue,
                    {"data": call(function, run, version)},
                    f"f-{queue}-{run.strip('./')}-{version}-{number}",
                )
    armed.burst()
    assert (armed.marks(), armed.conn.xlen(keys.RECOVERIES)) == (marks, entries)
    assert armed.events("unknown") == []


def test_forged_jobs_at_every_step_of_a_run_make_nothing_happen_twice(conn: redis.Redis, tmp_path: Path) -> None:
    """Before each step stand jobs for every function and version around it, on every queue."""
    counting = CommandRepair(("sh", "-c", f"echo x >> {tmp_path / 'marks'}"))
    house = House(conn, settings(tmp_path, counting))
    house.push(report("run-1"))
    while "run-1" not in house.logs():
        for queue, function, version in product(queues.QUEUES, sorted(set(queues.FUNCTION_OF.values())), range(8)):
            plant(conn, queue, {"data": call(function, "RUN-1", version)}, f"forged-{queue}-{function[-6:]}-{version}")
        with suppress(NoSuchJobError):  # what RQ's worker leaves out, too
            house.turn()
    house.close()
    assert (tmp_path / "marks").read_text() == "x\n"
    assert house.log("run-1").attempts_used == 1
    steps = house.events("run-1")
    assert [steps.count(kind) for kind in ("decided", "repair_started", "repair_ended", "ended")] == [1, 1, 1, 1]
