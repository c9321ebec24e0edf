"""heald's jobs are RQ jobs to RQ itself, and nothing more than heald's to a worker."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime

import pytest
import redis
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from heald_worker import jobs, queues
from heald_worker.packing import Job as JobRecord
from heald_worker.queues import SafeJob, SafeQueue, decode_call, job_id_of, nudge_job

NOW = "2026-01-02T03:04:05.678901Z"


def write(conn: redis.Redis, record: JobRecord) -> None:
    fields = list(record.fields)
    conn.hset(record.job_key, mapping=dict(zip(fields[::2], fields[1::2], strict=True)))
    conn.rpush(record.queue_key, record.job_id)


@pytest.mark.parametrize("queue", queues.QUEUES)
def test_the_written_job_is_the_one_rq_writes_but_for_its_empty_fields(conn: redis.Redis, queue: str) -> None:
    record = nudge_job(queue, "run.1_a", 7, NOW)
    function = getattr(jobs, queues.FUNCTION_OF[queue].rpartition(".")[2])
    theirs = SafeQueue(queue, connection=conn).enqueue(
        function, "run.1_a", 7, job_id=record.job_id, result_ttl=0, job_timeout=queues.JOB_TIMEOUT
    )
    expected = {field: value for field, value in conn.hgetall(theirs.key).items() if value}
    conn.flushall()
    write(conn, record)
    written = conn.hgetall(record.job_key)
    for times in ("created_at", "enqueued_at"):
        datetime.strptime(expected.pop(times.encode()).decode(), "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        assert written.pop(times.encode()).decode() == NOW
    data = JSONSerializer.loads(__import__("zlib").decompress(expected.pop(b"data")))
    assert JSONSerializer.loads(written.pop(b"data")) == data
    assert written == expected


def test_stock_rq_reads_the_written_job(conn: redis.Redis) -> None:
    write(conn, nudge_job(queues.DECIDE, "run-1", 3, NOW))
    job = Job.fetch(job_id_of("run-1", 3), connection=conn, serializer=JSONSerializer)
    assert (job.func_name, list(job.args), job.get_status()) == (
        "heald_worker.jobs.decide",
        ["run-1", 3],
        JobStatus.QUEUED,
    )


def test_a_safe_job_gives_the_function_of_the_table(conn: redis.Redis) -> None:
    write(conn, nudge_job(queues.REPAIR, "run-1", 3, NOW))
    job = SafeJob.fetch(job_id_of("run-1", 3), connection=conn)
    assert job.func is jobs.repair
    assert tuple(job.args) == ("run-1", 3)


@pytest.mark.parametrize(
    "data",
    [
        b'["subprocess.check_output", null, ["run-1", 3], {}]',
        b'["heald_worker.jobs.bind", null, ["run-1", 3], {}]',
        b'["heald_worker.jobs.decide", null, [["id"], 3], {}]',
        b'["heald_worker.jobs.decide", null, ["run-1", 3, 4], {}]',
        b'["heald_worker.jobs.decide", null, ["run-1"], {}]',
        b"[]",
        b"",
        b"\xff\x00",
        pickle.dumps(("os.system", None, ("true",), {})),
    ],
)
def test_a_job_that_is_not_healds_is_a_missing_job(conn: redis.Redis, data: bytes) -> None:
    conn.hset("rq:job:forged", mapping={"data": data, "status": "queued", "origin": queues.DECIDE})
    with pytest.raises(NoSuchJobError):
        SafeJob.fetch("forged", connection=conn)


@pytest.mark.parametrize("field", ["created_at", "timeout", "status", "enqueued_at"])
def test_a_malformed_hash_is_a_missing_job(conn: redis.Redis, field: str) -> None:
    write(conn, nudge_job(queues.DECIDE, "run-1", 3, NOW))
    conn.hset(f"rq:job:{job_id_of('run-1', 3)}", field, b"\xff garbage")
    with pytest.raises(NoSuchJobError):
        SafeJob.fetch(job_id_of("run-1", 3), connection=conn)


def test_callbacks_webhooks_and_meta_of_a_forged_hash_are_never_read(conn: redis.Redis) -> None:
    write(conn, nudge_job(queues.DECIDE, "run-1", 3, NOW))
    key = f"rq:job:{job_id_of('run-1', 3)}"
    forged = {
        "success_callback_name": "os.getpid",
        "failure_callback_name": "os.getpid",
        "stopped_callback_name": "os.getpid",
        "meta": pickle.dumps({"a": 1}),
        "webhooks": '[{"url": "http://127.0.0.1:1/", "events": ["finished"]}]',
        "retries_left": "9",
        "repeats_left": "9",
        "result_ttl": "500",
    }
    conn.hset(key, mapping=forged)
    job = SafeJob.fetch(job_id_of("run-1", 3), connection=conn)
    assert job.success_callback is None
    assert job.failure_callback is None
    assert job._stopped_callback_name is None
    assert (job.meta, job.webhooks, job.retries_left, job.repeats_left, job.result_ttl) == (
        {},
        [],
        None,
        None,
        0,
    )


def test_a_safe_queue_stays_safe_whatever_its_maker_asks_for(conn: redis.Redis) -> None:
    queue = SafeQueue.from_queue_key("rq:queue:heald-decide", connection=conn, job_class=Job, serializer="pickle")
    assert queue.job_class is SafeJob
    assert queue.serializer is JSONSerializer


@pytest.mark.parametrize("pair", [("a.b", "a_b"), ("a_d", "a."), ("a__b", "a_b"), ("a-1", "a"), ("a_db", "a.b")])
def test_different_runs_have_different_job_ids(pair: tuple[str, str]) -> None:
    assert job_id_of(pair[0], 1) != job_id_of(pair[1], 1)


def test_a_nudge_decodes_to_what_was_encoded() -> None:
    record = nudge_job(queues.ESCALATE, "Run.1", 12, NOW)
    fields = list(record.fields)
    data = dict(zip(fields[::2], fields[1::2], strict=True))["data"]
    assert decode_call(str(data).encode()) == ("heald_worker.jobs.escalate", "Run.1", 12)
