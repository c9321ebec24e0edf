"""What living workers tell of their playbooks; a repair that only exists elsewhere is left to those who have it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from heald_producer import __version__
from heald_worker import keys, playbooks, queues
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Ending, Phase
from heald_worker.ledger import Held
from heald_worker.playbook import CommandRepair, Playbook, RecordRepair, WebhookNotice, one_for_all
from heald_worker.playbooks import Heard, Offer, Teller, Told, differences, digest_of, offers, told_by
from heald_worker.repairing import claim
from support.calls import Caller
from support.server import Server
from support.service import House, report, settings

PATCH, RETRY = RecoveryAction.PATCH_FORWARD, RecoveryAction.RETRY
SECRET = "hunter2-hunter2"
RICH = Playbook(
    one_for_all({PATCH: CommandRepair(("patch.sh", "--fast"), env={"TOKEN": SECRET}), RETRY: RecordRepair()}),
    {Ending.ESCALATED: WebhookNotice("https://chat.example.com/hooks/1", headers={"Authorization": SECRET})},
)


def alive(conn: redis.Redis, name: str, playbook: Playbook, *, queue: str = queues.REPAIR, rules: str = "") -> None:
    """A worker of this queue that has just beaten its heart."""
    teller = Teller(playbook, rules)
    conn.sadd(queues.workers_key(queue), f"rq:worker:{name}")
    conn.hset(f"rq:worker:{name}", mapping={"birth": "now", **teller.fields})
    teller.tell(conn)


@pytest.fixture
def house(conn: redis.Redis, tmp_path: Path) -> Iterator[House]:
    """A service without a repair for anything."""
    it = House(conn, settings(tmp_path, repairs={}))
    yield it
    it.close()


def test_a_worker_tells_what_it_has_repairs_for_and_nothing_of_how(conn: redis.Redis) -> None:
    alive(conn, "one", RICH)
    [key] = conn.keys("heald:playbook:*")
    assert json.loads(conn.get(key) or b"") == [
        {"action": action, "match": {}, "name": action, "reverts": False} for action in ("patch_forward", "retry")
    ]
    assert 0 < conn.ttl(key) <= playbooks.OFFER_LIFE
    assert told_by(conn) == [Told("one", __version__, digest_of(RICH))]


def test_offers_are_those_of_all_living_workers_each_once(conn: redis.Redis) -> None:
    alive(conn, "one", RICH)
    alive(conn, "two", Playbook(one_for_all({PATCH: CommandRepair(("another",))})), queue=queues.DECIDE)
    alive(conn, "killed", Playbook(one_for_all({RecoveryAction.ROLLBACK: RecordRepair()})))
    conn.delete("rq:worker:killed")
    assert sorted(offer.action for offer in offers(conn)) == [PATCH, RETRY]
    assert offers(conn, queues.DECIDE) == (Offer(PATCH, name="patch_forward"),)


@pytest.mark.parametrize("raw", [b"\xff", b"{}", b'[{"action": "dance"}]', b"[" * 200_000])
def test_what_is_no_offer_offers_nothing_and_stops_nobody(conn: redis.Redis, raw: bytes) -> None:
    alive(conn, "one", RICH)
    conn.sadd(queues.workers_key(queues.REPAIR), "rq:worker:odd")
    conn.set("rq:worker:odd", "no worker")
    conn.set(keys.playbook(digest_of(RICH)), raw)
    assert offers(conn) == ()


def test_two_playbooks_have_one_digest_when_they_do_the_same_whatever_their_secrets() -> None:
    def patch(*command: str, **more: object) -> str:
        return digest_of(Playbook(one_for_all({PATCH: CommandRepair(command, **more)})))  # type: ignore[arg-type]

    assert patch("a", env={"TOKEN": "one"}) == patch("a", env={"TOKEN": "two"})
    assert len({patch("a"), patch("b"), patch("a", env={"TOKEN": "x"}), patch("a", time_limit=1.0)}) == 4
    assert digest_of(Playbook()) != digest_of(Playbook(notices=RICH.notices))


def test_workers_that_differ_are_told_with_what_to_do() -> None:
    one, two = Told("one", "1.0", "aaaa", "rrrr"), Told("two", "1.0", "aaaa", "")
    assert differences([one, two]) == []
    [found] = differences([one, two._replace(version="1.1")])
    assert found.detail == "versions of living workers differ: 1.0 (one); 1.1 (two)"
    [found] = differences([one, two._replace(playbook="bbbb")])
    assert ("playbooks of living workers differ" in found.detail, "unless it is meant so" in found.advice) == (
        True,
        True,
    )
    many = [Told(f"w-{number}", str(number % 2)) for number in range(100)]
    assert differences(many)[0].detail.endswith("0 (w-0, w-2, w-4 and 47 more); 1 (w-1, w-3, w-5 and 47 more)")


def test_what_was_heard_is_believed_for_a_while_and_when_the_server_is_away(
    conn: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive(conn, "one", Playbook(one_for_all({PATCH: RecordRepair()})))
    heard = Heard(conn)
    assert heard.offers() == (Offer(PATCH, name="patch_forward"),)
    conn.delete("rq:worker:one")
    assert heard.offers() == (Offer(PATCH, name="patch_forward"),)

    def away(*_: object) -> None:
        raise redis.ConnectionError

    heard._until = 0.0
    with monkeypatch.context() as patched:
        patched.setattr(playbooks, "offers", away)
        assert heard.offers() == (Offer(PATCH, name="patch_forward"),)
    heard._until = 0.0
    assert heard.offers() == ()


def held(house: House, run_id: str) -> Held:
    _, [found] = house.service.ledger.load([run_id])
    assert isinstance(found, Held)
    return found


def test_a_repair_that_only_exists_elsewhere_is_queued_for_those_who_have_it_and_left_to_them(
    conn: redis.Redis, house: House
) -> None:
    alive(conn, "has-it", RICH)
    house.push(report("run-1"))
    while not conn.llen(queues.queue_key(queues.REPAIR)):
        house.control.turn()
    before = held(house, "run-1")
    assert claim(house.service, "run-1", before.version) is None
    assert held(house, "run-1") == before
    assert before.run.recovery.phase is Phase.WAITING
    assert conn.zscore(keys.AGENDA, "run-1") is not None
    assert house.events("run-1") == ["accepted", "decided"]


def test_an_attempt_whose_repair_nobody_has_fails_and_waits_for_nobody(conn: redis.Redis, house: House) -> None:
    alive(conn, "has-another", Playbook(one_for_all({RecoveryAction.ROLLBACK: CommandRepair(("true",))})))
    alive(conn, "decides-only", RICH, queue=queues.DECIDE)
    house.push(report("run-1"))
    house.settle()
    assert house.entry("run-1")["ending"] == "exhausted"


def test_a_repair_of_a_playbook_that_is_gone_by_now_fails_its_attempt(conn: redis.Redis, house: House) -> None:
    alive(conn, "has-it", RICH)
    house.push(report("run-1"))
    while not conn.llen(queues.queue_key(queues.REPAIR)):
        house.control.turn()
    conn.delete("rq:worker:has-it")
    house.service._made._until = 0.0
    house.settle()
    assert house.entry("run-1")["ending"] == "exhausted"


def test_workers_doctor_and_health_say_when_living_workers_differ(
    server: Server,
    conn: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    heald = Caller(server.url, tmp_path, monkeypatch, capsys)
    alive(conn, "one", RICH, queue=queues.DECIDE, rules="r1")
    alive(conn, "two", Playbook(), queue=queues.DECIDE, rules="r2")
    said = {verb: heald(verb) for verb in ("doctor", "health", "workers")}
    for answer in said.values():
        assert "playbooks of living workers differ" in answer.out + answer.err
        assert "rules of living workers differ" in answer.out + answer.err
        assert SECRET not in answer.out + answer.err
    assert said["health"].code == 0
    [seen] = heald("health", "--json").records
    assert len(seen["differences"]) == 2
