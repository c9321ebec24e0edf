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
from heald_producer.cutting import cut_end
from heald_producer.extract import Extractor
from heald_producer.kept import Kept
from heald_producer.mask import Masker
from heald_producer.push import INBOX_WARNING, open_connection, push_encoded
from heald_producer.relay import Ended
from heald_producer.signals import MAX_STAGE_BYTES, FailureReport
from heald_producer.spool import Spool, SpoolTrouble, spool_folder
from heald_producer.wire import encode_report, make_report

if TYPE_CHECKING:
    from heald_producer.reports import ReportSummary

MAX_STAGE_WORDS = 3
_LONGEST_TORN_LINE = 4096
_PLAIN_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")

Say = Callable[[str], None]


def report_failure(options: Options, ended: Ended, kept: Kept, say: Say, warn: Say) -> bool:
    """Report a failed command, and answer whether the server has it now; when not, it waits in the spool.

    Raises:
        Exception: it could be neither pushed nor kept.
    """
    told = _told_by_reports(options, say, warn) if options.reports else None
    report = describe(options, ended, kept, os.environ, _current_folder(), time.time(), os.urandom(6).hex(), told)
    raw = encode_report(report)
    try:
        with _interruptible():
            inbox = _push(raw, options)
    except (ServerTrouble, KeyboardInterrupt) as trouble:
        reason = str(trouble) or "interrupted"
        warn(f"the failure could not be pushed: {reason}")
        _keep(raw, options, warn)
        return False
    say(f"reported as run {report.run_id} (stage {report.signal.stage!r}, exit code {ended.code})")
    if inbox > INBOX_WARNING:
        warn(f"the inbox holds {inbox:,} reports; do workers run? `heald health` tells")
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
    masker = Masker.of(environ)
    here = detect(environ, cwd)
    named = options.stage or here.job.stage or here.job.name or default_stage(options.command)
    stage = cut_end(masker.text(named), MAX_STAGE_BYTES)
    context = replace(here.context, command=masker.command(options.command))
    return make_report(
        options.run_id or default_run_id(environ, stage, random, "\0".join(options.command)),
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
    if ended.killed_by:
        return f"{signal.strsignal(ended.killed_by) or 'killed'} (signal {ended.killed_by})"
    return ended.problem


def _push(raw: bytes, options: Options) -> int:
    """Push one encoded report and return the length of the inbox after it."""
    server = configured_server(options.redis_url, os.environ, _current_folder())
    with open_connection(server) as connection:
        return push_encoded([raw], connection).inbox


def _keep(raw: bytes, options: Options, warn: Say) -> None:
    folder = spool_folder(options.spool, os.environ)
    try:
        path = Spool(folder).keep(raw, now=time.time(), token=os.urandom(6).hex(), warn=warn)
    except SpoolTrouble as trouble:
        warn(f"the failure is not reported and not kept: {trouble}")
        return
    where = f" {folder}" if options.spool else ""
    warn(f"it is kept in {path}; `heald push --spool{where}` sends it")


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
