"""`heald push`: failures that something else noticed, from flags, from NDJSON on stdin, or from the spool."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
import msgspec
from msgspec.structs import replace

from heald_producer.connection import Server, ServerTrouble
from heald_producer.context import default_run_id, detect
from heald_producer.leftovers import drain_some
from heald_producer.mask import Masker
from heald_producer.push import Pushed, PushFailed, chunks, open_connection, push_encoded
from heald_producer.reports import ReportSummary, message_of
from heald_producer.signals import Context, FailureReport, InvalidReport
from heald_producer.spool import Spool, SpoolTrouble, drain, spool_folder
from heald_producer.wire import encode_report, fit, make_report, utc_text
from heald_worker.cli.common import Output, clean, current_folder, server_options
from heald_worker.cli.logs import read_log
from heald_worker.cli.report_files import TESTS_STAGE, nothing_to_push, show_report, tests_told

if TYPE_CHECKING:
    import redis

    from heald_worker.config import Settings

UNDELIVERED = 75
_LONGEST_LINE = 4 * 1024 * 1024
_MISSING = re.compile(r"missing required field `(\w+)`")
_CONTEXT = ("repository", "commit", "ref", "job", "url", "command", "host")


@click.command()
@click.argument("source", required=False, metavar="[-]")
@click.option("--stage", metavar="STAGE", help="The stage that failed (default: the CI's stage or job).")
@click.option("--message", metavar="TEXT", help="The lines that say why.")
@click.option("--log", metavar="FILE", help="A log of any size, to find them in; - is stdin.")
@click.option("--report", multiple=True, metavar="GLOB", help="Test reports, as 'build/**/*.xml'; may be repeated.")
@click.option("--run-id", metavar="ID", help="The run that failed (default: from the CI's variables).")
@click.option("--exit-code", type=int, metavar="N", help="The command's exit code.")
@click.option("--flaky", is_flag=True, help="The same may well pass when it is repeated.")
@click.option("--policy", metavar="NAME", help="Ask for a recovery policy by name.")
@click.option("--repository", metavar="NAME", help="Instead of what the CI or the working copy tells; so are:")
@click.option("--commit", metavar="HASH")
@click.option("--ref", metavar="REF")
@click.option("--job", metavar="NAME")
@click.option("--url", metavar="URL")
@click.option("--command", metavar="TEXT")
@click.option("--host", metavar="NAME")
@click.option(
    "--spool",
    is_flag=False,
    flag_value="",
    metavar="[DIR]",
    help="Send what waits in the spool (default: HEALD_SPOOL).",
)
@click.option("--strict", is_flag=True, help=f"Exit with {UNDELIVERED} when a report could only be kept in the spool.")
@click.option("--dry-run", "only_show", is_flag=True, help="Show what would be pushed; send nothing.")
@server_options
def push(
    settings: Settings,
    output: Output,
    source: str | None,
    spool: str | None,
    strict: bool,
    only_show: bool,
    **flags: Any,
) -> int:
    """Report failures: one from flags, many as NDJSON on stdin with `-`, or the spool's with --spool.

    When the server is away, reports wait in the spool until `heald push --spool` sends them.
    """
    given = [name for name, value in flags.items() if value not in (None, False, ())]
    if source not in (None, "-") and flags["report"]:
        raise click.UsageError("quote the pattern of --report, or the shell expands it")
    if (source is not None) + (spool is not None) + bool(given) > 1:
        raise click.UsageError("flags of a report, `-` and --spool exclude each other")
    if only_show and (source is not None or spool is not None):
        raise click.UsageError("--dry-run shows a report that is made from flags")
    if source not in (None, "-"):
        raise click.UsageError("the only argument is `-`, for NDJSON on stdin")
    delivery = Delivery(settings, output)
    if spool is not None:
        return delivery.send_spool(spool_folder(spool, os.environ), settings.retention.spool)
    if source:
        for chunk in chunks(_encoded_lines(sys.stdin.buffer, delivery)):
            delivery.send(chunk)
    else:
        told = tests_told(flags["report"], output) if flags["report"] else None
        if told and not told.has_failures:
            return nothing_to_push(told, output)
        report = _from_flags(flags, told)
        if only_show:
            show_report(report, output)
            return 0
        delivery.run_id = report.run_id
        delivery.send([encode_report(report)])
    return delivery.summary(strict)


class Delivery:
    """Sends encoded reports while the server takes them, keeps them in the spool when it does not, and counts."""

    def __init__(self, settings: Settings, output: Output) -> None:
        self.settings, self.output = settings, output
        self.masker = Masker.of(os.environ)
        self.sent = self.refused = self.kept = self.inbox = 0
        self.run_id: str | None = None
        self._connection: redis.Redis | None = None
        self._away = False

    def send(self, raws: list[bytes]) -> None:
        """Send one chunk, or keep it.

        Raises:
            PushFailed: the inbox is beyond its limit, so nothing more is sent or kept.
            SpoolTrouble: the server is away and the spool cannot keep the reports.
        """
        limit = self.settings.limits.inbox_refusal
        if self.inbox > limit:
            problem = (
                f"the inbox holds {self.inbox:,} reports, the limit is {limit:,}: {self.sent:,} were sent, no more are"
            )
            raise PushFailed(ServerTrouble(problem, "do workers run? `heald health` tells"), self.sent)
        if not self._away:
            try:
                self._push(raws)
                return
            except ServerTrouble as trouble:
                self._away = True
                self._warn(f"reports could not be pushed: {trouble}")
        self._keep(raws)

    def send_spool(self, folder: Path, max_age: float) -> int:
        """Send what waits in a spool; return the exit code."""
        done = drain(Spool(folder), self._push, now=time.time(), max_age=max_age, warn=self._warn)
        self.output.record({"folder": str(folder), **done._asdict()})
        self.output.print(f"sent {_reports(done.sent)} of {clean(str(folder))}")
        if done.busy:
            self._warn(f"another process is sending {clean(str(folder))}; nothing was done")
        if not folder.is_dir():
            self.output.note(
                f"heald: there is no folder {clean(str(folder))}; a spool is made when the first report is kept"
            )
        self._warn_of_inbox()
        return 1 if done.bad else 0

    def refuse(self, line: int, error: InvalidReport) -> None:
        """Count one bad line and say what is wrong with it."""
        self.refused += 1
        self.output.record({"line": line, "field": error.field, "problem": error.problem})
        self.output.note(f"heald: line {line}: {clean(str(error).removeprefix('line: '))}")

    def summary(self, strict: bool) -> int:
        """Say what was done; return the exit code."""
        counts = {"sent": self.sent, "kept": self.kept, "refused": self.refused, "inbox": self.inbox}
        self.output.record({"run": self.run_id, **counts} if self.run_id else counts)
        if self.sent:
            self.output.print(f"reported as run {self.run_id}" if self.run_id else f"sent {_reports(self.sent)}")
        if self.sent and not self._away:
            self._send_waiting()
        self._warn_of_inbox()
        if self.kept:
            self._warn(f"{_reports(self.kept)} wait in {clean(str(self._folder))}; `heald push --spool` sends them")
        if self.kept and strict:
            return UNDELIVERED
        return 1 if self.refused else 0

    @property
    def _folder(self) -> Path:
        return spool_folder(None, os.environ)

    def _push(self, raws: list[bytes]) -> Pushed:
        if self._connection is None:
            self._connection = open_connection(Server(self.settings.redis_url, self.settings.sentinel))
        pushed = push_encoded(raws, self._connection)
        self.sent += pushed.sent
        self.inbox = pushed.inbox
        return pushed

    def _send_waiting(self) -> None:
        """Send some of what earlier failures left in the spool, as the server is there now."""
        assert self._connection is not None
        spool, limit, age = Spool(self._folder), self.settings.limits.inbox_refusal, self.settings.retention.spool
        try:
            done = drain_some(
                spool,
                self._connection,
                self.inbox,
                clock=time.monotonic,
                now=time.time(),
                warn=self._warn,
                max_age=age,
                refuse_above=limit,
            )
        except (ServerTrouble, SpoolTrouble) as trouble:
            self._warn(f"reports that wait in {clean(str(spool.folder))} could not be sent: {trouble}")
            return
        if done.sent:
            self.output.note(f"heald: sent {_reports(done.sent)} that waited in {clean(str(spool.folder))}")

    def _keep(self, raws: list[bytes]) -> None:
        spool = Spool(self._folder)
        for raw in raws:
            try:
                spool.keep(raw, now=time.time(), token=os.urandom(6).hex(), warn=self._warn)
            except SpoolTrouble as trouble:
                raise SpoolTrouble(f"reports are neither sent nor kept: {trouble.problem}", trouble.hint) from None
            self.kept += 1

    def _warn_of_inbox(self) -> None:
        if self.inbox > self.settings.limits.inbox_warning:
            self._warn(f"the inbox holds {self.inbox:,} reports; do workers run? `heald health` tells")

    def _warn(self, text: str) -> None:
        self.output.note(f"heald: warning: {clean(text)}")


def _reports(number: int) -> str:
    return "1 report" if number == 1 else f"{number:,} reports"


def _from_flags(flags: dict[str, Any], told: ReportSummary | None) -> FailureReport:
    masker, environ = Masker.of(os.environ), os.environ
    found = detect(environ, current_folder())
    stage = flags["stage"] or found.job.stage or found.job.name or (TESTS_STAGE if told else None)
    if not stage:
        raise click.UsageError("--stage is needed, as no CI tells one")
    if (flags["message"] is None) + (flags["log"] is None) + (told is None) != 2:
        raise click.UsageError("one of --message, --log and --report is needed")
    message = _message(flags, told, masker)
    given = {field: flags[field] for field in _CONTEXT if flags[field] is not None}
    stage = masker.text(stage)
    command = masker.text(flags["command"]) if flags["command"] else None
    return make_report(
        flags["run_id"] or default_run_id(environ, stage, os.urandom(6).hex(), command),
        stage,
        message,
        now=time.time(),
        exit_code=flags["exit_code"],
        flaky_hint=flags["flaky"] or (told is not None and told.flaky_hint),
        policy=flags["policy"],
        context=masker.context(replace(found.context, **given)),
    )


def _message(flags: dict[str, Any], told: ReportSummary | None, masker: Masker) -> str:
    if told:
        return message_of(told, masker.text)
    return masker.text(flags["message"]) if flags["log"] is None else read_log(flags["log"], masker).text


def _encoded_lines(source: BinaryIO, delivery: Delivery) -> Iterator[bytes]:
    """Every good line's report, encoded; a bad line is refused and the others still go."""
    here = detect(os.environ, current_folder()).context
    for number, line in enumerate(_lines(source), start=1):
        try:
            if line.strip():
                yield encode_report(_from_line(line, delivery.masker, here))
        except InvalidReport as error:
            delivery.refuse(number, error)


def _lines(source: BinaryIO) -> Iterator[bytes]:
    """Lines without their ends; of one that is too long a piece that says so."""
    while line := source.readline(_LONGEST_LINE):
        yield line
        while len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            line = source.readline(_LONGEST_LINE)


def _from_line(line: bytes, masker: Masker, here: Context) -> FailureReport:
    """A report as it stands on the wire; `v`, `context` and `reported_at` may be left out.

    Raises:
        InvalidReport: names the field that is wrong.
    """
    if len(line) == _LONGEST_LINE:
        raise InvalidReport("line", f"longer than {_LONGEST_LINE:,} bytes")
    try:
        report = msgspec.json.decode(line, type=FailureReport)
    except msgspec.ValidationError as error:
        raise _wrong_shape(str(error)) from None
    except UnicodeDecodeError:
        raise InvalidReport("line", "not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidReport("line", f"not JSON: {error}") from None
    signal = report.signal
    masked = replace(signal, stage=masker.text(signal.stage), message=masker.text(signal.message))
    context = here if report.context == Context() else report.context
    reported_at = report.reported_at or utc_text(time.time())
    return fit(replace(report, signal=masked, context=masker.context(context), reported_at=reported_at))


def _wrong_shape(text: str) -> InvalidReport:
    """msgspec's complaint, with the field that it is about in front."""
    problem, _, place = text.partition(" - at `$")
    missing = _MISSING.search(problem)
    path = [part for part in (place.strip("`."), missing[1] if missing else "") if part]
    return InvalidReport(".".join(path) or "line", "missing" if missing else problem)
