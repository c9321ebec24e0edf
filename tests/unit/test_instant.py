"""Instants are read and written as chrono does it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heald_worker.core.instant import FIRST_YEAR, LAST_YEAR, Instant, format_instant, parse_instant
from support.strategies import instants

datetimes = st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31))
offsets = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))

last_seconds = st.integers(-(2**33), 2**33).map(lambda minute: minute * 60 + 59)


@given(instants)
def test_what_is_written_is_read_back(instant: Instant) -> None:
    assert parse_instant(format_instant(instant)) == instant


@given(
    st.builds(
        Instant, st.integers(-(2**33), 2**33).map(lambda minute: minute * 60 + 59), st.integers(10**9, 2 * 10**9 - 1)
    )
)
def test_a_leap_second_is_written_as_second_60_and_read_back(instant: Instant) -> None:
    text = format_instant(instant)
    assert ":60" in text
    assert parse_instant(text) == instant


@given(datetimes, offsets)
def test_any_time_with_an_offset_is_what_datetime_says_it_is(moment: datetime, offset: timezone) -> None:
    local = moment.replace(tzinfo=offset)
    whole = local.replace(microsecond=0)
    expected = Instant((whole - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1), moment.microsecond * 1000)
    assert parse_instant(local.isoformat()) == expected


@pytest.mark.parametrize(
    ("nanos", "shown"),
    [
        (0, ""),
        (500_000_000, ".500"),
        (1_000_000, ".001"),
        (1_000, ".000001"),
        (123_456_000, ".123456"),
        (1, ".000000001"),
        (999_999_999, ".999999999"),
    ],
)
def test_a_fraction_has_the_fewest_of_0_3_6_or_9_digits(nanos: int, shown: str) -> None:
    assert format_instant(Instant(0, nanos)) == f"1970-01-01T00:00:00{shown}Z"


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        (" 2026-1-2T3:4:5z ", "2026-01-02T03:04:05Z"),
        ("2026-01-02 03:04:05 UTC", "2026-01-02T03:04:05Z"),
        ("2026 -\u300001 - 02T03 : 04 : 05 +05 : 30", "2026-01-01T21:34:05Z"),
        ("2026-01-02T03:04:05.1234567899Z", "2026-01-02T03:04:05.123456789Z"),
        ("9999-12-31T23:59:59-01:00", "+10000-01-01T00:59:59Z"),
        ("0000-01-01T00:00:00+01:00", "-0001-12-31T23:00:00Z"),
        ("+0000000002026-01-02T03:04:05Z", "2026-01-02T03:04:05Z"),
    ],
)
def test_what_chrono_reads_beyond_rfc_3339_is_read(text: str, same_as: str) -> None:
    assert format_instant(parse_instant(text)) == same_as


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-01-02T03:04:05",
        "2026-01-02T03:04:05+05",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05+23:60",
        "2026-01-02T03:04:05.Z",
        "2026-01-02t03:04:05Z",
        "2026-02-29T03:04:05Z",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:04:61Z",
        "20260-01-02T03:04:05Z",
        "2026-01-02T03:04:05Z\x1c",
        "\u0662026-01-02T03:04:05Z",
        f"+{LAST_YEAR + 1}-01-01T00:00:00Z",
        f"{FIRST_YEAR}-01-01T00:00:00+00:01",
        "+" + "9" * 5000 + "-01-01T00:00:00Z",
    ],
)
def test_what_chrono_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_instant(text)


def test_the_first_and_the_last_instant_of_the_reference_are_kept() -> None:
    for text in (f"{FIRST_YEAR}-01-01T00:00:00Z", f"+{LAST_YEAR}-12-31T23:59:59.999999999Z"):
        assert format_instant(parse_instant(text)) == text


@given(st.integers(-(2**60), 2**60))
def test_microseconds_survive_the_way_to_an_instant_and_back(micros: int) -> None:
    assert Instant.from_micros(micros).to_micros() == micros


def test_instants_order_by_nanoseconds() -> None:
    earlier, later = (parse_instant(f"2026-01-02T03:04:05.{nanos:09}Z") for nanos in (1, 2))
    assert earlier < later
    assert parse_instant("2026-01-02T00:00:00Z") == parse_instant("2026-01-02T02:00:00.000+02:00")
