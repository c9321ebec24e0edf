"""Behind Sentinel: heald works on the master, and goes on at the next one after a failover."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
import redis

from heald_producer.connection import Sentinel, connect
from heald_producer.push import PushFailed, push
from heald_producer.signals import FailureReport, FailureSignal
from heald_worker import keys
from support.server import Server, binary, free_port
from support.service import House, settings
from support.verbs import Process, environment
from support.wait import until

CONFIGURATION = """
port {port}
bind 127.0.0.1
dir {folder}
sentinel monitor ci 127.0.0.1 {master} 1
sentinel down-after-milliseconds ci 5000
sentinel failover-timeout ci 10000
"""

REPLICATED = ("--repl-diskless-sync-delay", "0", "--min-replicas-to-write", "1")
"""A master that has lost its replica takes no writes: else they would be lost with it in a failover."""


class Watched:
    """A master, its replica, and a Sentinel that knows both."""

    def __init__(self, master: Server, replica: Server, folder: Path) -> None:
        self.master, self.replica = master, replica
        self.port = free_port()
        file = folder / "sentinel.conf"
        file.write_text(CONFIGURATION.format(port=self.port, folder=folder, master=master.port))
        with (folder / "sentinel.log").open("ab") as log:
            self.process = subprocess.Popen([binary(master.kind), str(file), "--sentinel"], stdout=log, stderr=log)
        self.client = redis.Redis(port=self.port, retry=None)

    @property
    def settings(self) -> Sentinel:
        return Sentinel(instances=(("127.0.0.1", self.port),), master_name="ci")

    def master_port(self) -> int:
        _, port = self.client.sentinel_get_master_addr_by_name("ci")
        return int(port)

    def ready(self) -> bool:
        """Whether Sentinel sees a replica that follows."""
        try:
            replicas = self.client.sentinel_slaves("ci")
        except redis.ConnectionError:
            return False
        return [row["master-link-status"] for row in replicas] == ["ok"]

    def fail_over(self) -> None:
        """Make the replica the master, and return when Sentinel says so; the old master does not know yet."""
        until(self._agrees_to_fail_over, "Sentinel begins a failover")
        until(lambda: self.master_port() == self.replica.port, "the replica is the master")

    def _agrees_to_fail_over(self) -> bool:
        try:
            return bool(self.client.sentinel_failover("ci"))
        except redis.ResponseError:  # no replica that is good enough yet
            return False

    def close(self) -> None:
        self.client.close()
        self.process.terminate()
        self.process.wait(10)


@pytest.fixture
def watched(server: Server, tmp_path: Path) -> Iterator[Watched]:
    folders = [tmp_path / name for name in ("master", "replica", "sentinel")]
    for folder in folders:
        folder.mkdir()
    master = Server(server.kind, folders[0], *REPLICATED)
    replica = Server(server.kind, folders[1], *REPLICATED, "--replicaof", f"127.0.0.1 {master.port}")
    with master, replica:
        with redis.Redis(port=replica.port) as client:
            until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
        both = Watched(master, replica, folders[2])
        try:
            until(both.ready, "Sentinel knows the replica")
            yield both
        finally:
            both.close()
            master.kill()  # asked to stop, each would wait for the other
            replica.kill()


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
    with redis.Redis(port=watched.replica.port) as promoted:
        assert promoted.role()[0] == b"master"
        assert promoted.xlen(keys.RECOVERIES) == 3


def test_a_worker_is_told_of_sentinel_by_its_configuration(watched: Watched, tmp_path: Path) -> None:
    configuration = f"[sentinel]\ninstances = [['127.0.0.1', {watched.port}]]\nmaster_name = 'ci'\n"
    command = json.dumps([sys.executable, "-c", "pass"])
    configuration += f"[repairs.patch_forward]\nkind = 'command'\ncommand = {command}\n"
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
