"""`heald tail`: the streams as they grow, for people and for exporters."""

from __future__ import annotations

import signal
import socket
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import click
import redis

from heald_worker.cli.accounts import event_line, event_record, recovery_line, recovery_record
from heald_worker.cli.common import Output, clean, connect, server_options
from heald_worker.cli.times import duration_option, since_id
from heald_worker.cli.watching import check_reader, teller
from heald_worker.groups import Group, follow_group, open_group
from heald_worker.streams import (
    BEGINNING,
    EVENTS,
    RECOVERIES,
    EventEntry,
    MalformedEntry,
    RecoveryEntry,
    Stream,
    extent,
    follow,
    id_order,
    newest,
    read_all,
)

if TYPE_CHECKING:
    from heald_worker.config import Settings

LINES = 10
"""Entries shown before following when nothing says where to begin."""
MOST_LINES = 10_000
"""They are read at once; `--since` reads any number, page by page."""

Entries = Generator[EventEntry | RecoveryEntry | MalformedEntry, None, None]


@click.command()
@click.option("--events", is_flag=True, help="Every transition of every run, not only completed recoveries.")
@click.option(
    "--since", metavar="WHEN", help="Begin after this entry's id, this long ago (15m, 2h, 7d), at this time, or at 0."
)
@click.option("--follow/--no-follow", "follows", default=True, help="Go on as new entries come (default), or end.")
@click.option(
    "-n",
    "most",
    type=click.IntRange(0, MOST_LINES),
    metavar="COUNT",
    help=f"Begin with the newest COUNT of them (default {LINES}).",
)
@click.option("--group", metavar="NAME", help="Read as this consumer group; a new one begins with the oldest entry.")
@click.option("--consumer", metavar="NAME", help="This reader's name in its group (default: the machine's).")
@click.option(
    "--claim-after",
    callback=duration_option,
    default="60s",
    show_default=True,
    metavar="TIME",
    help="Take over what another consumer of the group has not acknowledged for so long.",
)
@server_options
def tail(
    settings: Settings,
    output: Output,
    events: bool,
    since: str | None,
    follows: bool,
    most: int | None,
    group: str | None,
    consumer: str | None,
    claim_after: float,
) -> None:
    """Follow completed recoveries, or events, as they happen.

    It goes on after a restart of the server. With --group each entry goes to one reader of the group; it is
    acknowledged when its line is written, and comes again when it was not. Entries that were trimmed before the group
    read them are told on stderr.
    """
    _check_options(group, consumer, most)
    client = connect(settings, patient=False)
    stream: Stream[Any] = EVENTS if events else RECOVERIES
    start = None if since is None else since_id(client, since)
    if group is not None:
        place = Group(group, consumer or socket.gethostname(), start or BEGINNING, claim_after)
        entries = _as_group(client, stream, place, output, follows=follows, since_given=since is not None)
    else:
        _tell_of_gap(client, stream, start or BEGINNING, output)
        entries = _alone(client, stream, start, most, output, follows=follows)
    with _ended_by_sigterm(), closing(entries):
        for entry in entries:
            _show(entry, output)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Unwind at SIGTERM, so that what has been written is acknowledged before the process ends."""

    def end(signum: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + signum)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _check_options(group: str | None, consumer: str | None, most: int | None) -> None:
    if group is None and consumer is not None:
        raise click.UsageError("--consumer names a reader of a group: give --group too")
    if group is not None and most is not None:
        raise click.UsageError("-n does not go with --group: a group goes on where it stands")
    if group == "" or consumer == "":
        raise click.UsageError("--group and --consumer want a name")


def _alone(
    client: redis.Redis, stream: Stream[Any], start: str | None, most: int | None, output: Output, *, follows: bool
) -> Entries:
    since, end = start or BEGINNING, extent(client, stream).last
    if start is None or most is not None:
        yield from newest(client, stream, LINES if most is None else most, since, end)
        since = max(since, end, key=id_order)
    if follows:
        yield from follow(client, stream, since, tell=teller(output), idle=check_reader)
    else:
        yield from read_all(client, stream, since, end)


def _as_group(
    client: redis.Redis, stream: Stream[Any], group: Group, output: Output, *, follows: bool, since_given: bool
) -> Entries:
    created = open_group(client, stream, group)
    if since_given and not created:
        output.note(f"heald: group {clean(group.name)} goes on where it stands; --since is for a new group")
    return follow_group(client, stream, group, tell=teller(output), idle=check_reader, endless=follows)


def _tell_of_gap(client: redis.Redis, stream: Stream[Any], since: str, output: Output) -> None:
    """Somebody who resumes after an entry must know when the stream does not go back that far any more."""
    known = extent(client, stream)
    if since != BEGINNING and known.lacks_after(since):
        begins = f"begins with {known.first}" if known.first else "is empty"
        output.note(f"heald: entries of {stream.key} after {since} may have been trimmed: it now {begins}")


def _show(entry: EventEntry | RecoveryEntry | MalformedEntry, output: Output) -> None:
    if isinstance(entry, MalformedEntry):
        output.note(f"heald: {clean(str(entry))}")
    elif output.as_json:
        output.record(recovery_record(entry) if isinstance(entry, RecoveryEntry) else event_record(entry))
    else:
        output.print(recovery_line(entry) if isinstance(entry, RecoveryEntry) else event_line(entry))
