"""The benchmark runs: with tiny counts it produces every row. What the numbers say is for people to judge."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent / "bench" / "bench.py"
ROWS = (
    "push_many",
    "push, one by one",
    "intake to open runs",
    "recoveries, artifacts renamed",
    "recoveries, artifacts synced too",
    "RQ SimpleWorker, the same flow",
    "heald renamed : RQ SimpleWorker",
    "heald synced : RQ SimpleWorker",
    "push to committed claim, p50",
    "push to committed claim, p99",
    "push to committed decision, p50",
    "push to committed decision, p99",
    "push to ended run, p50",
    "true",
    "python -c pass",
    "python -I -S -c pass",
    "heald run -- true",
    "heald run : python -c pass",
    "heald run, peak memory",
    "an open run",
    "an open run's events",
    "an ended run beyond its entries",
    "an ended run's stream entries",
    "worker memory after 50 recoveries",
    "worker memory after 200 recoveries",
    "growth between the two",
)


def test_the_benchmark_measures_everything(tmp_path: Path) -> None:
    table = tmp_path / "rows.json"
    argv = [sys.executable, str(BENCH), "--quick", "--json", str(table)]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    rows = json.loads(table.read_text())["rows"]
    assert [row["name"] for row in rows] == list(ROWS)
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert all(row["name"] in ran.stdout for row in rows)


def test_an_unknown_measurement_is_refused() -> None:
    ran = subprocess.run([sys.executable, str(BENCH), "--only", "speed"], capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "invalid choice: 'speed'" in ran.stderr
