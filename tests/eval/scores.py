"""How well classes were named: pure arithmetic over pairs of the right class and the one that was said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple, TypeVar

from heald_worker.core.taxonomy import FailureClass

CLASSES = tuple(each.value for each in FailureClass)
RESAMPLES = 1000
SEED = 1

Pair = tuple[str, str]
"""The label and the verdict."""


class Interval(NamedTuple):
    """A score and the bounds between which 95 of 100 resamples of the same rows put it."""

    value: float
    low: float
    high: float


class ClassScore(NamedTuple):
    """One class: of the rows said to be it, the share that is; of those that are it, the share found; how many are."""

    precision: float
    recall: float
    f1: float
    rows: int


def accuracy(pairs: Sequence[Pair]) -> float:
    """The share of rows whose verdict is their label; 0 without rows."""
    return sum(label == verdict for label, verdict in pairs) / len(pairs) if pairs else 0.0


def class_scores(pairs: Sequence[Pair]) -> dict[str, ClassScore]:
    """Precision, recall and F1 of each of the five classes; what would divide by nothing is 0."""
    counts = Counter(pairs)
    labels, verdicts = Counter(label for label, _ in pairs), Counter(verdict for _, verdict in pairs)
    return {
        each: ClassScore(
            counts[each, each] / verdicts[each] if verdicts[each] else 0.0,
            counts[each, each] / labels[each] if labels[each] else 0.0,
            2 * counts[each, each] / (labels[each] + verdicts[each]) if labels[each] + verdicts[each] else 0.0,
            labels[each],
        )
        for each in CLASSES
    }


def macro_f1(pairs: Sequence[Pair]) -> float:
    """The mean of the five classes' F1, every class counting the same."""
    return sum(score.f1 for score in class_scores(pairs).values()) / len(CLASSES)


Row = TypeVar("Row")


def interval(score: Callable[[Sequence[Row]], float], pairs: Sequence[Row]) -> Interval:
    """A score with its bootstrap interval; the same rows always give the same one."""
    if not pairs:
        return Interval(0.0, 0.0, 0.0)
    random = Random(SEED)
    found = sorted(score(random.choices(pairs, k=len(pairs))) for _ in range(RESAMPLES))
    return Interval(score(pairs), found[RESAMPLES // 40], found[-RESAMPLES // 40])


def confusion(pairs: Sequence[Pair]) -> dict[str, dict[str, int]]:
    """How many rows of each label got each verdict."""
    counts = Counter(pairs)
    return {label: {verdict: counts[label, verdict] for verdict in CLASSES} for label in CLASSES}


class Judged(NamedTuple):
    """A first action, and what of actions a rater found right for that failure."""

    action: str
    best: str
    acceptable: frozenset[str]
    harmful: frozenset[str]


def action_fit(rows: Sequence[Judged]) -> float:
    """The share of rows whose first action is acceptable; 0 without rows."""
    return _share(rows, lambda row: row.action in row.acceptable)


def action_best(rows: Sequence[Judged]) -> float:
    """The share of rows whose first action is the best one; 0 without rows."""
    return _share(rows, lambda row: row.action == row.best)


def action_harm(rows: Sequence[Judged]) -> float:
    """The share of rows whose first action does harm; 0 without rows."""
    return _share(rows, lambda row: row.action in row.harmful)


def _share(rows: Sequence[Judged], holds: Callable[[Judged], bool]) -> float:
    return sum(map(holds, rows)) / len(rows) if rows else 0.0
