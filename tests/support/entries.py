"""Entries of heald's streams, written by hand as the service writes them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import redis

from heald_producer.signals import FailureSignal
from heald_worker import keys
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.policy import RecoveryPolicy
from heald_worker.core.recovery import execute_recovery_loop
from heald_worker.core.taxonomy import AIVCS
from heald_worker.records import canonical_bytes, digest_of

ACCEPTED = 1_767_323_045_000_000
"""When the runs of these entries were accepted, in microseconds."""


def recovery_fields(run: str, *, stage: str = "test", message: str = "t red", **facts: object) -> dict[str, Any]:
    """The fields of one recovery that its first repair mended, two and a half seconds after it was accepted."""
    log = execute_recovery_loop(
        run,
        FailureSignal(stage, message),
        RecoveryPolicy(),
        lambda _action, _failure: RecoveryAttemptResult(success=True),
        now=Instant.from_micros(ACCEPTED + 2_500_000),
    )
    data = canonical_bytes(log)
    known = {"policy_name": "default", "taxonomy": msgspec.to_builtins(AIVCS.ref), "accepted_at": ACCEPTED}
    return {
        "run": run,
        "outcome": "recovered",
        "ending": "recovered",
        "digest": digest_of(data),
        "log": data,
        "facts": json.dumps(known | facts),
        "events": "",
        "joined": "0",
    }


def add_recovery(conn: redis.Redis, run: str, entry_id: str = "*", **more: Any) -> str:
    """Append a recovery; returns its entry's id."""
    added: bytes = conn.xadd(keys.RECOVERIES, recovery_fields(run, **more), id=entry_id)
    return added.decode()


def add_event(conn: redis.Redis, run: str, kind: str, version: int = 1, **facts: object) -> str:
    """Append a transition; returns its entry's id."""
    fields: dict[Any, Any] = {"run": run, "kind": kind, "version": version, "facts": json.dumps(facts)}
    added: bytes = conn.xadd(keys.EVENTS, fields)
    return added.decode()
