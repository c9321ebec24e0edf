"""One pass over the bytes of a log: where are the lines that may matter?

Most lines cost nothing but a regular expression's glance at the block they are in. A line with a suspicious word is
judged once per shape, and its surroundings are kept when it belongs to the first or the last of its kind. So memory
and time are bounded whatever the log holds.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import re2

from heald_producer.extract_lines import clean_line, count_breaks
from heald_producer.extract_rules import MEDIUM, STRONG, Judgement, judge, needles

BLOCK = 512 * 1024
"""Bytes that are looked at together."""
BEFORE, BEFORE_END, AFTER = 1500, 4000, 2500
"""Bytes kept around a line; what stands before the end of a failed command tells most."""
TAIL = 64 * 1024
"""Bytes at the end of a log that are always kept."""
LONGEST_LINE = 4000
"""Bytes; of a longer line only what stands around a suspicious word is read."""
HITS, SHAPES = 200, 40
"""Lines with a suspicious word that each block allows to be looked at, and lines of a new shape to be judged."""
SAVED_HITS, SAVED_SHAPES = 40_000, 4_000
"""How much of that can be saved up for crowded places, and is there at the beginning."""

_LEAD = 160
_SEEN = 50_000
_DIGITS = b"0123456789"
_EDGE = re.compile(rb"[\s\"',;&<>(){}]")


class Place(NamedTuple):
    """A part of the log that is kept: whole lines, the first of which has this number."""

    first: int
    data: bytes


class Scan:
    """Takes a log's blocks in turn, then tells the places that matter.

    Attributes:
        lines: line breaks in what has been scanned.
    """

    def __init__(self) -> None:
        self.lines = 0
        self._data = b""
        self._start = 0  # of what is not scanned yet; what stands before it is there as context
        self._kept = {name: _FirstAndLast(*room) for name, room in _ROOM.items()}
        self._seen: set[int] = set()
        self._every, self._strong = _Allowance(), _Allowance()

    def add(self, block: bytes) -> None:
        """Scan up to the last line that has enough behind it."""
        data = self._data + block
        enough = max(self._start, len(data) - AFTER)
        limit = max(data.rfind(b"\n", self._start, enough), data.rfind(b"\r", self._start, enough)) + 1
        limit = limit or enough  # a line as long as a block is torn
        if data[limit - 1 : limit + 1] == b"\r\n":
            limit -= 1
        if limit > self._start:
            self._scan(data, limit)
        spare = max(0, self._start - TAIL)
        self._data, self._start = data[spare:], self._start - spare

    def finish(self) -> list[Place]:
        """Scan what is left and return all that was kept, in the log's order; parts may be there twice."""
        data = self._data
        self._scan(data, len(data))
        begun = 0 if len(data) <= TAIL else _after_break(data, len(data) - TAIL, len(data))
        if begun < 0:
            begun = _after_edge(data, len(data) - LONGEST_LINE, len(data))
        tail = Place(self.lines + 1 - count_breaks(data, begun, len(data)), data[begun:])
        return sorted([*(place for kept in self._kept.values() for place in kept.places()), tail])

    def _scan(self, data: bytes, limit: int) -> None:
        every, strong = needles()
        reached = self._look_at(data, every, self._start, limit, self._every)
        if reached < limit:
            self._look_at(data, strong, reached, limit, self._strong)
        self.lines += count_breaks(data, self._start, limit)
        self._start = limit

    def _look_at(self, data: bytes, needle: re2._Regexp, at: int, limit: int, allowed: _Allowance) -> int:
        """Judge the lines that the needle finds, as long as that is allowed; return how far that got."""
        number = self.lines + 1 + count_breaks(data, self._start, at)
        allowed.grow()
        counted = last = at
        end: int
        for hit in needle.finditer(data, at, limit):
            word, end = hit.span()
            begin = max(data.rfind(b"\n", last, word), data.rfind(b"\r", last, word), last - 1) + 1
            last = end
            allowed.hits -= 1
            key = hash(data[begin : min(end, begin + 256)].translate(None, _DIGITS))
            if key not in self._seen:
                allowed.shapes -= 1
                number += count_breaks(data, counted, begin)
                counted = begin
                self._note(key)
                self._keep(data, begin, word, end, number)
            if not (allowed.hits and allowed.shapes):
                return end
        return limit

    def _note(self, key: int) -> None:
        if len(self._seen) >= _SEEN:
            self._seen.clear()
        self._seen.add(key)

    def _keep(self, data: bytes, begin: int, word: int, end: int, number: int) -> None:
        if end - begin > LONGEST_LINE:
            window = _window(data, begin, word, end)
            self._kept[_kind(judge(clean_line(window)))].add(Place(number, window))
            return
        said = judge(clean_line(data[begin:end]))
        kind = _kind(said)
        if not kind and word - begin > _LEAD:  # it stands far into its line, where `judge` does not read
            window = _window(data, begin, word, end)
            self._kept[_kind(judge(clean_line(window)))].add(Place(number, window))
        elif kind:
            before = _after_break(data, max(0, begin - (BEFORE_END if said.anchor else BEFORE)), begin)
            first = before if before >= 0 else begin
            last = max(data.rfind(b"\n", end, end + AFTER), data.rfind(b"\r", end, end + AFTER), end)
            self._kept[kind].add(Place(number - count_breaks(data, first, begin), data[first:last].rstrip(b"\r")))


_ROOM = {"end": (4, 6), "strong": (16, 24), "medium": (12, 16), "weak": (4, 8), "": (0, 0)}
"""How many places of a kind are kept: the first, of which one is often the cause, and the last."""


class _Allowance:
    """What may still be looked at. Quiet blocks save for crowded ones; a log that is crowded all over is sampled."""

    def __init__(self) -> None:
        self.hits, self.shapes = SAVED_HITS, SAVED_SHAPES

    def grow(self) -> None:
        self.hits = min(SAVED_HITS, self.hits + HITS)
        self.shapes = min(SAVED_SHAPES, self.shapes + SHAPES)


class _FirstAndLast:
    def __init__(self, first: int, last: int) -> None:
        self._room = first
        self._first: list[Place] = []
        self._last: deque[Place] = deque(maxlen=last)

    def add(self, place: Place) -> None:
        if len(self._first) < self._room:
            self._first.append(place)
        else:
            self._last.append(place)

    def places(self) -> Iterable[Place]:
        return [*self._first, *self._last]


def _kind(said: Judgement) -> str:
    if said.anchor:
        return "end"
    if said.score >= STRONG:
        return "strong"
    return "medium" if said.score >= MEDIUM else "weak" if said.score > 0 else ""


def _window(data: bytes, begin: int, word: int, end: int) -> bytes:
    """What stands around the suspicious word of a long line, without words that the cut tears: half a secret would
    not be recognised as one."""
    first, last = begin, end
    if word - begin > _LEAD:
        first = _after_edge(data, word - _LEAD, word)
    if end - first > LONGEST_LINE:
        edges = [edge.start() for edge in _EDGE.finditer(data, first, first + LONGEST_LINE)]
        last = edges[-1] if edges else first
    return data[first:last]


def _after_edge(data: bytes, start: int, end: int) -> int:
    """Where a word begins between two offsets; the second one when there is none."""
    edge = _EDGE.search(data, max(0, start), end)
    return edge.end() if edge else end


def _after_break(data: bytes, start: int, end: int) -> int:
    """Where a line begins between two offsets, or -1."""
    found = [at for at in (data.find(b"\n", start, end), data.find(b"\r", start, end)) if at >= 0]
    if not found:
        return -1
    at = min(found) + 1
    return at + 1 if data[at - 1 : at + 1] == b"\r\n" else at
