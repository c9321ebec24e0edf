"""One run's story: what it was about, its timeline, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.text import Text

from heald_producer.signals import Context, FailureSignal
from heald_worker.cli.accounts import (
    ENDING_STYLES,
    actions,
    count,
    ending_words,
    failure_class,
    open_record,
    recovery_record,
)
from heald_worker.cli.branches import branch_records, draw_branches
from heald_worker.cli.common import Output, clean
from heald_worker.cli.times import local_time, took
from heald_worker.core.regression import RegressionCheck
from heald_worker.states import UnreadableRun
from heald_worker.streams import RecoveryEntry
from heald_worker.views import OpenRun, Timeline

if TYPE_CHECKING:
    from heald_worker.config import Settings

MESSAGE_LINES = 12
"""Lines of a failure's message that are shown: its last ones."""
SHOWN_ABOVE = {
    *("run", "events", "log.run_id", "log.decisions", "log.initial_failure.message", "log.final_failure.message"),
    *("recovery.run_id", "recovery.decisions", "recovery.initial_failure.message", "recovery.failure.message"),
}
"""Facts of a run's record that the story tells anyway."""

Fields = list[tuple[str, str]]


def story_record(run: OpenRun | RecoveryEntry, timeline: Timeline) -> dict[str, object]:
    """A run's story for `--json`."""
    record = run_record(run)
    return {
        "run": record.pop("run"),
        "state": "ended" if isinstance(run, RecoveryEntry) else run.state,
        **record,
        "timeline": list(branch_records(run, timeline.events)),
        "trimmed_events": timeline.trimmed,
    }


def run_record(run: OpenRun | RecoveryEntry) -> dict[str, object]:
    """What is known of a run but its events, for `--json`."""
    return recovery_record(run) if isinstance(run, RecoveryEntry) else open_record(run)


def draw(
    run: OpenRun | RecoveryEntry, timeline: Timeline, settings: Settings, output: Output, *, full: bool = False
) -> None:
    """A run's story for a person; in full with whole messages and every fact."""
    draw_head(run, output, full=full)
    draw_branches(run, timeline, output, full=full)
    draw_foot(run, settings, output, full=full)


def draw_head(run: OpenRun | RecoveryEntry, output: Output, *, full: bool = False) -> None:
    """What a run is about and how far it is."""
    lines = None if full else MESSAGE_LINES
    if isinstance(run, RecoveryEntry):
        output.print(_ended_head(run))
        output.fields(_indented(_ended_fields(run, lines)))
    else:
        output.print(_open_head(run))
        output.fields(_indented(_open_fields(run, lines)))
    output.print()


def draw_foot(
    run: OpenRun | RecoveryEntry, settings: Settings, output: Output, *, full: bool = False, closing: bool = False
) -> None:
    """Where an ended run's log is kept; in full all facts about it. When it ended meanwhile (`closing`), how it did."""
    if isinstance(run, RecoveryEntry):
        output.print()
        if closing:
            output.print(_ended_head(run))
        output.fields(_indented(_record_fields(run, settings)))
    if full:
        output.print()
        for name, value in _leaves(run_record(run)):
            output.print(Text.assemble((f"  {name}: ", "dim"), value))


def _leaves(record: Mapping[str, object], path: str = "") -> Iterator[tuple[str, str]]:
    """Each fact by its path: `context.repository`. Messages and decisions stand above."""
    for name, value in record.items():
        whole = f"{path}{name}"
        if whole in SHOWN_ABOVE:
            continue
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{whole}.")
        else:
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            yield clean(whole), clean(shown)


def _ended_head(entry: RecoveryEntry) -> Text:
    log = entry.log
    summary = f"{count(log.attempts_used, 'attempt')} ({actions(log.decisions)}), {took(entry.seconds)}"
    return Text.assemble(
        (clean(entry.run), "bold"), "  ", (ending_words(entry), f"bold {ENDING_STYLES[entry.ending]}"), f"  {summary}"
    )


def _open_head(run: OpenRun) -> Text:
    state: str = run.state
    if not isinstance(run.run, UnreadableRun):
        recovery = run.run.recovery
        state += f", {recovery.phase}" + (f" as {recovery.ending}" if recovery.ending is not None else "")
    return Text.assemble((clean(run.run_id), "bold"), "  ", (state, "bold red" if run.parked is not None else "bold"))


def _ended_fields(entry: RecoveryEntry, lines: int | None) -> Fields:
    facts, log = entry.facts, entry.log
    fields = _failure("failure", log.initial_failure, lines, failure_class(log.decisions))
    if log.final_failure is not None and log.final_failure != log.initial_failure:
        fields += _failure("left with", log.final_failure, lines)
    fields += _context(facts.context)
    fields += _policy(facts.policy_name, facts.policy_reason, facts.requested_policy)
    fields += _history(facts.regression, facts.generation, facts.dry_run, facts.flaky)
    fields += _others(entry.joined, facts.follows, facts.quiet)
    if entry.known:
        fields.append((entry.known, clean(facts.proof or "the repair says so; nothing has shown it yet")))
    return [*fields, ("accepted", local_time(facts.accepted_at))]


def _open_fields(run: OpenRun, lines: int | None) -> Fields:
    fields: Fields = [] if run.parked is None else [("parked", clean(run.parked))]
    if run.due is not None:
        fields.append(("next look", local_time(round(run.due * 1000))))
    if isinstance(run.run, UnreadableRun):
        return [*fields, ("problem", clean(run.run.problem))]
    held, recovery = run.run, run.run.recovery
    fields += _failure("failure", recovery.initial_failure, lines, failure_class(recovery.decisions))
    if recovery.failure is not None:
        fields += _failure("now", recovery.failure, lines)
    fields += _context(held.context)
    fields += _policy(held.policy_name, held.policy_reason, held.requested_policy)
    fields += _history(held.regression, held.generation, held.dry_run, held.flaky)
    fields += _others(run.joined, held.follows, held.quiet)
    if run.waits_for is not None:
        fields.append(("waits", f"for run {clean(run.waits_for)}, whose repair works on the branch"))
    if recovery.holder is not None:
        fields.append(("in the hands of", clean(recovery.holder)))
    return [*fields, ("accepted", local_time(held.accepted_at))]


def _failure(label: str, signal: FailureSignal, most: int | None, failure_class: str = "-") -> Fields:
    """What broke; of a long message at most so many lines of its end, where most tools say why."""
    head = f"stage {clean(signal.stage)}" + (f", {failure_class} failure" if failure_class != "-" else "")
    head += f", exit code {signal.exit_code}" if signal.exit_code is not None else ""
    head += ", perhaps flaky" if signal.flaky_hint else ""
    lines = clean(signal.message, multiline=True).replace("\t", "    ").splitlines()
    hidden = 0 if most is None else len(lines) - most
    shown = [f"... {count(hidden, 'line')} more", *lines[hidden:]] if hidden > 0 else lines
    return [(label, head), *(("", f"  {line}") for line in shown)]


def _context(context: Context) -> Fields:
    names = ("repository", "ref", "commit", "job", "url", "command", "host", "parent_run")
    return [(name.replace("_", " "), clean(value)) for name in names if (value := getattr(context, name))]


def _policy(name: str, reason: str, requested: str | None) -> Fields:
    asked = f", {clean(requested)} was asked for" if requested is not None and requested != name else ""
    return [("policy", clean(name) + (f" ({clean(reason)})" if reason else "") + asked)]


def _history(regression: RegressionCheck | None, generation: int, dry_run: bool, flaky: str | None) -> Fields:
    fields: Fields = [] if flaky is None else [("flaky", f"known from run {clean(flaky)}")]
    if regression is not None and regression.is_regression:
        before = f"of run {clean(regression.prior_run_id or '?')}, which ended as {regression.prior_outcome}"
        fields.append(("regression", f"{before}: {regression.recommendation.replace('_', ' ')}"))
    if generation:
        fields.append(("generation", f"{generation}: caused by a repair, or of a later attempt of the CI"))
    if dry_run:
        fields.append(("dry run", "nothing was repaired"))
    return fields


def _others(joined: int, follows: str | None, quiet: bool) -> Fields:
    """What else is about the same cause."""
    fields: Fields = [("joined by", f"{count(joined, 'report')} of the same cause")] if joined else []
    if follows is not None:
        told = ", of which somebody was told, so nobody is told again" if quiet else ""
        fields.append(("follows", f"run {clean(follows)}{told}"))
    return fields


def _record_fields(entry: RecoveryEntry, settings: Settings) -> Fields:
    folder = settings.artifacts / entry.run
    there = "" if folder.is_dir() else " (not on this machine)"
    return [("entry", entry.id), ("digest", entry.digest), ("artifact", clean(f"{folder}{there}"))]


def _indented(fields: Fields) -> Fields:
    return [(f"  {label}", text) for label, text in fields]
