"""`heald correct`: a person's word on the class of a failure. It holds for failures like it from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec
import redis
from rich.text import Text

from heald_producer.mask import Masker
from heald_producer.signals import Context, FailureSignal
from heald_worker import keys
from heald_worker.cli.columns import columns
from heald_worker.cli.common import Output, Problem, clean, connect, server_options
from heald_worker.cli.control import LONGEST_REASON, who
from heald_worker.cli.runs import found_run
from heald_worker.cli.times import local_time, utc_time
from heald_worker.core.fingerprint import LENGTH, fingerprint
from heald_worker.core.taxonomy import FailureClass
from heald_worker.corrections import Correction, Table, forget, read_table
from heald_worker.corrections import correct as set_correction
from heald_worker.service import milliseconds
from heald_worker.states import UnreadableRun
from heald_worker.streams import RecoveryEntry
from heald_worker.views import OpenRun

if TYPE_CHECKING:
    from heald_worker.config import Settings

CLASSES = tuple(each.value for each in FailureClass)
HEADINGS = ("fingerprint", "class", "run", "where", "by", "at", "reason")
SHORTEST = 6
"""Digits of a fingerprint that may stand for all of them."""


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--class", "failure_class", type=click.Choice(CLASSES), help="What failures like this one are.")
@click.option("--reason", metavar="TEXT", help="Why, for whoever asks.")
@click.option("--latest", is_flag=True, help="It is about the failure that the run was left with, not its first one.")
@click.option("--list", "listing", is_flag=True, help="List what was corrected.")
@click.option("--forget", "forgotten", metavar="FINGERPRINT", help="Take a correction back.")
@server_options
def correct(
    settings: Settings,
    output: Output,
    run_id: str | None,
    failure_class: str | None,
    reason: str | None,
    latest: bool,
    listing: bool,
    forgotten: str | None,
) -> None:
    """Say what class a run's failure really has. Failures like it have that class from then on.

    Failures are alike when repository, stage and message are, without numbers, hashes, paths and times. Decisions that
    were made stay; an open run's next one follows the correction.
    """
    asked = [listing, forgotten is not None, run_id is not None]
    if sum(asked) != 1 or (run_id is None) != (failure_class is None):
        raise click.UsageError("give RUN with --class, or --list, or --forget FINGERPRINT")
    client = connect(settings)
    if listing:
        _list(client, output)
    elif forgotten is not None:
        _forget(client, settings, output, forgotten)
    else:
        found = found_run(client, settings, run_id or "")
        _correct(client, settings, output, found, FailureClass(failure_class or ""), reason or "", latest)


def _correct(
    client: redis.Redis,
    settings: Settings,
    output: Output,
    found: OpenRun | RecoveryEntry,
    failure_class: FailureClass,
    reason: str,
    latest: bool,
) -> None:
    run_id, context, signal = _failure_of(found, latest)
    known_by = fingerprint(context.repository, signal)
    seconds, micros = client.time()
    correction = Correction(
        failure_class=failure_class,
        run=run_id,
        stage=signal.stage,
        by=who(),
        at=int(seconds) * 1_000_000 + int(micros),
        repository=context.repository or "",
        reason=Masker().text(" ".join(reason.split())[:LONGEST_REASON]),
    )
    most, kept = settings.limits.corrections, milliseconds(settings.retention.events)
    if set_correction(client, known_by, correction, most=most, events_kept_ms=kept) == "full":
        raise Problem(
            f"there are {most:,} corrections already",
            "take some back with `heald correct --forget`, write a rule for what they have in common, "
            "or raise limits.corrections",
        )
    output.record(_record(known_by, correction))
    output.print(f"failures like this one of run {run_id} are {failure_class} failures from now on ({known_by})")


def _failure_of(found: OpenRun | RecoveryEntry, latest: bool) -> tuple[str, Context, FailureSignal]:
    if isinstance(found, RecoveryEntry):
        log = found.log
        newest = log.final_failure if latest and log.final_failure is not None else log.initial_failure
        return found.run, found.facts.context, newest
    if isinstance(found.run, UnreadableRun):
        raise Problem(clean(str(found.run)), "correct it with the heald that wrote it")
    recovery = found.run.recovery
    return found.run_id, found.run.context, recovery.current_failure if latest else recovery.initial_failure


def _table(client: redis.Redis) -> Table:
    fields: dict[bytes, bytes] = client.hgetall(keys.CORRECTIONS)  # type: ignore[assignment]
    return read_table(fields)


def _list(client: redis.Redis, output: Output) -> None:
    corrections = sorted(_table(client).items(), key=lambda item: item[1].at, reverse=True)
    for known_by, each in corrections:
        output.record(_record(known_by, each))
    if output.as_json:
        return
    for line in columns(HEADINGS, [_row(known_by, each) for known_by, each in corrections], output.width):
        output.print(line)
    if not corrections:
        output.note("heald: nothing was corrected")


def _record(known_by: str, each: Correction) -> dict[str, object]:
    record: dict[str, object] = msgspec.structs.asdict(each)
    return {"fingerprint": known_by, **record, "at": utc_time(each.at)}


def _row(known_by: str, each: Correction) -> list[Text | str]:
    where = " ".join(part for part in (each.repository, each.stage) if part)
    at = Text(local_time(each.at), "dim")
    named = [clean(part) for part in (each.run, where, each.by)]
    return [known_by, Text(each.failure_class, "cyan"), *named, at, clean(each.reason)]


def _forget(client: redis.Redis, settings: Settings, output: Output, wanted: str) -> None:
    table = _table(client)
    matching = [known_by for known_by in table if known_by.startswith(wanted)]
    if len(wanted) < SHORTEST or len(matching) > 1:
        raise Problem(f"{clean(wanted)} may be any of several", f"give more of its {LENGTH} digits")
    kept = milliseconds(settings.retention.events)
    if not matching or not forget(client, matching[0], table[matching[0]].run, who(), events_kept_ms=kept):
        raise Problem(f"there is no correction of {clean(wanted)}", "`heald correct --list` lists them")
    output.record({"fingerprint": matching[0], "forgotten": True})
    output.print(f"the correction of {matching[0]} is forgotten")
