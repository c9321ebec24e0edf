"""`heald explain`: what would be decided about a failure, why, and what would follow. It changes nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import msgspec
import redis
from msgspec.structs import replace
from rich.text import Text

from heald_producer.mask import Masker
from heald_producer.signals import MAX_REPORT_BYTES, Context, FailureReport, FailureSignal
from heald_producer.wire import PoisonReport, decode_report, fit
from heald_worker.cli.common import Output, Problem, clean, connect, server_options
from heald_worker.cli.describe import notice_words, policy_bounds, repair_words
from heald_worker.cli.diagnosis import diagnosed, headline, reasons
from heald_worker.cli.logs import read_log
from heald_worker.cli.remedies import Weighed, remedy_fields, weighed
from heald_worker.config import Settings
from heald_worker.considering import Surroundings, grounds_in
from heald_worker.core.fingerprint import fingerprint
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryAttemptResult, RecoveryDecision
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Ending, execute_recovery_loop
from heald_worker.core.rules import Explanation as Diagnosed
from heald_worker.core.taxonomy import Diagnosis, FailureClass, Taxonomy, TaxonomyRef
from heald_worker.corrections import Correction, Corrections
from heald_worker.flaky import Lesson, flaky_lesson
from heald_worker.playbook import Case, case_of
from heald_worker.policies import PolicyChoice, choose_policy
from heald_worker.taxonomies import chosen_taxonomy, remedies_of

NO_ATTEMPT = "the policy allows no attempt"


class Attempts(msgspec.Struct, frozen=True):
    """Attempts in a row that take the same action, when the repair fails each time."""

    first: int
    last: int
    action: RecoveryAction
    rationale: str
    repair: str | None


class Known(msgspec.Struct, frozen=True):
    """What the server knows about failures like this one: a person's correction, and a run that showed it flaky."""

    correction: Correction | None = None
    flaky: Lesson | None = None


class Explanation(msgspec.Struct, frozen=True):
    """What heald would do about one report.

    Attributes:
        failure_class: what the decision is made about: the rules' class, or that of the correction.
        diagnosed: what the rules say, why, and what came close.
        fingerprint: by which corrections and flaky tests are known.
        known: what the server knows; nothing where it was not asked.
        remedies: what can help, best first; nothing where the reference's actions are taken.
        attempts: what would follow if no repair succeeded; the first entry is the decision itself.
        ending: how the run would end then, and `notice` who would be told.
    """

    run_id: str
    stage: str
    failure_class: FailureClass
    diagnosed: Diagnosed
    fingerprint: str
    known: Known
    taxonomy: TaxonomyRef
    policy: PolicyChoice
    remedies: tuple[Weighed, ...]
    attempts: tuple[Attempts, ...]
    ending: Ending
    notice: str
    dry_run: bool


def explain_report(
    report: FailureReport, settings: Settings, taxonomy: Taxonomy, known: Known | None = None
) -> Explanation:
    """Decide about a report as the service would, with repairs that all fail."""
    choice, known = choose_policy(settings, report), known or Known()
    signal = replace(report.signal, flaky_hint=report.signal.flaky_hint or known.flaky is not None)
    found = diagnosed(settings, taxonomy, signal)
    word = None if known.correction is None else known.correction.failure_class
    agreed = word is None or word is found.diagnosis.failure_class
    diagnosis = found.diagnosis if agreed else Diagnosis(word or found.diagnosis.failure_class)
    case = case_of(report.context, report.signal.stage, diagnosis)
    around = _surroundings(report, settings, choice, case) if settings.has_remedies else None
    log = execute_recovery_loop(
        report.run_id,
        signal,
        choice.policy,
        lambda _action, _failure: RecoveryAttemptResult(success=False),
        now=Instant(0),
        diagnose=taxonomy.diagnose,
        max_transient_retries=choice.bounds.max_transient_retries,
        corrections=dict.fromkeys(range(1, choice.policy.max_attempts + 1), word) if word else None,
        consider=(lambda _, failure, diagnosis: grounds_in(around, failure, diagnosis, word)) if around else None,
    )
    escalated = any(decision.action is RecoveryAction.ESCALATE for decision in log.decisions)
    ending = Ending.ESCALATED if escalated else Ending.EXHAUSTED
    return Explanation(
        run_id=report.run_id,
        stage=report.signal.stage,
        failure_class=word or found.diagnosis.failure_class,
        diagnosed=found,
        fingerprint=fingerprint(report.context.repository, report.signal),
        known=known,
        taxonomy=taxonomy.ref,
        policy=choice,
        remedies=tuple(weighed(around, signal, choice, found.diagnosis, word)) if around else (),
        attempts=_attempts(log.decisions, settings, case),
        ending=ending,
        notice=notice_words(None if settings.dry_run else settings.playbook.notices.get(ending)),
        dry_run=settings.dry_run,
    )


def _surroundings(report: FailureReport, settings: Settings, choice: PolicyChoice, case: Case) -> Surroundings:
    """Where the failure happened, and what this configuration could do about it: what is known without a server."""
    playbook = settings.playbook
    repairs = tuple(action for action in RecoveryAction if playbook.entry_for(action, case))
    rollback = playbook.entry_for(RecoveryAction.ROLLBACK, case)
    reverts = rollback is not None and rollback.reverts
    there = repairs if playbook.repairs else None
    return Surroundings(report.context, choice.bounds, remedies_of(settings), there, reverts)


def what_is_known(client: redis.Redis, report: FailureReport, settings: Settings, taxonomy: Taxonomy) -> Known:
    """What the server knows about failures like this one."""
    corrections = Corrections(client)
    corrections.look()
    correction = corrections.get(fingerprint(report.context.repository, report.signal))
    failure_class = correction.failure_class if correction else taxonomy.classify(report.signal)
    return Known(correction, flaky_lesson(client, settings, report, failure_class))


def _attempts(decisions: tuple[RecoveryDecision, ...], settings: Settings, case: Case) -> tuple[Attempts, ...]:
    attempts = []
    for (action, rationale), group in groupby(decisions, lambda each: (each.action, each.rationale)):
        numbers = [decision.attempt for decision in group]
        attempts.append(Attempts(numbers[0], numbers[-1], action, rationale, _repair_words(action, settings, case)))
    return tuple(attempts)


def _repair_words(action: RecoveryAction, settings: Settings, case: Case) -> str | None:
    if action is RecoveryAction.ESCALATE:
        return None
    if settings.dry_run:
        return "none: dry_run is set, the attempt fails"
    return repair_words(settings.playbook.repair_for(action, case))


@click.command()
@click.option("--stage", metavar="NAME", help="The stage that failed.")
@click.option("--message", metavar="TEXT", help="Why it failed.")
@click.option("--log", metavar="FILE", help="A log of any size, to find that in; - is standard input.")
@click.option("--exit-code", type=int, metavar="N", help="The command's exit code.")
@click.option("--flaky", is_flag=True, help="The same command may pass when repeated.")
@click.option("--repository", metavar="NAME", help="Where it failed, for rules that look at it.")
@click.option("--ref", metavar="REF", help="On which branch or tag, for rules that look at it.")
@click.option("--job", metavar="NAME", help="In which job of the CI, for rules that look at it.")
@click.option("--policy", metavar="NAME", help="The policy the report asks for.")
@click.option("--run-id", metavar="RUN", help="The run's id.")
@click.option("--report", "source", metavar="FILE", help="Take all that from a report (JSON); - is standard input.")
@click.option(
    "--ask", is_flag=True, help="Ask the server, too: for corrections, and whether the test is known as flaky."
)
@server_options
def explain(settings: Settings, output: Output, source: str | None, ask: bool, **described: Any) -> None:
    """Tell what would be decided about a failure, why, and what would follow. Nothing is done.

    No server is asked but with --ask.
    """
    if source is None:
        report = _described(**described)
    elif any(value not in (None, False) for value in described.values()):
        raise click.UsageError("--report brings everything along; leave the other options out")
    else:
        report = _read_report(source)
    taxonomy = chosen_taxonomy(settings)
    known = what_is_known(connect(settings), report, settings, taxonomy) if ask else None
    explanation = explain_report(report, settings, taxonomy, known)
    quoted = {"message": report.signal.message} if described["log"] else {}
    output.record(msgspec.to_builtins(explanation) | quoted)
    for line in quoted.get("message", "").splitlines():
        output.print(f"  {clean(line)}", style="dim")
    _show(explanation, report.signal, output)


def _described(
    stage: str | None,
    message: str | None,
    log: str | None,
    exit_code: int | None,
    flaky: bool,
    repository: str | None,
    ref: str | None,
    job: str | None,
    policy: str | None,
    run_id: str | None,
) -> FailureReport:
    if log is None and (stage is None or message is None):
        raise click.UsageError("describe the failure with --stage and --message, with --log, or give --report FILE")
    if log is not None:
        if message is not None:
            raise click.UsageError("--message and --log exclude each other")
        message = read_log(log, Masker.of(os.environ)).text
    signal = FailureSignal(stage or "", message or "", exit_code, flaky)
    return fit(FailureReport(run_id or "example", signal, policy, Context(repository=repository, ref=ref, job=job)))


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


def _show(explanation: Explanation, signal: FailureSignal, output: Output) -> None:
    choice, taxonomy = explanation.policy, explanation.taxonomy
    action, why = "none", NO_ATTEMPT
    if explanation.attempts:
        action, why = explanation.attempts[0].action.value, explanation.attempts[0].rationale
    output.fields(
        [
            ("failure", f"{_class_words(explanation)} in stage '{clean(explanation.stage)}'"),
            *reasons(explanation.diagnosed, signal, output.width),
            ("", f"taxonomy {taxonomy.name} {taxonomy.version}, fingerprint {explanation.fingerprint}"),
            *_known(explanation.known),
            ("policy", f"{clean(choice.name)}: {clean(choice.reason)}"),
            ("", policy_bounds(choice.policy, choice.bounds)),
            *remedy_fields(explanation.remedies),
            ("decision", action),
            ("", why),
        ]
    )
    output.print("\nWhat follows if every repair fails:")
    for attempts in explanation.attempts:
        many = attempts.last > attempts.first
        number = f"attempts {attempts.first}-{attempts.last}" if many else f"attempt {attempts.first}"
        _show_step(number, attempts.action, attempts.repair or attempts.rationale, output)
    _show_step("end", explanation.ending, explanation.notice, output)


def _show_step(when: str, what: str, words: str, output: Output) -> None:
    output.beside(Text(f"  {when:<14} {what:<14} "), clean(words))


def _class_words(explanation: Explanation) -> str:
    found = headline(explanation.diagnosed.diagnosis)
    corrected = explanation.known.correction is not None
    return f"{explanation.failure_class}, as a person says, and not {found}" if corrected else found


def _known(known: Known) -> Iterator[tuple[str, str]]:
    if known.correction is not None:
        word = known.correction
        reason = f": {clean(word.reason)}" if word.reason else ""
        yield "corrected", f"{word.failure_class}, by {clean(word.by)} about run {clean(word.run)}{reason}"
    if known.flaky is not None:
        how = "a retry recovered it" if known.flaky.how == "retry" else "its report said so"
        yield "flaky", f"shown by run {clean(known.flaky.run)}: {how}"
