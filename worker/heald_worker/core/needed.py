"""What a pattern cannot do without: the part of it that must be found wherever the whole is.

An automaton of many whole patterns meets ever new states: of each pattern that goes on with "anything" it has to
remember whether it began, and all of these multiply. Parts without "anything" end soon after they begin, so thousands
of them share a small automaton, and whole patterns are asked only about the lines that it finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

LEAST = 3
"""Characters that a part must ask for; less is found in every line, and the whole pattern is taken instead."""
WORN = re.compile(r"(?i)error|fail|warn|test|spec|found|info|exit")
"""Words that stand in most lines of a log: a part with one of them is the last choice."""
WORN_OUT = 4
"""Characters that such a word is worth less."""
ANCHORED = 3
"""Characters that a part at a line's beginning or end is worth more."""
_FLAGS = re.compile(r"\(\?([imsU]+)\)")
_ITEM = re.compile(
    r"\\(?:[pP]\{\^?\w+\}|[pP]\w|x\{[0-9a-fA-F]+\}|x[0-9a-fA-F]{2}|.)"  # an escape
    r"|\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]"  # a class
    r"|\((?:\?(?:P?<\w+>|[a-zA-Z]*(?:-[a-zA-Z]+)?:))?"  # where a group begins
    r"|(?P<plain>[\w ,:;'\"/=<>@#!%&~`-]+)(?![*+?{])"  # characters, the last of them without a quantifier of its own
    r"|.",
    re.DOTALL,
)
_TIMES = re.compile(r"(?:([*+?])|\{(\d+)(,(\d*))?\})\??")
_ASSERTED = frozenset(("^", "$", r"\b", r"\B"))
_NARROW = frozenset((r"\d", r"\s"))
_WIDE = frozenset((".", r"\w", r"\W", r"\S", r"\D"))
_LEFT_ALONE = frozenset((r"\Q", r"\E", r"\C", *(rf"\{digit}" for digit in range(10))))
"""Literal text, single bytes, octal numbers."""


class _Item(NamedTuple):
    """One item of a sequence with its quantifier: where it stands, the characters it asks for at least, and whether
    it may go on with (nearly) anything for as long as it likes."""

    start: int
    end: int
    least: int
    endless: bool


class _NotKnown(ValueError):
    """Syntax that this module leaves alone."""


def needed(pattern: str) -> Iterator[tuple[str, str]]:
    """Patterns, with their flags, of which at least one is found in every line that `pattern` is found in."""
    flags, body = split_flags(pattern)
    try:
        alternatives, end = _alternatives(body, 0)
    except _NotKnown:
        alternatives, end = [], 0
    if end < len(body):
        yield flags, body
        return
    for items in alternatives:
        best, worth = max(_parts(items, body), key=lambda part: part[1])
        if worth < LEAST:
            yield flags, body[items[0].start : items[-1].end] if items else ""
            continue
        part = body[best[0].start : best[-1].end]
        # Small letters and capitals are one thing to most patterns: as all are, their automata are one.
        yield flags if "[^" in part or r"\P" in part else "".join(sorted({*flags, "i"})), part


def split_flags(pattern: str) -> tuple[str, str]:
    """The flags that a pattern begins with, and the pattern behind them."""
    found = _FLAGS.match(pattern)
    return (found[1], pattern[found.end() :]) if found else ("", pattern)


def _parts(items: list[_Item], body: str) -> Iterator[tuple[list[_Item], int]]:
    """What stands between the endless items of a sequence, without what asks for nothing at its ends, and its worth."""
    part: list[_Item] = []
    for item in [*items, _Item(0, 0, 0, True)]:
        if not item.endless:
            part.append(item)
            continue
        part = _trimmed(part, body)
        yield part, _worth(part, body[part[0].start : part[-1].end] if part else "")
        part = []


def _worth(part: list[_Item], text: str) -> int:
    asked = _asked(part)
    anchored = asked >= LEAST and (text.startswith("^") or text.endswith("$"))
    return asked + (ANCHORED if anchored else 0) - (WORN_OUT if WORN.search(text) else 0)


def _trimmed(part: list[_Item], body: str) -> list[_Item]:
    first, behind = 0, len(part)
    while behind and not part[behind - 1].least and body[part[behind - 1].start] not in "^$":
        behind -= 1
    while first < behind and not part[first].least and body[part[first].start] not in "^$":
        first += 1
    return part[first:behind] if any(item.least for item in part) else []


def _asked(part: list[_Item]) -> int:
    return sum(item.least for item in part)


def _alternatives(body: str, at: int) -> tuple[list[list[_Item]], int]:
    """The alternatives from a position to the end of its group, each as its items, and that end."""
    found: list[list[_Item]] = [[]]
    while at < len(body) and body[at] != ")":
        if body[at] == "|":
            found.append([])
            at += 1
        else:
            item = _item(body, at)
            found[-1].append(item)
            at = item.end
    return found, at


def _item(body: str, start: int) -> _Item:
    token = _ITEM.match(body, start)
    if token is None or token[0] in _LEFT_ALONE:
        raise _NotKnown
    if plain := token["plain"]:
        return _Item(start, token.end(), len(plain), False)
    end, least, many, endless = token.end(), 1, False, False
    if token[0].startswith("("):
        end, least, endless = _group(body, token)
        many = True
    elif token[0].startswith(("[", r"\p", r"\P")) or token[0] in _WIDE:
        least, many = 0, True
    elif token[0] in _ASSERTED or token[0] in _NARROW:
        least = 0
    times = _TIMES.match(body, end)
    if times:
        end = times.end()
        few, ever = _bounds(times)
        least, endless = (least if few else 0), endless or (ever and many)
    return _Item(start, end, least, endless)


def _group(body: str, token: re.Match[str]) -> tuple[int, int, bool]:
    """The end of a group, the characters that each of its alternatives asks for, and whether one is endless."""
    if token[0] == "(" and body.startswith("(?", token.start()):
        raise _NotKnown  # flags for the rest of the sequence
    alternatives, end = _alternatives(body, token.end())
    if end == len(body):
        raise _NotKnown
    endless = any(item.endless for items in alternatives for item in items)
    return end + 1, min(map(_asked, alternatives)), endless


def _bounds(times: re.Match[str]) -> tuple[bool, bool]:
    """Whether a quantifier asks for its item at least once, and whether it has no upper bound."""
    if times[1]:
        return times[1] == "+", times[1] != "?"
    return times[2].strip("0") != "", bool(times[3]) and not times[4]
