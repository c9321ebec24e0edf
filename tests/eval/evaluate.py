"""`make eval`: how often heald names the right class, takes a sensible action and finds the right lines.

The data is a folder with `failures-dev.jsonl` (rows with `stage`, `message`, `exit_code` and `label`), `logs-dev.jsonl`
(rows with `log` and `error_lines`, ranges from 1), the logs themselves, and `actions-dev.jsonl` (see `actions.py`).
Only what a runner has is used of a row. `docs/diagnosis.md` tells the method and the scores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import actions
import lines
import scores

from heald_producer.extract import Extractor
from heald_producer.signals import FailureSignal
from heald_worker.core.taxonomy import AIVCS, Diagnose
from heald_worker.rulebook import Rulebook, shipped_rulebook

FAILURES, ACTIONS, LOGS = "failures-dev.jsonl", "actions-dev.jsonl", "logs-dev.jsonl"
SLOWEST = 5


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate, print, and return 0; a folder that is not there is a reason to skip."""
    parser = argparse.ArgumentParser(description="Measure diagnosis and extraction on labelled failures.")
    parser.add_argument("data", type=Path, help=f"the folder with {FAILURES} and {LOGS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    options = parser.parse_args(argv)
    if not (options.data / FAILURES).is_file():
        print(f"skipped: there is no {options.data / FAILURES}; name a folder with DATA=DIR")
        return 0
    found = evaluate(options.data)
    show(found)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    return 0


def evaluate(data: Path) -> dict[str, Any]:
    """Everything that `--json` writes; shares and scores are from 0 to 1, times in microseconds."""
    rows = list(_rows(data / FAILURES))
    signals = [FailureSignal(row["stage"] or "", row["message"], row["exit_code"]) for row in rows]
    labels = [row["label"] for row in rows]
    book = shipped_rulebook()
    found = _class_scores(labels, signals, book.diagnose)
    found["reference"] = _class_scores(labels, signals, AIVCS.diagnose)
    found["slowest_rules"] = dict(_slowest(book, signals))
    if (data / ACTIONS).is_file():
        found |= actions.action_scores(book, list(_rows(data / ACTIONS)), signals)
    return found | _extraction(data)


def show(found: dict[str, Any]) -> None:
    """Print it for people."""
    for name, part in (("heald", found), ("the reference's rules", found["reference"])):
        print(f"{name}, {part['rows']} failures")
        for score in ("accuracy", "macro_f1"):
            low, high = part[f"{score}_interval"]
            print(f"  {score:<12}{part[score]:>7.3f}   95 % of resamples: {low:.3f} to {high:.3f}")
        print(f"  {'label':<12}{'precision':>10}{'recall':>8}{'f1':>7}   verdicts: {' '.join(scores.CLASSES)}")
        for label, (precision, recall, f1, count) in part["classes"].items():
            verdicts = " ".join(f"{n:>{len(each)}}" for each, n in part["confusion"][label].items())
            print(f"  {label:<12}{precision:>10.2f}{recall:>8.2f}{f1:>7.2f}   {count:>8}: {verdicts}")
    if "actions" in found:
        _show_actions(found)
    if found["logs"]:
        print(f"extraction, {found['logs']} logs")
        print(f"  an annotated line is in the excerpt: {found['excerpt_hit']:.3f}")
        print(f"  mean recall of annotated lines:      {found['line_recall']:.3f}")
        print(f"  the most that 2,000 characters hold: {found['line_recall_bound']:.3f}")
        print(f"  the same, by line number alone:      {found['line_recall_strict']:.3f}")
    print("slowest rules, mean microseconds on a message")
    for name, spent in found["slowest_rules"].items():
        print(f"  {name:<24}{spent:>8.1f}")


def _show_actions(found: dict[str, Any]) -> None:
    print(f"first actions, {found['action_rows']} failures; assumed: {found['assumed']}")
    for score in ("action_fit", "action_best", "action_harm", "transient_accuracy"):
        low, high = found[f"{score}_interval"]
        print(f"  {score:<20}{found[score]:>7.3f}   95 % of resamples: {low:.3f} to {high:.3f}")
    kinds = ("taken", "best", "acceptable", "harmful", "missed")
    print(f"  {'action':<16}{''.join(f'{kind:>12}' for kind in kinds)}")
    for action, counts in found["actions"].items():
        print(f"  {action:<16}{''.join(f'{counts[kind]:>12}' for kind in kinds)}")


def _class_scores(labels: Sequence[str], signals: Sequence[FailureSignal], diagnose: Diagnose) -> dict[str, Any]:
    pairs = [(label, diagnose(signal).failure_class.value) for label, signal in zip(labels, signals, strict=True)]
    right, f1 = scores.interval(scores.accuracy, pairs), scores.interval(scores.macro_f1, pairs)
    return {
        "rows": len(pairs),
        "accuracy": right.value,
        "accuracy_interval": [right.low, right.high],
        "macro_f1": f1.value,
        "macro_f1_interval": [f1.low, f1.high],
        "classes": scores.class_scores(pairs),
        "confusion": scores.confusion(pairs),
    }


def _slowest(book: Rulebook, signals: Sequence[FailureSignal]) -> list[tuple[str, float]]:
    """The rules that take longest when they are asked alone, and their mean time."""
    spent = []
    for rule in book.rules:
        alone = Rulebook([rule])
        for signal in signals:  # what is measured is the second time: the first one builds the automaton
            alone.diagnose(signal)
        begun = time.process_time_ns()
        for signal in signals:
            alone.diagnose(signal)
        spent.append((rule.name, (time.process_time_ns() - begun) / 1000 / max(1, len(signals))))
    return sorted(spent, key=lambda each: -each[1])[:SLOWEST]


def _extraction(data: Path) -> dict[str, Any]:
    found = []
    for row in _rows(data / LOGS) if (data / LOGS).is_file() else ():
        log = (data / row["log"]).read_bytes()
        extractor = Extractor()
        extractor.feed(log)
        found.append(lines.line_scores(log, row["error_lines"], extractor.finish()))
    names = {
        "excerpt_hit": "hit",
        "line_recall": "recall",
        "line_recall_strict": "strict",
        "line_recall_bound": "bound",
    }
    means = {
        key: statistics.fmean(getattr(each, name) for each in found) if found else None for key, name in names.items()
    }
    return {"logs": len(found), **means}


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as rows:
        yield from map(json.loads, rows)


if __name__ == "__main__":
    sys.exit(main())
