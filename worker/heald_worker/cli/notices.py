"""`heald notices`: pages that nobody got, and how they are sent again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
import redis
from rich.text import Text

from heald_worker.cli.accounts import count
from heald_worker.cli.columns import columns
from heald_worker.cli.common import Output, Problem, clean, connect, server_options
from heald_worker.cli.times import id_micros, local_time, utc_time
from heald_worker.core.recovery import Ending
from heald_worker.unheard import UnheardNotice, forget, unheard_notices

if TYPE_CHECKING:
    from heald_worker.config import Settings

HEADINGS = ("run", "ending", "time", "tries", "reason")


@click.group()
def notices() -> None:
    """List notices that failed for good, send them again, or forget them."""


@notices.command("list")
@server_options
def list_notices(settings: Settings, output: Output) -> None:
    """List notices that failed for good, the oldest first."""
    found = unheard_notices(connect(settings))
    for notice in found:
        output.record(_record(notice))
    if output.as_json:
        return
    for line in columns(HEADINGS, [_row(notice) for notice in found]):
        output.print(line)
    if not found:
        output.note("heald: no notice has failed for good")


def _row(notice: UnheardNotice) -> list[Text | str]:
    at = Text(local_time(id_micros(notice.id)), "dim")
    return [clean(notice.run), clean(notice.ending), at, f"{notice.tries:,}", clean(notice.reason)]


def _record(notice: UnheardNotice) -> dict[str, object]:
    at = utc_time(id_micros(notice.id))
    return {"run": notice.run, "ending": notice.ending, "at": at, "tries": notice.tries, "reason": notice.reason}


@notices.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--all", "every", is_flag=True, help="All notices that have failed.")
@server_options
def resend(settings: Settings, output: Output, run_id: str | None, every: bool) -> int:
    """Send notices that failed once more, from here and with this configuration, as they were.

    They tell the recovery log and have the idempotency key that they had. What is delivered is off the list.
    Exit code 1 when one failed again.
    """
    client = connect(settings)
    failed = 0
    for notice in _chosen(client, run_id, every):
        problem = _resent(client, settings, notice)
        output.record({"run": notice.run, "delivered": not problem, "detail": problem})
        if problem:
            failed += 1
            output.print(f"run {clean(notice.run)}: {clean(problem)}")
        else:
            forget(client, [notice])
            output.print(f"run {clean(notice.run)}: delivered")
    return 1 if failed else 0


@notices.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--all", "every", is_flag=True, help="All notices that have failed.")
@server_options
def purge(settings: Settings, output: Output, run_id: str | None, every: bool) -> None:
    """Forget notices that failed: somebody knows by now."""
    client = connect(settings)
    purged = forget(client, _chosen(client, run_id, every))
    output.record({"purged": purged})
    output.print(f"{count(purged, 'notice')} forgotten")


def _chosen(client: redis.Redis, run_id: str | None, every: bool) -> Sequence[UnheardNotice]:
    if (run_id is None) != every:
        raise click.UsageError("name a run, or choose all with --all; `heald notices list` lists them")
    found = unheard_notices(client)
    if run_id is None:
        return found
    of_run = [notice for notice in found if notice.run.lower() == run_id.lower()]
    if not of_run:
        raise Problem(
            f"no notice of run {clean(run_id)} has failed for good", "`heald notices list` lists those that have"
        )
    return of_run


def _resent(client: redis.Redis, settings: Settings, notice: UnheardNotice) -> str:
    """Try once. Returns what is wrong; empty when it was delivered."""
    from heald_worker.notices import deliver

    facts = _facts(client, notice.run)
    if facts is None:
        return "its log is not kept any more; `heald notices purge` takes it off the list"
    chosen = settings.playbook.notices.get(Ending(str(facts["ending"])))
    if chosen is None:
        return f"no notice is configured here for a run that was {facts['ending']}; use the heald.toml of a worker"
    delivery = deliver(chosen, facts, environ=os.environ)
    return "" if delivery.delivered else delivery.detail


def _facts(client: redis.Redis, run_id: str) -> dict[str, object] | None:
    """What the notice tells, from the run's entry or, while it waits for its artifact, from the ledger."""
    from heald_worker.notifying import facts_told, notice_facts
    from heald_worker.states import Run
    from heald_worker.streams import RecoveryEntry
    from heald_worker.views import OpenRun, find_run

    found = find_run(client, run_id)
    if isinstance(found, RecoveryEntry):
        known = found.facts
        return facts_told(found.data, found.ending, known.policy_name, known.generation, known.context)
    if isinstance(found, OpenRun) and isinstance(found.run, Run) and found.run.recovery.is_fixed:
        return notice_facts(found.run)
    return None
