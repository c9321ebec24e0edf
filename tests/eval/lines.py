"""How well an excerpt quotes the lines that people marked: one log at a time.

People mark whole stacks and lists, hundreds of lines long, and an excerpt has 2,000 characters. So beside the plain
measure by line numbers there is one by what the lines say, and the bound that no excerpt of that size can pass.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from heald_producer.extract import Excerpt
from heald_producer.extract_choose import LONGEST_QUOTE, ROOM
from heald_producer.extract_lines import clean_line, shape

BREAK = re.compile(rb"\r\n|\n|\r")


class LineScores(NamedTuple):
    """Of the marked lines that are not blank, the share that is quoted; `hit` tells whether any is.

    Attributes:
        recall: a line counts when it, or one that differs in numbers, hashes and folders alone, is quoted.
        strict: a line counts when it is quoted itself, by its number.
        bound: the recall that the best 2,000 characters could have.
    """

    hit: bool
    recall: float
    strict: float
    bound: float


def line_scores(log: bytes, marked: Sequence[Sequence[int]], excerpt: Excerpt) -> LineScores:
    """Compare marked ranges with an excerpt of the same log."""
    lines = [clean_line(raw) for raw in BREAK.split(log)]
    numbers, quoted = _numbers(marked), _numbers(excerpt.lines)
    wanted = [number for number in numbers if number <= len(lines) and lines[number - 1].strip()]
    count = len(wanted) + sum(number > len(lines) for number in numbers)  # what is not there cannot be quoted
    if not wanted:
        return LineScores(False, 0.0, 0.0, 0.0)
    shapes = {shape(lines[number - 1]) for number in quoted}
    recalled = sum(shape(lines[number - 1]) in shapes for number in wanted)
    strict = len(quoted.intersection(wanted))
    return LineScores(recalled > 0, recalled / count, strict / count, _bound([lines[n - 1] for n in wanted]))


def _bound(lines: Sequence[str]) -> float:
    """The share of lines that fits into an excerpt, the shapes that stand for most of them first."""
    counts, costs = Counter[str](), dict[str, int]()
    for line in lines:
        form = shape(line)
        counts[form] += 1
        costs[form] = min(costs.get(form, ROOM), min(len(line), LONGEST_QUOTE) + 1)
    room, covered = float(ROOM), 0.0
    for form in sorted(counts, key=lambda form: costs[form] / counts[form]):
        share = min(1.0, room / costs[form])  # the last one in part, so that nothing can be above the bound
        covered += share * counts[form]
        room -= share * costs[form]
    return covered / len(lines)


def _numbers(ranges: Iterable[Sequence[int]]) -> set[int]:
    return {line for first, last in ranges for line in range(first, last + 1)}
