"""`make eval`: its arithmetic on a made-up folder, and the scores on the real one where it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from heald_producer.extract import Excerpt, Extractor

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "tests" / "eval" / "evaluate.py"
sys.path.insert(0, str(PROGRAM.parent))

from lines import line_scores  # noqa: E402

REAL = Path(os.environ.get("HEALD_EVAL") or ROOT.parent / "shared" / "eval")
LEAST_ACCURACY, LEAST_MACRO_F1 = 0.90, 0.88


def evaluate(data: Path, found: Path) -> dict[str, Any]:
    argv = [sys.executable, str(PROGRAM), str(data), "--json", str(found)]
    ran = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=300)
    assert "slowest rules" in ran.stdout
    answer: dict[str, Any] = json.loads(found.read_text())
    return answer


def made_up(folder: Path) -> Path:
    rows = [
        ("build", "a.c:1:2: error: unknown type name 'u24'", 1),
        ("build", "cp: no space left on device", 1),
        ("test", "FAILED tests/test_a.py::test_b - assert 3 == 4", None),
        ("unknown", "make: *** [all] Error 2", 2),
    ]
    failures = [
        {"source": "x", "stage": None, "message": message, "exit_code": code, "label": label, "why": "y"}
        for label, message, code in rows
    ]
    (folder / "failures-dev.jsonl").write_text("".join(json.dumps(each) + "\n" for each in failures))
    actions = [
        {"row": 0, "best": "patch_forward", "acceptable": ["patch_forward"], "harmful": ["retry"], "transient": False},
        {"row": 1, "best": "retry", "acceptable": ["retry", "escalate"], "harmful": ["rollback"], "transient": True},
        {"row": 2, "best": "retry", "acceptable": ["retry"], "harmful": ["patch_forward"], "transient": False},
    ]
    (folder / "actions-dev.jsonl").write_text("".join(json.dumps(each) + "\n" for each in actions))
    (folder / "logs").mkdir()
    (folder / "logs" / "a.log").write_text("start\na.c:1:2: error: unknown type name 'u24'\nmake: *** [all] Error 2\n")
    (folder / "logs-dev.jsonl").write_text(
        json.dumps({"log": "logs/a.log", "error_lines": [[2, 2], [900, 900]]}) + "\n"
    )
    return folder


def test_the_scores_of_a_made_up_folder_are_right(tmp_path: Path) -> None:
    found = evaluate(made_up(tmp_path), tmp_path / "found.json")
    assert found["rows"] == 4
    assert found["accuracy"] == 3 / 4
    assert found["confusion"]["build"] == {"build": 1, "test": 0, "runtime": 1, "integration": 0, "unknown": 0}
    # build: precision 1, recall 1/2; test and unknown: 1; runtime: said, never right; integration: neither
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 + 0 + 0 + 1) / 5)
    assert found["classes"]["build"] == [1.0, 0.5, pytest.approx(2 / 3), 2]
    low, high = found["accuracy_interval"]
    assert 0 <= low <= 3 / 4 <= high <= 1
    assert found["reference"]["accuracy"] == 1 / 4  # only the wrapper line is as unknown to it as it should be
    assert (found["action_fit"], found["action_best"], found["action_harm"]) == (2 / 3, 1 / 3, 1 / 3)
    assert found["transient_accuracy"] == 2 / 3  # a full disk does not empty itself, whatever the row says
    assert found["actions"]["escalate"] == {"taken": 1, "best": 0, "acceptable": 1, "harmful": 0, "missed": 0}
    assert (found["logs"], found["excerpt_hit"], found["line_recall"]) == (1, 1.0, 0.5)


def test_data_that_is_not_there_is_a_reason_to_skip(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, str(PROGRAM), str(tmp_path)], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("skipped: there is no ")


def test_the_rules_still_read_the_real_failures(tmp_path: Path) -> None:
    if not (REAL / "failures-dev.jsonl").is_file():
        pytest.skip(f"there is no evaluation data in {REAL}; name its folder in HEALD_EVAL")
    found = evaluate(REAL, tmp_path / "found.json")
    assert found["accuracy"] >= LEAST_ACCURACY
    assert found["macro_f1"] >= LEAST_MACRO_F1
    assert found["action_fit"] >= 0.95
    assert found["action_best"] >= 0.75
    assert found["action_harm"] <= 0.02


def test_marked_lines_count_by_what_they_say_and_blank_ones_not_at_all() -> None:
    log = b"ok\nerror: lost 3 coins\n\nerror: lost 4 coins\n2024-02-01T10:00:00Z error: lost all\nend\n"
    quoted = Excerpt("error: lost 3 coins", "", ((2, 2),), 6)
    scores = line_scores(log, [[2, 5]], quoted)
    assert (scores.hit, scores.recall, scores.strict, scores.bound) == (True, 2 / 3, 1 / 3, 1.0)
    assert line_scores(log, [[6, 6]], quoted) == (False, 0.0, 0.0, 1.0)
    assert line_scores(log, [], quoted) == (False, 0.0, 0.0, 0.0)


def test_no_excerpt_recalls_more_than_the_bound() -> None:
    log = b"".join(b"error in part %s of the till\n" % (chr(97 + n % 26) * (n // 26 + 1)).encode() for n in range(400))
    extractor = Extractor()
    extractor.feed(log)
    scores = line_scores(log, [[1, 400]], extractor.finish())
    assert 0 < scores.recall <= scores.bound < 0.5
