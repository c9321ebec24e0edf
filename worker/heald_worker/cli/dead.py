"""`heald dead`: what could not be accepted, and what to do with it."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING

import click
from rich.text import Text

from heald_worker import keys, letters
from heald_worker.cli.accounts import count
from heald_worker.cli.columns import columns
from heald_worker.cli.common import Output, Problem, clean, connect, server_options
from heald_worker.cli.times import duration_option, entry_id_option, id_micros, local_time, since_id, utc_time
from heald_worker.letters import DeadLetter

if TYPE_CHECKING:
    from heald_worker.config import Settings

LISTED = 50
SHOWN_BYTES = 16 * 1024
HEADINGS = ("id", "time", "reason", "run", "bytes", "detail")

ids_argument = click.argument("ids", nargs=-1, metavar="[ID]...", callback=entry_id_option)


@click.group()
def dead() -> None:
    """List, show, replay or purge reports that could not be accepted."""


@dead.command("list")
@click.option(
    "-n", "most", type=click.IntRange(1), metavar="COUNT", default=LISTED, show_default=True, help="Letters at most."
)
@server_options
def list_letters(settings: Settings, output: Output, most: int) -> None:
    """List dead letters, the newest first."""
    client = connect(settings)
    rows = []
    for letter in islice(letters.newest_letters(client), most):
        output.record(_record(letter))
        rows.append(_row(letter))
    if output.as_json:
        return
    for line in columns(HEADINGS, rows, output.width):
        output.print(line)
    total = client.xlen(keys.DEAD)
    if not rows:
        output.note("heald: there are no dead letters")
    elif total > len(rows):
        output.note(f"heald: {count(total, 'dead letter')} in all; -n shows more")


def _row(letter: DeadLetter) -> list[Text | str]:
    size = f"{letter.length:,}" + ("" if letter.whole else " (cut)")
    at = Text(local_time(id_micros(letter.id)), "dim")
    return [letter.id, at, Text(clean(letter.reason), "yellow"), clean(letter.run), size, clean(letter.detail)]


def _record(letter: DeadLetter) -> dict[str, object]:
    return {
        "id": letter.id,
        "at": utc_time(id_micros(letter.id)),
        "reason": letter.reason,
        "detail": letter.detail,
        "run": letter.run or None,
        "length": letter.length,
        "digest": letter.digest,
        "whole": letter.whole,
    }


@dead.command()
@click.argument("entry_id", metavar="ID", callback=lambda ctx, opt, value: entry_id_option(ctx, opt, (value,))[0])
@server_options
def show(settings: Settings, output: Output, entry_id: str) -> None:
    """Show one dead letter and its body."""
    letter = letters.read_letter(connect(settings), entry_id)
    if letter is None:
        raise Problem(f"there is no dead letter {entry_id}", "`heald dead list` lists them")
    try:
        text = letter.body.decode()
    except UnicodeDecodeError:
        text = None
    encoded = base64.b64encode(letter.body).decode()
    output.record(_record(letter) | {"body": text, "body_base64": encoded})
    if output.as_json:
        return
    kept = "whole" if letter.whole else f"its first {len(letter.body):,} bytes, so it cannot be replayed"
    output.fields(
        [
            ("id", letter.id),
            ("time", local_time(id_micros(letter.id))),
            ("reason", f"{clean(letter.reason)}: {clean(letter.detail)}"),
            ("run", clean(letter.run) or "none that can be read"),
            ("report", f"{letter.length:,} bytes, digest {clean(letter.digest)}; kept: {kept}"),
        ]
    )
    output.print()
    output.print(clean(letter.body[:SHOWN_BYTES].decode("utf-8", "backslashreplace"), multiline=True))
    if len(letter.body) > SHOWN_BYTES:
        output.note(f"heald: {len(letter.body) - SHOWN_BYTES:,} bytes more; --json prints all")


@dead.command()
@ids_argument
@click.option("--all", "every", is_flag=True, help="All letters that are there now.")
@server_options
def replay(settings: Settings, output: Output, ids: tuple[str, ...], every: bool) -> int:
    """Put dead letters back into the inbox, in their order.

    What is still wrong with a report makes it a new dead letter. A letter that keeps only the beginning of its report
    stays where it is, and makes the exit code 1.
    """
    _check_choice(ids, every)
    client = connect(settings)
    chosen = letters.letter_ids(client, letters.last_letter(client)) if every else ids
    return _report(letters.replay_letters(client, chosen), "replayed", output, named=not every)


@dead.command()
@ids_argument
@click.option("--all", "every", is_flag=True, help="All letters that are there now.")
@click.option("--older-than", callback=duration_option, metavar="TIME", help="All letters older than this (7d, 12h).")
@server_options
def purge(settings: Settings, output: Output, ids: tuple[str, ...], every: bool, older_than: float | None) -> int:
    """Delete dead letters for good."""
    _check_choice(ids, every, older_than)
    client = connect(settings)
    if ids:
        return _report(letters.purge_letters(client, ids), "purged", output, named=True)
    last = letters.last_letter(client) if older_than is None else since_id(client, f"{older_than}s")
    purged = letters.purge_up_to(client, last)
    output.record({"purged": purged})
    output.print(f"{count(purged, 'dead letter')} purged")
    return 0


def _check_choice(ids: tuple[str, ...], *others: object) -> None:
    if sum(1 for choice in (ids, *others) if choice) != 1:
        raise click.UsageError("name dead letters by id, or choose them with one option; `heald dead list` lists them")


def _report(verdicts: Iterable[tuple[str, str]], wanted: str, output: Output, *, named: bool) -> int:
    """Tell what became of each letter; 1 when one that was asked for was not there, or was refused."""
    done, refused = 0, 0
    for entry_id, verdict in verdicts:
        output.record({"id": entry_id, "verdict": verdict})
        if verdict == wanted:
            done += 1
        elif verdict == "not_whole":
            refused += 1
            output.note(f"heald: {entry_id} stays: only the beginning of its report was kept")
        elif named:
            refused += 1
            output.note(f"heald: there is no dead letter {entry_id}")
    output.print(f"{count(done, 'dead letter')} {wanted}")
    return 1 if refused else 0
