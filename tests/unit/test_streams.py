"""Entries of the streams, and readers of a server that comes and goes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis

from heald_worker.cli.accounts import actions, event_words
from heald_worker.cli.times import took, utc_time
from heald_worker.core.log import RecoveryDecision
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.taxonomy import FailureClass
from heald_worker.patience import LONGEST_PAUSE, Patience, passes
from heald_worker.streams import (
    EVENTS,
    RECOVERIES,
    EventEntry,
    Extent,
    MalformedEntry,
    RecoveryEntry,
    follow,
    id_order,
)
from support.entries import ACCEPTED, recovery_fields


def raw(fields: dict[str, Any]) -> dict[bytes, bytes]:
    return {key.encode(): value if isinstance(value, bytes) else str(value).encode() for key, value in fields.items()}


def decoded(**changes: object) -> RecoveryEntry | MalformedEntry:
    return RECOVERIES.entry((b"7-1", raw(recovery_fields("run-1") | changes)))


def test_a_recovery_is_decoded_whole() -> None:
    entry = decoded(events="1-0 2-0")
    assert isinstance(entry, RecoveryEntry)
    assert (entry.id, entry.run, entry.ending, entry.events) == ("7-1", "run-1", "recovered", ("1-0", "2-0"))
    assert entry.log.run_id == "run-1"
    assert (entry.facts.policy_name, entry.facts.accepted_at, entry.seconds) == ("default", ACCEPTED, 2.5)


def test_facts_that_a_newer_heald_adds_are_ignored() -> None:
    fields = recovery_fields("run-1", colour="blue")
    assert isinstance(RECOVERIES.entry((b"7-1", raw(fields))), RecoveryEntry)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"digest": "0" * 64}, "its digest is not that of its log"),
        ({"log": b"{}"}, "its digest is not that of its log"),
        ({"ending": "exploded"}, "'exploded' is not a valid Ending"),
        ({"run": b"\xff"}, "invalid start byte"),
        ({"facts": "[]"}, "Expected `object`"),
        ({"facts": "{"}, "truncated"),
    ],
)
def test_a_malformed_recovery_keeps_its_id_and_says_what_is_wrong(changes: dict[str, object], problem: str) -> None:
    entry = decoded(**changes)
    assert isinstance(entry, MalformedEntry)
    assert (entry.key, entry.id) == ("heald:recoveries", "7-1")
    assert problem in entry.problem


@pytest.mark.parametrize("field", ["run", "kind", "version", "facts"])
def test_an_event_without_a_field_names_the_field(field: str) -> None:
    fields = {b"run": b"r", b"kind": b"k", b"version": b"1", b"facts": b"{}"}
    del fields[field.encode()]
    entry = EVENTS.entry((b"7-1", fields))
    assert isinstance(entry, MalformedEntry)
    assert entry.problem == f"it has no field {field}"


def test_ids_are_ordered_as_numbers() -> None:
    assert id_order("9-10") > id_order("9-9") > id_order("9")
    assert id_order("10-0") > id_order("9-18446744073709551615")


@pytest.mark.parametrize(
    ("extent", "since", "lacking"),
    [
        (Extent("5-0", "9-0", 3), "4-0", True),
        (Extent("5-0", "9-0", 3), "5-0", False),
        (Extent("5-0", "9-0", 0), "4-0", False),
        (Extent(None, "9-0", 9), "8-0", True),
        (Extent(None, "9-0", 9), "9-0", False),
        (Extent(None, "0-0", 0), "8-0", False),
    ],
)
def test_a_stream_lacks_what_was_trimmed_after_a_reader_s_place(extent: Extent, since: str, lacking: bool) -> None:
    assert extent.lacks_after(since) is lacking


class Unsteady:
    """A server whose answers are written down: entries, or the errors of a server that is away."""

    def __init__(self, *answers: object, last: str = "9-0") -> None:
        self.connection_pool = redis.ConnectionPool(host="h", port=1)  # never used to connect
        self.connection_pool = redis.ConnectionPool(host="h", port=1)  # never used to connect
        self._answers: Iterator[object] = iter(answers)
        self._last = last
        self.asked: list[str] = []

    def xread(self, streams: dict[str, str], count: int, block: int) -> object:
        self.asked += streams.values()
        answer = next(self._answers)
        if isinstance(answer, Exception):
            raise answer
        return [[b"heald:events", [(answer, {b"run": b"r", b"kind": b"k", b"version": b"1", b"facts": b"{}"})]]]

    def xinfo_stream(self, key: str) -> dict[str, object]:
        return {"first-entry": None, "last-generated-id": self._last.encode(), "entries-added": 1, "length": 0}


def following(server: Unsteady) -> tuple[list[str], list[float], Iterator[EventEntry | MalformedEntry]]:
    told: list[str] = []
    pauses: list[float] = []
    return told, pauses, follow(server, EVENTS, "1-0", tell=told.append, pause=pauses.append)  # type: ignore[arg-type]


def test_a_reader_goes_on_after_its_last_entry_when_the_server_is_back() -> None:
    away = redis.ConnectionError("refused")
    server = Unsteady(b"2-0", away, away, b"3-0")
    told, pauses, entries = following(server)
    assert [next(entries).id, next(entries).id] == ["2-0", "3-0"]
    assert server.asked == ["1-0", "2-0", "2-0", "2-0"]
    assert [sentence.split(";")[-1] for sentence in told] == [" waiting for it", *[" reading goes on after 2-0"] * 2]
    assert pauses == [0.1, 0.2]


def test_a_reader_goes_back_with_a_server_that_lost_its_newest_entries() -> None:
    server = Unsteady(b"8-0", redis.ConnectionError("refused"), b"7-0", last="6-0")
    told, _, entries = following(server)
    assert [next(entries).id, next(entries).id] == ["8-0", "7-0"]
    assert server.asked == ["1-0", "8-0", "6-0"]
    assert "without the newest entries" in told[1]


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (redis.ConnectionError("refused"), True),
        (redis.TimeoutError("slow"), True),
        (redis.BusyLoadingError("LOADING"), True),
        (redis.ReadOnlyError("READONLY"), True),
        (redis.ResponseError("UNBLOCKED force unblock from blocking operation"), True),
        (redis.AuthenticationError("wrong password"), False),
        (redis.ResponseError("WRONGTYPE"), False),
        (redis.exceptions.NoPermissionError("NOPERM"), False),
    ],
)
def test_only_trouble_that_may_pass_is_waited_for(error: redis.RedisError, passing: bool) -> None:
    assert passes(error) is passing
    patience = Patience(Unsteady(), lambda _: None, lambda _: None)  # type: ignore[arg-type]
    if passing:
        patience.wait(error)
        assert patience.waiting
    else:
        with pytest.raises(type(error)):
            patience.wait(error)


def test_pauses_grow_to_a_bound_and_the_trouble_is_told_once() -> None:
    told: list[str] = []
    pauses: list[float] = []
    patience = Patience(Unsteady(), told.append, pauses.append)  # type: ignore[arg-type]
    for _ in range(20):
        patience.wait(redis.ConnectionError("refused"))
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
    assert len(told) == 1


def test_an_event_of_an_unknown_kind_is_told_as_it_stands() -> None:
    event = EventEntry("1-0", "r", "mended", 3, {"by": "a\x1b[31mb", "n": 2, "deep": {"x": [1]}})
    assert event_words(event) == 'by=a\\x1b[31mb  n=2  deep={"x":[1]}'


def test_an_event_that_lacks_a_fact_is_told_as_it_stands() -> None:
    assert event_words(EventEntry("1-0", "r", "decided", 3, {"attempt": 1})) == "attempt=1"


def test_an_event_s_text_is_not_a_template() -> None:
    event = EventEntry("1-0", "r", "parked", 3, {"reason": "{attempt} {0} %s"})
    assert event_words(event) == "{attempt} {0} %s"


def test_equal_actions_in_a_row_are_counted() -> None:
    chosen = (RecoveryAction.RETRY, RecoveryAction.PATCH_FORWARD, RecoveryAction.PATCH_FORWARD)
    decisions = tuple(RecoveryDecision(n, FailureClass.TEST, action, "") for n, action in enumerate(chosen, 1))
    assert actions(decisions) == "retry, patch_forward x2"
    assert actions(()) == "-"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0123, "0.012s"), (9.96, "10.0s"), (59.94, "59.9s"), (245, "4m05s"), (3600, "1h00m"), (187_200, "2d04h")],
)
def test_a_duration_is_told_in_two_parts_at_most(seconds: float, words: str) -> None:
    assert took(seconds) == words


def test_a_time_beyond_the_calendar_is_still_told() -> None:
    assert utc_time(ACCEPTED) == "2026-01-02T03:04:05.000Z"
    assert utc_time(10**18).startswith("+33658-")
