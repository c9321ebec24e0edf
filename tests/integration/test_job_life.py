"""A job's hash has a life, whatever order a repair's end and the heartbeats of its processes come in."""

from __future__ import annotations

from typing import Any

import redis
from rq.utils import now

from heald_worker import queues
from heald_worker.queues import SafeJob


def test_a_heartbeat_that_comes_after_its_job_was_deleted_leaves_no_immortal_hash(conn: redis.Redis) -> None:
    record = queues.nudge_job(queues.REPAIR, "run-1", 2, "2026-01-02T03:04:05.000000Z")
    flat: list[Any] = list(record.fields)
    conn.hset(record.job_key, mapping=dict(zip(flat[::2], flat[1::2], strict=True)))
    job = SafeJob.fetch(record.job_id, connection=conn)
    conn.delete(record.job_key)
    job.heartbeat(now(), 60)
    assert conn.ttl(record.job_key) > 0
    conn.delete(record.job_key)
    with conn.pipeline() as pipe:
        job.heartbeat(now(), 60, pipeline=pipe, xx=True)
        assert pipe.execute()[0] == 1  # what RQ looks at to tell that the job was gone
    assert conn.ttl(record.job_key) > 0
