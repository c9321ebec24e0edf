"""RQ, with an allow-list and without pickle.

RQ imports whatever dotted path a job names and unpickles what it carries. heald's jobs name one of three functions
from a fixed table and carry a run id and a version; everything else in a job's hash (callbacks, webhooks, retries,
meta) is never read. A hash that is anything else is a missing job.

`nudge_job` writes the job's hash as RQ's own `Queue.enqueue` would, without its cost and without the fields that it
leaves empty; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec
from redis import Redis, ResponseError
from redis.client import Pipeline
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.timeouts import BaseDeathPenalty
from rq.utils import str_to_date

from heald_worker.ledger import Finished
from heald_worker.packing import Job as JobRecord

DECIDE: Final = "heald-decide"
RECORD: Final = "heald-record"
REPAIR: Final = "heald-repair"
ESCALATE: Final = "heald-escalate"
QUEUES: Final = (DECIDE, RECORD, REPAIR, ESCALATE)
"""`heald-record` holds the repairs that start nothing; the control process makes them, in batches."""

FunctionName = Literal["heald_worker.jobs.decide", "heald_worker.jobs.repair", "heald_worker.jobs.escalate"]
FUNCTION_OF: Final[dict[str, FunctionName]] = {
    DECIDE: "heald_worker.jobs.decide",
    RECORD: "heald_worker.jobs.repair",
    REPAIR: "heald_worker.jobs.repair",
    ESCALATE: "heald_worker.jobs.escalate",
}

JOB_LIFE = 24 * 3600
"""Seconds after which a job's hash vanishes if nothing else deletes it; a lost nudge is sent again."""

JOB_TIMEOUT = 180
"""Seconds for a job of the control process; repairs bring their own limit."""

JobFunction = Callable[[str, int], None]
_functions: dict[str, JobFunction] = {}


def job_function(function: JobFunction) -> JobFunction:
    """Enter a function in the table of what a job may name. `jobs.py` fills the table."""
    _functions[f"{function.__module__}.{function.__qualname__}"] = function
    return function


class Call(NamedTuple):
    """What a job carries, decoded and typed."""

    function: FunctionName
    run_id: str
    version: int


_decode_data = msgspec.json.Decoder(tuple[FunctionName, None, tuple[str, int], dict[str, Any]]).decode


def decode_call(data: bytes) -> Call:
    """Read a job's data: a name of the table, one run id, one version.

    Raises:
        msgspec.MsgspecError: it is anything else.
    """
    function, _, (run_id, version), _ = _decode_data(data)
    return Call(function, run_id, version)


class SafeJob(Job):
    """An RQ job that can only name a function of the table and only carries a run id and a version."""

    def __init__(
        self,
        id: str | None = None,  # noqa: A002  RQ's name for it
        connection: Redis | None = None,
        serializer: object = None,
    ) -> None:
        super().__init__(id, connection=connection, serializer=JSONSerializer)

    @classmethod
    def fetch(
        cls,
        id: str,  # noqa: A002  RQ's name for it
        connection: Redis | None = None,
        serializer: object = None,
    ) -> SafeJob:
        """Read a job.

        Raises:
            NoSuchJobError: there is none, or what stands there is not one of heald's.
        """
        try:
            return cast(SafeJob, super().fetch(id, connection=connection))
        except (ValueError, ResponseError) as error:
            raise NoSuchJobError(f"job {id!a} is not one of heald's: {error}") from error

    def restore(self, raw_data: dict[bytes, bytes]) -> None:
        """Take from the hash what heald itself writes, and nothing else.

        Raises:
            NoSuchJobError: the hash is malformed or names something that is not in the table.
        """
        fields = {key.decode("utf-8", "replace"): value for key, value in raw_data.items()}
        try:
            call = decode_call(fields["data"])
            self.data = fields["data"]
            self._func_name, self._args = call.function, (call.run_id, call.version)
            self._instance, self._kwargs = None, {}
            self.origin = fields.get("origin", b"").decode()
            self.description = fields.get("description", b"").decode()
            self.worker_name = fields.get("worker_name", b"").decode() or None
            self.timeout = int(fields.get("timeout") or JOB_TIMEOUT)  # RQ hands it to signal.alarm
            self._status = JobStatus(fields.get("status", b"queued").decode())
            for name in ("created_at", "enqueued_at", "started_at", "ended_at", "last_heartbeat"):
                setattr(self, name, str_to_date(fields[name]) if fields.get(name) else None)
        except (KeyError, ValueError, msgspec.MsgspecError) as error:
            raise NoSuchJobError(f"job {self.id} is not one of heald's: {error}") from error
        self.result_ttl = 0

    def heartbeat(self, timestamp: datetime, ttl: int, pipeline: Pipeline | None = None, xx: bool = False) -> None:
        """RQ's own, with a life for the hash: of a job that was deleted a moment ago it makes a new one."""
        super().heartbeat(timestamp, ttl, pipeline=pipeline, xx=xx)
        connection = self.connection if pipeline is None else pipeline
        connection.expire(self.key, JOB_LIFE + int(self.timeout or 0))

    @property
    def func(self) -> JobFunction:
        """The function the job names, out of the table; nothing is imported."""
        return _functions[cast(str, self.func_name)]


class SafeQueue(Queue):
    """An RQ queue of safe jobs, whatever serializer and job class its maker asks for."""

    job_class = SafeJob

    @classmethod
    def lmove(cls, connection: Redis, queue_key: str, timeout: int | None) -> tuple[str, str] | None:
        """Take the next job's id, and leave no copy aside as RQ does: the agenda sends again what a worker lost.

        Bytes that are no text become an id that no job can have.
        """
        taken = cls.lpop([queue_key], timeout, connection=connection)
        return taken and (queue_key, taken[1].decode("utf-8", "replace"))

    def __init__(
        self,
        name: str = DECIDE,
        connection: Redis | None = None,
        *,
        death_penalty_class: type[BaseDeathPenalty] | None = None,
        **_ignored: object,
    ) -> None:
        super().__init__(
            name,
            connection=connection,
            default_timeout=JOB_TIMEOUT,
            job_class=SafeJob,
            serializer=JSONSerializer,
            death_penalty_class=death_penalty_class or Queue.death_penalty_class,
        )


def job_id_of(run_id: str, version: int, queue: str = DECIDE) -> str:
    """The id of the job that nudges a run at a version: RQ allows letters, digits, `_` and `-` only.

    That of a notice has a name of its own: at the same version, a job may ask for the run's artifact.
    """
    name = f"{run_id.lower().replace('_', '__').replace('.', '_d')}-{version}"
    return f"{name}-notice" if queue == ESCALATE else name


def queue_key(queue: str) -> str:
    """RQ's list of a queue."""
    return f"rq:queue:{queue}"


def job_key(job_id: str) -> str:
    """RQ's hash of a job."""
    return f"rq:job:{job_id}"


def workers_key(queue: str) -> str:
    """RQ's set of the workers of a queue: keys that are there while their worker beats its heart."""
    return f"rq:workers:{queue}"


WORKER_PREFIX = "rq:worker:"
"""What a worker's key is its name behind."""


def started_key(queue: str) -> str:
    """RQ's registry of a queue's started jobs."""
    return f"rq:wip:{queue}"


class Hand(NamedTuple):
    """A worker that goes on with what it commits: those jobs begin at once, and never stand in a queue.

    Attributes:
        worker: its name.
        execution: tells its taking of a job from another one's.
    """

    worker: str
    execution: str


def nudge_job(
    queue: str, run_id: str, version: int, enqueued_at: str, timeout: float = JOB_TIMEOUT, hand: Hand | None = None
) -> JobRecord:
    """The record of one job, as RQ writes it.

    Args:
        enqueued_at: the time in RQ's form, `2026-01-02T03:04:05.678901Z`.
        timeout: seconds RQ lets the job run.
        hand: who begins with it at once.
    """
    job_id = job_id_of(run_id, version, queue)
    function = FUNCTION_OF[queue]
    own = (f'["{function}", null, ["{run_id}", {version}], {{}}]', f"{function}('{run_id}', {version})")
    shared = _shared_fields(queue, enqueued_at, int(timeout), hand and hand.worker)
    registry, mark = (started_key(queue), f"{job_id}:{hand.execution}") if hand else ("", "")
    return JobRecord(queue_key(queue), job_key(job_id), job_id, JOB_LIFE, own, shared, registry, mark)


@lru_cache(maxsize=16)
def _shared_fields(queue: str, enqueued_at: str, timeout: int, worker: str | None) -> tuple[str | int, ...]:
    """The fields that the jobs of one queue and one batch have in common."""
    times = ("created_at", enqueued_at, "enqueued_at", enqueued_at)
    fields = ("origin", queue, "timeout", timeout, *times, "result_ttl", 0)
    if worker is None:
        return (*fields, "status", "queued")
    begun = ("worker_name", worker, "started_at", enqueued_at, "last_heartbeat", enqueued_at)
    return (*fields, "status", "started", *begun)


def finished_job(queue: str, run_id: str, version: int, execution: str = "") -> Finished:
    """What the commit has to clear away of the job that nudged a run at this version."""
    job_id = job_id_of(run_id, version, queue)
    return Finished(job_key(job_id), started_key(queue), f"{job_id}:{execution}" if execution else "")
