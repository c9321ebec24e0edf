"""What both of heald's workers are to RQ's tools: registered as long as they live, and tidy.

RQ's own upkeep fails, requeues and calls back whatever its registries hold. heald's clears away what killed workers
have left there, and leaves what is to be done again to the agenda.
"""

from __future__ import annotations

from typing import Any, cast

import redis
from redis.client import Pipeline
from rq import worker_registration
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker.base import BaseWorker

from heald_producer.connection import trouble as explain
from heald_worker import queues
from heald_worker.playbooks import Teller
from heald_worker.queues import SafeJob, SafeQueue
from heald_worker.service import Service, log

WORKER_TTL = 60
"""Seconds without a heartbeat after which RQ's tools no longer count a worker."""
CLEAN_EVERY = 60
"""Seconds between two looks for what killed workers have left in RQ's registries."""


def rq_options(service: Service) -> dict[str, Any]:
    """How both workers are made: with the safe classes everywhere, and without pickle."""
    return {
        "name": service.name,
        "connection": service.client,
        "queue_class": SafeQueue,
        "job_class": SafeJob,
        "serializer": JSONSerializer,
        "worker_ttl": WORKER_TTL,
        "maintenance_interval": CLEAN_EVERY,
        "log_job_description": False,
    }


class RegisteredWorker(BaseWorker):
    """An RQ worker that listens to no commands, cleans RQ's registries the plain way, and registers again when the
    server has lost it.
    """

    service: Service
    _trouble = ""
    teller: Teller

    def register_birth(self) -> None:
        """RQ's own, and tell what this worker is."""
        super().register_birth()
        self.teller.tell(self.connection)

    def serialize(self) -> dict[Any, Any]:
        """RQ's own, and what this worker tells of itself."""
        return {**super().serialize(), **self.teller.fields}

    def note_trouble(self, trouble: redis.RedisError | None) -> None:
        """Say once what keeps the server from answering, and once that it answers again."""
        said = "" if trouble is None else str(explain(trouble, self.service.settings.redis_url))
        if said and said != self._trouble:
            log.error("%s; heald tries again until it answers", said)
        elif self._trouble and not said:
            log.info("the server answers again")
        self._trouble = said

    def subscribe(self) -> None:
        """Listen to nobody: RQ's `shutdown`, `kill-horse` and `stop-job` would come from whoever may publish.

        A worker is stopped by a signal, a repair by `heald cancel`.
        """

    def unsubscribe(self) -> None:
        """Nothing to leave."""

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Tell RQ's tools that this worker lives, also when its record went while the server was away: in one trip."""
        if pipeline is not None:
            super().heartbeat(timeout, pipeline)
            self.teller.tell(pipeline)
            return
        with self.connection.pipeline(transaction=False) as pipe:
            super().heartbeat(timeout, pipe)
            self.teller.tell(pipe)
            pipe.hexists(self.key, "birth")
            *_, is_registered = pipe.execute()
        if not is_registered:
            self._register_again()

    def _register_again(self) -> None:
        with self.connection.pipeline() as pipe:
            pipe.hset(self.key, mapping={**self.serialize(), "state": self.get_state()})
            worker_registration.register(self, pipe)
            pipe.expire(self.key, self.worker_ttl + 60)
            pipe.execute()

    def run_maintenance_tasks(self) -> None:
        """Clear away what killed workers left in RQ's registries. Nothing depends on it, and garbage stops nobody."""
        self.last_cleaned_at = now()  # type: ignore[assignment]  # RQ types it by its first value
        for queue in self.queues:
            try:
                self._clear(queue)
            except (redis.ConnectionError, redis.TimeoutError):
                raise
            except Exception:
                log.exception("RQ's registries of %s cannot be cleaned", queue.name)

    def _clear(self, queue: Queue) -> None:
        started, over = queues.started_key(queue.name), self.service.ledger.now().seconds
        marks = cast(list[bytes], self.connection.zrangebyscore(started, "-inf", over))
        with self.connection.pipeline(transaction=False) as pipe:
            for mark in marks:
                # RQ takes the life off a job that it begins; of one whose worker was killed nobody gave it back.
                pipe.expire(queues.job_key("").encode() + mark.partition(b":")[0], queues.JOB_LIFE, nx=True)
            pipe.zremrangebyscore(started, "-inf", over)
            pipe.execute()
        worker_registration.clean_worker_registry(queue)


def registered(client: redis.Redis) -> list[BaseWorker]:
    """The workers of heald's queues that are alive, by name; what cannot be read as one is left out."""
    found = {}
    for queue in queues.QUEUES:
        for key in cast(set[bytes], client.smembers(queues.workers_key(queue))):
            try:
                known = BaseWorker.find_by_key(
                    key.decode(), client, job_class=SafeJob, queue_class=SafeQueue, serializer=JSONSerializer
                )
            except (ValueError, redis.ResponseError) as error:
                log.warning("%a is no worker: %a", key, str(error))
                continue
            if known is not None:
                found[known.name] = known
    return sorted(found.values(), key=lambda each: each.name)
