"""What was measured, as rows of one table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Row(NamedTuple):
    """One line of the table.

    Attributes:
        value: the median of the samples, or the only one.
        low, high: the smallest and the largest sample.
        note: what belongs to the number: a ratio's parts, a cost, a condition.
        target: what the number is held against, as text; empty where it is for information.
        met: whether it is met; None without a target.
    """

    name: str
    value: float
    unit: str
    low: float
    high: float
    note: str = ""
    target: str = ""
    met: bool | None = None


def row(name: str, samples: Sequence[float], unit: str, note: str = "") -> Row:
    """A row for information: the median of some samples."""
    return Row(name, median(samples), unit, min(samples), max(samples), note)


def at_least(target: float, plain: Row) -> Row:
    """The same row, held against a lower bound."""
    return plain._replace(target=f"≥ {target:g}", met=plain.value >= target)


def at_most(target: float, plain: Row) -> Row:
    """The same row, held against an upper bound."""
    return plain._replace(target=f"≤ {target:g}", met=plain.value <= target)


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that this share of all samples does not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, -(-len(ordered) * percent // 100).__trunc__() - 1)]


def show(rows: Sequence[Row], about: str) -> None:
    """Print the table."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in ("measurement", "median", "range", "unit", "target", "note"):
        table.add_column(name, justify="right" if name in ("median", "range") else "left", overflow="fold")
    for each in rows:
        spread = "" if each.low == each.high else f"{_shown(each.low)}..{_shown(each.high)}"
        verdict = "" if each.met is None else each.target + (" met" if each.met else " MISSED")
        table.add_row(each.name, _shown(each.value), spread, each.unit, verdict, each.note)
    console = Console()
    console = Console(width=None if console.is_terminal else 160)
    console.print(about, "", table, sep="\n", highlight=False)


def as_json(rows: Sequence[Row], about: str) -> str:
    """The rows as one JSON document."""
    return json.dumps({"about": about, "rows": [each._asdict() for each in rows]}, indent=2)


def _shown(number: float) -> str:
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.3g}" if abs(number) < 100 else f"{number:.0f}"
