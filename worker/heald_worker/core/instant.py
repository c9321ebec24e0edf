"""Points in time as the reference keeps them: nanoseconds, leap seconds, years beyond four digits."""

from __future__ import annotations

from typing import NamedTuple


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
