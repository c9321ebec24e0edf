"""`heald doctor`: one line per thing that must be right, and what to do where it is not."""

from __future__ import annotations

import os
from collections.abc import Iterator

import click
import msgspec
import redis

from heald_producer.connection import ServerTrouble, safe_url, trouble
from heald_producer.spool import spool_folder
from heald_worker.cli.account import Account, account_of, check_account
from heald_worker.cli.checkup import (
    Finding,
    Level,
    bad,
    check_artifacts,
    check_configuration,
    check_playbook,
    check_spool,
    ok,
)
from heald_worker.cli.common import (
    Output,
    clean,
    config_option,
    connect,
    current_folder,
    json_option,
    server_name,
    url_option,
)
from heald_worker.cli.playbook_checkup import check_choice, check_folders
from heald_worker.cli.replay_checkup import check_replay, default_may_everything, needs_rights
from heald_worker.cli.server_checkup import (
    appendfsync,
    check_parked,
    check_persistence,
    check_server,
    check_strays,
    check_work,
    find_strays,
    read_backlog,
)
from heald_worker.cli.vitals import measure
from heald_worker.config import Loaded, Settings, load

_STYLE = {Level.OK: "green", Level.WARN: "yellow", Level.BAD: "bold red"}


@click.command()
@click.option("--mend", is_flag=True, help="Put runs that are missing from the agenda back on it.")
@url_option
@config_option
@json_option
def doctor(redis_url: str | None, config: str | None, as_json: bool, mend: bool) -> int:
    """Check configuration, server and queues, line by line. Exit code 1 when something is bad."""
    loaded = load({"redis_url": redis_url, "config": config}, os.environ, current_folder())
    output = Output(as_json=as_json)
    levels = set()
    for finding in _findings(loaded, mend):
        levels.add(finding.level)
        output.record(msgspec.structs.asdict(finding))
        _show(finding, output)
    return 1 if Level.BAD in levels else 0


def _findings(loaded: Loaded, mend: bool) -> Iterator[Finding]:
    settings = loaded.settings
    yield from check_configuration(loaded)
    account = _account(settings)
    if account is not Account.PRODUCER:  # a runner neither repairs nor writes artifacts
        yield from check_playbook(settings, os.environ)
        yield from check_choice(settings)
        yield from check_folders(loaded, current_folder())
        yield check_artifacts(settings.artifacts)
    yield check_spool(spool_folder(None, os.environ))
    if isinstance(account, ServerTrouble):
        yield bad("server", account.problem, account.hint)
        return
    yield ok("server", f"reachable: {safe_url(server_name(settings))}")
    yield check_account(account)
    if account is Account.PRODUCER:
        if mend:
            yield bad("runs", "this account may not mend anything", "use that of a worker")
        return
    try:
        yield from _server_findings(settings, mend)
    except ServerTrouble as found:
        yield bad("server", found.problem, found.hint)


def _account(settings: Settings) -> Account | ServerTrouble:
    try:
        return account_of(connect(settings, patient=False))
    except redis.RedisError as error:
        return trouble(error, server_name(settings))


def _server_findings(settings: Settings, mend: bool) -> Iterator[Finding]:
    """Each step on its own, so that a permission that is missing hides nothing else.

    Raises:
        ServerTrouble: the server cannot be asked at all.
    """
    client = connect(settings, patient=False)
    steps = (
        lambda: _about_server(client),
        lambda: check_work(measure(client), read_backlog(client), settings.limits),
        lambda: [check_parked(client)],
        lambda: [check_strays(find_strays(client, mend=mend), mended=mend)],
    )
    for step in steps:
        try:
            yield from step()
        except redis.ResponseError as error:
            refused = trouble(error, server_name(settings))
            yield bad("server", refused.problem, refused.hint)
        except redis.RedisError as error:
            raise trouble(error, server_name(settings)) from error


def _about_server(client: redis.Redis) -> Iterator[Finding]:
    info = client.info()
    yield from check_server(info)
    yield check_persistence(info, appendfsync(client))
    if needs_rights(info):
        yield check_replay(info, default_may_everything(client))


def _show(finding: Finding, output: Output) -> None:
    from rich.text import Text

    level = (f"{finding.level:<5} ", _STYLE[finding.level])
    head = Text.assemble(level, f"{finding.check:<14} ")
    output.beside(head, clean(finding.detail))
    if finding.advice:
        output.beside(Text(" " * head.cell_len), Text(clean(finding.advice), "dim"))
