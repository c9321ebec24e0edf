"""Behind Sentinel: heald works on the master, and goes on at the next one after a failover."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from heald_producer.connection import connect
from heald_producer.push import PushFailed, push
from heald_producer.signals import FailureReport, FailureSignal
from heald_worker import keys
from support.sentinel import Watched, watched_servers
from support.server import Server
from support.service import House, settings
from support.verbs import Process, environment
from support.wait import until


@pytest.fixture
def watched(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> Iterator[Watched]:
    """A master, a replica and a Sentinel; with the accounts of `deploy/users.acl`, if a test asks for that."""
    with watched_servers(server.kind, tmp_path, guarded=getattr(request, "param", False)) as both:
        yield both


@pytest.mark.parametrize("watched", [False, True], ids=["open", "with accounts"], indirect=True)
def test_heald_goes_on_after_a_failover_and_loses_nothing(watched: Watched, tmp_path: Path) -> None:
    with connect("", sentinel=watched.settings) as client:
        house = House(client, settings(tmp_path))
        push(a_report("before"), connection=client)
        house.settle()
        push(a_report("across"), connection=client)
        assert client.wait(1, 5000) == 1
        watched.fail_over()
        until(lambda: succeeds(lambda: push(a_report("after"), connection=client)), "the new master takes reports")
        house.settle()
        house.close()
        assert set(house.logs()) == {"before", "across", "after"}
    with watched.administrator(watched.replica) as promoted:
        assert promoted.role()[0] == b"master"
        assert promoted.xlen(keys.RECOVERIES) == 3


def test_a_worker_is_told_of_sentinel_by_its_configuration(watched: Watched, tmp_path: Path) -> None:
    command = json.dumps([sys.executable, "-c", "pass"])
    configuration = f"{watched.configuration}[repairs.patch_forward]\nkind = 'command'\ncommand = {command}\n"
    (tmp_path / "heald.toml").write_text(configuration)
    env = environment("", tmp_path)
    with connect("", sentinel=watched.settings) as client:
        push(a_report("run-1"), connection=client)
        with Process("worker", "--burst", env=env, cwd=tmp_path) as worker:
            assert worker.wait() == 0, worker.said()
            assert "is killed" not in worker.said()  # an idle repair process behind Sentinel ends when it is asked to
        assert client.xlen(keys.RECOVERIES) == 1


class Interrupted(Exception):
    """Raised by a signal, as RQ does it to end an idle worker."""


def test_the_reply_of_an_interrupted_command_goes_to_nobody_else(watched: Watched) -> None:
    def interrupt(signum: int, frame: FrameType | None) -> None:
        raise Interrupted

    with connect("", sentinel=watched.settings) as client:
        client.set("key", b"value")
        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        try:
            with pytest.raises(Interrupted):
                client.blpop(["nothing"], 4)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert client.get("key") == b"value"


def a_report(run_id: str) -> FailureReport:
    return FailureReport(run_id=run_id, signal=FailureSignal("test", "1 failed"))


def succeeds(act: Callable[[], object]) -> bool:
    try:
        act()
    except PushFailed:
        return False
    return True
