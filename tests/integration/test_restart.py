"""A server that starts again, with the accounts that heald ships, knows what it knew: on every server that is here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from heald_producer.connection import connect
from heald_worker import keys, queues
from heald_worker.core.policy import RecoveryPolicy
from heald_worker.core.taxonomy import FailureClass
from heald_worker.corrections import Correction, correct
from heald_worker.intake import new_token, take_in
from heald_worker.ledger import Held
from heald_worker.playbook import CommandRepair
from heald_worker.queues import SafeJob
from heald_worker.repairing import carry_out, claim
from support.contents import contents
from support.guarded import Guarded, guarded_server
from support.sentinel import FOLLOWING
from support.server import kinds
from support.service import House, report, settings
from support.wait import until

WANTED = kinds() if kinds() == ["named"] else ["valkey", "redis"]
KINDS = [
    pytest.param(kind, marks=[] if kind in kinds() else pytest.mark.skip(f"no {kind}-server is on this machine"))
    for kind in WANTED
]
LOG = ("--appendonly", "yes")
AT_ONCE = ("--repl-diskless-sync-delay", "0")
"""A master waits for no more replicas than one."""

SNAPSHOTS = ("--save", "3600 1")


def nothing(admin: redis.Redis) -> None:
    """The server writes what it has to write by itself."""


def rewrite(admin: redis.Redis) -> None:
    """Let the server make its append-only file anew."""
    admin.bgrewriteaof()
    until(lambda: rewritten(admin), "the append-only file is rewritten")


def rewritten(admin: redis.Redis) -> bool:
    about = admin.info("persistence")
    return about["aof_rewrite_in_progress"] == about["aof_rewrite_scheduled"] == 0


def snapshot(admin: redis.Redis) -> None:
    """Let the server write its snapshot: a server that is killed has no other."""
    admin.save()


PERSISTENCE = {
    "a log synced every second": ((*LOG, "--appendfsync", "everysec"), nothing, nothing),
    "a log synced always": ((*LOG, "--appendfsync", "always"), nothing, nothing),
    "a rewritten log": (LOG, rewrite, nothing),
    "a log rewritten last of all": (LOG, nothing, rewrite),
    "a log rewritten as commands": ((*LOG, "--aof-use-rdb-preamble", "no"), nothing, rewrite),
    "snapshots": (SNAPSHOTS, nothing, snapshot),
}
"""Options of the server, and what happens to it in the midst of the work, and after it."""


class Work:
    """Runs in every phase; each repair that is made leaves a line in a file.

    Attributes:
        held: a run whose repair was claimed and not begun.
    """

    def __init__(self, conn: redis.Redis, folder: Path) -> None:
        self.made = folder / "made"
        self.made.touch()
        sh = CommandRepair(("/bin/sh", "-c", f'echo "$HEALD_RUN_ID" >> {self.made}'))
        self.house = House(conn, settings(folder, sh, policy=RecoveryPolicy(max_attempts=2)))
        self.held: Held | None = None

    def end_some(self) -> None:
        """Runs that are over: recovered, escalated, refused; and a person's word."""
        self.house.push(report("mended"), report("given-up", stage="deploy", message="x"), b"junk", report("mended"))
        self.house.settle()
        word = Correction(FailureClass.TEST, run="mended", stage="test", by="somebody", at=0)
        assert correct(self.house.conn, "f" * 32, word, most=10, events_kept_ms=1_000_000) == "corrected"

    def begin_some(self) -> None:
        """Runs that go on: repaired and not recorded, claimed, waiting for a repair, taken in; a report that waits."""
        self.house.push(report("repaired"), report("claimed"), report("queued"))
        while self.house.control.turn() is None:
            pass
        self._next_repair()
        run_id, version = self._next_job().args
        self.held = claim(self.house.service, run_id, version)
        self.house.push(report("taken-in"))
        take_in(self.house.service, new_token())
        self.house.push(report("waits"))

    def _next_job(self) -> SafeJob:
        name = self.house.conn.lpop(queues.queue_key(queues.REPAIR))
        assert isinstance(name, bytes)
        return SafeJob.fetch(name.decode(), connection=self.house.conn)

    def _next_repair(self) -> None:
        job = self._next_job()
        job.func(*job.args)
        self.house.conn.delete(job.key)

    def finish(self) -> None:
        """What was begun goes on to its end."""
        assert self.held is not None
        carry_out(self.house.service, self.held)
        self.house.settle()

    def repairs(self) -> list[str]:
        """Whose repairs were made, once for each time."""
        return sorted(self.made.read_text().split())


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=PERSISTENCE)
def persistence(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def guarded(kind: str, persistence: str, tmp_path: Path) -> Iterator[Guarded]:
    options, _, _ = PERSISTENCE[persistence]
    folder = tmp_path / "server"
    folder.mkdir()
    with guarded_server(kind, folder, *options) as running:
        yield running


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_a_restart_loses_nothing_and_repeats_no_repair(
    guarded: Guarded, persistence: str, ending: str, tmp_path: Path
) -> None:
    _, midway, last = PERSISTENCE[persistence]
    server = guarded.server
    with connect(guarded.url("worker")) as client:
        work = Work(client, tmp_path)
        work.end_some()
        midway(guarded.admin)
        work.begin_some()
        last(guarded.admin)
        before = contents(guarded.admin)
        assert {keys.INBOX, keys.AGENDA, keys.RECOVERIES, keys.CORRECTIONS, keys.DEAD} <= set(before)
        assert {keys.tombstone("mended"), keys.tombstone("given-up")} <= set(before)
        assert {keys.run(name) for name in ("repaired", "claimed", "queued", "taken-in")} <= set(before)
        assert work.repairs() == ["mended", "repaired"]

        server.stop() if ending == "stop" else server.kill()
        server.start()

        assert contents(guarded.admin) == before
        assert "CRITICAL" not in (server.folder / "server.log").read_text()
        work.finish()
        assert set(work.house.logs()) == {"mended", "given-up", "repaired", "claimed", "queued", "taken-in", "waits"}
        assert work.repairs() == sorted(["mended", "repaired", "claimed", "queued", "taken-in", "waits"])
        work.house.close()


def test_a_replica_that_was_promoted_starts_again_and_knows_what_its_master_knew(kind: str, tmp_path: Path) -> None:
    """A replica applies what comes from its master whatever anybody's rights are; its own log is replayed as any is."""
    folders = tmp_path / "master", tmp_path / "replica"
    for folder in folders:
        folder.mkdir()
    with (
        guarded_server(kind, folders[0], *LOG, *AT_ONCE) as master,
        guarded_server(kind, folders[1], *LOG, *FOLLOWING) as replica,
        connect(master.url("worker")) as client,
    ):
        work = Work(client, tmp_path)
        replica.admin.replicaof("127.0.0.1", master.server.port)
        until(lambda: replica.admin.info("replication")["master_link_status"] == "up", "the replica follows")
        work.end_some()
        work.begin_some()
        assert client.wait(1, 5000) == 1
        before = contents(master.admin)
        replica.admin.replicaof("NO", "ONE")
        assert contents(replica.admin) == before

        replica.server.kill()
        replica.server.start()
        assert contents(replica.admin) == before
        work.house.close()


def test_what_a_server_forgot_for_want_of_rights_comes_back_with_them(kind: str, tmp_path: Path) -> None:
    """As `docs/operating.md` says. The older servers forget with `user default off` alone; the others lose nothing."""
    folder = tmp_path / "server"
    folder.mkdir()
    with guarded_server(kind, folder, *LOG) as guarded, connect(guarded.url("worker")) as client:
        work = Work(client, tmp_path)
        work.end_some()
        before = contents(guarded.admin)
        users = folder / "users.acl"
        shipped = users.read_text()
        for accounts in (re.sub("^user default .*", "user default off", shipped), shipped):
            users.write_text(accounts)
            guarded.server.stop()
            guarded.server.start()
        assert contents(guarded.admin) == before
        work.house.close()
