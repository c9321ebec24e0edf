"""`heald tail` against a real server: restarts, closed pipes, consumer groups, trimmed entries."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from heald_producer.connection import connect
from heald_worker import keys
from heald_worker.groups import Group, follow_group
from heald_worker.streams import RECOVERIES, read_all
from support.calls import Caller
from support.entries import add_event, add_recovery
from support.server import Server
from support.verbs import HEALD, environment
from support.wait import until


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
def mortal(server: Server, tmp_path: Path) -> Iterator[Server]:
    """A server of this test's own, which keeps what it acknowledged when it is killed."""
    folder = tmp_path / "mortal"
    folder.mkdir()
    with Server(server.kind, folder, "--appendonly", "yes", "--appendfsync", "always") as running:
        yield running


class Tail:
    """A `heald tail` process; its lines and its complaints are in two files, or its lines in a pipe."""

    def __init__(self, url: str, folder: Path, *argv: str, name: str = "tail", stdout: int | None = None) -> None:
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.popen = subprocess.Popen(
                [*HEALD, "tail", *argv],
                env=environment(url, folder),
                cwd=folder,
                stdout=out if stdout is None else stdout,
                stderr=err,
            )

    @property
    def runs(self) -> list[str]:
        """The runs of the lines that are whole, with `--json`."""
        lines = self.out.read_text().splitlines(keepends=True)
        return [json.loads(line)["run"] for line in lines if line.endswith("\n")]

    @property
    def said(self) -> str:
        return self.err.read_text()


@contextmanager
def tailing(url: str, folder: Path, *argv: str, **more: Any) -> Iterator[Tail]:
    tail = Tail(url, folder, *argv, **more)
    try:
        yield tail
    finally:
        tail.popen.kill()
        tail.popen.wait(10)


def test_without_more_it_begins_with_the_newest_ten(heald: Caller, conn: redis.Redis) -> None:
    for number in range(12):
        add_recovery(conn, f"run-{number}")
    answer = heald("tail", "--no-follow", "--json")
    assert [record["run"] for record in answer.records] == [f"run-{n}" for n in range(2, 12)]
    assert [r["run"] for r in heald("tail", "--no-follow", "--json", "-n", "1").records] == ["run-11"]
    assert heald("tail", "--no-follow", "-n", "0").lines == []


@pytest.fixture
def _three_hours_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "XYZ-3")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_three_hours_east")
def test_a_line_tells_what_a_person_wants_to_know(heald: Caller, conn: redis.Redis) -> None:
    add_recovery(conn, "run-1", "1767323048000-0", stage="unit test", context={"repository": "acme/app"})
    [line] = heald("tail", "--no-follow").lines
    parts = [
        "2026-01-02T06:04:08.000+03:00",
        "run-1",
        "recovered (claimed)",
        "test",
        "patch_forward",
        "1 attempt",
        "2.5s",
    ]
    assert line.split("  ") == [*parts, "acme/app unit test"]


def test_a_record_holds_the_log_as_an_object_and_its_digest(heald: Caller, conn: redis.Redis) -> None:
    add_recovery(conn, "run-1", "1767323048000-0", message="schön \u2028 \x1b")
    answer = heald("tail", "--no-follow", "--json")
    [record] = answer.records
    [fields] = [fields for _, fields in conn.xrange(keys.RECOVERIES)]
    assert record["log"] == json.loads(fields[b"log"])
    assert record["digest"] == fields[b"digest"].decode()
    assert (record["at"], record["accepted_at"]) == ("2026-01-02T03:04:08.000Z", "2026-01-02T03:04:05.000Z")
    assert answer.out.isascii()


def test_what_came_from_a_signal_cannot_steer_the_terminal(heald: Caller, conn: redis.Redis) -> None:
    evil = "\x1b]0;owned\x07\r\u202e"
    add_recovery(conn, "run-1", stage=f"test{evil}", context={"repository": evil})
    add_event(conn, "run-1", "accepted", stage=evil, policy="p", reason="r")
    add_event(conn, evil, evil, **{evil: evil})
    for answer in (heald("tail", "--no-follow"), heald("tail", "--no-follow", "--events")):
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", answer.out)
        assert "\\x1b]0;owned\\x07\\r\\u202e" in answer.out


def test_events_are_told_in_words_and_as_records(heald: Caller, conn: redis.Redis) -> None:
    add_event(conn, "run-1", "decided", 2, attempt=1, action="retry", rationale="why", **{"class": "test"})
    add_event(conn, "run-1", "repair_ended", 3, attempt=1, action="retry", success=False, detail="exit code 1")
    first, second = heald("tail", "--no-follow", "--events").lines
    assert first.endswith("run-1  decided  attempt 1, test failure: retry (why)")
    assert second.endswith("run-1  repair_ended  attempt 1: retry failed: exit code 1")
    record = heald("tail", "--no-follow", "--events", "--json").records[1]
    assert (record["kind"], record["version"], record["facts"]["success"]) == ("repair_ended", 3, False)


def test_since_takes_an_id_a_duration_a_time_or_the_beginning(heald: Caller, conn: redis.Redis) -> None:
    seconds, _ = conn.time()
    old, new = f"{(seconds - 7200) * 1000}-0", f"{(seconds - 60) * 1000}-0"
    add_recovery(conn, "old", old)
    add_recovery(conn, "new", new)
    for since, runs in (
        (old, ["new"]),
        (new, []),
        ("0", ["old", "new"]),
        ("1h", ["new"]),
        ("3h", ["old", "new"]),
        ("10s", []),
        ("2020-01-01", ["old", "new"]),
        ("2020-01-01T00:00:00Z", ["old", "new"]),
        ("9999-01-01T00:00:00+01:00", []),
    ):
        answer = heald("tail", "--no-follow", "--json", "--since", since)
        assert [record["run"] for record in answer.records] == runs, since
        assert answer.err == ""
    assert [r["run"] for r in heald("tail", "--no-follow", "--json", "--since", "3h", "-n", "1").records] == ["new"]


@pytest.mark.parametrize("since", ["yesterday", "", "-5", "1-", "1-99999999999999999999", "0001-01-01T00:00:00", "90x"])
def test_a_since_that_is_nothing_of_the_kind_is_refused(heald: Caller, since: str) -> None:
    answer = heald("tail", "--no-follow", "--since", since)
    assert answer.code == 2
    assert "--since" in answer.err


def test_many_entries_are_read_page_by_page(heald: Caller, conn: redis.Redis) -> None:
    pipe = conn.pipeline()
    for number in range(350):
        pipe.xadd(keys.EVENTS, {"run": f"r{number}", "kind": "duplicate", "version": 0, "facts": "{}"})
    pipe.execute()
    answer = heald("tail", "--no-follow", "--events", "--json", "--since", "0")
    assert [record["run"] for record in answer.records] == [f"r{n}" for n in range(350)]


def test_a_malformed_entry_is_told_and_stops_nobody(heald: Caller, conn: redis.Redis) -> None:
    add_recovery(conn, "run-1")
    bad = conn.xadd(keys.RECOVERIES, {"run": "run-\x1b", "nonsense": "1"}).decode()
    add_recovery(conn, "run-2")
    for options in (["--since", "0"], ["--group", "g"]):
        answer = heald("tail", "--no-follow", "--json", *options)
        assert [record["run"] for record in answer.records] == ["run-1", "run-2"]
        assert answer.err == f"heald: entry {bad} of heald:recoveries cannot be read: it has no field log\n"
    assert conn.xpending(keys.RECOVERIES, "g")["pending"] == 0


def test_who_resumes_after_an_entry_is_told_when_the_stream_begins_later(heald: Caller, conn: redis.Redis) -> None:
    ids = [add_recovery(conn, f"run-{number}") for number in range(4)]
    conn.xtrim(keys.RECOVERIES, maxlen=2, approximate=False)
    answer = heald("tail", "--no-follow", "--json", "--since", ids[0])
    assert [record["run"] for record in answer.records] == ["run-2", "run-3"]
    assert (
        f"entries of heald:recoveries after {ids[0]} may have been trimmed: it now begins with {ids[2]}" in answer.err
    )
    assert heald("tail", "--no-follow", "--json", "--since", ids[2]).err == ""
    assert heald("tail", "--no-follow", "--json", "--since", "0").err == ""


def test_a_follower_goes_on_after_a_restart_of_the_server(mortal: Server, tmp_path: Path) -> None:
    conn = redis.Redis.from_url(mortal.url)
    add_recovery(conn, "run-1")
    with tailing(mortal.url, tmp_path, "--json", "--since", "0") as tail:
        until(lambda: tail.runs == ["run-1"], "the first line is there")
        mortal.kill()
        until(lambda: "waiting for it" in tail.said, "the tail has noticed")
        mortal.start()
        add_recovery(conn, "run-2")
        until(lambda: tail.runs == ["run-1", "run-2"], "the second line is there, and the first only once")
        assert "the server is back; reading goes on" in tail.said


def test_a_follower_goes_on_in_a_server_that_came_back_empty(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "forgetful"
    folder.mkdir()
    with Server(server.kind, folder) as forgetful:
        conn = redis.Redis.from_url(forgetful.url)
        add_recovery(conn, "run-1")
        with tailing(forgetful.url, tmp_path, "--json", "--since", "0") as tail:
            until(lambda: tail.runs == ["run-1"], "the first line is there")
            forgetful.kill()
            forgetful.start()
            until(lambda: "back without the newest entries" in tail.said, "the tail has noticed")
            add_recovery(conn, "run-2", "5-0")
            until(lambda: tail.runs == ["run-1", "run-2"], "the line of an entry with an older id is there")


@pytest.mark.parametrize("options", [["--since", "0"], ["--group", "g"], ["--since", "0", "--json"]])
def test_a_pipe_that_is_closed_while_nothing_comes_ends_it_cleanly(
    server: Server, conn: redis.Redis, tmp_path: Path, options: list[str]
) -> None:
    add_recovery(conn, "run-1")
    ours, theirs = os.pipe()
    with tailing(server.url, tmp_path, *options, stdout=theirs) as tail:
        os.close(theirs)
        assert os.read(ours, 10)
        os.close(ours)
        assert tail.popen.wait(30) == 141
        assert tail.said == ""


def test_a_pipe_that_is_closed_while_lines_are_written_ends_it_cleanly(
    server: Server, conn: redis.Redis, tmp_path: Path
) -> None:
    for number in range(60):
        add_recovery(conn, f"run-{number}", message="m" * 8000)
    ours, theirs = os.pipe()
    with tailing(server.url, tmp_path, "--group", "g", "--json", stdout=theirs) as tail:
        os.close(theirs)
        assert os.read(ours, 10)
        os.close(ours)
        assert tail.popen.wait(30) == 141
        assert tail.said == ""
    assert conn.xpending(keys.RECOVERIES, "g")["pending"] > 0


def test_a_group_goes_on_where_it_stands(heald: Caller, conn: redis.Redis) -> None:
    add_recovery(conn, "run-1")
    assert [r["run"] for r in heald("tail", "--no-follow", "--json", "--group", "g").records] == ["run-1"]
    add_recovery(conn, "run-2")
    assert [r["run"] for r in heald("tail", "--no-follow", "--json", "--group", "g").records] == ["run-2"]
    answer = heald("tail", "--no-follow", "--json", "--group", "g", "--since", "0")
    assert (answer.records, answer.err) == ([], "heald: group g goes on where it stands; --since is for a new group\n")
    other = heald("tail", "--no-follow", "--json", "--group", "other", "--since", "1s", "--consumer", "c")
    assert (other.code, other.err) == (0, "")


def test_a_line_that_was_not_written_comes_again(conn: redis.Redis, server: Server) -> None:
    ids = [add_recovery(conn, f"run-{number}") for number in range(3)]
    client = connect(server.url)
    told: list[str] = []
    reader = follow_group(client, RECOVERIES, Group("g", "c"), tell=told.append)
    assert next(reader).id == ids[0]
    assert next(reader).id == ids[1]  # the first is written, the second is not
    reader.close()
    again = follow_group(client, RECOVERIES, Group("g", "c"), tell=told.append, endless=False)
    assert [entry.id for entry in again] == ids[1:]
    assert conn.xpending(keys.RECOVERIES, "g")["pending"] == 0
    assert told == []


def test_sigterm_ends_it_after_what_was_written_is_acknowledged(
    server: Server, conn: redis.Redis, tmp_path: Path
) -> None:
    for number in range(60):
        add_recovery(conn, f"run-{number}", message="m" * 8000)
    ours, theirs = os.pipe()
    with tailing(server.url, tmp_path, "--json", "--group", "g", stdout=theirs) as tail:
        os.close(theirs)
        until(lambda: _pending(conn, socket.gethostname()), "it was given entries")
        lines = os.read(ours, 65_536)
        tail.popen.terminate()
        while more := os.read(ours, 65_536):
            lines += more
        assert tail.popen.wait(30) == 143
        os.close(ours)
        assert tail.said == ""
    written = sum(line.endswith(b"\n") for line in lines.splitlines(keepends=True))
    left = conn.xpending(keys.RECOVERIES, "g")["pending"]
    assert 60 - written <= left <= 61 - written


def test_a_consumer_that_was_killed_is_taken_over(server: Server, conn: redis.Redis, tmp_path: Path) -> None:
    for number in range(60):
        add_recovery(conn, f"run-{number}", message="m" * 8000)
    ours, theirs = os.pipe()
    options = ["--json", "--group", "g", "--claim-after", "1s"]
    with tailing(server.url, tmp_path, *options, "--consumer", "doomed", name="doomed", stdout=theirs) as doomed:
        os.close(theirs)
        until(lambda: conn.exists(keys.RECOVERIES) and _pending(conn, "doomed"), "it was given entries")
        read = os.read(ours, 65_536)
        doomed.popen.kill()
        doomed.popen.wait(10)
        while more := os.read(ours, 65_536):
            read += more
        os.close(ours)
    first = [json.loads(line)["run"] for line in read.splitlines(keepends=True) if line.endswith(b"\n")]
    with tailing(server.url, tmp_path, *options, "--consumer", "heir", name="heir") as heir:
        until(lambda: set(first) | set(heir.runs) == {f"run-{n}" for n in range(60)}, "every entry was written")
        until(lambda: conn.xpending(keys.RECOVERIES, "g")["pending"] == 0, "all of them are acknowledged")
        assert len(heir.runs) == len(set(heir.runs))
        assert heir.said == ""


def _pending(conn: redis.Redis, consumer: str) -> int:
    try:
        return len(conn.xpending_range(keys.RECOVERIES, "g", "-", "+", 100, consumername=consumer))
    except redis.ResponseError:  # no group yet
        return 0


def test_two_consumers_share_a_group(server: Server, conn: redis.Redis, tmp_path: Path) -> None:
    options = ["--json", "--group", "g"]
    with (
        tailing(server.url, tmp_path, *options, "--consumer", "a", name="a") as one,
        tailing(server.url, tmp_path, *options, "--consumer", "b", name="b") as other,
    ):
        for number in range(200):
            add_recovery(conn, f"run-{number}")
        expected = sorted(f"run-{n}" for n in range(200))
        until(lambda: sorted(one.runs + other.runs) == expected, "each entry was written once, by one of the two")


def test_a_group_goes_on_after_a_restart_of_the_server(mortal: Server, tmp_path: Path) -> None:
    conn = redis.Redis.from_url(mortal.url)
    add_recovery(conn, "run-1")
    with tailing(mortal.url, tmp_path, "--json", "--group", "g") as tail:
        until(lambda: tail.runs == ["run-1"], "the first line is there")
        until(lambda: conn.xpending(keys.RECOVERIES, "g")["pending"] == 0, "it is acknowledged")
        mortal.kill()
        until(lambda: "waiting for it" in tail.said, "the tail has noticed")
        mortal.start()
        add_recovery(conn, "run-2")
        until(lambda: tail.runs == ["run-1", "run-2"], "the second line is there, and the first only once")


def test_a_group_that_was_removed_is_made_anew(server: Server, conn: redis.Redis, tmp_path: Path) -> None:
    add_recovery(conn, "run-1")
    with tailing(server.url, tmp_path, "--json", "--group", "g") as tail:
        until(lambda: tail.runs == ["run-1"], "the first line is there")
        conn.delete(keys.RECOVERIES)
        add_recovery(conn, "run-2")
        until(lambda: tail.runs == ["run-1", "run-2"], "the second line is there")
        assert "group g of heald:recoveries is gone; it is made anew" in tail.said


def group_trims(heald: Caller) -> tuple[list[str], str]:
    answer = heald("tail", "--no-follow", "--json", "--group", "g", "--consumer", "c")
    assert answer.code == 0
    return [record["run"] for record in answer.records], answer.err


def test_entries_that_were_trimmed_before_the_group_read_them_are_told_once(heald: Caller, conn: redis.Redis) -> None:
    read = [add_recovery(conn, f"run-{number}") for number in range(3)]
    assert group_trims(heald) == (["run-0", "run-1", "run-2"], "")
    ids = [add_recovery(conn, f"run-{number}") for number in range(3, 8)]
    conn.xtrim(keys.RECOVERIES, maxlen=2, approximate=False)
    runs, told = group_trims(heald)
    assert runs == ["run-6", "run-7"]
    assert told.startswith("heald: 3 entries of heald:recoveries were trimmed before group g read them")
    assert told.endswith(f"it had read up to {read[2]}, the stream now begins with {ids[3]}\n")
    add_recovery(conn, "run-8")
    conn.xtrim(keys.RECOVERIES, maxlen=1, approximate=False)
    assert group_trims(heald) == (["run-8"], "")


def test_a_stream_that_was_trimmed_empty_is_told(heald: Caller, conn: redis.Redis) -> None:
    assert group_trims(heald) == ([], "")
    for number in range(4):
        add_recovery(conn, f"run-{number}")
    conn.xtrim(keys.RECOVERIES, maxlen=0, approximate=False)
    runs, told = group_trims(heald)
    assert runs == []
    assert told.startswith("heald: 4 entries of heald:recoveries were trimmed before group g read them")
    assert told.endswith("the stream is empty\n")
    assert group_trims(heald) == ([], "")
    add_recovery(conn, "run-5")
    assert group_trims(heald) == (["run-5"], "")


def test_a_new_group_misses_nothing_of_what_was_trimmed_before_it(heald: Caller, conn: redis.Redis) -> None:
    for number in range(4):
        add_recovery(conn, f"run-{number}")
    conn.xtrim(keys.RECOVERIES, maxlen=2, approximate=False)
    assert group_trims(heald) == (["run-2", "run-3"], "")


def test_a_group_that_began_within_the_stream_is_told_of_a_loss_too(heald: Caller, conn: redis.Redis) -> None:
    ids = [add_recovery(conn, f"run-{number}") for number in range(6)]
    conn.xgroup_create(keys.RECOVERIES, "g", ids[1])
    conn.xtrim(keys.RECOVERIES, maxlen=2, approximate=False)
    runs, told = group_trims(heald)
    assert runs == ["run-4", "run-5"]
    assert "some entries of heald:recoveries were trimmed before group g read them" in told


def test_entries_that_were_trimmed_while_they_were_pending_are_told(heald: Caller, conn: redis.Redis) -> None:
    ids = [add_recovery(conn, f"run-{number}") for number in range(4)]
    conn.xgroup_create(keys.RECOVERIES, "g", "0")
    conn.xreadgroup("g", "c", {keys.RECOVERIES: ">"}, count=3)
    conn.xtrim(keys.RECOVERIES, maxlen=2, approximate=False)
    runs, told = group_trims(heald)
    assert runs == ["run-2", "run-3"]
    assert told.startswith("heald: 2 entries of heald:recoveries were trimmed before group g had written them")
    assert told.endswith(f"{ids[0]} to {ids[1]}\n")
    assert group_trims(heald) == ([], "")


def test_a_lost_reply_hides_no_trimmed_entries(conn: redis.Redis, server: Server) -> None:
    add_recovery(conn, "run-0")
    client = connect(server.url)
    list(follow_group(client, RECOVERIES, Group("g", "c"), tell=print, endless=False))
    for number in range(3):
        add_recovery(conn, f"run-{number}")
    conn.xtrim(keys.RECOVERIES, maxlen=1, approximate=False)
    told: list[str] = []

    def die(sentence: str) -> None:
        told.append(sentence)
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            list(follow_group(client, RECOVERIES, Group("g", "c"), tell=die, endless=False))
    assert [sentence[:9] for sentence in told] == ["2 entries"] * 2


def test_a_server_that_cannot_be_reached_at_first_is_an_error(heald: Caller) -> None:
    for options in ([], ["--group", "g"], ["--no-follow"], ["--since", "1h"]):
        answer = heald("tail", *options, "--redis-url", "redis://127.0.0.1:1/0")
        assert answer.code == 69
        assert "cannot be reached" in answer.err


def test_a_key_that_holds_something_else_is_an_error(heald: Caller, conn: redis.Redis) -> None:
    conn.set(keys.RECOVERIES, "mine")
    for options in ([], ["--group", "g"], ["--since", "0"]):
        answer = heald("tail", *options)
        assert answer.code == 69
        assert "holds something else" in answer.err


@pytest.mark.parametrize(
    "options",
    [
        ["--consumer", "c"],
        ["--group", "g", "-n", "3"],
        ["--group", ""],
        ["-n", "10001"],
        ["--group", "g", "--claim-after", "x"],
    ],
)
def test_options_that_make_no_sense_together_are_refused(heald: Caller, options: list[str]) -> None:
    assert heald("tail", *options).code == 2


def test_read_all_ends_where_it_was_told(conn: redis.Redis, server: Server) -> None:
    ids = [add_recovery(conn, f"run-{number}") for number in range(5)]
    found = read_all(connect(server.url), RECOVERIES, ids[0], ids[3])
    assert [entry.id for entry in found] == ids[1:4]
