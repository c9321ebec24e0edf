"""`heald artifacts rebuild`: the recovery stream is enough to have every artifact again, on any machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from heald_worker import keys
from heald_worker.artifacts import verify_artifact
from heald_worker.cli import main
from heald_worker.core.taxonomy import AIVCS
from heald_worker.records import canonical_bytes, digest_of
from support.artifacts import a_log, filled
from support.server import Server

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEALD_REDIS_URL", server.url)
    monkeypatch.setenv("HEALD_FSYNC", "no")


def told(conn: redis.Redis, run_id: str, message: str = "t red", **instead: Any) -> str:
    """An entry of the recovery stream, as the commit that ends a run writes it. Returns its id."""
    data = canonical_bytes(a_log(run_id, message))
    taxonomy = {"name": AIVCS.ref.name, "version": AIVCS.ref.version, "digest": AIVCS.ref.digest}
    facts = {"policy_name": "default", "taxonomy": taxonomy, "accepted_at": 1}
    fields = {"run": run_id, "outcome": "failed", "ending": "exhausted", "digest": digest_of(data), "log": data}
    entry_id: bytes = conn.xadd(keys.RECOVERIES, {**fields, "facts": json.dumps(facts), **instead})
    return entry_id.decode()


def test_every_artifact_comes_back_byte_for_byte(
    conn: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [f"run-{number}" for number in range(250)]
    for run in runs:
        told(conn, run)
    assert main(["artifacts", "rebuild", "--dir", "a"]) == 0
    assert capsys.readouterr().out == "250 written, 0 already there, 0 replaced, 0 bad\n"
    assert [verify_artifact(tmp_path / "a", run) for run in runs] == [a_log(run) for run in runs]
    assert main(["verify", "--all", "--dir", "a"]) == 0


def test_what_is_there_stays_and_what_differs_is_replaced(
    conn: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(tmp_path / "a", "run-1", "run-2")
    told(conn, "run-1")
    told(conn, "run-2", message="what really happened")
    told(conn, "run-3")
    assert main(["artifacts", "rebuild", "--dir", "a", "--json"]) == 0
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"run": "run-1", "state": "same"},
        {"run": "run-2", "state": "replaced"},
        {"run": "run-3", "state": "written"},
        {"written": 1, "same": 1, "replaced": 1, "bad": 0},
    ]
    assert verify_artifact(tmp_path / "a", "run-2") == a_log("run-2", "what really happened")


def test_bad_entries_are_named_and_stop_nothing(
    conn: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = [
        told(conn, "run-1", digest="0" * 64),
        told(conn, "run-2", log="{}"),
        told(conn, "run-3", run="run-4"),
        conn.xadd(keys.RECOVERIES, {"note": "not heald's"}).decode(),
    ]
    told(conn, "../outside")
    told(conn, "run-5")
    assert main(["artifacts", "rebuild", "--dir", "a"]) == 1
    shown = capsys.readouterr().out.splitlines()
    for entry_id in bad:
        assert sum(entry_id in line for line in shown) == 1
    assert any("'../outside' is not allowed" in line for line in shown)
    assert shown[-1] == "1 written, 0 already there, 0 replaced, 5 bad"
    assert sorted(path.name for path in tmp_path.rglob("recovery.json")) == ["recovery.json"]
    assert verify_artifact(tmp_path / "a", "run-5") == a_log("run-5")


def test_since_leaves_older_entries_alone(conn: redis.Redis, tmp_path: Path) -> None:
    told(conn, "run-1")
    last = told(conn, "run-2")
    told(conn, "run-3")
    assert main(["artifacts", "rebuild", "--dir", "a", "--since", last]) == 0
    assert sorted(path.parent.name for path in tmp_path.rglob("recovery.json")) == ["run-3"]


def test_a_server_that_is_away_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["artifacts", "rebuild", "--dir", "a", "--redis-url", "redis://127.0.0.1:1/0"]) == 69
    assert "cannot be reached" in capsys.readouterr().err
