"""`heald worker` runs one machine's share of the service; `heald workers` lists all that are alive."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from redis import Redis

from heald_producer.connection import safe_url
from heald_worker.cli.common import Output, Problem, clean, connect, server_name, server_options
from heald_worker.core.policy import RecoveryAction
from heald_worker.supervisor import SUPERVISED

if TYPE_CHECKING:
    from heald_worker.config import Settings

MOST_REPAIRS = 64
LEFT_BEHIND = 3600.0
"""Seconds after which an artifact that is still being made has been left behind by a process that was killed."""


@click.command()
@click.option(
    "--repairs",
    type=click.IntRange(0, MOST_REPAIRS),
    default=1,
    show_default=True,
    help="Repair processes to run beside the control process.",
)
@click.option(
    "--role",
    type=click.Choice(["all", "control", "repairs"]),
    default="all",
    show_default=True,
    help="Run only one kind of process, in the foreground.",
)
@click.option("--burst", is_flag=True, help="End when nothing is left: the inbox is empty and every run has ended.")
@click.option("--dry-run", is_flag=True, default=None, help="Decide and record, repair nothing.")
@click.option("--artifacts", metavar="DIR", help="Folder of the recovery artifacts.")
@server_options
def worker(settings: Settings, output: Output, repairs: int, role: str, burst: bool) -> int:
    """Run what one machine needs: one control process and its repair processes.

    The control process takes reports in, decides, writes the logs and looks after what was lost; repair processes run
    the playbook's commands. Start it on one machine or fifty. SIGTERM stops gracefully: the repair in hand finishes
    within the grace time, or is given back.
    """
    _log_to_stderr()
    client = connect(settings)
    _check_server(client)
    _check_playbook(settings)
    _check_rules(settings)
    if role != "repairs":
        _prepare_artifacts(settings.artifacts)
    if SUPERVISED not in os.environ:
        _introduce(settings, role, repairs)
    if role == "all":
        return _supervise(settings, repairs, burst)
    _tie_to_supervisor()
    return _serve(settings, client, role, burst)


def _introduce(settings: Settings, role: str, repairs: int) -> None:
    """Say at the start what this worker works with, and which decisions it could not act on."""
    roles = {"all": f"control and {repairs} for repairs", "control": "control", "repairs": "one repair process"}
    log = logging.getLogger("heald")
    server = safe_url(server_name(settings))
    log.info("heald works for %s (%s), artifacts in %s", server, roles[role], settings.artifacts)
    if settings.dry_run:
        log.info("dry run: decisions are made and recorded, nothing is repaired")
        return
    if not (settings.playbook.repairs or settings.playbook.notices):
        log.warning(
            "no repair and no notice is configured: until another worker has one, decisions are made and recorded"
            " as in a dry run; see [repairs] and [notices] in heald.toml"
        )
        return
    repaired = {RecoveryAction.ESCALATE, *settings.playbook.actions}
    missing = [action for action in RecoveryAction if action not in repaired]
    if missing:
        log.warning(
            "no repair is configured for %s: unless another worker has one, that is never decided on; see heald.toml",
            ", ".join(missing),
        )


def _supervise(settings: Settings, repairs: int, burst: bool) -> int:
    from heald_worker.supervisor import Supervisor

    # Flags reach the children as variables: an URL on a command line would show its password to everybody.
    environ = dict(os.environ)
    environ.update(
        HEALD_ARTIFACTS=str(settings.artifacts),
        HEALD_DRY_RUN="true" if settings.dry_run else "false",
    )
    if settings.sentinel is None:
        environ["HEALD_REDIS_URL"] = settings.redis_url
    context = click.get_current_context()
    config = context.params.get("config")
    if config:
        environ["HEALD_CONFIG"] = str(Path(config).absolute())
    return Supervisor(repairs, environ, burst=burst, stop_grace=settings.timing.stop_grace).run()


def _serve(settings: Settings, client: Redis, role: str, burst: bool) -> int:
    from heald_worker.repair_worker import RepairWorker
    from heald_worker.service import Service
    from heald_worker.workers import ControlWorker

    service = Service(client, settings, _worker_name(role))
    work = ControlWorker if role == "control" else RepairWorker
    work(service).work(burst=burst)
    return 0


def _worker_name(role: str) -> str:
    host = "".join(c if c.isalnum() or c == "-" else "-" for c in socket.gethostname())[:40]
    return f"{host}-{role}-{os.getpid()}-{secrets.token_hex(3)}"


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_OneLine("%(asctime)s heald[%(process)d] %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in ("rq.worker", "rq.job", "rq.queue", "rq.registry"):
        logging.getLogger(name).setLevel(logging.WARNING)


class _OneLine(logging.Formatter):
    """A line per record, tracebacks indented: text from outside begins no line of its own and moves no cursor."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return clean(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:
        return textwrap.indent(clean(super().formatException(ei), multiline=True), "  ", lambda line: True)


def _tie_to_supervisor() -> None:
    from heald_worker.repairs.process import tie_to_parent

    supervisor = os.environ.pop(SUPERVISED, "")
    if supervisor:
        tie_to_parent(signal.SIGTERM)
        if str(os.getppid()) != supervisor:
            raise Problem("the supervisor ended before this process had started")


def _check_server(client: Redis) -> None:
    info = client.info("server")
    valkey, version = info.get("valkey_version"), info.get("redis_version", "0")
    name, wanted = ("Valkey", 8) if valkey else ("Redis", 7)
    found = str(valkey or version)
    if int(found.split(".")[0]) < wanted:
        raise Problem(f"the server is {name} {found}", "heald needs Redis 7.0 or Valkey 8 or newer")


def _check_playbook(settings: Settings) -> None:
    from heald_worker.repairs.python import resolve_callables

    resolve_callables(settings.playbook)


def _check_rules(settings: Settings) -> None:
    """Rules of the configuration that do not fit heald's own stop a worker before it takes a job."""
    if settings.diagnosis:
        from heald_worker.taxonomies import rulebook_of

        rulebook_of(settings)


def _prepare_artifacts(folder: Path) -> None:
    from heald_worker.artifacts import sweep

    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
        sweep(folder, LEFT_BEHIND, time.time())
    except OSError as error:
        raise Problem(
            f"the artifact folder {folder} cannot be written: {error.strerror}",
            "name another with --artifacts, or mend its permissions",
        ) from error


@click.command()
@server_options
def workers(settings: Settings, output: Output) -> int:
    """List the workers that are alive: role, state, jobs done, last heartbeat, version; and say where they differ.

    Exit code 1 when there is none.
    """
    from heald_worker.playbooks import Told, differences, told_by
    from heald_worker.upkeep import registered

    client = connect(settings)
    found = registered(client)
    told = {each.worker: each for each in told_by(client)}
    for known in found:
        tells = told.get(known.name, Told(known.name))
        queues = [name.removeprefix("heald-") for name in known.queue_names()]
        beat = known.last_heartbeat.isoformat(timespec="seconds") if known.last_heartbeat else None
        facts = {
            "name": known.name,
            "state": str(known.get_state()),
            "host": known.hostname,
            "pid": known.pid,
            "queues": queues,
            "jobs": known.successful_job_count,
            "failed_jobs": known.failed_job_count,
            "last_heartbeat": beat,
            "version": tells.version or None,
            "playbook": tells.playbook or None,
            "rules": tells.rules or None,
        }
        output.record(facts)
        done = f"{known.successful_job_count} jobs"
        shown = f"{known.name}  {known.get_state()}  {'+'.join(queues)}  {done}  last heartbeat {beat}"
        output.print(clean(f"{shown}  heald {tells.version or 'of an unknown version'}"))
    for difference in differences(told.values()):
        output.note(clean(f"heald: {difference.detail}; {difference.advice}"))
    if not found:
        output.note("no worker is alive; start one with: heald worker")
        return 1
    return 0
