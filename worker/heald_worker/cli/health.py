"""`heald health`: one fast probe for supervisors and load balancers; the exit code is the answer."""

from __future__ import annotations

import secrets

import click
import msgspec
import redis

from heald_producer.connection import Server, ServerTrouble, trouble
from heald_producer.probe import encode_probe
from heald_producer.push import open_connection, push_encoded
from heald_worker.cli import UNAVAILABLE
from heald_worker.cli.common import Output, clean, connect, server_name, server_options
from heald_worker.cli.describe import span
from heald_worker.cli.times import duration_option
from heald_worker.cli.vitals import Vitals, measure
from heald_worker.config import Settings

PROBE_SECONDS = 2.0
"""How long the server may take to answer."""


class Thresholds(msgspec.Struct, frozen=True):
    """Beyond which vitals a service is not healthy; ages and lags are seconds."""

    max_inbox: int
    max_age: float
    max_lag: float
    max_parked: int
    max_closing: float = 600.0
    max_unheard: int = 0
    need_workers: int = 1


def complaints(vitals: Vitals, limits: Thresholds) -> list[str]:
    """What is beyond its threshold, one sentence each. While the service is paused nothing can be overdue. Pure."""
    found = []
    if vitals.inbox > limits.max_inbox:
        found.append(f"reports in the inbox: {vitals.inbox:,} (at most {limits.max_inbox:,})")
    if vitals.oldest is not None and vitals.oldest > limits.max_age:
        found.append(f"the oldest report waits for {span(vitals.oldest)} (at most {span(limits.max_age)})")
    if vitals.lag > limits.max_lag and vitals.paused is None:
        found.append(
            f"overdue runs: {vitals.overdue:,}, the worst by {span(vitals.lag)} (at most {span(limits.max_lag)})"
        )
    if vitals.closing > limits.max_closing and vitals.paused is None:
        longest = f"the longest for {span(vitals.closing)} (at most {span(limits.max_closing)})"
        found.append(f"runs that cannot end: {vitals.unclosed:,}, {longest}; is the disk of the artifacts there?")
    if vitals.paused is None:
        found += _missing_workers(vitals, limits.need_workers)
    if vitals.unheard > limits.max_unheard:
        found.append(f"notices that nobody got: {vitals.unheard:,}; `heald notices list` tells why")
    if vitals.parked > limits.max_parked:
        found.append(f"parked runs: {vitals.parked:,} (at most {limits.max_parked:,}); `heald doctor` lists them")
    return found


def _missing_workers(vitals: Vitals, needed: int) -> list[str]:
    found = []
    if (vitals.inbox or vitals.agenda) and not vitals.control_alive:
        waiting = f"inbox {vitals.inbox:,}, agenda {vitals.agenda:,}"
        found.append(f"work waits and no control process is alive ({waiting}): start one with `heald worker`")
    elif vitals.control_workers < needed:
        alive = f"control processes alive: {vitals.control_workers:,} (at least {needed:,})"
        found.append(f"{alive}; start one with `heald worker`")
    if vitals.repairs and not vitals.repairs_alive:
        found.append(f"repairs wait and no repair process is alive ({vitals.repairs:,}): start one with `heald worker`")
    return found


@click.command()
@click.option("--max-inbox", type=click.IntRange(0), metavar="N", help="Reports waiting (limits.inbox_warning).")
@click.option("--max-age", callback=duration_option, default="5m", show_default=True, help="Age of the oldest report.")
@click.option("--max-lag", callback=duration_option, default="60s", show_default=True, help="Lag of the agenda.")
@click.option("--max-parked", type=click.IntRange(0), metavar="N", default=0, show_default=True, help="Parked runs.")
@click.option("--max-closing", callback=duration_option, default="10m", show_default=True, help="A run's last step.")
@click.option(
    "--max-unheard", type=click.IntRange(0), metavar="N", default=0, show_default=True, help="Failed notices."
)
@click.option(
    "--need-workers", type=click.IntRange(0), metavar="N", default=1, show_default=True, help="Control processes alive."
)
@click.option("--runner", is_flag=True, help="Try what a runner needs instead: push a probe into the inbox.")
@server_options
def health(settings: Settings, output: Output, max_inbox: int | None, runner: bool, **limits: float) -> int:
    """Probe the service. Exit code 0: healthy; 1: not; 69: the server cannot be asked.

    With --runner a producer's account, URL and permission are tried: intake counts the probe and drops it.
    """
    if runner:
        return _probe(settings, output)
    thresholds = Thresholds(
        max_inbox=settings.limits.inbox_warning if max_inbox is None else max_inbox,
        max_age=limits["max_age"],
        max_lag=limits["max_lag"],
        max_parked=int(limits["max_parked"]),
        max_closing=limits["max_closing"],
        max_unheard=int(limits["max_unheard"]),
        need_workers=int(limits["need_workers"]),
    )
    try:
        vitals = measure(connect(settings, timeout=PROBE_SECONDS, patient=False))
    except redis.RedisError as error:
        return _unavailable(trouble(error, server_name(settings)), output)
    found = complaints(vitals, thresholds)
    status = "unhealthy" if found else "paused" if vitals.paused is not None else "healthy"
    seen = msgspec.structs.asdict(vitals) | {"differences": [each.detail for each in vitals.differences]}
    output.record({"status": status, "problems": found, **seen})
    _show(status, vitals, found, output)
    return 1 if found else 0


def _unavailable(problem: ServerTrouble, output: Output) -> int:
    output.record({"status": "unavailable", "problems": [problem.problem]})
    if not output.as_json:
        raise problem
    return UNAVAILABLE


def _probe(settings: Settings, output: Output) -> int:
    """Push a probe as a runner pushes its reports, with that one command."""
    try:
        with open_connection(Server(settings.redis_url, settings.sentinel), timeout=PROBE_SECONDS) as client:
            pushed = push_encoded([encode_probe(secrets.token_hex(8))], client)
    except ServerTrouble as problem:
        return _unavailable(problem, output)
    most = settings.limits.inbox_refusal
    found = [f"reports in the inbox: {pushed.inbox:,}; `heald push` refuses more"] if pushed.inbox > most else []
    status = "unhealthy" if found else "healthy"
    output.record({"status": status, "problems": found, "inbox": pushed.inbox})
    rows = [("status", f"{status}: the server took a probe"), ("inbox", f"{pushed.inbox:,} with it")]
    output.fields([*rows, *(("problem", problem) for problem in found)])
    return 1 if found else 0


def _show(status: str, vitals: Vitals, found: list[str], output: Output) -> None:
    waiting = f"{vitals.inbox:,}" + (f", the oldest for {span(vitals.oldest)}" if vitals.oldest is not None else "")
    rows = [
        ("status", status + (f": {clean(vitals.paused)}" if vitals.paused else "")),
        ("inbox", waiting),
        ("agenda", f"{vitals.agenda:,}, {vitals.overdue:,} overdue, the worst by {span(vitals.lag)}"),
        ("parked", f"{vitals.parked:,}"),
        ("dead letters", f"{vitals.dead:,}"),
        ("notices", f"{vitals.unheard:,} that nobody got"),
        ("workers", f"{vitals.control_workers:,} control processes"),
        *(("they differ", clean(f"{each.detail}; {each.advice}")) for each in vitals.differences),
    ]
    output.fields([*rows, *(("problem", problem) for problem in found)])
