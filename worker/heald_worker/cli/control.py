"""`heald cancel`, `heald pause` and `heald resume`: what a person may do to runs and to the whole service."""

from __future__ import annotations

import getpass
import socket
from typing import TYPE_CHECKING

import click
import redis

from heald_producer.signals import check_run_id
from heald_worker import keys
from heald_worker.cli.common import Output, Problem, clean, connect, server_options
from heald_worker.cli.times import utc_time
from heald_worker.ledger import encode_facts, load_scripts
from heald_worker.states import UnreadableRun
from heald_worker.views import joined_run

if TYPE_CHECKING:
    from heald_worker.config import Settings

CANCEL_TRIES = 20
"""How often a run that moved meanwhile is cancelled again: each try loses only to a step that was made."""
LONGEST_REASON = 500


@click.command()
@click.argument("run_id", metavar="RUN")
@server_options
def cancel(settings: Settings, output: Output, run_id: str) -> None:
    """End a recovery as cancelled: no further decision or repair; its log is recorded.

    A repair that is under way is stopped, and what it comes to does not count.
    """
    check_run_id(run_id)
    client = connect(settings)
    verdict = _cancelled(client, settings, run_id)
    if verdict == "unknown":
        if joined := joined_run(client, run_id):
            raise Problem(f"report {run_id} has joined run {joined}", f"`heald cancel {joined}` ends that one")
        raise Problem(f"run {run_id} is not open", f"`heald show {run_id}` tells what became of it")
    if verdict == "ending":
        raise Problem(f"run {run_id} is ending: its log is fixed", f"`heald show {run_id}` tells how it ends")
    if verdict != "cancelled":
        raise Problem(f"run {run_id} was not cancelled: {verdict}", "try again")
    output.record({"run": run_id, "verdict": verdict})
    output.print(f"run {run_id} is cancelled")


def _cancelled(client: redis.Redis, settings: Settings, run_id: str) -> str:
    from heald_worker.decisions import cancel as cancel_run
    from heald_worker.service import Service

    service = Service(client, settings, who())
    try:
        for _ in range(CANCEL_TRIES):
            verdict = cancel_run(service, run_id)
            if verdict != "moved":
                return verdict
    except UnreadableRun as error:
        raise Problem(clean(str(error)), "cancel it with the heald that wrote it") from None
    return "it is moving on too fast"


@click.command()
@click.option("--reason", metavar="TEXT", help="Why, for whoever asks.")
@server_options
def pause(settings: Settings, output: Output, reason: str | None) -> None:
    """Begin nothing new, on all machines, until `heald resume`.

    Reports wait in the inbox. A repair that is under way ends, and its result is kept.
    """
    client = connect(settings)
    seconds, micros = client.time()
    since = utc_time(int(seconds) * 1_000_000 + int(micros))
    why = " ".join((reason or "").split())[:LONGEST_REASON]
    value = f"{why or 'no reason given'} (by {who()}, {since})"
    before = client.set(keys.PAUSED, value, get=True)
    output.record({"paused": value, "before": _text(before)})
    output.print(f"paused: {clean(value)}")
    if before is not None:
        output.note(f"heald: it was paused already: {clean(_text(before) or '')}")


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@server_options
def resume(settings: Settings, output: Output, run_id: str | None) -> None:
    """Go on after `heald pause`; with RUN, give a parked run back to the service."""
    client = connect(settings)
    if run_id is not None:
        _resume_run(client, settings, run_id, output)
        return
    before = _text(client.getdel(keys.PAUSED))
    output.record({"resumed": before is not None, "before": before})
    output.print("nothing was paused" if before is None else f"resumed; it was paused: {clean(before)}")


def _resume_run(client: redis.Redis, settings: Settings, run_id: str, output: Output) -> None:
    check_run_id(run_id)
    verdict = load_scripts(client)["unpark"](
        keys=[keys.run(run_id), keys.AGENDA, keys.PARKED, keys.EVENTS],
        args=[keys.fold(run_id), encode_facts({"by": who()}), round(settings.retention.events * 1000)],
    ).decode()
    if verdict == "not_parked":
        raise Problem(f"run {run_id} is not parked", "`heald runs --parked` lists those that are")
    if verdict == "gone":
        raise Problem(f"run {run_id} was parked, but there is no such run any more", "it is off the list now")
    output.record({"run": run_id, "verdict": verdict})
    output.print(f"run {run_id} is due now; it is parked again if it still cannot be advanced")


def who() -> str:
    """Who acts: user and machine."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def _text(raw: object) -> str | None:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else None
