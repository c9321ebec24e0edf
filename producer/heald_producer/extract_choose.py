"""Which lines of a log are quoted: first the reasons, then as much as possible of what belongs to them.

People who are asked why a build failed mark whole errors: every message of a compiler, every stack, and the tool's
last words. Most such lines are there many times over, so that a few stand for hundreds. Therefore

1. the most valuable lines (`extract_values`) get a part of the room, with what is next to them;
2. then come the lines that stand for most of what went wrong, for each character that they take; near the log's end
   rather than far from it, as a build goes on after what it tolerates;
3. what room is left goes to everything else by its value, such as the lines before an error.
"""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

from heald_producer.extract_lines import clean_line, shape
from heald_producer.extract_rules import LONGEST_READ, MEDIUM, Judgement, judge, needles
from heald_producer.extract_scan import LONGEST_LINE, Place
from heald_producer.extract_values import Line, bodies, distances, values_of

ROOM = 2000
"""Characters of an excerpt."""
GAP = "[...]"
"""Stands for lines that are not quoted."""
LONGEST_QUOTE = 240
"""Characters of a line; of a longer one its beginning and its end are quoted, or what is around a suspicious word."""

_BREAK = re.compile(rb"(\r\n|\n|\r)")
_BLOB = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9+/=_-]{48,}")
_MOST_ALIKE = 3
_REASONS, _REASON = 500, ("head", "detail", "frame")
"""Characters for the most valuable lines, and their kinds."""
_WORTHY, _ENOUGH = MEDIUM, 1.0
"""What one of them is worth at least, and what any line is."""
_PER_CHARACTER = 0.005
"""What a character costs: short lines first, among those that say nearly as much; some causes are told at length."""
_SMALL_GAP = 60
"""Characters that the lines of a gap may have to be quoted in its place, when there is room left."""
_HALF_AS_GOOD = 200
"""So far from the end, a line of what went wrong counts half; only lines that went well add to the distance."""

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
    body = bodies(lines)
    away = distances(lines, body)
    values = values_of(lines, away)
    quotes = _quote(_Quotes(lines, mask), body, away, values)
    best = max(quotes.texts, key=lambda index: (bool(lines[index].said.tool), values[index]), default=-1)
    tool = lines[best].said.tool if best >= 0 else ""
    text = mask(quotes.joined())[:ROOM]  # a secret may be longer than a line, and its mask than the secret
    return Choice(text, tool, _ranges([lines[index].number for index in sorted(quotes.texts)]))


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
            if number not in found or max(len(raw), len(found[number].text)) > LONGEST_READ:
                text = clean_line(raw[:LONGEST_LINE])
                said = judge(text)
                if end == b"\r" and after != [b""] and said.score < MEDIUM:
                    said = _OVERWRITTEN
                if number not in found or said.score > found[number].said.score:
                    found[number] = Line(number, text, said)
    return [found[number] for number in sorted(found)]


def _quote(quotes: _Quotes, body: Sequence[int], away: Sequence[int], values: Sequence[float]) -> _Quotes:
    lines = quotes.lines
    by_value = sorted(
        (index for index in range(len(lines)) if values[index] >= _ENOUGH),
        key=lambda index: (_PER_CHARACTER * _length(lines[index]) - values[index], index),
    )
    for index in by_value:
        if values[index] >= _WORTHY and lines[index].said.kind in _REASON:
            quotes.take(index, spare=ROOM - _REASONS)
    _take_bodies(quotes, body, away)
    for index in by_value:
        quotes.take(index)
    quotes.close_gaps()
    return quotes


def _take_bodies(quotes: _Quotes, body: Sequence[int], away: Sequence[int]) -> None:
    """Quote what stands for most lines of what went wrong, one after the other, as what is quoted changes that."""
    lines, wrong = quotes.lines, frozenset(body)
    texts = Counter(lines[index].text for index in body)
    shapes = Counter(quotes.form(index) for index in body)

    def rank(index: int) -> tuple[float, int]:
        text, form = lines[index].text, quotes.form(index)
        stands_for = 1 + (0 if text in quotes.said else texts[text]) + (0 if form in quotes.alike else shapes[form])
        near = _HALF_AS_GOOD / (_HALF_AS_GOOD + away[index])
        return -near * stands_for / max(1, quotes.cost(index)), index

    waiting = [rank(index) for index in body if index not in quotes.texts]
    heapq.heapify(waiting)
    while waiting:
        was, index = heapq.heappop(waiting)
        now = rank(index)
        if now[0] > was and waiting and now > waiting[0]:
            heapq.heappush(waiting, now)
        elif quotes.take(index, again=True):
            for beside in wrong.intersection((index - 1, index + 1)):
                heapq.heappush(waiting, rank(beside))


class _Quotes:
    """What is quoted.

    Attributes:
        texts: index of a line -> what is quoted of it.
        said: texts of lines that are quoted.
        alike: how many lines of a shape are quoted.
    """

    def __init__(self, lines: Sequence[Line], mask: Callable[[str], str]) -> None:
        self.lines, self._mask = lines, mask
        self.texts: dict[int, str] = {}
        self.said: set[str] = set()
        self.alike = Counter[str]()
        self._room = ROOM
        self._forms: dict[int, str] = {}

    def form(self, index: int) -> str:
        """The shape of a line."""
        if index not in self._forms:
            self._forms[index] = shape(self.lines[index].text)
        return self._forms[index]

    def cost(self, index: int) -> int:
        """How many characters a line takes: less where its neighbours are quoted, as then there is no gap."""
        neighbours = self._is_quoted(index, index - 1) + self._is_quoted(index, index + 1)
        return _length(self.lines[index]) + 1 + (len(GAP) + 1) * (1 - neighbours)

    def take(self, index: int, spare: int = 0, again: bool = False) -> bool:
        """Quote a line, if so much room stays spare; one that says what is quoted already only when asked to."""
        line, cost = self.lines[index], self.cost(index)
        if index in self.texts or not line.text or _is_hidden(line) or (line.text in self.said and not again):
            return False
        if self.alike[self.form(index)] >= _MOST_ALIKE or cost > self._room - spare:
            return False
        quote = _cut(self._mask(line.text))
        cost += len(quote) - _length(line)
        if cost > self._room - spare:
            return False
        self.texts[index] = quote
        self.said.add(line.text)
        self.alike[self.form(index)] += 1
        self._room -= cost
        return True

    def close_gaps(self) -> None:
        """Quote what takes little more than the mark of a gap does, such as blank lines."""
        quoted = sorted(self.texts)
        for above, below in pairwise(quoted):
            if self.lines[below].number - self.lines[above].number == below - above > 1:
                self._close(range(above + 1, below))

    def _close(self, gap: range) -> None:
        texts = [self._mask(self.lines[index].text) for index in gap]
        size = sum(len(text) + 1 for text in texts)
        if size <= min(_SMALL_GAP, self._room + len(GAP) + 1) and not any(_is_hidden(self.lines[n]) for n in gap):
            self.texts.update(zip(gap, texts, strict=True))
            self._room -= size - len(GAP) - 1

    def joined(self) -> str:
        """The excerpt."""
        parts: list[str] = []
        for index in sorted(self.texts):
            if parts and not self._is_quoted(index, index - 1):
                parts.append(GAP)
            parts.append(self.texts[index])
        return "\n".join(parts)

    def _is_quoted(self, index: int, beside: int) -> bool:
        return beside in self.texts and abs(self.lines[beside].number - self.lines[index].number) == 1


def _is_hidden(line: Line) -> bool:
    """Whether a line is never quoted: a part of a key, or what a progress bar has overwritten."""
    return line.said.kind == "overwritten" or bool(_BLOB.fullmatch(line.text.strip()))


def _length(line: Line) -> int:
    return min(len(line.text), LONGEST_QUOTE)


def _cut(text: str) -> str:
    """A line that is not too long: its beginning and its end, where causes are named last, unless that would leave
    out its first suspicious word."""
    if len(text) <= LONGEST_QUOTE:
        return text
    raw = text.encode()
    word = needles()[0].search(raw)
    at = len(raw[: word.start()].decode("utf-8", "ignore")) if word else 0
    if at < LONGEST_QUOTE // 2:
        end = LONGEST_QUOTE // 3
        return text[: LONGEST_QUOTE - end - 1] + "…" + text[-end:]
    start = at - LONGEST_QUOTE // 3
    return "…" + text[start : start + LONGEST_QUOTE - 2] + ("…" if start + LONGEST_QUOTE - 2 < len(text) else "")


def _ranges(numbers: Sequence[int]) -> tuple[tuple[int, int], ...]:
    ranges: list[tuple[int, int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] + 1 == number:
            ranges[-1] = (ranges[-1][0], number)
        else:
            ranges.append((number, number))
    return tuple(ranges)
