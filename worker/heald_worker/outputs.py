"""What repairs printed, kept beside the runs for whoever looks into them: never in a log, and no input of a decision.

The texts are masked and cut where they are made (see `repairs.output`). A run's key is mortal, so nothing cleans up.
"""

from __future__ import annotations

from typing import cast

import redis

from heald_worker import keys

MOST_ATTEMPTS = 20
"""Attempts of a run whose output is kept: the newest."""
MOST_BYTES = 8 * 1024
"""Bytes of one attempt's output that are kept: its end."""


def keep_output(client: redis.Redis, run_id: str, attempt: int, text: str, life_ms: int) -> None:
    """Keep the output of one attempt, and let that of the attempt `MOST_ATTEMPTS` before it go.

    Args:
        life_ms: how long the run's outputs are kept from now on, in milliseconds.
    """
    key, data = keys.output(run_id), text.encode("utf-8", "replace")[-MOST_BYTES:]
    with client.pipeline() as pipe:
        pipe.hset(key, str(attempt), data)
        pipe.hdel(key, str(attempt - MOST_ATTEMPTS))
        pipe.pexpire(key, life_ms)
        pipe.execute()


def read_outputs(client: redis.Redis, run_id: str) -> dict[int, str]:
    """What is kept of a run: attempt -> text, in the attempts' order."""
    kept = cast(dict[bytes, bytes], client.hgetall(keys.output(run_id)))
    found = {int(attempt): text.decode("utf-8", "ignore") for attempt, text in kept.items() if attempt.isdigit()}
    return dict(sorted(found.items()))
