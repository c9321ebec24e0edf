"""The benchmark runs: with tiny counts it produces every row. What the numbers say is for people to judge."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent / "bench" / "bench.py"
ROWS = (
    "diagnosis of a message",
    "diagnosis of new lines",
    "extraction, a build's log",
    "extraction, a build's log, peak memory",
    "extraction, a log of errors",
    "extraction, a log of errors, peak memory",
    "cat FILE | cat",
    "heald run -- cat FILE",
    "heald run : cat",
    "heald run : cat, into a pipe",
    "heald run of much output, peak memory",
    "push_many",
    "push, one by one",
    "intake to open runs",
    "recoveries, artifacts renamed",
    "recoveries, artifacts synced too",
    "the same by two control processes",
    "RQ SimpleWorker, the same flow",
    "heald renamed : RQ SimpleWorker",
    "heald synced : RQ SimpleWorker",
    "two control processes : one",
    "push to committed claim, p50",
    "push to committed claim, p99",
    "push to committed decision, p50",
    "push to committed decision, p99",
    "push to ended run, p50",
    "push to committed decision at half the peak, p50",
    "push to committed decision at half the peak, p99",
    "push to ended run at half the peak, p50",
    "push to ended run at half the peak, p99",
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


def test_the_long_benchmark_measures_everything(tmp_path: Path) -> None:
    table = tmp_path / "rows.json"
    argv = [sys.executable, str(BENCH), "--quick", "--long", "--json", str(table)]
    ran = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    names = [row["name"] for row in json.loads(table.read_text())["rows"]]
    assert "recoveries/s, backlog of 1,000" in names
    assert "most RQ jobs at once" in names
