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
from heald_worker.considering import attempt_number, job_record
from heald_worker.core.incident import incident_of
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryOutcome
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Advice, Ending
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


class JobRecord(NamedTuple):
    """What stands of this job of this commit: the run that heard of it last, the attempt of the CI, its generation."""

    run: str = ""
    ci_run: str = ""
    ci_attempt: str = ""
    generation: int = 0
    spent: Mapping[str, int] = {}


class Incident(NamedTuple):
    """The run of a cause, and its state: `open`, or how it ended and when (milliseconds); empty where there is none."""

    run: str = ""
    state: str = ""
    at: int = 0


class Past(NamedTuple):
    """What a run is opened with besides its report.

    Attributes:
        job: what was done about its job of its commit, in `key`'s record; the key is empty where nothing is asked.
        incident: the run of its cause, in `cause`'s record; the key is empty for a report that never joins.
    """

    regression: RegressionCheck | None = None
    advice: Advice | None = None
    generation: int = 0
    flaky: Lesson | None = None
    job_key: str = ""
    job: JobRecord = JobRecord()
    incident_key: str = ""
    incident: Incident = Incident()
    follows: str | None = None
    quiet: bool = False


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


def look_back(service: Service, reports: Sequence[object]) -> tuple[Instant, list[Past]]:
    """The server's time and each report's past, in one round trip for the batch; what is no report has none."""
    pipe = service.client.pipeline(transaction=False)
    places = [_places(service, report) if isinstance(report, FailureReport) else NOWHERE for report in reports]
    asked = sorted({key for place in places for key in place} - {""})
    pipe.time()
    if asked:
        pipe.mget(asked)
    keyed = [_Keys.of(report) for report in reports]
    for own in keyed:
        if own.parent:
            pipe.hmget(keys.run(own.parent), "s", "i")
            pipe.get(keys.tombstone(own.parent))
        if own.job:
            pipe.hgetall(own.job)
        if own.incident:
            pipe.hmget(own.incident, "run", "state", "at")
    with service.thinking.elsewhere():
        (seconds, micros), *replies = pipe.execute(raise_on_error=False)
    now = Instant(int(seconds), int(micros) * 1000)
    known = _known(asked, replies.pop(0) if asked else [])
    window = service.settings.retention.regression_window
    answers = iter(replies)
    pasts = []
    for report, own, (index, flaky) in zip(reports, keyed, places, strict=True):
        if isinstance(report, FailureReport):
            history = _regression(known.get(index), now, window) if index else NO_HISTORY
            past = _past(service, report, own, history, answers, now)
            pasts.append(past._replace(flaky=read_lesson(known.get(flaky))))
        else:
            pasts.append(Past())
    return now, pasts


class _Keys(NamedTuple):
    """Where it stands what one report inherits; empty where nothing is asked."""

    parent: str = ""
    job: str = ""
    incident: str = ""

    @classmethod
    def of(cls, report: object) -> _Keys:
        if not isinstance(report, FailureReport):
            return cls()
        context, cause = report.context, incident_of(report.context, report.signal)
        incident = keys.incident(cause) if cause else ""
        return cls(context.parent_run or "", job_record(context, report.signal.stage), incident)


def _job(stored: object) -> JobRecord:
    if not isinstance(stored, dict):
        return JobRecord()
    plain = {field.decode("utf-8", "replace"): value.decode("utf-8", "replace") for field, value in stored.items()}
    numbers = {field: int(value) for field, value in plain.items() if value.isascii() and value.isdigit()}
    run, ci_run, ci_attempt = (plain.get(field, "") for field in ("run", "ci_run", "ci_attempt"))
    return JobRecord(run, ci_run, ci_attempt, numbers.get("generation", 0), numbers)


def _incident(stored: object) -> Incident:
    if not isinstance(stored, list):
        return Incident()
    run, state, at = ((value or b"").decode("utf-8", "replace") for value in stored)
    return Incident(run, state, int(at) if at.isdigit() else 0)


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


def _past(
    service: Service, report: FailureReport, own: _Keys, history: History, answers: Iterator[object], now: Instant
) -> Past:
    parent = (next(answers), next(answers)) if own.parent else None
    job = _job(next(answers)) if own.job else JobRecord()
    incident = _incident(next(answers)) if own.incident else Incident()
    generation, follows, later = 0, incident.run or None, _is_later(report, job)
    if parent is not None:
        generation = 1 + _generation(own.parent, *parent)
    elif later:
        generation, follows = 1 + job.generation, job.run or follows
    unhealed = _unhealed(incident, now, None if later else service.settings.timing.incident_window)
    advice = _advice(service, history, generation)
    if unhealed and (advice is None or advice.kind != "escalate"):
        advice = Advice(
            "escalate", f"run {incident.run} was {incident.state} about the same cause, and somebody was told"
        )
    if _is_stale(report, job, incident):  # the cause stays what its run has made of it
        advice = Advice("escalate", f"run {incident.run} has recovered from it; this was reported of the same attempt")
        return Past(history.check, advice, generation, None, own.job, job, follows=follows, quiet=True)
    return Past(history.check, advice, generation, None, own.job, job, own.incident, incident, follows, quiet=unhealed)


def _is_later(report: FailureReport, job: JobRecord) -> bool:
    """Whether the report is of a later attempt of the CI's run than the one that was heard of last."""
    context, attempt = report.context, attempt_number(report.context.ci_attempt)
    if not context.ci_run or context.ci_run != job.ci_run or not attempt or not job.ci_attempt.isdigit():
        return False
    return int(attempt) > int(job.ci_attempt)


def _is_stale(report: FailureReport, job: JobRecord, incident: Incident) -> bool:
    """Whether a cause was healed before this report of it came, from the very attempt of the CI that showed it."""
    context = report.context
    same = context.ci_run is not None and (context.ci_run, attempt_number(context.ci_attempt)) == (
        job.ci_run,
        job.ci_attempt,
    )
    return same and incident.state == Ending.RECOVERED


def _unhealed(incident: Incident, now: Instant, window: float | None) -> bool:
    """Whether a run about the same cause has ended without having healed it, and that is news to nobody.

    Args:
        window: the seconds since then; None for a later attempt of the CI's same run, as who starts that knows of it.
    """
    ended = incident.state in (Ending.EXHAUSTED, Ending.ESCALATED)
    return ended and (window is None or now.to_micros() // 1000 - incident.at < window * 1000)


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
