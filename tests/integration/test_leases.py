"""One holder at a time: claims, their leases, and what is left of them when a server forgets its last second."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import redis
from msgspec.structs import replace
from rq.job import Job
from rq.queue import Queue
from rq.worker import Worker

from heald_worker import closing, decisions, keys, leases, queues, repair_worker, repairing
from heald_worker.artifacts import Item, WriteResult, write_artifacts
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.recovery import RepairEnded, advance
from heald_worker.leases import Lease
from heald_worker.ledger import Held, Move
from heald_worker.moves import move_for
from heald_worker.playbook import CommandRepair, Repair
from heald_worker.queues import SafeJob, SafeQueue
from heald_worker.repair_worker import RepairWorker
from heald_worker.repairing import carry_out, claim
from heald_worker.service import Service
from support.server import Server
from support.service import House, report, settings


@pytest.fixture(autouse=True)
def _flag_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal that a test sends stops no repair of the tests after it."""
    monkeypatch.setattr(repairing.stop_flag, "_raise_at", math.inf)


@pytest.fixture
def it(conn: redis.Redis, tmp_path: Path) -> Iterator[House]:
    house = House(conn, settings(tmp_path, CommandRepair(("/bin/true",))))
    yield house
    house.close()


def waiting(it: House) -> int:
    """Bring run-1 to where it waits for its first repair. Returns the version."""
    it.push(report("run-1"))
    while it.control.turn() is None:
        pass
    return int(it.conn.hget(keys.run("run-1"), "v"))


def claimed(it: House, version: int) -> Held:
    held = claim(it.service, "run-1", version)
    assert held is not None
    return held


class Past:
    """A server that forgets what came after this moment, as one does whose log lost its last second."""

    def __init__(self, conn: redis.Redis) -> None:
        self._conn, self._kept = conn, {key: conn.dump(key) for key in conn.scan_iter()}

    def comes_back(self) -> None:
        self._conn.flushall()
        for key, value in self._kept.items():
            self._conn.restore(key, 0, value)


def commit_result(it: House, held: Held) -> list[str]:
    now = it.service.ledger.now()
    step = advance(held.run.recovery, RepairEnded(RecoveryAttemptResult(True)), now)
    return it.service.ledger.commit([move_for(it.service, held, step, now)])


def test_a_lease_is_renewed_for_its_holder_only(it: House) -> None:
    held = claimed(it, waiting(it))
    it.conn.zadd(keys.AGENDA, {"run-1": 5})
    assert it.service.ledger.renew(held, 30_000)
    assert it.conn.zscore(keys.AGENDA, "run-1") > 5
    assert commit_result(it, held) == ["committed"]
    assert not it.service.ledger.renew(held, 30_000)


def test_a_claim_that_the_server_forgot_is_not_renewed(it: House) -> None:
    version = waiting(it)
    past = Past(it.conn)
    held = claimed(it, version)
    past.comes_back()
    assert not it.service.ledger.renew(held, 30_000)


def test_a_claim_that_the_server_forgot_shares_nothing_with_the_next_one(it: House) -> None:
    version = waiting(it)
    past = Past(it.conn)
    forgotten = claimed(it, version)
    past.comes_back()
    standing = claimed(it, version)
    assert standing.version == forgotten.version
    assert not it.service.ledger.renew(forgotten, 30_000)
    assert commit_result(it, forgotten) == ["moved"]
    assert it.service.ledger.renew(standing, 30_000)
    assert commit_result(it, standing) == ["committed"]


def test_a_result_from_a_forgotten_claim_changes_no_log_that_is_fixed(it: House) -> None:
    version = waiting(it)
    past = Past(it.conn)
    forgotten = claimed(it, version)
    past.comes_back()
    assert decisions.cancel(it.service, "run-1") == "cancelled"
    assert commit_result(it, forgotten) == ["moved"]
    it.conn.delete(queues.queue_key(queues.REPAIR))
    it.settle()
    assert it.entry("run-1")["ending"] == "cancelled"


def test_an_artifact_of_a_forgotten_ending_does_not_stay_in_the_place_of_the_one_that_holds(
    it: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []

    def overtaken(directory: Path, items: Sequence[Item], *, fsync: bool) -> list[WriteResult]:
        written.extend(data for _, data, _ in items)
        if len(written) == 1:
            past.comes_back()
            other = House(it.conn, it.service.settings)
            other.settle()
            other.close()
        return write_artifacts(directory, items, fsync=fsync)

    monkeypatch.setattr(closing, "write_artifacts", overtaken)
    it.push(report("run-1", stage="deploy", message="nobody knows"))
    past = Past(it.conn)
    it.settle()
    forgotten, standing, again = written
    assert forgotten != standing == again
    assert it.logs()["run-1"] == standing
    assert (tmp_path / "artifacts" / "run-1" / "recovery.json").read_bytes() == standing


class Watched(RepairWorker):
    """A repair worker that forks nothing: it notes which claims it would make repairs for."""

    begun: list[str]

    def _execute(self, job: Job, queue: Queue, repair: Repair | None, lease: Lease) -> None:
        self.begun.append(lease.claimed.commit_id)


@pytest.fixture
def worker(it: House, server: Server) -> Iterator[Watched]:
    chosen = replace(it.service.settings, redis_url=server.url)
    watched = Watched(Service(it.conn, chosen, "watched"))
    watched.begun = []
    kept = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    watched._install_signal_handlers()
    yield watched
    for signum, handler in kept.items():
        signal.signal(signum, handler)


def next_job(it: House) -> tuple[SafeJob, SafeQueue]:
    waiting(it)
    [job_id] = it.conn.lrange(queues.queue_key(queues.REPAIR), 0, -1)
    return SafeJob.fetch(job_id.decode(), connection=it.conn), SafeQueue(queues.REPAIR, connection=it.conn)


def test_a_claim_whose_reply_came_after_its_lease_begins_no_repair(
    it: House, worker: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, queue = next_job(it)
    late = 0.0

    def slow_claim(service: Service, run_id: str, version: int) -> Held | None:
        nonlocal late
        held = claim(service, run_id, version)
        late = 60.0
        it.conn.zadd(keys.AGENDA, {"run-1": 0})
        it.control._tend()  # the janitor takes the claim away meanwhile
        return held

    clock = time.monotonic
    monkeypatch.setattr(leases.time, "monotonic", lambda: clock() + late)
    monkeypatch.setattr(repair_worker, "claim", slow_claim)
    worker.execute_job(job, queue)
    assert worker.begun == []
    assert it.events("run-1")[-1] == "repair_lost"


def test_a_claim_whose_reply_was_late_is_renewed_before_its_repair_begins(
    it: House, worker: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, queue = next_job(it)
    late = 0.0

    def slow_claim(service: Service, run_id: str, version: int) -> Held | None:
        nonlocal late
        held = claim(service, run_id, version)
        late = 12.0
        it.conn.zadd(keys.AGENDA, {"run-1": 5})
        return held

    clock = time.monotonic
    monkeypatch.setattr(leases.time, "monotonic", lambda: clock() + late)
    monkeypatch.setattr(repair_worker, "claim", slow_claim)
    worker.execute_job(job, queue)
    assert len(worker.begun) == 1
    assert it.conn.zscore(keys.AGENDA, "run-1") > 5


def test_a_signal_during_the_claim_leaves_no_claim_without_its_repair(
    it: House, worker: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, queue = next_job(it)

    def interrupted_claim(service: Service, run_id: str, version: int) -> Held | None:
        held = claim(service, run_id, version)
        signal.raise_signal(signal.SIGTERM)
        return held

    monkeypatch.setattr(repair_worker, "claim", interrupted_claim)
    worker.execute_job(job, queue)
    assert len(worker.begun) == 1
    assert worker._stop_requested


def test_a_server_that_hangs_holds_no_look_at_the_lease_up(
    it: House, worker: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, queue = next_job(it)
    worker.execute_job(job, queue)
    late, clock = 0.0, time.monotonic
    monkeypatch.setattr(leases.time, "monotonic", lambda: clock() + late)
    ended: list[bool] = []
    monkeypatch.setattr(worker, "_kill_all", lambda: ended.append(True))
    # The renewal goes through, and then RQ's own heartbeat meets a server that has just stopped to answer.
    monkeypatch.setattr(Worker, "maintain_heartbeats", lambda *_: threading.Event().wait())
    late = 12.0
    worker.maintain_heartbeats(job, worker.prepare_execution(job))
    assert ended == []
    monkeypatch.setattr(it.service.ledger.__class__, "renew", lambda *_: threading.Event().wait())
    late = 23.0
    worker.maintain_heartbeats(job, worker.prepare_execution(job))
    assert ended == []
    late = 40.0
    worker.maintain_heartbeats(job, worker.prepare_execution(job))
    assert ended == [True]


def test_a_result_whose_reply_is_lost_is_committed_once_and_known_to_be(
    it: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held = claimed(it, waiting(it))
    commit, lost = it.service.ledger.commit, iter([True, False])

    def cut(moves: list[Move]) -> list[str]:
        verdicts = commit(moves)
        if next(lost):
            raise redis.ConnectionError("Connection closed by server.")
        return verdicts

    monkeypatch.setattr(it.service.ledger, "commit", cut)
    monkeypatch.setattr(repairing, "COMMIT_PAUSE", 0)
    carry_out(it.service, held)
    assert "was not committed" not in caplog.text
    monkeypatch.undo()
    it.conn.delete(queues.queue_key(queues.REPAIR))
    it.settle()
    assert it.events("run-1").count("repair_ended") == 1
