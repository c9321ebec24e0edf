"""What a new run inherits: how runs like it ended before, and how many repairs lie behind it.

Regression is answered from an index that keeps the newest two ended runs per repository, class and stage; that is
all `core.regression.judge` needs, so the answer is the reference's scan at constant cost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import redis

from heald_producer.signals import FailureReport
from heald_worker import keys
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
from heald_worker.ledger import UnreadableRun, decode_run
from heald_worker.service import Service, log


class Past(NamedTuple):
    """What a run is opened with besides its report."""

    regression: RegressionCheck | None = None
    advice: Advice | None = None
    generation: int = 0


History = tuple[RegressionCheck | None, RecoveryAction | None]
"""A check, and the action that the newest prior run ended with."""

NO_HISTORY: History = (None, None)

_decode_priors = msgspec.json.Decoder(list[tuple[str, RecoveryOutcome, str, str]]).decode


def look_back(service: Service, reports: Sequence[FailureReport | Exception]) -> tuple[Instant, list[Past]]:
    """The server's time and the past of each report, in one round trip for the whole batch."""
    pipe = service.client.pipeline(transaction=False)
    indexes = [prior_key_of(service, report) if isinstance(report, FailureReport) else "" for report in reports]
    asked = sorted({*indexes} - {""})
    pipe.time()
    if asked:
        pipe.mget(asked)
    for report in reports:
        if isinstance(report, FailureReport) and (parent := report.context.parent_run):
            pipe.hget(keys.run(parent), "s")
            pipe.get(keys.tombstone(parent))
    (seconds, micros), *replies = pipe.execute(raise_on_error=False)
    now = Instant(int(seconds), int(micros) * 1000)
    history = _histories(service, asked, replies.pop(0) if asked else [], now)
    answers = iter(replies)
    return now, [
        _past(service, report, history.get(index, NO_HISTORY), answers) if isinstance(report, FailureReport) else Past()
        for report, index in zip(reports, indexes, strict=True)
    ]


def prior_key_of(service: Service, report: FailureReport) -> str:
    """Where the ended runs like this report are remembered; empty when none are to be asked."""
    if service.settings.regression == "off" or not report.context.repository:
        return ""
    failure_class = service.taxonomy.classify(report.signal)
    return keys.prior(report.context.repository, failure_class, report.signal.stage)


def _histories(service: Service, asked: Sequence[str], stored: object, now: Instant) -> dict[str, History]:
    """What stands behind each index that was asked."""
    if not isinstance(stored, list):
        log.error("the regression index cannot be read: %s", stored)
        stored = [None] * len(asked)
    window = service.settings.retention.regression_window
    return {index: _regression(rows, now, window) for index, rows in zip(asked, stored, strict=True)}


def _past(service: Service, report: FailureReport, history: History, answers: Iterator[object]) -> Past:
    (regression, action), generation = history, 0
    if parent := report.context.parent_run:
        generation = 1 + _generation(parent, next(answers), next(answers))
    return Past(regression, _advice(service, regression, action, generation), generation)


def _regression(stored: object, now: Instant, window: float) -> History:
    if not isinstance(stored, bytes):
        return NO_REGRESSION, None
    try:
        rows = _decode_priors(stored)
        oldest = now.to_micros() - round(window * 1_000_000)
        recent = [row for row in rows if int(row[0]) >= oldest]
        check = judge(Prior(run_id, outcome, Instant.from_micros(int(at))) for at, outcome, run_id, _ in recent)
        return check, RecoveryAction(recent[0][3]) if recent and recent[0][3] else None
    except (ValueError, msgspec.MsgspecError) as error:
        log.error("the regression index holds an entry that cannot be read: %s", error)
        return NO_REGRESSION, None


def _generation(parent: str, state: object, stone: object) -> int:
    if isinstance(state, bytes):
        try:
            return decode_run(parent, 0, state).generation
        except UnreadableRun:
            return 0
    if isinstance(stone, bytes):
        words = stone.split()
        return int(words[3]) if len(words) > 3 and words[3].isdigit() else 0
    if isinstance(stone, redis.RedisError):
        log.error("the tombstone of run %s cannot be read: %s", parent, stone)
    return 0


def _advice(
    service: Service, regression: RegressionCheck | None, action: RecoveryAction | None, generation: int
) -> Advice | None:
    limit = service.settings.limits.max_lineage
    if generation > limit:
        return Advice(
            "escalate", f"{generation} generations of repairs lie behind this run, at most {limit} are healed"
        )
    if regression is None or service.settings.regression != "enforce":
        return None
    match regression.recommendation:
        case Recommendation.ESCALATE_IMMEDIATELY:
            return Advice(
                "escalate",
                f"regression of run {regression.prior_run_id}, which ended as {regression.prior_outcome}",
            )
        case Recommendation.TRY_ALTERNATE_ACTION:
            return Advice(
                "alternate",
                f"regression of run {regression.prior_run_id}, which recovered by {action}",
                action,
            )
    return None
