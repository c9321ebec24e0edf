"""The table of verbs, each imported only when it is called, and the boundary where errors become exit codes.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a problem was found, or what was asked for is not there |
| 2 | wrong usage or configuration |
| 69 | the server cannot be used |
| 70 | a bug in heald |
| 74 | reading or writing failed |
| 130 | interrupted |
| 141 | whoever read the output closed it, as a shell shows for programs that SIGPIPE ended |
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import sys
import traceback
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from heald_producer import __version__
from heald_producer.streams import fill_standard_streams
from heald_worker.cli import INTERRUPTED, UNAVAILABLE
from heald_worker.cli.common import clean

FOUND, USAGE, BUG, IO_TROUBLE, CLOSED_PIPE = 1, 2, 70, 74, 141

VERBS: dict[str, tuple[str, str, str]] = {
    "run": ("", "", "Run a command; report it when it fails."),
    "push": ("push", "push", "Report failures: from flags, NDJSON or the spool."),
    "worker": ("worker", "worker", "Run what one machine needs: decisions and repairs."),
    "workers": ("worker", "workers", "List the workers that are alive."),
    "tail": ("tail", "tail", "Follow recoveries or events as they happen."),
    "runs": ("runs", "runs", "List runs, open and ended."),
    "show": ("runs", "show", "Draw one run's timeline."),
    "stats": ("stats", "stats", "Tell which repository fails most, and which repairs hold."),
    "logs": ("runs", "logs", "Print what a run's repairs printed."),
    "correct": ("correct", "correct", "Say what class a failure really has."),
    "rules": ("rules", "rules", "List, lint and test the rules that class failures."),
    "explain": ("explain", "explain", "Tell what would be decided and why, without doing it."),
    "memory": ("runs", "memory", "Print a recovery as text and tags for indexing."),
    "cancel": ("control", "cancel", "End a recovery."),
    "pause": ("control", "pause", "Begin nothing new until `heald resume`."),
    "resume": ("control", "resume", "Go on after `heald pause`, or with one parked run."),
    "dead": ("dead", "dead", "List, show, replay or purge reports that could not be accepted."),
    "notices": ("notices", "notices", "List notices that failed, or send them again."),
    "verify": ("verify", "verify", "Check artifacts against their digests, without a server."),
    "artifacts": ("artifacts", "artifacts", "Rebuild or prune artifacts."),
    "doctor": ("doctor", "doctor", "Check configuration, server and queues; say what to do."),
    "health": ("health", "health", "Probe the service: exit code 0, 1 or 69."),
    "completion": ("completion", "completion", "Print a script that completes verbs and options in a shell."),
}
"""Verb -> module under `heald_worker.cli`, its click command, one line of help; `run` never comes here."""


COMPLETION = "_HEALD_COMPLETE"
"""The variable in which the script of `heald completion` asks what may follow."""


class LazyGroup(click.Group):
    """The verbs of `VERBS`. Help and spelling mistakes import none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        module, name, _ = VERBS.get(cmd_name, ("", "", ""))
        if not module:
            return _run_as_command() if cmd_name in VERBS and ctx.resilient_parsing else None
        command = getattr(import_module(f"heald_worker.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if word not in VERBS and not word.startswith("-"):
            near = difflib.get_close_matches(word, VERBS, n=1)
            hint = f"did you mean `heald {near[0]}`?" if near else "`heald --help` lists the verbs"
            raise click.UsageError(f"there is no verb {clean(word)!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """What may follow for a shell; click's own way would import every verb for its line of help."""
        verbs = [CompletionItem(verb, help=line) for verb, (_, _, line) in VERBS.items() if verb.startswith(incomplete)]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl([(verb, line) for verb, (_, _, line) in VERBS.items()])


@click.command(
    cls=LazyGroup,
    help="Self-healing CI: failures in, bounded repairs, verified recovery logs out.",
    epilog="`heald VERB --help` tells more about one verb.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, message="heald %(version)s")
def heald() -> None:
    pass


def call(argv: list[str]) -> int:
    """Run one verb and return its exit code: what it returned, or what its error stands for."""
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal of few characters shows the others as escapes
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = _invoke(argv)
        sys.stdout.flush()
        return code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        return CLOSED_PIPE
    except Exception as error:  # noqa: BLE001  the boundary: what is caught here becomes one sentence
        return _report(error)
    finally:
        _settle_stdout()


def _open_closed_streams() -> None:
    """Standard streams that were closed when heald was started lead nowhere; no file of ours takes their place."""
    fill_standard_streams()
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  for good


def _invoke(argv: list[str]) -> int:
    if not argv and (instruction := os.environ.get(COMPLETION)):
        from heald_worker.cli.completion import complete

        return complete(heald, instruction)
    try:
        with heald.make_context("heald", list(argv)) as context:
            return heald.invoke(context) or 0
    except click.exceptions.Exit as end:
        return end.exit_code


def _run_as_command() -> click.Command:
    from heald_worker.cli.completion import run_as_command

    return run_as_command()


def _report(error: Exception) -> int:
    """Say on stderr what happened and what to do next; return the exit code for it."""
    if os.environ.get("HEALD_DEBUG"):
        traceback.print_exception(error)
    if hasattr(error, "hint"):
        field = getattr(error, "field", "")
        _say((f"{field}: " if field else "") + str(getattr(error, "problem", error)), error.hint)
        return _meaning(error)
    if isinstance(error, OSError) and error.strerror:
        _say(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
        return IO_TROUBLE
    _say(
        f"unexpected {type(error).__name__}: {error}",
        "this is a bug in heald; run again with HEALD_DEBUG=1 for the traceback",
    )
    return BUG


def _meaning(error: Exception) -> int:
    """The exit code of an error that is written for a person: its own, or what its kind stands for."""
    code = getattr(error, "exit_code", None)
    if isinstance(code, int):
        return code
    from heald_producer.connection import ServerTrouble
    from heald_producer.signals import InvalidReport

    if isinstance(error, ServerTrouble):
        return UNAVAILABLE
    return USAGE if isinstance(error, InvalidReport) else FOUND


def _say(problem: str, hint: str = "") -> None:
    with contextlib.suppress(OSError):
        print(f"heald: {clean(problem)}", file=sys.stderr)
        if hint:
            print(f"  {clean(hint)}", file=sys.stderr)


def _settle_stdout() -> None:
    """Where stdout takes no more, let the interpreter's own last flush go nowhere instead of complaining."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
