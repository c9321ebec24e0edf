"""`docs/keyspace.md` describes what is really there: names, types, fields, kinds, lives."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import redis

from heald_producer.probe import encode_probe
from heald_producer.wire import decode_report
from heald_worker import keys, queues
from heald_worker.cli.accounts import KINDS
from heald_worker.config import Limits
from heald_worker.core.policy import Bounds, RecoveryAction
from heald_worker.core.recovery import Ending
from heald_worker.core.remedies import Remedy, RemedyTable
from heald_worker.ledger import Resend
from heald_worker.playbook import CommandNotice, CommandRepair
from heald_worker.playbooks import OFFER_LIFE, Teller
from heald_worker.remedy_tables import RemedyTables
from heald_worker.repairing import claim
from heald_worker.streams import EVENTS, EventEntry, RecoveryFacts
from support.calls import Caller
from support.entries import recovery_fields
from support.server import Server
from support.service import House, report, settings
from support.wait import until

PAGE = (Path(__file__).parents[2] / "docs" / "keyspace.md").read_text("utf-8")


def section(title: str) -> str:
    """The text under a heading, without the rest."""
    found = re.search(rf"^#+ {re.escape(title)}.*?\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(text: str, heading: str) -> dict[str, list[str]]:
    """A table's rows by their first cell."""
    found = re.search(rf"^\| {re.escape(heading)} \|.*?\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert found, heading
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in found[1].splitlines()]
    return {row[0].strip("`"): row[1:] for row in cells}


OVERVIEW = rows(PAGE, "Key")


def described(key: str) -> str:
    """How the overview names a key of the server."""
    names = [name for name in OVERVIEW if re.fullmatch(re.sub(r"<\w+>", r"[^:]+", name), key)]
    assert len(names) == 1, f"{key} is described by {names}"
    return names[0]


def test_the_page_names_exactly_the_keys_of_the_code() -> None:
    whole = {value for name, value in vars(keys).items() if name.isupper() and str(value).startswith("heald:")}
    prefixes = {value for value in whole if value.endswith(":")}
    assert {re.sub("<.*", "", name) for name in OVERVIEW} == whole
    assert {re.sub("<.*", "", name) for name in OVERVIEW if "<" in name} == prefixes
    headings = " ".join(re.findall(r"^## (.*)$", PAGE, re.MULTILINE))
    assert {name for name in OVERVIEW if f"`{name}`" not in headings} == set()


def test_the_page_names_exactly_the_kinds_of_events() -> None:
    assert set(rows(section("`heald:events`"), "Kind")) == set(KINDS)


def test_the_facts_of_a_kind_are_those_that_the_command_line_tells() -> None:
    for kind, [facts] in rows(section("`heald:events`"), "Kind").items():
        if "the same" not in facts:
            assert KINDS[kind] <= set(re.findall(r"`(\w+)`", facts)), kind


def test_the_page_names_exactly_the_facts_of_a_recovery() -> None:
    assert set(rows(section("`heald:recoveries`"), "In `facts`")) == set(RecoveryFacts.__struct_fields__)


def test_the_page_names_exactly_heald_s_queues() -> None:
    assert set(re.findall(r"`(heald-\w+)`", section("RQ's keys"))) == set(queues.QUEUES)


def test_the_example_of_a_report_is_one() -> None:
    [example] = re.findall(r"^```json report\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert decode_report(example.encode()).run_id == "github-4711-1-unit"


def test_the_example_of_an_event_is_one() -> None:
    [example] = re.findall(r"^```json event\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    fields = {key.encode(): value.encode() for key, value in json.loads(example).items()}
    entry = EVENTS.entry((b"1-0", fields))
    assert isinstance(entry, EventEntry)
    assert set(entry.facts) == KINDS[entry.kind]


def names(entries: Any) -> set[str]:
    return {field.decode() for _, fields in entries for field in fields}


MAIN = {"repository": "acme/shop", "commit": "c0ffee", "ref": "refs/heads/main", "ci_run": "7", "ci_attempt": "1"}


@pytest.fixture
def busy(
    server: Server,
    conn: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> House:
    """A service that has done a bit of everything, with open, parked and ended runs."""
    repairs = {
        RecoveryAction.PATCH_FORWARD: CommandRepair(("echo", "mended")),
        RecoveryAction.ROLLBACK: CommandRepair(("echo", "rolled back")),
    }
    notices = {Ending.ESCALATED: CommandNotice(("false",))}
    bounds = {"default": Bounds(min_confidence=0.0)}  # its stage alone says that it is a test
    more = {"limits": Limits(notice_tries=1), "taxonomy": "heald", "bounds": bounds}
    chosen = settings(tmp_path, repairs=repairs, notices=notices, **more)
    it = House(conn, chosen)
    it.service.remedies = RemedyTables(conn, RemedyTable({"test": (Remedy(RecoveryAction.PATCH_FORWARD, "mend it"),)}))
    it.push(
        report("run-1", context={"repository": "acme/shop", "commit": "c0ffee"}),
        report("run-1", context={"repository": "acme/shop", "commit": "c0ffee"}),
        report("run-1", message="another"),
        report("run-2", stage="deploy", message="it broke"),
        report("run-3", stage="runtime"),
        report("flaky", flaky_hint=True, context={"repository": "acme/shop"}),
        b"not json",
        encode_probe("abc"),
    )
    it.settle()
    it.push(report("holds", message="another red", context=MAIN))
    until(lambda: it.control.turn() is None and it.conn.hget(keys.run("holds"), "v") == b"2", "its repair waits")
    assert claim(it.service, "holds", 2)
    heald = Caller(server.url, tmp_path, monkeypatch, capsys)
    for _ in range(2):
        assert heald("correct", "run-2", "--class", "integration").code == 0
    it.push(report("open"), report("parked"), report("cancelled"))
    it.control._take_in(it.control.backlog())
    it.conn.rpush(keys.intake("token"), report("left-behind"))
    for _ in range(2):
        assert it.service.ledger.park("parked", 1, "why")
        heald("resume", "parked")
    assert it.service.ledger.park("parked", 1, "why")
    assert heald("cancel", "cancelled").code == 0
    late = queues.nudge_job(queues.DECIDE, "open", 1, "2026-01-02T03:04:05.000000Z")
    assert it.service.ledger.resend([Resend("open", 1, late, closed_at=1)]) != ["moved"]
    Teller(it.service.settings.playbook, "").tell(conn)
    it.push(report("waits"))
    heald("pause")
    return it


def test_every_key_of_a_busy_service_is_described_with_its_type_and_life(busy: House) -> None:
    found = {key.decode() for key in busy.conn.keys("heald:*")}
    assert {described(key) for key in found} == set(OVERVIEW)
    for key in found:
        kind, _, _, life = OVERVIEW[described(key)]
        assert busy.conn.type(key).decode().replace("zset", "sorted set") == kind, key
        mortal = busy.conn.ttl(key) > 0
        assert mortal == (kind in ("string", "hash") and any(unit in life for unit in ("day", "minutes"))), key


def test_offers_live_as_long_as_the_page_says() -> None:
    assert OVERVIEW["heald:playbook:<digest>"][-1].startswith(f"{OFFER_LIFE // 60} minutes")


def test_every_field_of_a_busy_service_is_described(busy: House) -> None:
    conn = busy.conn
    for stream in (keys.EVENTS, keys.RECOVERIES, keys.DEAD):
        assert names(conn.xrange(stream)) == set(rows(section(f"`{stream}`"), "Field")), stream
    fields = {field.decode() for key in conn.scan_iter("heald:run:*") for field in conn.hkeys(key)}
    assert fields <= set(rows(section("`heald:run:<run>`"), "Field"))
    assert {name.decode() for name in conn.hkeys(keys.STATS)} <= set(re.findall(r"`(\w+)`", section("`heald:parked`")))
    kinds = {fields[b"kind"].decode() for _, fields in conn.xrange(keys.EVENTS)}
    assert kinds <= set(KINDS)
    assert len(kinds) >= 11
    for _, entry in conn.xrange(keys.EVENTS):
        assert KINDS[entry[b"kind"].decode()] <= json.loads(entry[b"facts"]).keys()
    reasons = {fields[b"reason"].decode() for _, fields in conn.xrange(keys.DEAD)}
    assert reasons <= set(rows(section("`heald:dead`"), "Reason"))


def test_hand_made_recoveries_of_the_tests_look_like_the_service_s(busy: House) -> None:
    [(_, real), *_] = busy.conn.xrange(keys.RECOVERIES)
    assert {field.decode() for field in real} == recovery_fields("run-1").keys()
    assert json.loads(real[b"facts"]).keys() == set(RecoveryFacts.__struct_fields__)
