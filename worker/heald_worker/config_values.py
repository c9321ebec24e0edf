"""Checking single configuration values; every complaint names the key and says what would be right."""

from __future__ import annotations

import difflib
import json
import math
import re
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

DURATION_HINT = 'give seconds, or text as "90s", "15m", "2h" or "7d"'
SERVER_URL_HINT = (
    "write redis://host:6379/0, rediss://host:6379/0 (TLS) or unix:///path/to/socket?db=0; "
    "in a password, / ? # are %2F %3F %23"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd]?)")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
LONGEST = 3650 * _UNITS["d"]
"""No duration is longer than ten years."""
_SWITCHES = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


class ConfigError(Exception):
    """The configuration cannot be used: what is wrong and where, and what to do about it."""

    exit_code = 2

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem, self.hint = problem, hint
        super().__init__(problem + (f"; {hint}" if hint else ""))


def _keep(text: str) -> object:
    return text


class Kind(NamedTuple):
    """What may stand behind a key.

    `check` returns the valid value or raises a `ConfigError` that begins with `where`. `parse` makes of the
    text of a flag or variable what would stand in the file; text that it cannot use it returns.
    """

    check: Callable[[object, str], object]
    parse: Callable[[str], object] = _keep


def wrong(value: object, where: str, expected: str, hint: str = "") -> ConfigError:
    """The complaint about a value that is not what was expected."""
    return ConfigError(f"{where} must be {expected}, not {_shown(value)}", hint)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def suggestion(word: str, possible: Iterable[str]) -> str:
    """`did you mean ...?` when something near exists, else what is possible."""
    choices = list(possible)
    near = difflib.get_close_matches(word, choices, n=1)
    return f"did you mean {near[0]!r}?" if near else f"possible: {', '.join(choices) or 'nothing'}"


def check_keys(entries: Mapping[str, object], allowed: Collection[str], prefix: str) -> None:
    """Raise for the first key that is not allowed; `prefix` is what stands before a key in the complaint."""
    for key in entries:
        if key not in allowed:
            raise ConfigError(f"{prefix}{key} is not a known key", suggestion(key, allowed))


def table(value: object, where: str) -> dict[str, object]:
    """A TOML table."""
    if not isinstance(value, dict):
        raise wrong(value, where, "a table")
    return value


def text(value: object, where: str) -> str:
    """Text without NUL characters, not empty."""
    if not isinstance(value, str):
        raise wrong(value, where, "text")
    if not value or "\0" in value:
        raise wrong(value, where, "text without NUL characters" if value else "text that is not empty")
    return value


def text_table(value: object, where: str) -> dict[str, str]:
    """A table of texts, which may be empty texts."""
    entries = table(value, where)
    for key, entry in entries.items():
        if not isinstance(entry, str) or "\0" in key + entry or not key:
            raise wrong(entry, f"{where}.{key}", "text without NUL characters")
    return {key: str(entry) for key, entry in entries.items()}


def environment(value: object, where: str) -> dict[str, str]:
    """Environment variables for a program."""
    variables = text_table(value, where)
    for name in variables:
        if "=" in name:
            raise ConfigError(f"{where}.{name} is not a variable's name: it holds '='")
    return variables


def headers(value: object, where: str) -> dict[str, str]:
    """HTTP headers: names of the characters that HTTP allows, values of one line."""
    fields = text_table(value, where)
    for name, content in fields.items():
        if not _HEADER_NAME.fullmatch(name) or not content.isprintable():
            raise ConfigError(f"{where}.{name} is not a header that HTTP can carry")
    return fields


def whole(least: int, most: int) -> Kind:
    """A whole number within bounds."""

    def check(value: object, where: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong(value, where, "a whole number")
        if not least <= value <= most:
            raise wrong(value, where, f"at least {least:,}" if value < least else f"at most {most:,}")
        return value

    return Kind(check, lambda given: int(given) if re.fullmatch(r"[+-]?\d{1,18}", given.strip()) else given)


def _check_share(value: object, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        raise wrong(value, where, "a number from 0 to 1")
    return float(value)


share = Kind(_check_share)
"""A number from 0 to 1."""


def _check_switch(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise wrong(value, where, "true or false")
    return value


switch = Kind(_check_switch, lambda given: _SWITCHES.get(given.strip().lower(), given))
"""true or false; in the environment also yes, no, on, off, 1, 0."""


def duration(least: float = 0.001) -> Kind:
    """Seconds, as a number or as text with a unit; the value is a float."""

    def check(value: object, where: str) -> float:
        seconds = _seconds(value)
        if seconds is None:
            raise wrong(value, where, "a duration", DURATION_HINT)
        if not least <= seconds <= LONGEST:
            bound = f"at least {least:g} s" if seconds < least else "at most 3650d"
            raise wrong(value, where, bound)
        return seconds

    return Kind(check)


def _seconds(value: object) -> float | None:
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        return float(found[1]) * _UNITS[found[2]]
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def one_of(*choices: str) -> Kind:
    """One of a few words."""

    def check(value: object, where: str) -> str:
        if not isinstance(value, str) or value not in choices:
            raise wrong(value, where, "one of " + ", ".join(choices), suggestion(str(value), choices))
        return value

    return Kind(check)


def arguments(value: object, where: str) -> tuple[str, ...]:
    """A command as a list of arguments, the program first."""
    if isinstance(value, str):
        raise ConfigError(
            f"{where} must be a list of arguments, not one text: heald starts programs without a shell",
            f"write it as {_as_list(value)}",
        )
    if not isinstance(value, list) or not value:
        raise wrong(value, where, "a list of arguments with the program first", 'for example ["make", "fix"]')
    for number, argument in enumerate(value):
        if not isinstance(argument, str) or "\0" in argument or (number == 0 and not argument):
            raise wrong(argument, f"{where}[{number}]", "text")
    return tuple(value)


def _as_list(command: str) -> str:
    try:
        return json.dumps(shlex.split(command) or ["program", "argument"], ensure_ascii=False)
    except ValueError:
        return '["program", "argument"]'


def server_url(value: object, where: str) -> str:
    """A server's URL. The complaint does not show it, as it may hold a password."""
    url = text(value, where)
    try:
        parts = urlsplit(url)
        database = parts.path.removeprefix("/")
        fine = parts.scheme == "unix" or (
            parts.scheme in ("redis", "rediss")
            and (not database or database.isdecimal())
            and (parts.port is None or parts.port > 0)
        )
    except ValueError:
        fine = False
    if not fine:
        raise ConfigError(f"{where} is not a server's URL", SERVER_URL_HINT)
    return url


def web_url(value: object, where: str) -> str:
    """An http or https URL with a host."""
    url = text(value, where)
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fine = False
    if not fine:
        raise ConfigError(f"{where} is not a web address", "write https://host/path")
    return url


def call_reference(value: object, where: str) -> str:
    """`module:attribute`, both dotted names."""
    reference = text(value, where)
    module, colon, attribute = reference.partition(":")
    names = [*module.split("."), *attribute.split(".")]
    if not colon or not all(name.isidentifier() for name in names):
        raise wrong(value, where, "a callable as module:name", 'for example "my_repairs:retry"')
    return reference
