"""A master, its replica, and a Sentinel that watches both."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from heald_producer.connection import Sentinel
from support.guarded import ADMIN, PASSWORDS, accounts
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

AUTHORIZED = f"""
sentinel auth-user ci {ADMIN[0]}
sentinel auth-pass ci {ADMIN[1]}
"""
FOLLOWING = ("--masteruser", ADMIN[0], "--masterauth", ADMIN[1])
"""What a replica needs to follow a master that has heald's accounts; the master, too: it will be a replica."""

REPLICATED = ("--repl-diskless-sync-delay", "0", "--min-replicas-to-write", "1")
"""A master that has lost its replica takes no writes: else they would be lost with it in a failover."""


class Watched:
    """A master, its replica, and a Sentinel that knows both.

    Args:
        guarded: the servers have heald's accounts.
    """

    def __init__(self, master: Server, replica: Server, folder: Path, *, guarded: bool = False) -> None:
        self.master, self.replica, self.guarded = master, replica, guarded
        self.port = free_port()
        file = folder / "sentinel.conf"
        configuration = CONFIGURATION.format(port=self.port, folder=folder, master=master.port)
        file.write_text(configuration + (AUTHORIZED if guarded else ""))
        with (folder / "sentinel.log").open("ab") as log:
            self.process = subprocess.Popen([binary(master.kind), str(file), "--sentinel"], stdout=log, stderr=log)
        self.client = redis.Redis(port=self.port, retry=None)

    @property
    def settings(self) -> Sentinel:
        user, password = ("heald-worker", PASSWORDS["worker"]) if self.guarded else (None, None)
        instances = (("127.0.0.1", self.port),)
        return Sentinel(instances=instances, master_name="ci", username=user, password=password)

    def administrator(self, server: Server) -> redis.Redis:
        """Somebody who may do everything on one of the servers."""
        if self.guarded:
            return redis.Redis(port=server.port, username=ADMIN[0], password=ADMIN[1])
        return redis.Redis(port=server.port)

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
def watched_servers(kind: str, folder: Path, *options: str, guarded: bool = False) -> Iterator[Watched]:
    """Start all three, and end them; the servers with heald's accounts, if that is wanted."""
    folders = [folder / name for name in ("master", "replica", "sentinel")]
    for each in folders:
        each.mkdir()
    if guarded:
        options += (*accounts(folder), *FOLLOWING)
    account = ADMIN if guarded else None
    master = Server(kind, folders[0], *REPLICATED, *options, account=account)
    follow = ("--replicaof", f"127.0.0.1 {master.port}")
    replica = Server(kind, folders[1], *REPLICATED, *options, *follow, account=account)
    with master, replica:
        both = Watched(master, replica, folders[2], guarded=guarded)
        try:
            with both.administrator(replica) as client:
                until(lambda: client.info("replication")["master_link_status"] == "up", "the replica follows")
            with both.administrator(master) as client:  # it counts once a second whom it may rely on
                until(lambda: client.info("replication")["min_slaves_good_slaves"], "the master takes writes")
            until(both.ready, "Sentinel knows the replica")
            yield both
        finally:
            both.close()
            master.kill()  # asked to stop, each would wait for the other
            replica.kill()
