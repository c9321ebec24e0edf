"""Checking the books: what must hold when everything has ended, whatever died on the way."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import redis

from heald_worker import execute_recovery_loop, keys, queues
from heald_worker.artifacts import read_recovery_artifact
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.records import decode_log


def check(conn: redis.Redis, artifacts: Path, pushed: dict[str, int], work: Path) -> list[str]:
    """Every way in which the books do not balance; an empty list when they do.

    Args:
        pushed: run id -> the attempt whose repair succeeds (beyond the policy's attempts: none does).
        work: the folder where every repair leaves `<run>:<attempt>` lines of when it began and ended.
    """
    entries = [fields for _, fields in conn.xrange(keys.RECOVERIES)]
    ended = Counter(fields[b"run"].decode() for fields in entries)
    wrong = [f"{run_id} has {ended[run_id]} logs" for run_id in pushed if ended[run_id] != 1]
    wrong += [f"{run_id} was never pushed" for run_id in ended if run_id not in pushed]
    for fields in entries:
        wrong += _check_log(fields[b"run"].decode(), fields[b"log"], pushed, artifacts)
    wrong += _check_events(conn, pushed)
    wrong += overlaps(work)
    if conn.zcard(keys.AGENDA):
        wrong.append(f"the agenda still holds {conn.zrange(keys.AGENDA, 0, 5)}")
    wrong += [f"queue {name} is not empty" for name in queues.QUEUES if conn.llen(queues.queue_key(name))]
    wrong += [f"{key.decode()} was left behind" for key in conn.scan_iter("heald:run:*")]
    wrong += [f"{key.decode()} was left behind" for key in conn.scan_iter("heald:intake:*")]
    wrong += [f"{key.decode()} has no life" for key in conn.scan_iter("rq:job:*") if conn.ttl(key) == -1]
    return wrong


def _check_log(run_id: str, data: bytes, pushed: dict[str, int], artifacts: Path) -> list[str]:
    log = decode_log(data)
    attempts = iter(range(1, 100))

    def scripted(*_: object) -> RecoveryAttemptResult:
        return RecoveryAttemptResult(success=next(attempts) >= pushed[run_id])

    expected = execute_recovery_loop(run_id, log.initial_failure, log.policy, scripted, now=log.evaluated_at)
    wrong = []
    if (log.decisions, log.outcome, log.attempts_used) != (
        expected.decisions,
        expected.outcome,
        expected.attempts_used,
    ):
        wrong.append(f"{run_id}: the log differs from the loop's: {log} {expected}")
    if read_recovery_artifact(artifacts, run_id) != log:
        wrong.append(f"{run_id}: the artifact differs from the stream")
    return wrong


def _check_events(conn: redis.Redis, pushed: dict[str, int]) -> list[str]:
    decided: dict[str, list[int]] = {}
    results: Counter[tuple[str, int]] = Counter()
    for _, fields in conn.xrange(keys.EVENTS):
        facts, run_id = json.loads(fields[b"facts"]), fields[b"run"].decode()
        if fields[b"kind"] == b"decided":
            decided.setdefault(run_id, []).append(facts["attempt"])
        if fields[b"kind"] in (b"repair_ended", b"repair_abandoned"):
            results[run_id, facts["attempt"]] += 1
    wrong = [
        f"{run_id} decided {numbers}"
        for run_id, numbers in decided.items()
        if numbers != list(range(1, len(numbers) + 1))
    ]
    wrong += [f"{key} has {count} results" for key, count in results.items() if count != 1]
    return wrong


def overlaps(work: Path) -> list[str]:
    """Repairs of one run that worked at once: a repair refuses to begin while another holds the run's lock."""
    return [f"two repairs at once: {path.name}" for path in work.glob("*.overlap")]
