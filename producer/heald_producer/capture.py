"""`heald run`: a command runs as if heald were not there; when it fails, its failure is reported.

Whatever goes wrong with heald itself is said on stderr, and leaves the command's exit code as it is.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from heald_producer.early import EarlyReport
from heald_producer.kept import Kept
from heald_producer.relay import CannotWatch, Ended, run

UNDELIVERED = 75
"""Exit code with `--strict` when a failure could not be pushed (`EX_TEMPFAIL` of sysexits.h)."""
USAGE, INTERRUPTED, _TERMINATED = 2, 130, 128 + signal.SIGTERM
_ENDING = "the command had not ended yet when this was reported"
_MAX_STAGE_BYTES, _MAX_POLICY_BYTES, _MAX_RUN_ID_CHARS = 256, 128, 128  # as in signals.py, which is heavy

HELP = """\
Usage: heald run [OPTIONS] [--] COMMAND [ARGUMENT]...

Run a command and pass its output and exit code through, unchanged. When it
fails, report the failure, with the lines of its output that tell why.

Options:
  --stage STAGE     The pipeline's stage. Default: the CI's stage or job, else
                    the command's first words.
  --run-id ID       The run that failed. Default: from the CI's variables.
  --report GLOB     Test reports that the command writes, as 'build/**/*.xml';
                    their failures are the message. May be given repeatedly.
  --policy NAME     Ask for a recovery policy by name.
  --timeout TIME    End the command after 90s, 15m, 2h, ...; its exit code is
                    124 then, and it has failed.
  --flaky           The same command may well pass when it is repeated.
  --redis-url URL   The server. Default: HEALD_REDIS_URL, REDIS_URL, heald.toml.
  --spool DIR       Where a report waits when the server is away.
                    Default: HEALD_SPOOL, else ~/.local/state/heald/spool.
  --strict          Exit with 75 when a failure could not be pushed.
  -q, --quiet       Say nothing but warnings.
  -h, --help        Show this.

The exit code is the command's: 128 + N when signal N killed it, 127 when it
was not found, 126 when it could not be executed. A command that a CI ends with
SIGTERM, at its time limit, has failed. One that was stopped with Ctrl-C, SIGINT
or SIGHUP has not, and is not reported.

Secrets are masked before anything leaves this machine: values of environment
variables that look secret, and well-known shapes of tokens.
"""

_WITH_VALUE = ("--stage", "--run-id", "--report", "--policy", "--redis-url", "--spool", "--timeout")
_SWITCHES = ("--flaky", "--strict", "--quiet", "--help")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MAX_TIMEOUT = 3650 * 86_400
_SHORT = {"-q": "--quiet", "-h": "--help"}


class UsageError(Exception):
    """The command line is wrong: one sentence."""


class Options:
    """The command line of `heald run`; `started`: when the command did, in nanoseconds as files are stamped."""

    def __init__(self) -> None:
        self.reports: list[str] = []
        self.started = 0
        self.stage: str | None = None
        self.run_id: str | None = None
        self.policy: str | None = None
        self.redis_url: str | None = None
        self.spool: str | None = None
        self.timeout: str | None = None
        self.flaky = self.strict = self.quiet = self.help = False
        self.command: list[str] = []


def main(argv: list[str]) -> int:
    """Run `heald run`; `argv` is what follows these two words. Returns the exit code."""
    try:
        options = parse(argv)
    except UsageError as error:
        _say(f"{error}\n  `heald run --help` shows how it is used")
        return USAGE
    if options.help:
        sys.stdout.write(HELP)
        return 0
    try:
        return _run(options)
    except KeyboardInterrupt:  # before the command was started
        return INTERRUPTED


def parse(argv: list[str]) -> Options:
    """Read the command line up to the command.

    Raises:
        UsageError: it cannot be understood, or a value cannot be used.
    """
    options, rest = Options(), list(argv)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        flag, equals, value = word.partition("=")
        flag = _SHORT.get(flag, flag)
        name = flag[2:].replace("-", "_")
        if flag in _SWITCHES and not equals:
            setattr(options, name, True)
        elif flag in _WITH_VALUE:
            if not equals and (not rest or rest[0] == "--"):
                raise UsageError(f"{flag} needs a value")
            value = _checked(flag, value if equals else rest.pop(0))
            if name == "report":
                options.reports.append(value)
            else:
                setattr(options, name, value)
        else:
            raise UsageError(f"there is no option {word}" + _suggestion(flag))
    options.command = rest
    if not (rest or options.help):
        raise UsageError("no command is given")
    if options.reports and "--" in rest and os.path.isfile(rest[0]) and not os.access(rest[0], os.X_OK):  # noqa: PTH113
        raise UsageError(f"{rest[0][:80]!a} is no command; quote the pattern of --report, or the shell expands it")
    return options


def _suggestion(flag: str) -> str:
    near = [name for name in (*_WITH_VALUE, *_SWITCHES) if len(flag) > 3 and name.startswith(flag[:4])]
    return f"; did you mean {near[0]}?" if near else ""


def _checked(flag: str, value: str) -> str:
    """A mistake that would cost the report is told before the command runs, not when it has failed."""
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise UsageError(f"{flag} is not valid UTF-8") from None
    limit = {"--stage": _MAX_STAGE_BYTES, "--policy": _MAX_POLICY_BYTES}.get(flag, size)
    if size == 0 or size > limit:
        raise UsageError(f"{flag} is " + (f"longer than {limit} bytes" if size else "empty"))
    if flag == "--run-id" and not _is_run_id(value):
        raise UsageError(
            f"--run-id {value[:40]!a} is not allowed: use 1 to {_MAX_RUN_ID_CHARS} characters of "
            "A-Z a-z 0-9 . _ - that start with a letter or digit"
        )
    if flag == "--timeout":
        seconds(value)
    return value


def seconds(duration: str) -> float:
    """The seconds of a duration as in heald.toml: a number, or one with a unit, as `90s`, `15m`, `2h` or `7d`.

    Raises:
        UsageError: it is none, or beyond its bounds.
    """
    number = duration[:-1] if duration[-1:] in _SECONDS else duration
    if set(number) <= set("0123456789.") and number.count(".") <= 1 and number.strip("."):
        found = float(number) * _SECONDS.get(duration[-1:], 1)
        if 0 < found <= _MAX_TIMEOUT:
            return found
    raise UsageError(f"--timeout {duration[:40]!a} is no time: use 90s, 15m, 2h, ... of 3650 days at most")


def _is_run_id(text: str) -> bool:
    """`signals.check_run_id` without its imports; a test holds the two together."""
    plain = text.replace("-", "").replace("_", "").replace(".", "")
    return len(text) <= _MAX_RUN_ID_CHARS and text.isascii() and text[0].isalnum() and plain.isalnum()


def _run(options: Options) -> int:
    kept = Kept()
    early = EarlyReport(lambda: _report(options, Ended(_TERMINATED, stopped_by=signal.SIGTERM, problem=_ENDING), kept))
    # Linux stamps files with a coarser clock, which is a little behind.
    options.started = time.clock_gettime_ns(getattr(time, "CLOCK_REALTIME_COARSE", time.CLOCK_REALTIME))
    limit = seconds(options.timeout) if options.timeout else None
    try:
        ended = run(options.command, kept, _warn, timeout=limit, late=early.start)
    except CannotWatch as reason:
        return _run_unwatched(options.command, reason)
    if ended.timed_out:
        ended.problem = f"the command timed out after {options.timeout} (--timeout) and was ended"
    if ended.problem:
        _say(ended.problem)
    if early.started:
        delivered = early.delivered()
    elif ended.code == 0:
        return 0
    elif ended.stopped_by not in (0, signal.SIGTERM) and not ended.timed_out:
        if not options.quiet:
            _say(f"not reported, as the command was stopped by signal {int(ended.stopped_by)}")
        return ended.code
    else:
        delivered = _report(options, ended, kept)
    return UNDELIVERED if options.strict and ended.code and not delivered else ended.code


def _run_unwatched(command: list[str], reason: CannotWatch) -> int:
    """The command takes our place and still runs."""
    _warn(f"cannot watch the command ({reason}); it runs without heald, and a failure is not reported")
    try:
        os.execvp(command[0], command)
    except OSError as problem:
        _say(f"{command[0]}: {problem.strerror}")
        return 127 if isinstance(problem, FileNotFoundError) else 126


def _report(options: Options, ended: Ended, kept: Kept) -> bool:
    """Whether the failure reached the server. Nothing that goes wrong here gets out."""
    try:
        from heald_producer.failure import report_failure

        return report_failure(options, ended, kept, _say if not options.quiet else _ignore, _warn)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the build's exit code is not ours to change
        _warn(f"the failure is not reported: {type(error).__name__}: {error}")
        return False


def _say(text: str) -> None:
    try:
        os.write(2, f"heald: {text}\n".encode(errors="backslashreplace"))
    except OSError:  # nobody listens any more
        return


def _warn(text: str) -> None:
    _say(f"warning: {text}")


def _ignore(text: str) -> None:
    pass
