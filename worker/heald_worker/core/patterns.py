"""Patterns, as rules have them: RE2's, seeing one line at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from typing import Any, Protocol

import re2

from heald_worker.core.needed import split_flags

MEMORY = 16 * 1024 * 1024
"""Bytes that one automaton may take at most: what it learns about texts it forgets then, and learns again."""


class Found(Protocol):
    """A match."""

    def span(self) -> tuple[int, int]:
        """Where it begins and ends, in bytes."""


class Pattern(Protocol):
    """A compiled pattern, as `re2` has it."""

    _regexp: Any

    def search(self, text: bytes, pos: int = 0, endpos: int | None = None) -> Found | None:
        """The leftmost match from a position on, up to another."""

    def sub(self, replacement: bytes, text: bytes) -> bytes:
        """The text with every match replaced."""


Find = Callable[[bytes, int, int], list[tuple[int, int]]]
"""Where a pattern is found between two positions of a text: one span, from -1 on if it is not."""


class BadPattern(ValueError):
    """A text that is not a pattern; the message says what is wrong with it."""


def compile_pattern(text: str) -> Pattern:
    """An RE2 pattern that sees single lines: `^` and `$` are a line's ends, nothing matches a line feed.

    Raises:
        BadPattern: RE2 does not take it (it knows no back-references and no look-around), or it asks for bytes or for
            more than a line.
    """
    _refuse(text)
    return compiled(text)


def _refuse(text: str) -> None:
    """Complain about what RE2 takes and heald does not."""
    if _BYTE.search(text):
        raise BadPattern(r"\C is a byte: it can be a part of a character, or a line feed")
    if _LINELESS.search(text):
        raise BadPattern("(?-m) asks for more than a line: patterns see one line at a time")
    if r"\Q" in text:  # one that is not ended would swallow whatever follows where patterns are joined
        compiled(f"(?:{text})")


_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")
_LINELESS = re.compile(r"\(\?[a-zA-Z]*-[a-zA-Z]*m")
_ESCAPE = re.compile(r"\\(?:Q.*?(?:\\E|\Z)|.)", re.DOTALL)


def in_lines(text: str) -> str:
    """A pattern whose `\\A` and `\\z` are a line's ends, too: what is found in a line depends on that line alone."""
    return _ESCAPE.sub(lambda escape: {r"\A": "^", r"\z": "$"}.get(escape[0], escape[0]), text)


def compiled(text: str) -> Pattern:
    """`compile_pattern` for what was looked at before."""
    try:
        made: Pattern = re2.compile(f"(?m){in_lines(text)}", _options())
    except re2.error as error:
        reason = error.args[0]
        raise BadPattern(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None
    return made


def one_of(texts: Sequence[str]) -> Pattern | None:
    """One pattern that is found where one of these is."""
    return joined(texts) if texts else None


def joined(texts: Sequence[str]) -> Pattern:
    """`one_of` for some."""
    for text in texts:
        _refuse(text)
    try:
        return compiled("|".join(map(_scoped, texts)))
    except BadPattern as error:
        for text in texts:
            compiled(text)  # complains about the pattern that is wrong, not about all of them
        raise BadPattern(f"{len(texts)} patterns together, {texts[0][:60]!r} and others: {error}") from None


def _scoped(text: str) -> str:
    """A pattern whose leading flags end with it."""
    flags, body = split_flags(text)
    return f"(?{flags}:{body})"


def any_part(parts: Iterable[tuple[str, str]]) -> Pattern | None:
    """One pattern that is found where one of these is; sorted, those that begin alike share their beginning."""
    by_flags: dict[str, list[str]] = {}
    for flags, part in sorted(set(parts)):
        by_flags.setdefault(flags, []).append(part)
    whole = "|".join(f"(?{flags}:{'|'.join(parts)})" for flags, parts in by_flags.items())
    return compiled(whole) if whole else None


def finder(pattern: Pattern) -> Find:
    """How to ask a pattern without the match object that re2 makes: that takes longer than a search in a short text."""
    return partial(pattern._regexp.Match, re2._Anchor.UNANCHORED)


def find_one_of(texts: Sequence[str]) -> Find | None:
    """`one_of`, and how to ask it."""
    return finder(joined(texts)) if texts else None


class Joined:
    """Lines as one text, so that a pattern is asked once about all of them."""

    def __init__(self, lines: Sequence[bytes]) -> None:
        self.lines = lines
        self._text = b"\n".join(lines)

    def places(self, find: Find) -> Iterator[int]:
        """The numbers of the lines that a pattern is found in."""
        text, lines = self._text, self.lines
        number, place, position, size = 0, 0, 0, len(text)
        while position < size:
            start = find(text, position, size)[0][0]
            if start < 0:
                return
            while start > place + len(lines[number]):
                place += len(lines[number]) + 1
                number += 1
            yield number
            position = place + len(lines[number]) + 1


@cache
def _options() -> re2.Options:
    made = re2.Options()
    made.never_nl, made.never_capture, made.longest_match, made.log_errors = True, True, True, False
    made.max_mem = MEMORY
    return made
