"""`heald stats`: which repository fails most, and which repairs hold, from the recovery stream alone."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import click
import msgspec
import redis

from heald_worker import keys, views
from heald_worker.cli.accounts import count
from heald_worker.cli.columns import columns
from heald_worker.cli.common import Output, clean, connect, server_options
from heald_worker.cli.describe import span
from heald_worker.cli.progress import progress
from heald_worker.cli.selection import Selection, period
from heald_worker.cli.times import duration_option, id_micros, local_time, utc_time
from heald_worker.core.recovery import Ending
from heald_worker.effectiveness import Past, RepairCount, RepositoryCount, count_repairs, count_repositories, past_of
from heald_worker.streams import MalformedEntry

if TYPE_CHECKING:
    from heald_worker.config import Settings

READ = 20_000
MOST_READ = 1_000_000
LISTED = 10
UNNAMED = "(not told)"


class Reading(NamedTuple):
    """What was read of the stream.

    Attributes:
        pasts: the runs that were asked for.
        read: entries that were looked at.
        unreadable: those of them that cannot be read.
        first: id of the oldest of them, `last` of the newest; None when there are none.
        whole: whether these are all of the time that was asked for.
    """

    pasts: list[Past]
    read: int
    unreadable: int
    first: str | None
    last: str | None
    whole: bool


@click.command()
@click.option("--since", metavar="WHEN", default="7d", show_default=True, help="Runs that ended within this time.")
@click.option("--until", metavar="WHEN", help="Runs that ended before that.")
@click.option("--repository", metavar="GLOB", help="Only this repository: acme/app, 'acme/*'.")
@click.option(
    "--window",
    callback=duration_option,
    default="1d",
    show_default=True,
    metavar="TIME",
    help="The same failure within this time after a recovery has come back.",
)
@click.option(
    "--read",
    "most",
    type=click.IntRange(1, MOST_READ),
    default=READ,
    show_default=True,
    metavar="COUNT",
    help="Entries of the stream to read at most, the newest first.",
)
@click.option(
    "-n",
    "listed",
    type=click.IntRange(1),
    default=LISTED,
    show_default=True,
    metavar="COUNT",
    help="Repositories of each list, at most; --json has all.",
)
@server_options
def stats(
    settings: Settings,
    output: Output,
    since: str,
    until: str | None,
    repository: str | None,
    window: float,
    most: int,
    listed: int,
) -> None:
    """Tell which repository fails most, which repairs hold, and how runs ended.

    A repair has recovered a run when the run ended as recovered with it; the failure came back when one with the same
    fingerprint was reported within --window after that.
    """
    client = connect(settings)
    after, before = period(client, since, until)
    reading = _read(client, Selection(repository=repository, since=after, before=before), most)
    repositories, repairs = count_repositories(reading.pasts), count_repairs(reading.pasts, window)
    output.record(_record(reading, repositories, repairs, window))
    if not output.as_json:
        _show(reading, repositories, repairs, window, listed, output)
    if not reading.whole:
        begin = local_time(id_micros(reading.first or "0-0"))
        output.note(f"heald: only the newest {reading.read:,} entries were read, back to {begin}; --read reads more")
    if reading.unreadable:
        output.note(f"heald: entries that cannot be read: {reading.unreadable:,}; `heald tail` tells why")


def _read(client: redis.Redis, wanted: Selection, most: int) -> Reading:
    pasts: list[Past] = []
    read = unreadable = 0
    first, last, whole = None, None, True
    with progress("reading recoveries", lambda: min(most, client.xlen(keys.RECOVERIES))) as advance:
        for entry in views.ended_runs(client, most + 1, since=wanted.since, before=wanted.before):
            if read == most:
                whole = False
                break
            read, first, last = read + 1, entry.id, last or entry.id
            advance(1)
            if isinstance(entry, MalformedEntry):
                unreadable += 1
            elif wanted.fits(entry):
                pasts.append(past_of(entry))
    return Reading(pasts, read, unreadable, first, last, whole)


def _endings(pasts: list[Past]) -> dict[str, int]:
    return {ending.value: sum(past.ending is ending for past in pasts) for ending in Ending}


def _record(
    reading: Reading, repositories: list[RepositoryCount], repairs: list[RepairCount], window: float
) -> dict[str, object]:
    return {
        "read": reading.read,
        "whole": reading.whole,
        "unreadable": reading.unreadable,
        "from": None if reading.first is None else utc_time(id_micros(reading.first)),
        "to": None if reading.last is None else utc_time(id_micros(reading.last)),
        "window_seconds": window,
        "runs": len(reading.pasts),
        "endings": _endings(reading.pasts),
        "repositories": msgspec.to_builtins(repositories),
        "repairs": msgspec.to_builtins(repairs),
    }


def _show(
    reading: Reading,
    repositories: list[RepositoryCount],
    repairs: list[RepairCount],
    window: float,
    listed: int,
    output: Output,
) -> None:
    endings = ", ".join(f"{number:,} {ending}" for ending, number in _endings(reading.pasts).items() if number)
    output.print(f"{count(len(reading.pasts), 'run')} ended{endings and ': '}{endings}")
    if reading.first and reading.last:
        begin, end = (local_time(id_micros(entry_id)) for entry_id in (reading.first, reading.last))
        entries = "1 entry" if reading.read == 1 else f"{reading.read:,} entries"
        output.print(f"{entries} read, {begin} to {end}", style="dim")
    if repositories:
        output.print("\nWhich repository fails most")
        rows = [[_name(each.repository), *_numbers(each, "runs", *_ENDINGS)] for each in repositories]
        _list(["repository", "runs", *_ENDINGS], rows, listed, output)
    if repairs:
        output.print(f"\nWhich repairs hold (came back: the same failure within {span(window)})")
    for action, group in groupby(repairs, lambda each: each.action):
        rows = [[_name(each.repository), *_numbers(each, "tried", "recovered", "came_back")] for each in group]
        _list([action.value, "tried", "recovered", "came back"], rows, listed, output)


_ENDINGS = ("recovered", "escalated", "exhausted")
"""Cancelled runs are told above, so that the list fits 60 columns."""


def _name(repository: str) -> str:
    return clean(repository) or UNNAMED


def _numbers(counted: RepositoryCount | RepairCount, *names: str) -> list[str]:
    return [f"{getattr(counted, name):,}" for name in names]


def _list(headings: list[str], rows: list[list[str]], listed: int, output: Output) -> None:
    for line in columns(headings, rows[:listed], output.width):
        output.print(line)
    if len(rows) > listed:
        output.print(f"and {len(rows) - listed:,} more; -n shows them", style="dim")
