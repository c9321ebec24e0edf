"""`heald stats`: counted from the recovery stream, within bounds that it tells."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis

from heald_worker import keys
from heald_worker.core.policy import RecoveryAction
from heald_worker.playbook import RecordRepair
from support.calls import Caller
from support.entries import add_recovery
from support.server import Server
from support.service import House, report, settings

REPAIRS = {RecoveryAction.PATCH_FORWARD: RecordRepair(), RecoveryAction.ROLLBACK: RecordRepair(succeed=False)}


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
def past(conn: redis.Redis, tmp_path: Path) -> None:
    """Builds of one repository are mended and come back, runtime failures of another are not mended, one escalates."""
    house = House(conn, settings(tmp_path, repairs=REPAIRS))
    for round_ in range(3):
        house.push(report(f"build-{round_}", stage="build", context={"repository": "acme/app"}))
        house.settle()
    house.push(report("runtime", stage="runtime", context={"repository": "acme/web"}), report("odd", stage="deploy"))
    house.settle()
    house.close()


@pytest.mark.usefixtures("past")
def test_it_counts_repositories_repairs_and_endings(heald: Caller) -> None:
    [record] = heald("stats", "--json").records
    assert record["endings"] == {"recovered": 3, "exhausted": 1, "escalated": 1, "cancelled": 0}
    assert (record["runs"], record["read"], record["whole"], record["unreadable"]) == (5, 5, True, 0)
    repositories = {each["repository"]: each for each in record["repositories"]}
    assert next(iter(repositories)) == "acme/app"
    assert repositories["acme/app"] == {
        "repository": "acme/app",
        "runs": 3,
        "recovered": 3,
        "escalated": 0,
        "exhausted": 0,
        "cancelled": 0,
    }
    patches, rollbacks = record["repairs"]
    assert patches == {
        "action": "patch_forward",
        "repository": "acme/app",
        "tried": 3,
        "recovered": 3,
        "came_back": 2,
    }
    assert (rollbacks["tried"], rollbacks["recovered"], rollbacks["came_back"]) == (3, 0, 0)


@pytest.mark.usefixtures("past")
def test_a_person_reads_it_in_60_columns(heald: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    lines = heald("stats").lines
    assert max(map(len, lines)) <= 60
    assert lines[0] == "5 runs ended: 3 recovered, 1 exhausted, 1 escalated"
    rows = [line.split() for line in lines]
    assert ["repository", "runs", "recovered", "escalated", "exhausted"] in rows
    assert ["acme/app", "3", "3", "0", "0"] in rows
    assert ["(not", "told)", "1", "0", "1", "0"] in rows
    assert ["patch_forward", "tried", "recovered", "came", "back"] in rows
    assert ["acme/app", "3", "3", "2"] in rows


@pytest.mark.usefixtures("past")
def test_it_narrows_to_a_repository_and_a_time(heald: Caller, conn: redis.Redis) -> None:
    [record] = heald("stats", "--repository", "acme/w*", "--json").records
    assert [each["repository"] for each in record["repositories"]] == ["acme/web"]
    assert (record["runs"], record["read"]) == (1, 5)
    ids = [entry.decode() for entry, _ in conn.xrange(keys.RECOVERIES)]
    [record] = heald("stats", "--since", ids[0], "--until", ids[3], "--json").records
    assert record["read"] == 2


def test_it_reads_so_many_entries_and_says_so(heald: Caller, conn: redis.Redis) -> None:
    for number in range(250):
        add_recovery(conn, f"run-{number}", context={"repository": f"r{number % 30:02}"})
    conn.xadd(keys.RECOVERIES, {"nonsense": "x"})
    answer = heald("stats", "--read", "200", "--json")
    [record] = answer.records
    assert (record["read"], record["unreadable"], record["runs"], record["whole"]) == (200, 1, 199, False)
    assert "only the newest 200 entries were read, back to 20" in answer.err
    assert "cannot be read: 1" in answer.err
    [record] = heald("stats", "--read", "251", "--json").records
    assert (record["read"], record["whole"]) == (251, True)
    assert "and 20 more; -n shows them" in heald("stats").out
    assert "more; -n" not in heald("stats", "-n", "30").out


def test_nothing_to_count_is_no_error(heald: Caller) -> None:
    answer = heald("stats")
    assert (answer.code, answer.out, answer.err) == (0, "0 runs ended\n", "")
    [record] = heald("stats", "--json").records
    assert (record["runs"], record["from"], record["repositories"], record["repairs"]) == (0, None, [], [])


def test_what_came_from_a_report_cannot_steer_the_terminal(heald: Caller, conn: redis.Redis) -> None:
    add_recovery(conn, "run-1", context={"repository": "acme\x1b[31m/app"})
    assert "acme\\x1b[31m/app" in heald("stats").out
