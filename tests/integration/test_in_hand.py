"""A control process goes on with what it has in hand: the same jobs, records and fences, but no way through a queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq.job import Job, JobStatus
from rq.registry import StartedJobRegistry
from rq.serializers import JSONSerializer

from heald_worker import jobs, keys, queues
from heald_worker.ledger import Move
from heald_worker.playbook import CommandRepair, RecordRepair
from heald_worker.queues import Hand, SafeQueue, nudge_job
from support.service import House, report, settings

RUNS = ("run-1", "run.2_b", "Run-3")
OWN = (queues.DECIDE, queues.RECORD)
NOW = "2026-01-02T03:04:05.000006Z"


class Died(BaseException):
    """What a SIGKILL would do, short of ending the test."""


@pytest.fixture
def it(conn: redis.Redis, tmp_path: Path) -> Iterator[House]:
    house = House(conn, settings(tmp_path, RecordRepair(succeed_from=2)), turn_seconds=60)
    yield house
    house.close()


def between_commits(it: House, look: Callable[[], Any]) -> list[Any]:
    """What one sees in the server after each commit, and before the next."""
    seen, commit = [], it.service.ledger.commit

    def watched(moves: Sequence[Move]) -> list[str]:
        verdicts = commit(moves)
        seen.append(look())
        return verdicts

    it.service.ledger.commit = watched  # type: ignore[method-assign]
    return seen


def test_one_turn_brings_a_batch_from_the_inbox_to_its_logs(it: House) -> None:
    it.push(*map(report, RUNS))
    assert it.control.turn() is None
    assert set(it.logs()) == set(RUNS)
    told = ["accepted", "decided", "repair_ended", "decided", "repair_ended", "ended"]
    assert [it.events(run) for run in RUNS] == [told] * len(RUNS)
    assert it.control.jobs_done == 4 * len(RUNS)
    assert it.leftovers() == set()
    assert not it.conn.keys("rq:job:*")
    assert not it.conn.keys("rq:wip:*")


def test_stock_rq_sees_every_job_in_hand_as_started_by_this_worker(it: House) -> None:
    def look() -> list[tuple[str, str, int, JobStatus, str | None]]:
        found = []
        for name in OWN:
            queue = Queue(name, connection=it.conn)
            assert queue.count == 0
            for job_id in StartedJobRegistry(queue=queue).get_job_ids(cleanup=False):
                job = Job.fetch(job_id, connection=it.conn, serializer=JSONSerializer)
                run, version = job.args
                assert int(it.conn.hget(keys.run(run), "v")) == version
                found.append((name, run, version, job.get_status(), job.worker_name))
        return sorted(found)

    it.push(report("run-1"))
    seen = between_commits(it, look)
    it.control.turn()
    in_turn = [(queues.RECORD, 2), (queues.DECIDE, 3), (queues.RECORD, 4)]
    assert seen[:3] == [[(q, "run-1", v, JobStatus.STARTED, it.service.name)] for q, v in in_turn]
    assert seen[3:] == [[], []]  # it is closing, and it has ended


@pytest.mark.parametrize("queue", OWN)
def test_a_job_in_hand_is_the_one_rq_would_have_begun(conn: redis.Redis, queue: str) -> None:
    record = nudge_job(queue, "run-1", 7, NOW, hand=Hand("a-worker", "e1"))
    function = getattr(jobs, queues.FUNCTION_OF[queue].rpartition(".")[2])
    theirs = SafeQueue(queue, connection=conn).enqueue(
        function, "run-1", 7, job_id=record.job_id, result_ttl=0, job_timeout=queues.JOB_TIMEOUT
    )
    with conn.pipeline() as pipe:
        theirs.prepare_for_execution("a-worker", pipe)
        pipe.execute()
    begun = {name.decode() for name, value in conn.hgetall(theirs.key).items() if value}
    ours = dict(zip(record.fields[::2], record.fields[1::2], strict=True))
    assert ours.keys() == begun
    assert (ours["status"], ours["worker_name"]) == ("started", "a-worker")
    assert (record.registry, record.mark) == (StartedJobRegistry(queue, connection=conn).key, f"{record.job_id}:e1")


@pytest.mark.parametrize("commits", [1, 2, 3, 4])
def test_what_a_dead_process_had_in_hand_comes_back_and_ends_in_one_log(
    it: House, tmp_path: Path, commits: int
) -> None:
    commit, left = it.service.ledger.commit, iter([False] * commits)

    def dying(moves: Sequence[Move]) -> list[str]:
        if next(left, True):
            raise Died
        return commit(moves)

    it.service.ledger.commit = dying  # type: ignore[method-assign]
    it.push(*map(report, RUNS))
    with pytest.raises(Died):
        it.control.turn()
    assert not it.logs()
    successor = House(it.conn, it.service.settings, "successor", turn_seconds=60)
    successor.settle()
    successor.close()
    assert set(successor.logs()) == set(RUNS)
    told = ["accepted", "decided", "repair_ended", "decided", "repair_ended", "ended"]
    assert [successor.events(run) for run in RUNS] == [told] * len(RUNS)
    assert successor.leftovers() <= {"rq:wip:heald-decide", "rq:wip:heald-record"}  # RQ's own upkeep sweeps marks


def test_a_repair_that_starts_something_waits_in_its_queue(conn: redis.Redis, tmp_path: Path) -> None:
    house = House(conn, settings(tmp_path, CommandRepair(("true",))), turn_seconds=60)
    house.push(report("run-1"))
    house.control.turn()
    job_id = queues.job_id_of("run-1", 2)
    assert conn.lrange(queues.queue_key(queues.REPAIR), 0, -1) == [job_id.encode()]
    assert conn.hget(queues.job_key(job_id), "status") == b"queued"
    assert conn.ttl(queues.job_key(job_id)) > 0
    house.close()


def test_when_the_turn_is_over_the_next_job_is_queued(conn: redis.Redis, tmp_path: Path) -> None:
    house = House(conn, settings(tmp_path, RecordRepair(succeed_from=2)), turn_seconds=0)
    house.push(report("run-1"))
    house.control.turn()
    assert conn.lrange(queues.queue_key(queues.DECIDE), 0, -1) == [b"run-1-1"]
    assert conn.hget(queues.job_key("run-1-1"), "status") == b"queued"
    house.close()
