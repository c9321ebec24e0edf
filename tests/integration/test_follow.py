"""`heald show RUN --follow`: a run's events as they come; its end is the exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from heald_worker import decisions, keys
from heald_worker.playbook import RecordRepair
from support.calls import Caller
from support.server import Server
from support.service import House, report, settings
from support.verbs import HEALD, Process, environment
from support.wait import until

Follow = Callable[..., Process]


@pytest.fixture
def house(conn: redis.Redis, tmp_path: Path) -> Iterator[House]:
    """A service that has accepted run-1, and has not decided yet."""
    it = House(conn, settings(tmp_path, RecordRepair(succeed_from=2)))
    accept(it)
    yield it
    it.close()


def accept(it: House) -> None:
    it.push(report("run-1"))
    it.control.turn()


@pytest.fixture
def follow(server: Server, tmp_path: Path) -> Iterator[Follow]:
    started: list[Process] = []

    def start(*argv: str, url: str = server.url) -> Process:
        env = environment(url, tmp_path)
        started.append(Process("show", "run-1", "--follow", *argv, env=env, cwd=tmp_path, name="follow"))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def shows(process: Process, words: str) -> None:
    until(lambda: words in process.said(), f"it shows {words!r}, beyond {process.said()!r}")


def drawn(process: Process) -> list[str]:
    return [line.split()[2] for line in process.said().splitlines() if "─ 20" in line]


def test_events_are_shown_as_they_come_each_once_until_the_run_has_ended(house: House, follow: Follow) -> None:
    process = follow()
    shows(process, "accepted")
    house.control.turn()
    shows(process, "decided")
    house.settle()
    assert process.wait() == 0
    assert drawn(process) == ["accepted", "decided", "repair_ended", "decided", "repair_ended", "ended"]
    said = process.said()
    assert said.startswith("run-1  open, deciding\n")
    assert "\nrun-1  recovered (claimed)  2 attempts (patch_forward x2), " in said
    assert said.index("└─") > said.rindex("├─")
    assert "  digest" in said


def test_each_event_is_a_line_of_json(house: House, follow: Follow) -> None:
    process = follow("--json")
    shows(process, '"accepted"')
    house.settle()
    assert process.wait() == 0
    records = [json.loads(line) for line in process.said().splitlines()]
    assert [record["kind"] for record in records] == house.events("run-1")
    assert {record["run"] for record in records} == {"run-1"}


def test_a_run_that_does_not_recover_ends_it_with_1(house: House, follow: Follow) -> None:
    process = follow()
    shows(process, "accepted")
    assert decisions.cancel(house.service, "run-1") == "cancelled"
    house.settle()
    assert process.wait() == 1
    assert "run-1  cancelled" in process.said()


def test_an_ended_run_is_shown_at_once_even_when_its_events_are_gone(
    house: House,
    server: Server,
    conn: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    house.settle()
    heald = Caller(server.url, tmp_path, monkeypatch, capsys)
    once = heald("show", "run-1", "--follow")
    assert once.code == 0
    assert once.out.count("run-1  recovered") == 1
    assert once.out.count("└─") == 1
    conn.xtrim(keys.EVENTS, maxlen=0, approximate=False)
    assert heald("show", "run-1", "--follow").code == 0
    assert heald("show", "nobody", "--follow").code == 1


def test_it_goes_on_after_a_restart_of_the_server(follow: Follow, server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "mortal"
    folder.mkdir()
    with Server(server.kind, folder, "--appendonly", "yes", "--appendfsync", "always") as mortal:
        conn = redis.Redis.from_url(mortal.url)
        it = House(conn, settings(tmp_path))
        accept(it)
        process = follow(url=mortal.url)
        shows(process, "accepted")
        mortal.kill()
        shows(process, "waiting for it")
        mortal.start()
        shows(process, "the server is back")
        it.settle()
        assert process.wait() == 0
        assert drawn(process) == it.events("run-1")
        it.close()


@pytest.mark.usefixtures("house")
def test_it_ends_when_nobody_reads_any_more(server: Server, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    argv = [*HEALD, "show", "run-1", "--follow"]
    with subprocess.Popen(argv, env=environment(server.url, tmp_path), cwd=tmp_path, stdout=writer) as process:
        os.close(writer)
        assert b"run-1" in os.read(reader, 4096)
        os.close(reader)
        assert process.wait(60) == 141


@pytest.mark.usefixtures("house")
def test_an_interrupt_ends_it_quietly(follow: Follow) -> None:
    process = follow()
    shows(process, "accepted")
    process.popen.send_signal(signal.SIGINT)
    assert process.wait() == 130
    assert "Traceback" not in process.said()
