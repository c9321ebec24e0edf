"""What each kept line of a log is worth as part of an excerpt, and which lines belong to what went wrong.

A line is worth what it says by itself, or what it is worth beside a line that says something, as the details below an
error or the lines before the end of a failed command. What is far from such an end, said before, or borne by a command
that succeeded is worth less.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from heald_producer.extract_lines import shape
from heald_producer.extract_rules import MEDIUM, STRONG, Judgement

_NEAR_END, _END_BONUS = 80, 1.5
_BORNE = 4.0
_SAID_BEFORE = 5.0
_FADING = {"detail": 0.2, "frame": 0.5, "blank": 0.3, "head": 0.3, "boilerplate": 0.3, "chatter": 2.0}
_NO_CONTEXT = ("boilerplate", "blank", "frame", "chatter", "overwritten")
_FOREIGN = {"frame": 1.5, "boilerplate": 4.0, "symptom": 4.0, "chatter": 4.0, "overwritten": 9.0}
"""How much less a line below an error is worth: with each line of a kind that follows, and one of that kind itself."""
_REACH_DOWN, _REACH_UP, _REACH_END = 30, 8, 20


class Line(NamedTuple):
    """A line that may be quoted: its number from 1, its clean text, and what it says."""

    number: int
    text: str
    said: Judgement


def bodies(lines: Sequence[Line]) -> list[int]:
    """The lines that belong to what went wrong, as indices: errors, with all the details, frames and advice below."""
    found: list[int] = []
    inside, number = False, 0
    for index, line in enumerate(lines):
        kind = line.said.kind
        if line.number != number + 1:
            inside = kind == "frame"  # the head of a stack that is cut off above
        number = line.number
        inside = kind in ("head", "symptom") or (inside and kind in ("detail", "frame", "boilerplate", "blank"))
        if inside and kind != "blank":
            found.append(index)
    return found


def distances(lines: Sequence[Line], body: Sequence[int]) -> list[int]:
    """How many lines that belong to nothing that went wrong follow each line."""
    found, after, wrong = [0] * len(lines), lines[-1].number + 1 if lines else 0, frozenset(body)
    for index in range(len(lines) - 1, -1, -1):
        found[index] = after - lines[index].number
        after -= index in wrong
    return found


def values_of(lines: Sequence[Line], away: Sequence[int]) -> list[float]:
    """What each line is worth, where `away` tells how far from the log's end it is."""
    values = _own_values(lines, away)
    own = list(values)
    for index, line in enumerate(lines):
        if line.said.score >= MEDIUM and line.said.kind == "head":
            _lend(lines, values, index, own[index])
        if line.said.anchor:
            _lend_up(lines, values, index, 5.0, _REACH_END, 0.3)
    if max(own, default=0) < STRONG:
        _lend_up(lines, values, len(lines), 4.0, _REACH_END, 0.15)
    return values


def _own_values(lines: Sequence[Line], away: Sequence[int]) -> list[float]:
    """What each line says by itself, where it stands."""
    values = [0.0] * len(lines)
    of_rule, of_shape = Counter[int](), Counter[str]()
    ends = _ends(lines, away)
    for index, (_, text, said) in enumerate(lines):
        if said.score <= 0:
            continue
        value = (
            said.score
            - (0 if said.score >= MEDIUM else 1.5)
            + _END_BONUS * max(0.0, 1 - abs(ends[index]) / _NEAR_END)
            - (_BORNE if ends[index] < 0 else 0)
        )
        if said.kind == "head":
            value -= min(2.5, 0.25 * of_rule[said.rule])
            of_rule[said.rule] += 1
        alike = shape(text)
        value -= _SAID_BEFORE if of_shape[alike] else 0
        of_shape[alike] += 1
        values[index] = value
    return values


def _ends(lines: Sequence[Line], away: Sequence[int]) -> list[int]:
    """How far each line is from where a command fails, or from the log's end; negative where the command succeeded."""
    found, end, passed = [0] * len(lines), 0, False
    for index in range(len(lines) - 1, -1, -1):
        said = lines[index].said
        if said.anchor or said.passed:
            end, passed = away[index], said.passed
        found[index] = end - away[index] - 1 if passed else away[index] - end
    return found


def _lend(lines: Sequence[Line], values: list[float], head: int, value: float) -> None:
    """What belongs to an error is worth something too: more below it than above."""
    worth = value - 1.2
    for index in range(head + 1, min(len(lines), head + 1 + _REACH_DOWN)):
        kind = lines[index].said.kind
        if lines[index].number != lines[index - 1].number + 1 or lines[index].said.anchor or worth <= 0:
            break
        worth -= _FADING.get(kind, 0.6)
        values[index] = max(values[index], worth - _FOREIGN.get(kind, 0.0))
    _lend_up(lines, values, head, value - 2.5, _REACH_UP, 0.8)


def _lend_up(lines: Sequence[Line], values: list[float], below: int, worth: float, reach: int, less: float) -> None:
    for index in range(below - 1, max(-1, below - 1 - reach), -1):
        if index + 1 < len(lines) and lines[index].number != lines[index + 1].number - 1:
            break
        if lines[index].said.kind in _NO_CONTEXT:
            continue
        worth -= less
        values[index] = max(values[index], worth)
