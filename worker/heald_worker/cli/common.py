"""What the verbs share: options, printing for people and for machines, text that is safe to show."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import redis
    from rich.console import Console
    from rich.text import Text

    from heald_worker.config import Settings

Verb = TypeVar("Verb", bound=Callable[..., Any])

SETTING_FLAGS = ("redis_url", "config", "artifacts", "fsync", "regression", "dry_run")
"""Options of these names are flags of the settings: they override them and do not reach the verb."""


class Problem(Exception):
    """A verb's answer that is a problem: one sentence, what to do next, and the exit code it means."""

    def __init__(self, problem: str, hint: str = "", exit_code: int = 1) -> None:
        self.problem, self.hint, self.exit_code = problem, hint, exit_code
        super().__init__(problem)


config_option = click.option(
    "--config", metavar="FILE", type=click.Path(), help="Configuration file (default: HEALD_CONFIG, ./heald.toml)."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print NDJSON for machines.")
url_option = click.option("--redis-url", metavar="URL", help="The server (default: REDIS_URL or the configuration).")


def settings_options(verb: Verb) -> Verb:
    """Give a verb `--config` and `--json`; it is called with `settings` and `output`.

    An option of the verb named as in `SETTING_FLAGS` overrides that setting; its default must be None.
    What the verb returns is its exit code; None is 0.
    """

    @config_option
    @json_option
    @functools.wraps(verb)
    def configured(as_json: bool, **options: Any) -> Any:
        from heald_worker.config import load_settings

        flags = {name: options.pop(name) for name in SETTING_FLAGS if name in options}
        settings = load_settings(flags, os.environ, current_folder())
        return verb(settings=settings, output=Output(as_json=as_json), **options)

    return configured  # type: ignore[return-value]


def server_options(verb: Verb) -> Verb:
    """As `settings_options`, for verbs that talk to the server: adds `--redis-url` and says what is wrong."""

    @functools.wraps(verb)
    def talking(settings: Settings, **options: Any) -> Any:
        import redis

        from heald_producer.connection import trouble

        try:
            return verb(settings=settings, **options)
        except redis.RedisError as error:
            raise trouble(error, server_name(settings)) from error

    return url_option(settings_options(talking))  # type: ignore[return-value]


def connect(settings: Settings, *, timeout: float = 5.0, patient: bool = True) -> redis.Redis:
    """A client of the configured server; it connects with its first command.

    Args:
        timeout: seconds for connecting, and for each reply.
        patient: commands that fail are tried again for a while, as redis-py does it.
    """
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    from heald_producer.connection import connect as open_connection

    once = {} if patient else {"retry": Retry(NoBackoff(), 0)}
    return open_connection(settings.redis_url, sentinel=settings.sentinel, timeout=timeout, **once)


def server_name(settings: Settings) -> str:
    """Which server is configured, as errors name it; it may hold a password (see `connection.safe_url`)."""
    return settings.redis_url if settings.sentinel is None else f"{settings.sentinel.master_name} (Sentinel)"


def current_folder() -> Path:
    """The current folder.

    Raises:
        Problem: it was removed meanwhile.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise Problem("the current folder does not exist any more", "change to one that does") from None


def clean(text: str, *, multiline: bool = False) -> str:
    """Text from a signal, safe for a terminal: control characters, escape codes, bidi overrides show up.

    Printable Unicode and the joiners of scripts and emoji stay; newlines and tabs stay with `multiline`.
    """
    if text.isprintable():
        return text
    kept = "\u200c\u200d\n\t" if multiline else "\u200c\u200d"
    return "".join(char if char in kept or _harmless(char) else _visible(char) for char in text)


def _harmless(char: str) -> bool:
    return char.isprintable() or unicodedata.category(char) == "Zs"


def _visible(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


class Output:
    """Where a verb's answers go: `record` speaks with `--json`, `print` without, `note` always, on stderr."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    @functools.cached_property
    def console(self) -> Console:
        """rich's console on stdout: coloured on a terminal unless NO_COLOR is set, no markup, uncut piped."""
        return _console()

    def record(self, facts: Mapping[str, object]) -> None:
        """One line of NDJSON, pure ASCII, written out at once; nothing without `--json`."""
        if self.as_json:
            print(_ndjson(facts), flush=True)

    @property
    def width(self) -> int | None:
        """Columns of a line: the terminal's, or those of COLUMNS, as under `watch`; None where lines stay whole."""
        if not (sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal()):
            return None
        from heald_worker.cli.fitting import NARROWEST

        return max(NARROWEST, shutil.get_terminal_size().columns)

    def print(self, text: Text | str = "", *, style: str | None = None) -> None:
        """Text for a person, none with `--json`, folded to the terminal's width; `clean` outside text first."""
        if self.as_json:
            return
        from rich.text import Text

        from heald_worker.cli.fitting import folded

        for line in folded(Text(text) if isinstance(text, str) else text, self.width):
            self.console.print(line, style=style)

    def beside(self, head: Text, text: Text | str, below: Text | None = None) -> None:
        """Text for a person beside its head; what does not fit goes on in lines that begin with `below`, or blanks."""
        if self.as_json:
            return
        from rich.text import Text

        from heald_worker.cli.fitting import hung

        body = Text(text) if isinstance(text, str) else text
        for line in hung(head, body, below or Text(" " * head.cell_len), self.width):
            self.console.print(line)

    def fields(self, rows: Iterable[tuple[str, str]]) -> None:
        """Labels and texts in two columns, for a person; an empty label goes on with the text above."""
        from rich.text import Text

        lines = list(rows)
        width = max((len(label) for label, _ in lines), default=0)
        for label, text in lines:
            self.beside(Text(f"{label:<{width}}  ", "dim"), text)

    def note(self, text: str) -> None:
        """One line on stderr: warnings and progress, in both modes."""
        print(text, file=sys.stderr, flush=True)


def _ndjson(facts: Mapping[str, object]) -> str:
    import msgspec

    return json.dumps(msgspec.to_builtins(facts, enc_hook=str), separators=(",", ":"))


def _console() -> Console:
    from rich.console import Console

    class PipeAwareConsole(Console):
        def on_broken_pipe(self) -> None:
            """Leave a closed pipe to the error boundary; rich would exit with code 1."""
            raise

    wide = None if sys.stdout.isatty() else 10_000
    return PipeAwareConsole(markup=False, highlight=False, emoji=False, soft_wrap=True, width=wide)
