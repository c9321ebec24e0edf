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

from msgspec.structs import replace

from heald_producer.capture import Options
from heald_producer.connection import ServerTrouble, configured_server
from heald_producer.context import default_run_id, detect
from heald_producer.cutting import cut_end
from heald_producer.excerpt import Excerpt
from heald_producer.mask import Masker
from heald_producer.plain import last_lines, plain_text
from heald_producer.push import INBOX_WARNING, open_connection, push_encoded
from heald_producer.relay import Ended
from heald_producer.signals import MAX_STAGE_BYTES, FailureReport
from heald_producer.spool import Spool, SpoolTrouble, spool_folder
from heald_producer.wire import encode_report, make_report

MESSAGE_LINES = 200
MAX_STAGE_WORDS = 3
_PLAIN_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")

Say = Callable[[str], None]


def report_failure(options: Options, ended: Ended, excerpt: Excerpt, say: Say, warn: Say) -> bool:
    """Report a failed command, and answer whether the server has it now; when not, it waits in the spool.

    Raises:
        Exception: it could be neither pushed nor kept.
    """
    report = describe(options, ended, excerpt, os.environ, _current_folder(), time.time(), os.urandom(6).hex())
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
    excerpt: Excerpt,
    environ: Mapping[str, str],
    cwd: Path,
    now: float,
    random: str,
) -> FailureReport:
    """The report of a failed command, without secrets."""
    masker = Masker.of(environ)
    stage = cut_end(masker.text(options.stage or default_stage(options.command)), MAX_STAGE_BYTES)
    context = replace(detect(environ, cwd).context, command=masker.command(options.command))
    return make_report(
        options.run_id or default_run_id(environ, stage, random),
        stage,
        last_lines(masker.text(_message(ended, excerpt)), MESSAGE_LINES),
        now=now,
        exit_code=ended.code,
        flaky_hint=options.flaky,
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


def _message(ended: Ended, excerpt: Excerpt) -> str:
    """The output, and what a shell would have said about the end."""
    text = plain_text(excerpt).rstrip()
    if ended.problem:
        return f"{text}\n{ended.problem}"
    if ended.killed_by:
        name = signal.strsignal(ended.killed_by) or "killed"
        return f"{text}\n{name} (signal {ended.killed_by})"
    return text or f"(no output; exit code {ended.code})"


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
