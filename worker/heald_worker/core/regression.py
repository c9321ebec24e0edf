"""Has this failed before? Source of the semantics: `check_regression` of aivcs-core 0.3.0."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from heald_producer.signals import FailureSignal
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryLog, RecoveryOutcome
from heald_worker.core.taxonomy import Classifier, classify_failure


class Recommendation(StrEnum):
    """What history suggests; the values are the wire's."""

    PROCEED_NORMALLY = "proceed_normally"
    TRY_ALTERNATE_ACTION = "try_alternate_action"
    ESCALATE_IMMEDIATELY = "escalate_immediately"


class Prior(msgspec.Struct, frozen=True):
    """What the check needs to know of one ended recovery that matched."""

    run_id: str
    outcome: RecoveryOutcome
    evaluated_at: Instant


class RegressionCheck(msgspec.Struct, frozen=True):
    """The answer: whether this is a regression, the newest match, and what to do."""

    is_regression: bool
    prior_outcome: RecoveryOutcome | None
    prior_run_id: str | None
    recommendation: Recommendation


NO_REGRESSION = RegressionCheck(False, None, None, Recommendation.PROCEED_NORMALLY)


def judge(priors: Iterable[Prior]) -> RegressionCheck:
    """The answer for recoveries known to match. On equal instants the first given counts as the newest.

    Two matches say as much as any number, so an index that keeps the newest two gives the same answer.
    """
    newest_first = sorted(priors, key=lambda prior: prior.evaluated_at, reverse=True)
    if not newest_first:
        return NO_REGRESSION
    newest = newest_first[0]
    alone_and_mended = len(newest_first) == 1 and newest.outcome is RecoveryOutcome.RECOVERED
    advice = Recommendation.TRY_ALTERNATE_ACTION if alone_and_mended else Recommendation.ESCALATE_IMMEDIATELY
    return RegressionCheck(True, newest.outcome, newest.run_id, advice)


def check_regression(
    signal: FailureSignal, prior_logs: Iterable[RecoveryLog], classify: Classifier = classify_failure
) -> RegressionCheck:
    """Match logs whose initial failure has the same class and exactly the same stage, and judge them."""
    failure_class = classify(signal)
    return judge(
        Prior(log.run_id, log.outcome, log.evaluated_at)
        for log in prior_logs
        if log.initial_failure.stage == signal.stage and classify(log.initial_failure) is failure_class
    )
