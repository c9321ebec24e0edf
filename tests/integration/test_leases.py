"""One holder at a time: claims, their leases, and what is left of them when a server forgets its last second."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from heald_worker import decisions, keys, queues
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.recovery import RepairEnded, advance
from heald_worker.ledger import Held
from heald_worker.moves import move_for
from heald_worker.playbook import CommandRepair
from heald_worker.repairing import claim
from support.service import House, report, settings


@pytest.fixture
def it(conn: redis.Redis, tmp_path: Path) -> Iterator[House]:
    house = House(conn, settings(tmp_path, CommandRepair(("/bin/true",))))
    yield house
    house.close()


def waiting(it: House) -> int:
    """Bring run-1 to where it waits for its first repair. Returns the version."""
    it.push(report("run-1"))
    while it.control.turn() is None:
        pass
    return int(it.conn.hget(keys.run("run-1"), "v"))


def claimed(it: House, version: int) -> Held:
    held = claim(it.service, "run-1", version)
    assert held is not None
    return held


class Past:
    """A server that forgets what came after this moment, as one does whose log lost its last second."""

    def __init__(self, conn: redis.Redis) -> None:
        self._conn, self._kept = conn, {key: conn.dump(key) for key in conn.scan_iter()}

    def comes_back(self) -> None:
        self._conn.flushall()
        for key, value in self._kept.items():
            self._conn.restore(key, 0, value)


def commit_result(it: House, held: Held) -> list[str]:
    now = it.service.ledger.now()
    step = advance(held.run.recovery, RepairEnded(RecoveryAttemptResult(True)), now)
    return it.service.ledger.commit([move_for(it.service, held, step, now)])


def test_a_lease_is_renewed_for_its_holder_only(it: House) -> None:
    held = claimed(it, waiting(it))
    it.conn.zadd(keys.AGENDA, {"run-1": 5})
    assert it.service.ledger.renew(held, 30_000)
    assert it.conn.zscore(keys.AGENDA, "run-1") > 5
    assert commit_result(it, held) == ["committed"]
    assert not it.service.ledger.renew(held, 30_000)


def test_a_claim_that_the_server_forgot_is_not_renewed(it: House) -> None:
    version = waiting(it)
    past = Past(it.conn)
    held = claimed(it, version)
    past.comes_back()
    assert not it.service.ledger.renew(held, 30_000)


def test_a_claim_that_the_server_forgot_shares_nothing_with_the_next_one(it: House) -> None:
    version = waiting(it)
    past = Past(it.conn)
    forgotten = claimed(it, version)
    past.comes_back()
    standing = claimed(it, version)
    assert standing.version == forgotten.version
    assert not it.service.ledger.renew(forgotten, 30_000)
    assert commit_result(it, forgotten) == ["moved"]
    assert it.service.ledger.renew(standing, 30_000)
    assert commit_result(it, standing) == ["committed"]


def test_a_result_from_a_forgotten_claim_changes_no_log_that_is_fixed(it: House) -> None:
    version = waiting(it)
    past = Past(it.conn)
    forgotten = claimed(it, version)
    past.comes_back()
    assert decisions.cancel(it.service, "run-1") == "cancelled"
    assert commit_result(it, forgotten) == ["moved"]
    it.conn.delete(queues.queue_key(queues.REPAIR))
    it.settle()
    assert it.entry("run-1")["ending"] == "cancelled"
