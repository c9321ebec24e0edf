"""What a new run inherits: how runs like it ended before, and how many repairs lie behind it.

Regression is answered from an index that keeps the newest two ended runs per repository, class and stage; that is
all `core.regression.judge` needs, so the answer is the reference's scan at constant cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import redis

from heald_producer.signals import FailureReport
from heald_worker import keys
from heald_worker.considering import job_record
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryOutcome
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Advice
from heald_worker.core.regression import (
    NO_REGRESSION,
    Prior,
    Recommendation,
    RegressionCheck,
    judge,
)
from heald_worker.flaky import Lesson, flaky_key_of, read_lesson
from heald_worker.service import Service, log
from heald_worker.states import UnreadableRun, decode_run


class Past(NamedTuple):
    """What a run is opened with besides its report."""

    regression: RegressionCheck | None = None
    advice: Advice | None = None
    generation: int = 0
    flaky: Lesson | None = None
    spent: Mapping[str, int] = {}


class Ended(msgspec.Struct, frozen=True, array_like=True):
    """One ended run as the index keeps it: when (microseconds), how, which, by which action, and how that is known."""

    at: str
    outcome: RecoveryOutcome
    run: str
    action: str
    claimed: bool = False


class History(NamedTuple):
    """A check, and of the newest prior run the action that it ended with, and whether that only claimed to help."""

    check: RegressionCheck | None = None
    action: RecoveryAction | None = None
    claimed: bool = False


NO_HISTORY = History()
NOWHERE = ("", "")

_decode_priors = msgspec.json.Decoder(list[Ended]).decode


def look_back(service: Service, reports: Sequence[FailureReport | Exception]) -> tuple[Instant, list[Past]]:
    """The server's time and the past of each report, in one round trip for the whole batch."""
    pipe = service.client.pipeline(transaction=False)
    places = [_places(service, report) if isinstance(report, FailureReport) else NOWHERE for report in reports]
    asked = sorted({key for place in places for key in place} - {""})
    pipe.time()
    if asked:
        pipe.mget(asked)
    for report in reports:
        if isinstance(report, FailureReport) and (parent := report.context.parent_run):
            pipe.hmget(keys.run(parent), "s", "i")
            pipe.get(keys.tombstone(parent))
        if record := _record(service, report):
            pipe.hgetall(record)
    with service.thinking.elsewhere():
        (seconds, micros), *replies = pipe.execute(raise_on_error=False)
    now = Instant(int(seconds), int(micros) * 1000)
    known = _known(asked, replies.pop(0) if asked else [])
    window = service.settings.retention.regression_window
    answers = iter(replies)
    pasts = []
    for report, (index, flaky) in zip(reports, places, strict=True):
        if isinstance(report, FailureReport):
            history = _regression(known.get(index), now, window) if index else NO_HISTORY
            past = _past(service, report, history, answers)._replace(flaky=read_lesson(known.get(flaky)))
            pasts.append(past._replace(spent=_spent(next(answers))) if _record(service, report) else past)
        else:
            pasts.append(Past())
    return now, pasts


def _record(service: Service, report: FailureReport | Exception) -> str:
    """Where it stands what was done about this report's job of its commit; empty where nothing is asked."""
    if not isinstance(report, FailureReport) or not service.settings.has_remedies:
        return ""
    return job_record(report.context, report.signal.stage)


def _spent(record: object) -> dict[str, int]:
    if not isinstance(record, dict):
        return {}
    return {field.decode("utf-8", "replace"): int(count) for field, count in record.items() if count.isdigit()}


def _places(service: Service, report: FailureReport) -> tuple[str, str]:
    """Where the ended runs like this report are remembered, and whether it is flaky; empty where nothing is asked."""
    repository = report.context.repository
    if not repository:
        return NOWHERE
    failure_class = service.judge(service.taxonomy, repository, report.signal).failure_class
    index = "" if service.settings.regression == "off" else keys.prior(repository, failure_class, report.signal.stage)
    return index, flaky_key_of(service.settings, report, failure_class)


def _known(asked: Sequence[str], stored: object) -> dict[str, object]:
    """What stands behind each key that was asked."""
    if not isinstance(stored, list):
        log.error("what is known of earlier runs cannot be read: %s", stored)
        return {}
    return dict(zip(asked, stored, strict=True))


def _past(service: Service, report: FailureReport, history: History, answers: Iterator[object]) -> Past:
    generation = 0
    if parent := report.context.parent_run:
        generation = 1 + _generation(parent, next(answers), next(answers))
    return Past(history.check, _advice(service, history, generation), generation)


def _regression(stored: object, now: Instant, window: float) -> History:
    if not isinstance(stored, bytes):
        return History(NO_REGRESSION)
    try:
        oldest = now.to_micros() - round(window * 1_000_000)
        recent = [row for row in _decode_priors(stored) if int(row.at) >= oldest]
        check = judge(Prior(row.run, row.outcome, Instant.from_micros(int(row.at))) for row in recent)
        if not recent:
            return History(check)
        newest = recent[0]
        return History(check, RecoveryAction(newest.action) if newest.action else None, newest.claimed)
    except (ValueError, msgspec.MsgspecError) as error:
        log.error("the regression index holds an entry that cannot be read: %s", error)
        return History(NO_REGRESSION)


def _generation(parent: str, held: object, stone: object) -> int:
    if isinstance(held, list) and held[0] is not None:
        try:
            return decode_run(parent, 0, *held).generation
        except UnreadableRun:
            return 0
    if isinstance(stone, bytes):
        words = stone.split()
        return int(words[3]) if len(words) > 3 and words[3].isdigit() else 0
    if isinstance(stone, redis.RedisError):
        log.error("the tombstone of run %s cannot be read: %s", parent, stone)
    return 0


def _advice(service: Service, history: History, generation: int) -> Advice | None:
    limit = service.settings.limits.max_lineage
    if generation > limit:
        return Advice(
            "escalate", f"{generation} generations of repairs lie behind this run, at most {limit} are healed"
        )
    regression = history.check
    if regression is None or service.settings.regression != "enforce":
        return None
    match regression.recommendation:
        case Recommendation.ESCALATE_IMMEDIATELY:
            return Advice(
                "escalate",
                f"regression of run {regression.prior_run_id}, which ended as {regression.prior_outcome}",
            )
        case Recommendation.TRY_ALTERNATE_ACTION if history.claimed:  # a claim that the failure itself refutes
            return Advice(
                "escalate",
                f"regression of run {regression.prior_run_id}, whose {history.action} only claimed to have helped",
            )
        case Recommendation.TRY_ALTERNATE_ACTION:
            return Advice(
                "alternate",
                f"regression of run {regression.prior_run_id}, which recovered by {history.action}",
                history.action,
            )
    return None
