"""Points in time as the reference keeps them: nanoseconds, leap seconds, years beyond four digits.

Reading and writing follow chrono 0.4, whose `DateTime<Utc>` is the reference's type: it reads more than
RFC 3339 (blanks between the parts, short numbers, `UTC`) and writes one form only.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from heald_worker.core.whitespace import WHITESPACE

FIRST_YEAR, LAST_YEAR = -262144, 262143
"""The years that the reference can hold."""

_DAY = 86_400
_SECOND_NANOS = 1_000_000_000
_ERA_YEARS, _ERA_DAYS = 400, 146_097
"""The calendar repeats after this many years and days, so `date` serves for years that it cannot hold."""
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal() - 1


class Instant(NamedTuple):
    """A UTC point in time, ordered as the reference orders it.

    Attributes:
        seconds: since 1970-01-01T00:00:00Z, may be negative, without leap seconds.
        nanos: 0 to 999,999,999, or up to 1,999,999,999 within a leap second (`...:60Z` is second 59 plus those).
    """

    seconds: int
    nanos: int = 0

    @classmethod
    def from_micros(cls, micros: int) -> Instant:
        """From microseconds since the epoch, the resolution of Redis `TIME`."""
        seconds, rest = divmod(micros, 1_000_000)
        return cls(seconds, rest * 1000)

    def to_micros(self) -> int:
        """Whole microseconds since the epoch, rounded down."""
        return self.seconds * 1_000_000 + self.nanos // 1000


def format_instant(instant: Instant) -> str:
    """RFC 3339 as the reference writes it: `Z`, and 0, 3, 6 or 9 fraction digits, the fewest that hold the value.

    Years outside 0 to 9999 carry a sign.
    """
    days, clock = divmod(instant.seconds, _DAY)
    minutes, second = divmod(clock, 60)
    leap, nanos = divmod(instant.nanos, _SECOND_NANOS)
    hour, minute = divmod(minutes, 60)
    return f"{_day_text(days)}T{hour:02}:{minute:02}:{second + leap:02}{_fraction(nanos)}Z"


@lru_cache(maxsize=64)
def _day_text(days: int) -> str:
    era, ordinal = divmod(days + _EPOCH_ORDINAL, _ERA_DAYS)
    day = date.fromordinal(ordinal + 1)
    year = day.year + era * _ERA_YEARS
    shown = f"{year:04}" if 0 <= year <= 9999 else f"{year:+05}"
    return f"{shown}-{day.month:02}-{day.day:02}"


def _fraction(nanos: int) -> str:
    if not nanos:
        return ""
    if nanos % 1_000_000 == 0:
        return f".{nanos // 1_000_000:03}"
    if nanos % 1_000 == 0:
        return f".{nanos // 1_000:06}"
    return f".{nanos:09}"


_BLANKS = f"[{WHITESPACE}]*"
_NUMBER = "([0-9]{1,2})"
_PARTS = (
    *("([+-][0-9]+|[0-9]{1,4})", "-", _NUMBER, "-", _NUMBER + "[T ]"),
    *(_NUMBER, ":", _NUMBER, ":", _NUMBER + r"(?:\.([0-9]{1,9})[0-9]*)?"),
    f"(?:[Zz]|[Uu][Tt][Cc]|([+-])([0-9]{{2}})[:{WHITESPACE}]*([0-9]{{2}}))",
)
_TEXT = re.compile(_BLANKS + _BLANKS.join(_PARTS) + _BLANKS)


def parse_instant(text: str) -> Instant:
    """The instant that the reference reads in this text; an offset from UTC is required.

    Digits after the ninth of a fraction are cut, second 60 is a leap second in any minute.

    Raises:
        ValueError: the text is no timestamp, or one that does not exist.
    """
    found = _TEXT.fullmatch(text)
    if found is None:
        raise ValueError("is not a timestamp with date, time and offset (2026-01-02T03:04:05Z)")
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    offset_hours, offset_minutes = int(found[9] or 0), int(found[10] or 0)
    if hour > 23 or minute > 59 or second > 60 or offset_hours > 23 or offset_minutes > 59:
        raise ValueError("has a time of day, or an offset, that does not exist")
    leap = second == 60
    clock = hour * 3600 + minute * 60 + second - leap
    ahead = (offset_hours * 60 + offset_minutes) * (-60 if found[8] == "-" else 60)
    seconds = _days(year, month, day) * _DAY + clock - ahead
    if not _FIRST_SECOND <= seconds < _END_SECOND:
        raise ValueError(f"lies outside the years {FIRST_YEAR} to {LAST_YEAR}")
    nanos = int((found[7] or "0").ljust(9, "0")) + leap * _SECOND_NANOS
    return Instant(seconds, nanos)


def _days(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01, for any year. Raises `ValueError` for a day that does not exist."""
    era, rest = divmod(year - 1, _ERA_YEARS)
    return date(rest + 1, month, day).toordinal() - 1 - _EPOCH_ORDINAL + era * _ERA_DAYS


_FIRST_SECOND = _days(FIRST_YEAR, 1, 1) * _DAY
_END_SECOND = _days(LAST_YEAR + 1, 1, 1) * _DAY
