"""Which lines of a log are quoted: those that say most about the failure, with what belongs to them.

Every line gets a value: what it says by itself, or what it is worth beside a line that says something, as the details
below an error or the lines before the end of a failed command. What is far from such an end, said before, or borne by
a command that succeeded is worth less. The most valuable lines are quoted as long as there is room.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from heald_producer.extract_lines import clean_line, shape
from heald_producer.extract_rules import MEDIUM, STRONG, Judgement, judge, needles
from heald_producer.extract_scan import LONGEST_LINE, Place

ROOM = 2000
"""Characters of an excerpt."""
GAP = "[...]"
"""Stands for lines that are not quoted."""
LONGEST_QUOTE = 240
"""Characters of a line; a longer one is quoted around its suspicious word."""

_BREAK = re.compile(rb"(\r\n|\n|\r)")
_BLOB = re.compile(r"[A-Za-z0-9+/=_-]{48,}")
_NEAR_END, _END_BONUS = 80, 1.5
_BORNE = 4.0
_SAID_BEFORE = 5.0
_MOST_ALIKE = 3
_FADING = {"detail": 0.2, "frame": 0.5, "blank": 0.3, "head": 0.3, "boilerplate": 0.3, "chatter": 2.0}
_NO_CONTEXT = ("boilerplate", "blank", "frame", "chatter", "overwritten")
_FOREIGN = {"frame": 1.5, "boilerplate": 4.0, "symptom": 4.0, "chatter": 4.0, "overwritten": 9.0}
"""How much less a line below an error is worth: with each line of a kind that follows, and one of that kind itself."""
_ENOUGH = 1.0
_PER_CHARACTER = 0.01
"""What a character costs: short lines first, among those that say as much."""
_REACH_DOWN, _REACH_UP, _REACH_END = 30, 8, 20


class Line(NamedTuple):
    """A line that may be quoted: its number from 1, its clean text, and what it says."""

    number: int
    text: str
    said: Judgement


_OVERWRITTEN = Judgement(0, "overwritten")
"""A frame of a progress bar, of which a person sees the last one only."""


class Choice(NamedTuple):
    """What is quoted."""

    text: str
    tool: str
    lines: tuple[tuple[int, int], ...]


def choose(places: Sequence[Place], mask: Callable[[str], str]) -> Choice:
    """Quote at most `ROOM` characters; `mask` takes the secrets out of a line before it is cut."""
    lines = _read(places)
    if lines and lines[0].number == 1 and lines[-1].number == len(lines):
        text = mask("\n".join(line.text for line in lines if line.said.kind != "overwritten").strip("\n"))
        if len(text) <= ROOM:
            return _whole(lines, text)
    values = _values(lines)
    chosen = _take(lines, values, mask)
    best = max(chosen, key=lambda index: (bool(lines[index].said.tool), values[index]), default=-1)
    tool = lines[best].said.tool if best >= 0 else ""
    text = mask(_joined(lines, chosen))[:ROOM]  # a secret may be longer than a line, and its mask than the secret
    return Choice(text, tool, _ranges([lines[index].number for index in sorted(chosen)]))


def _whole(lines: Sequence[Line], text: str) -> Choice:
    numbers = [line.number for line in lines if line.text]
    tool = max(lines, key=lambda line: (bool(line.said.tool), line.said.score)).said.tool
    return Choice(text, tool, ((numbers[0], numbers[-1]),) if numbers else ())


def _read(places: Sequence[Place]) -> list[Line]:
    """The lines of all places, once each, in order; of two that claim a number, the one that says more."""
    found: dict[int, Line] = {}
    for place in places:
        pieces = [*_BREAK.split(place.data), b""]
        for index, number in enumerate(range(place.first, place.first + len(pieces) // 2)):
            raw, end, after = pieces[2 * index], pieces[2 * index + 1], pieces[2 * index + 2 : 2 * index + 3]
            if number not in found or len(raw) > LONGEST_LINE:
                text = clean_line(raw[:LONGEST_LINE])
                said = judge(text)
                if end == b"\r" and after != [b""] and said.score < MEDIUM:
                    said = _OVERWRITTEN
                if number not in found or said.score > found[number].said.score:
                    found[number] = Line(number, text, said)
    return [found[number] for number in sorted(found)]


def _values(lines: Sequence[Line]) -> list[float]:
    values = _own_values(lines)
    own = list(values)
    for index, line in enumerate(lines):
        if line.said.score >= MEDIUM and line.said.kind == "head":
            _lend(lines, values, index, own[index])
        if line.said.anchor:
            _lend_up(lines, values, index, 5.0, _REACH_END, 0.3)
    if max(own, default=0) < STRONG:
        _lend_up(lines, values, len(lines), 4.0, _REACH_END, 0.15)
    return values


def _own_values(lines: Sequence[Line]) -> list[float]:
    """What each line says by itself, where it stands."""
    values = [0.0] * len(lines)
    of_rule, of_shape = Counter[int](), Counter[str]()
    ends = _distances_to_end(lines)
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


def _distances_to_end(lines: Sequence[Line]) -> list[int]:
    """How many lines follow until a command fails, or until the log ends; negative where the command succeeded."""
    distances, end, passed = [0] * len(lines), lines[-1].number + 1 if lines else 0, False
    for index in range(len(lines) - 1, -1, -1):
        number, _, said = lines[index]
        if said.anchor or said.passed:
            end, passed = number, said.passed
        distances[index] = -(end - number) - 1 if passed else end - number
    return distances


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


def _take(lines: Sequence[Line], values: Sequence[float], mask: Callable[[str], str]) -> dict[int, str]:
    """Index -> what is quoted of that line, the most valuable first, as long as there is room."""
    chosen: dict[int, str] = {}
    alike = Counter[str]()
    texts = set[str]()
    room = ROOM
    for index in sorted(
        range(len(lines)), key=lambda index: (_PER_CHARACTER * _room_of(lines[index]) - values[index], index)
    ):
        text = lines[index].text
        if room < 8:
            break
        if values[index] < _ENOUGH or not text or _BLOB.fullmatch(text.strip()) or text in texts:
            continue
        form = shape(text)
        if alike[form] >= _MOST_ALIKE:
            continue
        quote = _cut(mask(text))
        cost = len(quote) + 1 + (0 if _beside(lines, chosen, index) else len(GAP) + 1)
        if cost <= room:
            chosen[index] = quote
            room -= cost
            alike[form] += 1
            texts.add(text)
    return chosen


def _room_of(line: Line) -> int:
    return min(len(line.text), LONGEST_QUOTE)


def _beside(lines: Sequence[Line], chosen: dict[int, str], index: int) -> bool:
    number = lines[index].number
    return any(near in chosen and abs(lines[near].number - number) == 1 for near in (index - 1, index + 1))


def _cut(text: str) -> str:
    """A line that is not too long, with its first suspicious word."""
    if len(text) <= LONGEST_QUOTE:
        return text
    raw = text.encode()
    word = needles()[0].search(raw)
    at = len(raw[: word.start()].decode("utf-8", "ignore")) if word else 0
    if at < LONGEST_QUOTE * 3 // 4:
        return text[: LONGEST_QUOTE - 1] + "…"
    start = at - LONGEST_QUOTE // 3
    return "…" + text[start : start + LONGEST_QUOTE - 2] + ("…" if start + LONGEST_QUOTE - 2 < len(text) else "")


def _joined(lines: Sequence[Line], chosen: dict[int, str]) -> str:
    parts: list[str] = []
    last = 0
    for index in sorted(chosen):
        if parts and lines[index].number != last + 1:
            parts.append(GAP)
        parts.append(chosen[index])
        last = lines[index].number
    return "\n".join(parts)


def _ranges(numbers: Sequence[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] + 1 == number:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)
