"""Flaky tests, learned from heald's own history: the same failure, by its fingerprint, came and went on one commit.

heald hears of failures only, so it sees a pass in two places: a retry that is proven to have recovered the run, as a
retry repeats the same command on the same commit, and a report that says itself that a rerun passed. A later report of
the same failure gets its flaky hint at intake. Passes that nobody reports stay unseen: a rerun by hand, or the next
green build.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import redis

from heald_producer.signals import FailureReport
from heald_worker import keys
from heald_worker.config import Settings
from heald_worker.core.fingerprint import fingerprint
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Ending
from heald_worker.core.taxonomy import FailureClass
from heald_worker.service import Service, log
from heald_worker.states import Run


class Lesson(msgspec.Struct, frozen=True):
    """Which run showed that a failure is flaky: by a `retry` that recovered it, or by what its `report` said."""

    run: str
    how: Literal["retry", "report"]


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Lesson).decode


def flaky_key_of(settings: Settings, report: FailureReport, failure_class: FailureClass) -> str:
    """Where it stands whether this failure is known to be flaky; empty when that is not to be asked."""
    asked = settings.flaky_learning and report.context.repository and not report.signal.flaky_hint
    if not asked or failure_class is not FailureClass.TEST:
        return ""
    return keys.flaky(fingerprint(report.context.repository, report.signal))


def flaky_lesson(
    client: redis.Redis, settings: Settings, report: FailureReport, failure_class: FailureClass
) -> Lesson | None:
    """Which run showed this failure to be flaky, if one did."""
    key = flaky_key_of(settings, report, failure_class)
    return read_lesson(client.get(key)) if key else None


def read_lesson(stored: object) -> Lesson | None:
    """What stands there, if it can be read."""
    if not isinstance(stored, bytes):
        return None
    try:
        return _decode(stored)
    except msgspec.MsgspecError as error:
        log.error("what is known of a flaky test cannot be read: %s", error)
        return None


def lesson_of(service: Service, run: Run) -> tuple[str, str]:
    """What an ended run teaches: the key and the value to keep for a while; empty when it teaches nothing."""
    recovery, repository = run.recovery, run.context.repository
    if not service.settings.flaky_learning or not repository or run.dry_run or not recovery.decisions:
        return "", ""
    how = _passed_by(run)
    if how is None or recovery.decisions[0].failure_class is not FailureClass.TEST:
        return "", ""
    key = keys.flaky(fingerprint(repository, recovery.initial_failure))
    return key, _encode(Lesson(recovery.run_id, how)).decode()


def _passed_by(run: Run) -> Literal["retry", "report"] | None:
    """Where a pass of what failed was seen. A retry that only claims to have helped has seen none."""
    recovery = run.recovery
    only_retried = {decision.action for decision in recovery.decisions} == {RecoveryAction.RETRY}
    if recovery.ending is Ending.RECOVERED and only_retried:
        return "retry" if recovery.proof else None
    said_so = recovery.initial_failure.flaky_hint and run.flaky is None
    return "report" if said_so and recovery.ending is not Ending.CANCELLED else None
