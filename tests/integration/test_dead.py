"""`heald dead`: what could not be accepted is listed, shown, replayed and purged, and nothing of it is lost."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import redis
from msgspec.structs import replace

from heald_worker import keys
from heald_worker.config import Limits
from heald_worker.letters import PAGE, letter_ids, purge_up_to
from support.calls import Caller
from support.server import Server
from support.service import House, report, settings


@pytest.fixture
def heald(
    server: Server,
    conn: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Caller:
    return Caller(server.url, tmp_path, monkeypatch, capsys)


@pytest.fixture
def house(conn: redis.Redis, tmp_path: Path) -> Iterator[House]:
    it = House(conn, settings(tmp_path))
    yield it
    it.close()


def poison(it: House, *raws: bytes) -> list[str]:
    """Push what cannot be accepted; the ids of its dead letters."""
    before = it.conn.xlen(keys.DEAD)
    it.push(*raws)
    it.settle()
    return [entry_id.decode() for entry_id, _ in it.conn.xrange(keys.DEAD)][before:]


def test_dead_letters_are_listed_newest_first_with_their_reason(heald: Caller, house: House) -> None:
    poison(house, b"not json", b"x" * 200_000)
    poison(house, report("run-1"), report("run-1", message="other"))
    records = heald("dead", "list", "--json").records
    assert [record["reason"] for record in records] == ["run_id_conflict", "too_large", "not_json"]
    assert [record["whole"] for record in records] == [True, False, True]
    assert [record["run"] for record in records] == ["run-1", None, None]
    assert records[1]["length"] == 200_000
    header, *rows = heald("dead", "list").lines
    assert header.split() == ["id", "time", "reason", "run", "bytes", "detail"]
    assert [row.split()[2] for row in rows] == ["run_id_conflict", "too_large", "not_json"]
    answer = heald("dead", "list", "-n", "1")
    assert len(answer.lines) == 2
    assert "3 dead letters in all" in answer.err


def test_one_letter_is_shown_with_its_body_and_cannot_steer_the_terminal(heald: Caller, house: House) -> None:
    [first, second] = poison(house, b"{\x1b]0;owned\x07", b"\xff\xfe")
    answer = heald("dead", "show", first)
    assert "not_json" in answer.out
    assert "{\\x1b]0;owned\\x07" in answer.out
    assert "\x1b" not in answer.out
    [record] = heald("dead", "show", second, "--json").records
    assert (record["body"], base64.b64decode(record["body_base64"])) == (None, b"\xff\xfe")
    assert "\\xff\\xfe" in heald("dead", "show", second).out


def test_a_letter_of_which_only_the_beginning_was_kept_says_so(heald: Caller, house: House) -> None:
    [entry_id] = poison(house, b"x" * 200_000)
    assert "kept: its first 4,096 bytes, so it cannot be replayed" in heald("dead", "show", entry_id).out


def test_a_letter_that_is_not_there_is_an_error(heald: Caller) -> None:
    answer = heald("dead", "show", "1-1")
    assert answer.code == 1
    assert "there is no dead letter 1-1" in answer.err
    assert heald("dead", "show", "nonsense").code == 2


def test_a_replayed_letter_is_taken_in_again(heald: Caller, house: House, conn: redis.Redis) -> None:
    [entry_id] = poison(house, report("run-1"), report("run-1", message="other"))
    conn.delete(keys.tombstone("run-1"))
    conn.delete(keys.RECOVERIES)
    answer = heald("dead", "replay", entry_id, "--json")
    assert answer.records == [{"id": entry_id, "verdict": "replayed"}]
    assert (conn.xlen(keys.DEAD), conn.lrange(keys.INBOX, 0, -1)) == (0, [report("run-1", message="other")])
    house.settle()
    assert house.log("run-1").initial_failure.message == "other"


def test_what_is_not_whole_is_not_replayed_and_stays(heald: Caller, house: House, conn: redis.Redis) -> None:
    ids = poison(house, b"one", b"x" * 200_000, b"two")
    answer = heald("dead", "replay", *ids, "9-9")
    assert answer.code == 1
    assert answer.out == "2 dead letters replayed\n"
    assert f"{ids[1]} stays: only the beginning of its report was kept" in answer.err
    assert "there is no dead letter 9-9" in answer.err
    assert conn.lrange(keys.INBOX, 0, -1) == [b"one", b"two"]
    assert [entry_id.decode() for entry_id, _ in conn.xrange(keys.DEAD)] == [ids[1]]


def test_all_are_replayed_once_even_when_they_come_back(heald: Caller, house: House, conn: redis.Redis) -> None:
    raws = [f"poison {number}".encode() for number in range(3 * PAGE + 5)]
    poison(house, *raws)
    answer = heald("dead", "replay", "--all", "--json")
    assert (answer.code, len(answer.records)) == (0, len(raws))
    assert conn.lrange(keys.INBOX, 0, -1) == raws
    house.settle()
    assert conn.xlen(keys.DEAD) == len(raws)


def test_a_replay_that_is_repeated_appends_nothing_twice(heald: Caller, house: House, conn: redis.Redis) -> None:
    [entry_id] = poison(house, b"one")
    assert heald("dead", "replay", entry_id).code == 0
    assert heald("dead", "replay", entry_id).code == 1
    assert conn.llen(keys.INBOX) == 1


def test_an_inbox_that_is_something_else_loses_no_letter(heald: Caller, house: House, conn: redis.Redis) -> None:
    [entry_id] = poison(house, b"one")
    conn.set(keys.INBOX, "mine")
    answer = heald("dead", "replay", entry_id)
    assert answer.code == 69
    assert conn.xlen(keys.DEAD) == 1


def test_letters_are_purged_by_id_by_age_or_all(heald: Caller, house: House, conn: redis.Redis) -> None:
    first, second, third = poison(house, b"one", b"two", b"three")
    assert heald("dead", "purge", first, "--json").records == [{"id": first, "verdict": "purged"}]
    assert heald("dead", "purge", first).code == 1
    assert heald("dead", "purge", "--older-than", "1h").out == "0 dead letters purged\n"
    assert conn.xlen(keys.DEAD) == 2
    conn.xadd(keys.DEAD, {"reason": "new"}, id=f"{int(third.split('-')[0]) + 3_600_000}-0")
    assert purge_up_to(conn, third) == 2
    assert heald("dead", "purge", "--all", "--json").records == [{"purged": 1}]
    assert second not in letter_ids(conn, "9999999999999-0")


def test_old_letters_are_purged_and_young_ones_stay(heald: Caller, conn: redis.Redis) -> None:
    seconds, _ = conn.time()
    old = conn.xadd(keys.DEAD, {"reason": "not_json", "body": "x", "whole": "1"}, id=f"{(seconds - 7200) * 1000}-0")
    young = conn.xadd(keys.DEAD, {"reason": "not_json", "body": "x", "whole": "1"})
    assert heald("dead", "purge", "--older-than", "1h").out == "1 dead letter purged\n"
    assert [entry_id for entry_id, _ in conn.xrange(keys.DEAD)] == [young]
    assert old != young


@pytest.mark.parametrize(
    "options",
    [["replay"], ["purge"], ["replay", "--all", "1-1"], ["purge", "--all", "--older-than", "1h"], ["replay", "x"]],
)
def test_what_is_not_clearly_chosen_is_refused(heald: Caller, options: list[str]) -> None:
    assert heald("dead", *options).code == 2


def test_an_entry_that_somebody_else_wrote_is_shown_as_far_as_it_goes(heald: Caller, conn: redis.Redis) -> None:
    entry_id = conn.xadd(keys.DEAD, {"colour": "blue", "length": "many"}).decode()
    [record] = heald("dead", "list", "--json").records
    assert (record["reason"], record["length"], record["whole"]) == ("unknown", 0, False)
    assert heald("dead", "show", entry_id).code == 0
    assert heald("dead", "replay", entry_id).code == 1


def test_no_dead_letters_is_no_error(heald: Caller) -> None:
    assert heald("dead", "list").err == "heald: there are no dead letters\n"
    assert heald("dead", "replay", "--all").out == "0 dead letters replayed\n"
    assert heald("dead", "purge", "--all").out == "0 dead letters purged\n"


def weighs(it: House) -> int:
    """Bytes of all dead letters, counted by hand."""
    return sum(len(part) for _, fields in it.conn.xrange(keys.DEAD) for pair in fields.items() for part in pair)


def conflicts(count: int, size: int = 20_000) -> list[bytes]:
    """Reports under an id that is taken, which are kept whole."""
    return [report("taken", message="x" * size, context={"job": str(number)}) for number in range(count)]


@pytest.fixture
def narrow(conn: redis.Redis, tmp_path: Path) -> Iterator[House]:
    it = House(conn, settings(tmp_path, limits=Limits(dead_letter_bytes=400_000)))
    it.push(report("taken"))
    it.settle()
    yield it
    it.close()


def test_dead_letters_are_bounded_by_their_bytes_and_the_oldest_go_first(narrow: House) -> None:
    narrow.push(*conflicts(50))
    narrow.settle()
    assert 380_000 < weighs(narrow) <= 400_000
    jobs = [msgspec.json.decode(fields[b"body"])["context"]["job"] for _, fields in narrow.conn.xrange(keys.DEAD)]
    assert jobs == [str(number) for number in range(50)][-len(jobs) :]
    assert int(narrow.conn.hget(keys.STATS, "letter_bytes")) == weighs(narrow)


def test_the_bytes_are_counted_anew_when_somebody_has_removed_letters(narrow: House) -> None:
    narrow.push(*conflicts(15))
    narrow.settle()
    for entry_id, _ in narrow.conn.xrange(keys.DEAD)[3:9]:
        narrow.conn.xdel(keys.DEAD, entry_id)
    narrow.push(*conflicts(2))
    narrow.settle()
    assert narrow.conn.xlen(keys.DEAD) == 11
    assert int(narrow.conn.hget(keys.STATS, "letter_bytes")) == weighs(narrow)
    assert int(narrow.conn.hget(keys.STATS, "letters")) == 11


def test_letters_that_an_older_heald_has_not_counted_are_bounded_too(narrow: House) -> None:
    narrow.push(*conflicts(19))
    narrow.settle()
    newest = [entry_id for entry_id, _ in narrow.conn.xrange(keys.DEAD)]
    narrow.conn.hdel(keys.STATS, "letters", "letter_bytes")
    narrow.service.settings = replace(narrow.service.settings, limits=Limits(dead_letter_bytes=270_000))
    narrow.push(*conflicts(1))
    narrow.settle()
    left = [entry_id for entry_id, _ in narrow.conn.xrange(keys.DEAD)]
    assert weighs(narrow) <= 270_000
    assert left[:-1] == newest[-len(left) + 1 :]
    assert int(narrow.conn.hget(keys.STATS, "letter_bytes")) == weighs(narrow)
