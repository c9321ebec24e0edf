"""A command has failed: say so to the server, or keep it until the server is back."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from msgspec.structs import replace

from heald_producer.capture import Options
from heald_producer.connection import ServerTrouble, configured_server
from heald_producer.context import default_run_id, detect
from heald_producer.cutting import cut_end, readable
from heald_producer.extract import Extractor
from heald_producer.kept import Kept
from heald_producer.leftovers import drain_some
from heald_producer.mask import Masker
from heald_producer.push import INBOX_WARNING, open_connection, push_encoded
from heald_producer.relay import Ended
from heald_producer.signals import MAX_STAGE_BYTES, FailureReport, InvalidReport
from heald_producer.spool import Spool, SpoolTrouble, spool_folder
from heald_producer.wire import encode_report, make_report

if TYPE_CHECKING:
    import redis

    from heald_producer.reports import ReportSummary

TIMEOUT, HASTY_TIMEOUT = 5.0, 1.5
"""Seconds for the server to answer; twice, as each step is tried again once."""
MAX_STAGE_WORDS = 3
_LONGEST_TORN_LINE = 4096
_PLAIN_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")

Say = Callable[[str], None]


def report_failure(options: Options, ended: Ended, kept: Kept, say: Say, warn: Say) -> bool:
    """Report a failed command, and answer whether the server has it now; when not, it waits in the spool.

    Raises:
        Exception: it could be neither pushed nor kept.
    """
    hasty = ended.stopped_by != 0
    told = _told_by_reports(options, say, warn) if options.reports and not hasty else None
    try:
        report = describe(options, ended, kept, os.environ, _current_folder(), time.time(), os.urandom(6).hex(), told)
        raw = encode_report(report)
    except InvalidReport as error:
        warn(f"the failure is not reported, as no server would take its report: {error}")
        return False
    path = _keep(raw, options, warn) if hasty else None  # whoever stopped the command may kill heald at any time
    try:
        with _interruptible(), _connected(options, HASTY_TIMEOUT if hasty else TIMEOUT) as connection:
            inbox = push_encoded([raw], connection).inbox
            if path:
                path.unlink(missing_ok=True)
            say(f"reported as run {report.run_id} (stage {report.signal.stage!r}, exit code {ended.code})")
            if inbox > INBOX_WARNING:
                warn(f"the inbox holds {inbox:,} reports; do workers run? `heald health` tells")
            if not hasty:
                _send_spool(connection, inbox, options, say, warn)
    except (ServerTrouble, KeyboardInterrupt) as trouble:
        warn(f"the failure could not be pushed: {str(trouble) or 'interrupted'}")
        path = path or _keep(raw, options, warn)
        if path:
            where = f" {path.parent}" if options.spool else ""
            warn(
                f"it is kept in {path}; `heald push --spool{where}` sends it, and so does the next report that arrives"
            )
        return False
    return True


def describe(
    options: Options,
    ended: Ended,
    kept: Kept,
    environ: Mapping[str, str],
    cwd: Path,
    now: float,
    random: str,
    told: ReportSummary | None = None,
) -> FailureReport:
    """The report of a failed command, without secrets; `told` is what its test reports say."""
    masker, found = Masker.of(environ), detect(environ, cwd)
    named = options.stage or found.job.stage or found.job.name or default_stage(options.command)
    stage = cut_end(masker.text(readable(named)), MAX_STAGE_BYTES)
    command = masker.command(options.command)
    context = replace(found.context, command=command)
    return make_report(
        options.run_id or default_run_id(environ, stage, random, command),
        stage,
        _why_tests_failed(told, ended, masker) if told else why(ended, kept, masker),
        now=now,
        exit_code=ended.code,
        flaky_hint=options.flaky or (told is not None and told.flaky_hint and not ended.killed_by),
        policy=options.policy,
        context=masker.context(context),
    )


def default_stage(command: Sequence[str]) -> str:
    """What a command is called: its program and the plain words that follow, as `cargo test` or `npm run build`."""
    words = [Path(command[0]).name or command[0]]
    for word in command[1:]:
        if word == "-m":  # python -m pytest
            continue
        if len(words) == MAX_STAGE_WORDS or not _PLAIN_WORD.fullmatch(word):
            break
        words.append(word)
    return " ".join(words).encode(errors="replace").decode()


def _told_by_reports(options: Options, say: Say, warn: Say) -> ReportSummary | None:
    """What the command's test reports say; None when that is no failure, so that its output has to tell."""
    try:
        from heald_producer.reports import headline, read_matching

        with _interruptible():
            told = read_matching(options.reports, since=options.started)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the failure is reported, whatever reports hold
        warn(f"the test reports could not be read ({type(error).__name__}: {error}); the output tells why it failed")
        return None
    for note in told.notes:
        say(note)
    for warning in told.warnings:
        warn(warning)
    if told.has_failures:
        return told
    what = f"the test reports tell of no failure ({headline(told)})" if told.files else "there is no test report"
    warn(f"{what}; the failure is reported from the output")
    return None


def _why_tests_failed(told: ReportSummary, ended: Ended, masker: Masker) -> str:
    from heald_producer.reports import message_of

    return "\n\n".join(filter(None, (message_of(told, masker.text), masker.text(_end_words(ended)))))


def why(ended: Ended, kept: Kept, masker: Masker) -> str:
    """The lines of the output that tell why, and what a shell would have said about the end.

    Lines that the gap between head and tail tears are left out: half a secret would not be recognised as one.
    """
    extractor = Extractor(masker.text)
    head, tail = kept.head, kept.tail
    if kept.lost:
        head = head[: head.rfind(b"\n") + 1]
        tail = b"\n" + tail[tail.find(b"\n", 0, _LONGEST_TORN_LINE) + 1 or _LONGEST_TORN_LINE :]
    output = head + tail
    extractor.feed(output if output.endswith(b"\n") else output + b"\n")
    extractor.feed(_end_words(ended).encode(errors="replace"))
    return extractor.finish().text or f"(no output; exit code {ended.code})"


def _end_words(ended: Ended) -> str:
    words = [ended.problem]
    if ended.killed_by and not ended.timed_out:
        words += [f"{signal.strsignal(ended.killed_by) or 'killed'} (signal {ended.killed_by})"]
    if ended.stopped_by and not ended.timed_out:
        name = signal.Signals(ended.stopped_by).name
        words += [f"heald was stopped by signal {name}: the CI's time limit, or a job that was cancelled"]
    return "\n".join(word for word in words if word)


@contextmanager
def _connected(options: Options, timeout: float) -> Iterator[redis.Redis]:
    server = configured_server(options.redis_url, os.environ, _current_folder())
    with open_connection(server, timeout=timeout) as connection:
        yield connection


def _send_spool(connection: redis.Redis, inbox: int, options: Options, say: Say, warn: Say) -> None:
    """Send what earlier failures left, as the server is there now. Whatever goes wrong, it stays or is said."""
    folder = spool_folder(options.spool, os.environ)
    try:
        done = drain_some(Spool(folder), connection, inbox, clock=time.monotonic, now=time.time(), warn=warn)
    except (ServerTrouble, SpoolTrouble, KeyboardInterrupt) as trouble:
        warn(f"reports that wait in {folder} could not be sent: {str(trouble) or 'interrupted'}")
        return
    if done.sent:
        say(f"sent {done.sent:,} more that waited in {folder}" + (f"; {done.waiting:,} wait" if done.waiting else ""))


def _keep(raw: bytes, options: Options, warn: Say) -> Path | None:
    """Write the report into the spool; None, after a warning, when it cannot be kept."""
    folder = spool_folder(options.spool, os.environ)
    try:
        return Spool(folder).keep(raw, now=time.time(), token=os.urandom(6).hex(), warn=warn)
    except SpoolTrouble as trouble:
        warn(f"the failure is not kept: {trouble}")
        return None


@contextmanager
def _interruptible() -> Iterator[None]:
    """Within, whoever stops heald stops the wait for the server; afterwards there is nothing left to stop."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(f"stopped by {signal.Signals(signum).name}")

    candidates = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    stopping = [each for each in candidates if signal.getsignal(each) != signal.SIG_IGN]
    for each in stopping:
        signal.signal(each, interrupt)
    try:
        yield
    finally:
        for each in stopping:
            signal.signal(each, signal.SIG_IGN)


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # the command removed it
        return Path("/")
