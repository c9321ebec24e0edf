"""`heald doctor` and `heald health` on a real server."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from heald_producer.signals import FailureReport, FailureSignal
from heald_producer.wire import encode_report
from heald_worker import keys, queues
from heald_worker.cli import main, replay_checkup
from support.guarded import Guarded, guarded_server
from support.server import Server, free_port

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("HEALD_") or name == "REDIS_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HEALD_SPOOL", str(tmp_path / "spool"))


def doctor(capsys: pytest.CaptureFixture[str], url: str, *options: str) -> tuple[int, dict[str, list[dict[str, Any]]]]:
    """The doctor's exit code and findings by check."""
    code = main(["doctor", "--json", "--redis-url", url, *options])
    findings: dict[str, list[dict[str, Any]]] = {}
    for line in capsys.readouterr().out.splitlines():
        finding = json.loads(line)
        findings.setdefault(finding["check"], []).append(finding)
    return code, findings


def health(capsys: pytest.CaptureFixture[str], url: str, *options: str) -> tuple[int, dict[str, Any]]:
    code = main(["health", "--json", "--redis-url", url, *options])
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, answer


def open_run(conn: redis.Redis, run_id: str, due_ms: float | None = None) -> None:
    conn.hset(keys.run(run_id), mapping={"v": 1, "s": "{}"})
    if due_ms is not None:
        conn.zadd(keys.AGENDA, {keys.fold(run_id): due_ms})


def alive(conn: redis.Redis, *names: str) -> None:
    """Workers of these queues that beat their hearts."""
    for name in names:
        conn.sadd(queues.workers_key(name), f"rq:worker:of-{name}")
        conn.hset(f"rq:worker:of-{name}", "birth", "now")


def now_ms(conn: redis.Redis) -> int:
    seconds, micros = conn.time()
    return int(seconds) * 1000 + int(micros) // 1000


def test_a_fresh_server_has_nothing_bad(conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = doctor(capsys, server.url)
    assert code == 0
    assert {each["level"] for findings in found.values() for each in findings} == {"ok", "warn"}
    assert found["eviction"][0]["detail"] == "noeviction"
    assert found["runs"][0]["detail"] == "all open runs are on the agenda"
    assert "no append-only file" in found["persistence"][0]["detail"]
    assert found["workers"][0]["level"] == "warn"


def test_a_person_reads_one_line_per_check(
    conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--redis-url", server.url]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ok    eviction       noeviction" in lines
    assert any(line.startswith("warn  persistence") for line in lines)


def test_a_wrong_eviction_policy_is_bad(conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    conn.config_set("maxmemory-policy", "allkeys-lru")
    try:
        code, found = doctor(capsys, server.url)
    finally:
        conn.config_set("maxmemory-policy", "noeviction")
    assert (code, found["eviction"][0]["level"]) == (1, "bad")


def test_an_append_only_file_is_told_with_its_fsync(
    conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    conn.config_set("appendonly", "yes")
    try:
        assert "everysec" in doctor(capsys, server.url)[1]["persistence"][0]["detail"]
    finally:
        conn.config_set("appendonly", "no")


@pytest.fixture
def guarded(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Guarded]:
    """A server with heald's accounts and an append-only file, which counts as one of the older ones."""
    monkeypatch.setattr(replay_checkup, "FREE_REPLAY", {"Redis": (99,), "Valkey": (99,)})
    folder = tmp_path / "server"
    folder.mkdir()
    with guarded_server(server.kind, folder, "--appendonly", "yes") as running:
        yield running


def test_an_administrator_hears_whether_the_default_user_may_replay(
    guarded: Guarded, capsys: pytest.CaptureFixture[str]
) -> None:
    [shipped] = doctor(capsys, guarded.url("admin"))[1]["accounts"]
    assert shipped["level"] == "ok"
    for less in ("-@all", "-@dangerous", "-flushall", "resetkeys"):
        guarded.admin.execute_command("ACL SETUSER", "default", "reset", "~*", "+@all", less)
        code, found = doctor(capsys, guarded.url("admin"))
        assert (code, found["accounts"][0]["level"]) == (1, "bad"), less
        assert "user default off resetpass ~* &* +@all" in found["accounts"][0]["advice"]


def test_a_worker_hears_that_it_may_not_see_it(guarded: Guarded, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = doctor(capsys, guarded.url("worker"))
    assert (code, found["accounts"][0]["level"]) == (0, "warn")
    assert "which this account may not see" in found["accounts"][0]["detail"]


def test_runs_and_batches_missing_from_the_agenda_are_found_and_mended(
    conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    pipe = conn.pipeline()
    for number in range(2500):
        pipe.hset(keys.run(f"Fine-{number}"), "v", 1)
        pipe.zadd(keys.AGENDA, {keys.fold(f"Fine-{number}"): now_ms(conn) + 60_000})
    pipe.execute()
    for number in range(7):
        open_run(conn, f"Lost-{number}")
    conn.rpush(keys.intake("abc"), "x")
    open_run(conn, "parked")
    conn.hset(keys.PARKED, "parked", "an unknown format")
    conn.set(keys.tombstone("ended"), "x")

    code, found = doctor(capsys, server.url)
    assert (code, found["runs"][0]["level"]) == (1, "bad")
    assert found["runs"][0]["detail"].startswith("8 are missing from the agenda: ")
    assert "heald doctor --mend" in found["runs"][0]["advice"]
    assert found["parked"][0]["detail"] == "1: parked (an unknown format)"

    _, mended = doctor(capsys, server.url, "--mend")
    assert mended["runs"][0]["level"] == "warn"
    lost = {keys.fold(f"Lost-{number}").encode() for number in range(7)} | {b"intake:abc"}
    assert set(conn.zrangebyscore(keys.AGENDA, "-inf", now_ms(conn))) == lost
    assert doctor(capsys, server.url)[1]["runs"][0]["level"] == "ok"


def test_hostile_text_on_the_server_is_shown_as_text(
    conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    conn.hset(keys.PARKED, "evil", "\x1b[2J\n\xff")
    conn.set(keys.PAUSED, b"\xff\x1b]0;title\x07")
    main(["doctor", "--redis-url", server.url])
    main(["health", "--redis-url", server.url])
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "\\x1b[2J\\n" in shown


def test_a_server_that_is_away_is_one_bad_line_and_the_rest_is_still_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = doctor(capsys, f"redis://127.0.0.1:{free_port()}/0")
    assert code == 1
    assert "cannot be reached" in found["server"][0]["detail"]
    assert found["artifacts"][0]["level"] == "ok"


def test_a_user_who_may_not_ask_everything_hears_what_is_missing(
    conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    conn.acl_setuser("narrow", enabled=True, passwords=["+pw"], keys=["*"], commands=["+info", "+ping", "+scan"])
    try:
        url = server.url.replace("redis://", "redis://narrow:pw@")
        code, found = doctor(capsys, url)
    finally:
        conn.acl_deluser("narrow")
    assert code == 1
    assert any("does not allow this" in each["detail"] for each in found["server"])
    assert found["eviction"][0]["level"] == "ok"
    assert found["runs"][0]["level"] == "ok"
    assert not any("pw" in each["detail"] for each in found["server"])


def test_a_key_of_another_type_is_told(conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    conn.set(keys.AGENDA, "not a sorted set")
    code, found = doctor(capsys, server.url)
    assert code == 1
    assert any("holds something else" in each["detail"] for each in found["server"])


def test_an_idle_service_is_healthy(conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    alive(conn, queues.DECIDE)
    code, answer = health(capsys, server.url)
    assert (code, answer["status"], answer["inbox"], answer["oldest"]) == (0, "healthy", 0, None)


def test_a_service_without_as_many_living_control_processes_as_it_needs_is_unhealthy(
    conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answer = health(capsys, server.url)
    assert (code, answer["control_workers"], len(answer["problems"])) == (1, 0, 1)
    assert health(capsys, server.url, "--need-workers", "0")[0] == 0
    alive(conn, queues.DECIDE)
    assert health(capsys, server.url)[0] == 0
    assert health(capsys, server.url, "--need-workers", "2")[1]["problems"] == [
        "control processes alive: 1 (at least 2); start one with `heald worker`"
    ]


def test_runs_that_cannot_end_and_notices_that_nobody_got_are_unhealthy(
    conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    alive(conn, queues.DECIDE)
    conn.zadd(keys.UNCLOSED, {"run-1": now_ms(conn) - 3_600_000, "run-2": now_ms(conn)})
    conn.xadd(keys.UNHEARD, {"run": "run-3", "ending": "escalated", "tries": 1, "reason": "why"})
    code, answer = health(capsys, server.url)
    assert (code, answer["unclosed"], answer["unheard"], len(answer["problems"])) == (1, 2, 1, 2)
    assert 3600 <= answer["closing"] < 3660
    assert health(capsys, server.url, "--max-closing", "2h", "--max-unheard", "1")[0] == 0


def test_an_old_report_in_the_inbox_is_unhealthy(
    conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    alive(conn, queues.DECIDE)
    old = FailureReport("r", FailureSignal("s", "m"), reported_at="2026-01-01T00:00:00Z")
    conn.rpush(keys.INBOX, encode_report(old))
    code, answer = health(capsys, server.url)
    assert (code, answer["status"], answer["inbox"]) == (1, "unhealthy", 1)
    assert answer["oldest"] > 86_400
    assert "the oldest report waits" in answer["problems"][0]
    assert health(capsys, server.url, "--max-age", "3650d")[0] == 0


@pytest.mark.parametrize(
    "head",
    [b"not json", b"x" * 300_000, encode_report(FailureReport("r", FailureSignal("s", "m")))],
    ids=["poison", "too large", "no time"],
)
def test_a_head_of_unknown_age_is_no_complaint(
    conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str], head: bytes
) -> None:
    alive(conn, queues.DECIDE)
    conn.rpush(keys.INBOX, head)
    code, answer = health(capsys, server.url)
    assert (code, answer["inbox"], answer["oldest"]) == (0, 1, None)


def test_an_overdue_agenda_is_unhealthy_unless_the_service_is_paused(
    conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    alive(conn, queues.DECIDE)
    open_run(conn, "late", now_ms(conn) - 120_000)
    open_run(conn, "early", now_ms(conn) + 120_000)
    code, answer = health(capsys, server.url)
    assert (code, answer["agenda"], answer["overdue"]) == (1, 2, 1)
    assert 120 <= answer["lag"] < 180
    assert health(capsys, server.url, "--max-lag", "10m")[0] == 0
    conn.set(keys.PAUSED, "release day")
    code, answer = health(capsys, server.url)
    assert (code, answer["status"], answer["paused"]) == (0, "paused", "release day")


def test_parked_runs_and_a_full_inbox_are_unhealthy_beyond_their_thresholds(
    conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    alive(conn, queues.DECIDE)
    conn.hset(keys.PARKED, "r", "why")
    conn.rpush(keys.INBOX, "x", "y")
    code, answer = health(capsys, server.url, "--max-inbox", "1")
    assert (code, len(answer["problems"])) == (1, 2)
    assert health(capsys, server.url, "--max-inbox", "2", "--max-parked", "1")[0] == 0


def test_work_that_no_worker_is_there_for_is_unhealthy(
    conn: redis.Redis, server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    conn.rpush(keys.INBOX, "a report")
    open_run(conn, "run-1", now_ms(conn) + 60_000)
    conn.rpush(queues.queue_key(queues.REPAIR), "a-job", "another-job")
    conn.sadd(queues.workers_key(queues.DECIDE), "rq:worker:killed")  # its heart stopped
    code, answer = health(capsys, server.url)
    assert (code, answer["control_alive"], answer["repairs_alive"]) == (1, False, False)
    assert answer["problems"] == [
        "work waits and no control process is alive (inbox 1, agenda 1): start one with `heald worker`",
        "repairs wait and no repair process is alive (2): start one with `heald worker`",
    ]
    alive(conn, queues.DECIDE)
    assert len(health(capsys, server.url)[1]["problems"]) == 1
    alive(conn, queues.REPAIR)
    assert health(capsys, server.url)[0] == 0
    conn.delete("rq:worker:of-heald-decide")
    conn.set(keys.PAUSED, "the deploy freeze")
    assert health(capsys, server.url)[1]["problems"] == []


def test_health_of_a_server_that_is_away_is_69(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"redis://me:hunter2@127.0.0.1:{free_port()}/0"
    code, answer = health(capsys, url)
    assert (code, answer["status"]) == (69, "unavailable")
    assert main(["health", "--redis-url", url]) == 69
    shown = capsys.readouterr()
    assert "cannot be reached" in shown.err
    assert "hunter2" not in shown.err + json.dumps(answer)


def test_a_threshold_that_is_no_duration_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["health", "--max-lag", "soon"]) == 2
    assert "--max-lag must be a duration, not 'soon'" in capsys.readouterr().err
