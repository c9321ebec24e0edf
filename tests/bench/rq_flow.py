"""The same recovery on stock RQ: decide, repair (fails), decide, repair (succeeds), log. Four jobs a run.

It keeps its state as JSON in one key per run and writes the log to a stream: no fence, no events, no artifacts, nothing
that survives a killed worker. What heald does beyond this is its own cost.
"""

from __future__ import annotations

import json
import os
from functools import cache

import redis
from rq import Queue

from heald_producer.signals import FailureSignal
from heald_worker.core.taxonomy import classify_failure

QUEUE, LOG = "bench", "bench:log"


@cache
def server() -> redis.Redis:
    return redis.Redis.from_url(os.environ["HEALD_REDIS_URL"])


@cache
def queue() -> Queue:
    return Queue(QUEUE, connection=server())


def decide(run_id: str) -> None:
    state = json.loads(server().get(f"bench:{run_id}"))
    failure_class = classify_failure(FailureSignal(state["stage"], state["message"]))
    attempt = len(state["decisions"]) + 1
    state["decisions"].append({"attempt": attempt, "failure_class": failure_class, "action": "patch_forward"})
    server().set(f"bench:{run_id}", json.dumps(state))
    queue().enqueue(repair, run_id, attempt, result_ttl=0)


def repair(run_id: str, attempt: int) -> None:
    if attempt == 1:
        queue().enqueue(decide, run_id, result_ttl=0)
    else:
        server().xadd(LOG, {"log": server().get(f"bench:{run_id}")})


def enqueue(client: redis.Redis, count: int, stage: str, message: str) -> None:
    """Write the states of some runs and enqueue the first decision of each."""
    jobs = Queue(QUEUE, connection=client)
    pipe = client.pipeline(transaction=False)
    for n in range(count):
        state = {"run_id": f"run-{n}", "stage": stage, "message": message, "decisions": []}
        pipe.set(f"bench:run-{n}", json.dumps(state))
    pipe.execute()
    jobs.enqueue_many([Queue.prepare_data(decide, (f"run-{n}",), result_ttl=0) for n in range(count)])
