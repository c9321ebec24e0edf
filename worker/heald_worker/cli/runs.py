"""`heald runs` lists runs, `heald show` draws one's timeline, `heald memory` puts a recovery into words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
import msgspec
import redis
from rich.text import Text

from heald_producer.signals import check_run_id
from heald_worker import keys, views
from heald_worker.cli.accounts import (
    ENDING_STYLES,
    count,
    ending_words,
    failure_class,
    open_record,
    place,
    recovery_record,
)
from heald_worker.cli.accounts import actions as action_words
from heald_worker.cli.columns import columns
from heald_worker.cli.common import Output, Problem, clean, connect, server_options
from heald_worker.cli.describe import span
from heald_worker.cli.follow import follow_run
from heald_worker.cli.outputs import action_of, decisions_of, draw_outputs
from heald_worker.cli.selection import ENDINGS, MOST_SEEN, PHASES, STATES, Listed, Selection, period, search
from heald_worker.cli.story import draw, story_record
from heald_worker.cli.times import id_micros, local_time, took
from heald_worker.core.memory import recovery_log_to_memory_fields
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.taxonomy import Classifier, FailureClass
from heald_worker.outputs import read_outputs
from heald_worker.states import UnreadableRun
from heald_worker.streams import MalformedEntry, RecoveryEntry
from heald_worker.taxonomies import find_taxonomy
from heald_worker.views import Forgotten, OpenRun

if TYPE_CHECKING:
    from heald_worker.config import Settings

LISTED = 20
HEADINGS = ("since", "run", "state", "class", "actions", "attempts", "took", "where")


@click.command()
@click.option("--open", "states", flag_value="open", multiple=True, help="Only runs that are under way.")
@click.option("--ended", "states", flag_value="ended", multiple=True, help="Only runs that have ended.")
@click.option("--parked", "states", flag_value="parked", multiple=True, help="Only runs that cannot be advanced.")
@click.option(
    "--state",
    "finer",
    type=click.Choice(STATES),
    metavar="STATE",
    multiple=True,
    help=f"Only runs in this state: {', '.join(STATES)}.",
)
@click.option("--repository", metavar="GLOB", help="Only runs of this repository: acme/app, 'acme/*'.")
@click.option("--ref", metavar="GLOB", help="Only runs of this branch or tag: main, 'release/*', refs/tags/v1.")
@click.option(
    "--class",
    "classes",
    type=click.Choice([each.value for each in FailureClass]),
    multiple=True,
    help="Only runs whose first failure has this class.",
)
@click.option(
    "--action",
    "actions",
    type=click.Choice([each.value for each in RecoveryAction]),
    multiple=True,
    help="Only runs for which this was decided.",
)
@click.option(
    "--since",
    metavar="WHEN",
    help="Only runs that ended (open ones: were accepted) within this time (90m, 2h, 3d), "
    "or since then (2026-01-02T03:04:05Z, an entry's id).",
)
@click.option("--until", metavar="WHEN", help="Only runs before that; in the words of --since.")
@click.option(
    "-n",
    "most",
    type=click.IntRange(1),
    metavar="COUNT",
    default=LISTED,
    show_default=True,
    help="Runs of each, at most.",
)
@server_options
def runs(
    settings: Settings,
    output: Output,
    states: tuple[str, ...],
    finer: tuple[str, ...],
    classes: tuple[str, ...],
    actions: tuple[str, ...],
    since: str | None,
    until: str | None,
    most: int,
    **globs: str | None,
) -> None:
    """List runs: parked ones, open ones (the next due first), ended ones (the newest first).

    Options narrow the list together; of one that is repeated any may fit.
    """
    rows, client = [], connect(settings)
    after, before = period(client, since, until)
    wanted = Selection(
        states=frozenset(states + finer),
        classes=frozenset(classes),
        actions=frozenset(actions),
        since=after,
        before=before,
        **globs,
    )
    for run in _listed(client, wanted, most, output):
        if isinstance(run, MalformedEntry):
            output.note(f"heald: {clean(str(run))}")
        elif output.as_json:
            record = recovery_record(run) if isinstance(run, RecoveryEntry) else open_record(run)
            state = "ended" if isinstance(run, RecoveryEntry) else run.state
            output.record({"run": record.pop("run"), "state": state, **record})
        else:
            rows.append(_ended_row(run) if isinstance(run, RecoveryEntry) else _open_row(run))
    for line in columns(HEADINGS, rows, output.width, title=HEADINGS.index("run")):
        output.print(line)
    if not rows and not output.as_json:
        waiting = _waiting_reports(client)
        output.note(f"heald: there are no such runs{waiting and '; '}{waiting}")


def _listed(client: redis.Redis, wanted: Selection, most: int, output: Output) -> Iterator[Listed]:
    def stopped(last: Listed) -> None:
        kind = "open runs" if isinstance(last, OpenRun) else "ended runs"
        further = "" if isinstance(last, OpenRun) else f"; --until {last.id} goes on from there"
        output.note(f"heald: only the first {MOST_SEEN:,} {kind} were looked at{further}")

    if wanted.wants("parked"):
        yield from search(views.parked_runs(client), wanted, most, stopped)
    if wanted.wants("open", *PHASES):
        yield from search(views.open_runs(client), wanted, most, stopped)
    if wanted.wants("ended", *ENDINGS):
        read = MOST_SEEN if wanted.narrows else most
        ended = views.ended_runs(client, read, since=wanted.since, before=wanted.before)
        yield from search(ended, wanted, most, stopped)


def _ended_row(entry: RecoveryEntry) -> list[Text | str]:
    log = entry.log
    return [
        Text(local_time(id_micros(entry.id)), "dim"),
        Text(clean(entry.run), "bold"),
        Text(ending_words(entry), ENDING_STYLES[entry.ending]),
        failure_class(log.decisions),
        action_words(log.decisions),
        str(log.attempts_used),
        took(entry.seconds),
        Text(place(entry.facts.context, log.initial_failure.stage), "dim"),
    ]


def _open_row(run: OpenRun) -> list[Text | str]:
    style = "red" if run.parked is not None else "cyan"
    if isinstance(run.run, UnreadableRun):
        state = Text("parked" if run.parked is not None else "unreadable", "red")
        return ["", Text(clean(run.run_id), "bold"), state, "", "", "", "", clean(run.run.problem)]
    recovery, where = run.run.recovery, place(run.run.context, run.run.recovery.initial_failure.stage)
    return [
        Text(local_time(run.run.accepted_at), "dim"),
        Text(clean(run.run_id), "bold"),
        Text("parked" if run.parked is not None else recovery.phase.value, style),
        failure_class(recovery.decisions),
        action_words(recovery.decisions),
        str(recovery.attempt),
        "",
        clean(run.parked) if run.parked is not None else Text(where, "dim"),
    ]


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--full", is_flag=True, help="Whole messages, and every fact of the run and of its events.")
@click.option("--output", "with_output", is_flag=True, help="With what its repairs printed, too.")
@click.option("--follow", "follows", is_flag=True, help="Go on as events come, until the run has ended.")
@server_options
def show(settings: Settings, output: Output, run_id: str, full: bool, with_output: bool, follows: bool) -> int:
    """Draw one run's timeline: what was reported, decided and repaired, and how it ended. Open runs too.

    With --follow the exit code tells how it ended: 0 recovered, 1 escalated, exhausted or cancelled. With --json each
    event is a line then.
    """
    client = connect(settings, patient=not follows)
    if follows:
        return follow_run(lambda: found_run(client, settings, run_id), client, settings, output, full=full)
    run = found_run(client, settings, run_id)
    timeline = views.timeline(client, run)
    printed = read_outputs(client, run_id) if with_output else {}
    output.record(story_record(run, timeline) | ({"outputs": printed} if with_output else {}))
    if not output.as_json:
        draw(run, timeline, settings, output, full=full)
        if with_output:
            output.print()
            draw_outputs(run, printed, output)
    return 0


@click.command()
@click.argument("run_id", metavar="RUN")
@server_options
def logs(settings: Settings, output: Output, run_id: str) -> None:
    """Print what a run's repairs printed, attempt by attempt; of each the end, secrets masked. Open runs too."""
    client = connect(settings)
    run = found_run(client, settings, run_id)
    printed = read_outputs(client, run_id)
    for attempt, text in printed.items():
        action = action_of(decisions_of(run), attempt)
        output.record({"run": run_id, "attempt": attempt, "action": action, "output": text})
    draw_outputs(run, printed, output)


@click.command()
@click.argument("run_id", metavar="RUN")
@server_options
def memory(settings: Settings, output: Output, run_id: str) -> None:
    """Print an ended recovery as one sentence and its tags, for indexing."""
    run = found_run(connect(settings), settings, run_id)
    if isinstance(run, OpenRun):
        where = "parked" if isinstance(run.run, UnreadableRun) else run.run.recovery.phase
        raise Problem(f"run {run_id} is {where}; it has no log yet", f"`heald show {run_id}` tells how far it is")
    fields = recovery_log_to_memory_fields(run.log, _class_of(run, settings))
    output.record({"run": run.run, **msgspec.to_builtins(fields)})
    tags = ", ".join(clean(tag) for tag in fields.tags)
    output.fields([("summary", clean(fields.summary)), ("tags", tags), ("size", count(fields.token_estimate, "token"))])


def _class_of(run: RecoveryEntry, settings: Settings) -> Classifier:
    """The class that the run's first decision was made about; of a run without one, what its rules say now."""
    if run.log.decisions:
        decided = run.log.decisions[0].failure_class
        return lambda _signal: decided
    ref = run.facts.taxonomy
    taxonomy = find_taxonomy(settings, ref)
    if taxonomy is None:
        raise Problem(
            f"run {run.run} was judged by taxonomy {clean(ref.name)} {clean(ref.version)}, which this heald has not",
            "ask the heald that recorded it",
        )
    return taxonomy.classify


def _where_else(client: redis.Redis, settings: Settings, run_id: str) -> str:
    """What to do about a run that nobody knows."""
    if waiting := _waiting_reports(client):
        return f"{waiting}, and it may be among them; `heald health` tells whether a worker takes them in"
    kept = span(settings.retention.tombstones)
    return (
        f"ended runs are remembered for {kept}; `heald runs` lists them, `heald verify {run_id}` looks for its artifact"
    )


def _waiting_reports(client: redis.Redis) -> str:
    """How many reports wait in the inbox; empty when none do."""
    waiting: Any = client.llen(keys.INBOX)
    return f"{count(waiting, 'report')} {'waits' if waiting == 1 else 'wait'} in the inbox" if waiting else ""


def found_run(client: redis.Redis, settings: Settings, run_id: str) -> OpenRun | RecoveryEntry:
    """The run that was asked for.

    Raises:
        InvalidReport: no run can have this id.
        Problem: there is none, or nothing of it is left in the stream.
    """
    check_run_id(run_id)
    match views.find_run(client, run_id):
        case None:
            raise Problem(f"nothing is known of run {run_id}", _where_else(client, settings, run_id))
        case Forgotten(entry_id=entry_id):
            raise Problem(
                f"run {run_id} has ended, and its entry {entry_id} was trimmed from the stream",
                f"`heald verify {run_id}` looks for its artifact in {settings.artifacts}",
            )
        case MalformedEntry() as malformed:
            raise Problem(clean(str(malformed)), f"`heald verify {run_id}` looks for its artifact")
        case found:
            own_id = found.run_id if isinstance(found, OpenRun) else found.run
            if keys.fold(own_id) != keys.fold(run_id):
                click.echo(
                    clean(f"heald: report {run_id} is about the same cause as run {own_id}, which it joined"), err=True
                )
            return found
