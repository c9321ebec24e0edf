"""A master, its replica, and a Sentinel that watches both."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from heald_producer.connection import Sentinel
from support.server import Server, binary, free_port
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

    @property
    def configuration(self) -> str:
        """What heald.toml says about it."""
        return f"[sentinel]\ninstances = [['127.0.0.1', {self.port}]]\nmaster_name = 'ci'\n"

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


@contextmanager
def watched_servers(kind: str, folder: Path, *options: str) -> Iterator[Watched]:
    """Start all three, and end them."""
    folders = [folder / name for name in ("master", "replica", "sentinel")]
    for each in folders:
        each.mkdir()
    master = Server(kind, folders[0], *REPLICATED, *options)
    replica = Server(kind, folders[1], *REPLICATED, *options, "--replicaof", f"127.0.0.1 {master.port}")
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
