"""Points in time: as people read them, as machines read them, and as `--since` takes them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import click
import redis

from heald_worker.config_values import ConfigError, duration
from heald_worker.core.instant import Instant, format_instant
from heald_worker.streams import BEGINNING, MOST_SEQUENCE

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENTRY_ID = re.compile(r"([0-9]{1,15})-([0-9]{1,20})")
_check_duration = duration().check

SINCE_HINT = "give an entry's id (1767323045000-0), a duration (90s, 15m, 2h, 7d), a time (2026-01-02T03:04:05Z) or 0"


def local_time(micros: int) -> str:
    """Microseconds since the epoch as ISO 8601 in the local time zone, to the millisecond."""
    try:
        return _at(micros).astimezone().isoformat(timespec="milliseconds")
    except OverflowError:  # an id that somebody chose
        return utc_time(micros)


def utc_time(micros: int) -> str:
    """Microseconds since the epoch as RFC 3339 in UTC, to the millisecond."""
    try:
        return _at(micros).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except OverflowError:
        return format_instant(Instant.from_micros(micros))


def _at(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


def id_micros(entry_id: str) -> int:
    """When a stream's entry was written, in microseconds since the epoch: its id begins with milliseconds."""
    return int(entry_id.partition("-")[0]) * 1000


def took(seconds: float) -> str:
    """How long something took, in two parts at most: `0.2s`, `12.3s`, `4m05s`, `3h12m`, `2d04h`."""
    if seconds < 60:
        return f"{seconds:.1f}s" if seconds >= 0.1 else f"{seconds:.3f}s"
    whole = round(seconds)
    for size, part, unit, small in ((86_400, 3600, "d", "h"), (3600, 60, "h", "m"), (60, 1, "m", "s")):
        if whole >= size:
            return f"{whole // size}{unit}{whole % size // part:02}{small}"
    return f"{whole}s"


def duration_option(_context: click.Context, option: click.Parameter, value: str | None) -> float | None:
    """A click callback: a duration as heald.toml writes it, in seconds."""
    if value is None:
        return None
    try:
        seconds = _check_duration(value, option.opts[0])
    except ConfigError as error:
        raise click.BadParameter(f"{error.problem}; {error.hint}" if error.hint else error.problem) from None
    assert isinstance(seconds, float)
    return seconds


def _is_entry_id(text: str) -> bool:
    found = _ENTRY_ID.fullmatch(text)
    return found is not None and int(found[2]) <= MOST_SEQUENCE


def entry_id_option(_context: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """A click callback: ids of stream entries."""
    for value in values:
        if not _is_entry_id(value):
            raise click.BadParameter(f"{value!r} is not an entry's id, which looks like 1767323045000-0")
    return values


def since_id(client: redis.Redis, since: str, option: str = "--since") -> str:
    """The entry id after which `--since` begins. A duration counts back from the server's clock.

    An option that ends where another begins has the same words; what was written then is excluded.

    Raises:
        click.BadParameter: the text is none of what `SINCE_HINT` lists.
    """
    text = since.strip()
    if _is_entry_id(text):
        return text
    if text == "0":
        return BEGINNING
    try:
        seconds = float(str(_check_duration(text, "--since")))
    except ConfigError:
        return _before(_parse_time(text, option))
    now, micros = client.time()
    return _before(round((int(now) - seconds) * 1_000_000) + int(micros))


def _before(micros: int) -> str:
    """The last id that an entry written before this millisecond can have."""
    millis = micros // 1000
    return f"{millis - 1}-{MOST_SEQUENCE}" if millis > 0 else BEGINNING


def _parse_time(text: str, option: str) -> int:
    try:
        parsed = datetime.fromisoformat(text)
        aware = parsed if parsed.tzinfo else parsed.astimezone()
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no point in time: {SINCE_HINT}", param_hint=option) from None
    return (aware - _EPOCH) // timedelta(microseconds=1)
