"""`heald explain`: what would be decided about a failure, why, and what would follow. It changes and asks nothing."""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import msgspec

from heald_producer.signals import MAX_REPORT_BYTES, Context, FailureReport, FailureSignal
from heald_producer.wire import PoisonReport, decode_report, fit
from heald_worker.cli.common import Output, Problem, clean, settings_options
from heald_worker.cli.describe import notice_words, policy_bounds, repair_words
from heald_worker.config import Settings
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryAttemptResult, RecoveryDecision
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Ending, execute_recovery_loop
from heald_worker.core.taxonomy import RULES, TAXONOMIES, FailureClass, Taxonomy, TaxonomyRef
from heald_worker.policies import PolicyChoice, choose_policy

NO_ATTEMPT = "the policy allows no attempt"


class Attempts(msgspec.Struct, frozen=True):
    """Attempts in a row that take the same action, when the repair fails each time."""

    first: int
    last: int
    action: RecoveryAction
    rationale: str
    repair: str | None


class Explanation(msgspec.Struct, frozen=True):
    """What heald would do about one report.

    Attributes:
        failure_class_reason: which words decided the class.
        attempts: what would follow if no repair succeeded; the first entry is the decision itself.
        ending: how the run would end then, and `notice` who would be told.
    """

    run_id: str
    stage: str
    failure_class: FailureClass
    failure_class_reason: str
    taxonomy: TaxonomyRef
    policy: PolicyChoice
    attempts: tuple[Attempts, ...]
    ending: Ending
    notice: str
    dry_run: bool


def explain_report(report: FailureReport, settings: Settings, taxonomy: Taxonomy) -> Explanation:
    """Decide about a report as the service would, with repairs that all fail. Pure."""
    choice = choose_policy(settings, report)
    log = execute_recovery_loop(
        report.run_id,
        report.signal,
        choice.policy,
        lambda _action, _failure: RecoveryAttemptResult(success=False),
        now=Instant(0),
        classify=taxonomy.classify,
    )
    escalated = any(decision.action is RecoveryAction.ESCALATE for decision in log.decisions)
    ending = Ending.ESCALATED if escalated else Ending.EXHAUSTED
    return Explanation(
        run_id=report.run_id,
        stage=report.signal.stage,
        failure_class=taxonomy.classify(report.signal),
        failure_class_reason=class_reason(report.signal),
        taxonomy=taxonomy.ref,
        policy=choice,
        attempts=_attempts(log.decisions, settings),
        ending=ending,
        notice=notice_words(None if settings.dry_run else settings.playbook.notices.get(ending)),
        dry_run=settings.dry_run,
    )


def class_reason(signal: FailureSignal) -> str:
    """Which rule's word gives the class."""
    stage, message = signal.stage.lower(), signal.message.lower()
    for _, in_stage, in_message in RULES:
        for word in in_stage:
            if word in stage:
                return f"the stage has {word!r}"
        for word in in_message:
            if word in message:
                return f"the message has {word!r}"
    return "no rule fits"


def _attempts(decisions: tuple[RecoveryDecision, ...], settings: Settings) -> tuple[Attempts, ...]:
    attempts = []
    for (action, rationale), group in groupby(decisions, lambda each: (each.action, each.rationale)):
        numbers = [decision.attempt for decision in group]
        attempts.append(Attempts(numbers[0], numbers[-1], action, rationale, _repair_words(action, settings)))
    return tuple(attempts)


def _repair_words(action: RecoveryAction, settings: Settings) -> str | None:
    if action is RecoveryAction.ESCALATE:
        return None
    if settings.dry_run:
        return "none: dry_run is set, the attempt fails"
    return repair_words(settings.playbook.repairs.get(action))


@click.command()
@click.option("--stage", metavar="NAME", help="The stage that failed.")
@click.option("--message", metavar="TEXT", help="Why it failed.")
@click.option("--exit-code", type=int, metavar="N", help="The command's exit code.")
@click.option("--flaky", is_flag=True, help="The same command may pass when repeated.")
@click.option("--repository", metavar="NAME", help="Where it failed, for rules that look at it.")
@click.option("--ref", metavar="REF", help="On which branch or tag, for rules that look at it.")
@click.option("--policy", metavar="NAME", help="The policy the report asks for.")
@click.option("--run-id", metavar="RUN", help="The run's id.")
@click.option("--report", "source", metavar="FILE", help="Take all that from a report (JSON); - is standard input.")
@settings_options
def explain(settings: Settings, output: Output, source: str | None, **described: Any) -> None:
    """Tell what would be decided about a failure, why, and what would follow. Nothing is done and no server asked."""
    if source is None:
        report = _described(**described)
    elif any(value not in (None, False) for value in described.values()):
        raise click.UsageError("--report brings everything along; leave the other options out")
    else:
        report = _read_report(source)
    explanation = explain_report(report, settings, TAXONOMIES[settings.taxonomy])
    output.record(msgspec.to_builtins(explanation))
    _show(explanation, output)


def _described(
    stage: str | None,
    message: str | None,
    exit_code: int | None,
    flaky: bool,
    repository: str | None,
    ref: str | None,
    policy: str | None,
    run_id: str | None,
) -> FailureReport:
    if stage is None or message is None:
        raise click.UsageError("describe the failure with --stage and --message, or give --report FILE")
    signal = FailureSignal(stage, message, exit_code, flaky)
    return fit(FailureReport(run_id or "example", signal, policy, Context(repository=repository, ref=ref)))


def _read_report(source: str) -> FailureReport:
    if source == "-":
        raw = sys.stdin.buffer.read(MAX_REPORT_BYTES + 1)
    else:
        with Path(source).open("rb") as file:
            raw = file.read(MAX_REPORT_BYTES + 1)
    try:
        return decode_report(raw)
    except PoisonReport as poison:
        raise Problem(
            f"this report would become a dead letter ({poison.reason}): {poison.detail}",
            "docs/keyspace.md describes a report",
        ) from None


def _show(explanation: Explanation, output: Output) -> None:
    choice, taxonomy = explanation.policy, explanation.taxonomy
    action, why = "none", NO_ATTEMPT
    if explanation.attempts:
        action, why = explanation.attempts[0].action.value, explanation.attempts[0].rationale
    output.fields(
        [
            ("failure", f"{explanation.failure_class} in stage '{clean(explanation.stage)}'"),
            ("", f"{explanation.failure_class_reason} (taxonomy {taxonomy.name} {taxonomy.version})"),
            ("policy", f"{clean(choice.name)}: {clean(choice.reason)}"),
            ("", policy_bounds(choice.policy)),
            ("decision", action),
            ("", why),
        ]
    )
    output.print("\nWhat follows if every repair fails:")
    for attempts in explanation.attempts:
        many = attempts.last > attempts.first
        number = f"attempts {attempts.first}-{attempts.last}" if many else f"attempt {attempts.first}"
        output.print(f"  {number:<14} {attempts.action:<14} {clean(attempts.repair or attempts.rationale)}")
    output.print(f"  {'end':<14} {explanation.ending:<14} {clean(explanation.notice)}")
