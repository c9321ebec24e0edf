"""One JSON document, part by part: its top level's values, and of its lists the elements, in bounded memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

MAX_PART_CHARS = 4 * 1024 * 1024
_decoder = json.JSONDecoder()


class BrokenJson(Exception):
    """The document cannot be read from here on: one clause."""


def parts(texts: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The keys of a document's top level with their values; for a list, its key with each of its elements.

    Raises:
        BrokenJson: what came before was given.
    """
    window = _Window(texts)
    window.expect("{")
    while window.peek() != "}":
        key = window.value()
        window.expect(":")
        if window.peek() == "[":
            window.expect("[")
            while window.peek() != "]":
                yield str(key), window.value()
                window.separator("]")
            window.expect("]")
        else:
            yield str(key), window.value()
        window.separator("}")


class _Window:
    """The part of the text that is being read."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._texts = iter(texts)
        self._text = ""
        self._at = 0

    def peek(self) -> str:
        """The next character that is not white space."""
        while True:
            rest = self._text[self._at : self._at + 64].lstrip()
            if rest:
                self._at = self._text.index(rest[0], self._at)
                return rest[0]
            self._at = min(self._at + 64, len(self._text))
            if self._at == len(self._text) and not self._more():
                raise BrokenJson("it ends in the middle")

    def expect(self, char: str) -> None:
        if self.peek() != char:
            raise BrokenJson(f"{char!r} is expected where {self.peek()!r} stands")
        self._at += 1

    def separator(self, end: str) -> None:
        if self.peek() != end:
            self.expect(",")

    def value(self) -> Any:
        """The next value; the window grows twofold until it holds all of it, up to a limit."""
        self.peek()
        wanted = 64 * 1024
        while True:
            complete = not self._fill(wanted)
            try:
                value, end = _decoder.raw_decode(self._text, self._at)
            except RecursionError:
                raise BrokenJson("it is nested too deep") from None
            except ValueError:
                if complete:
                    raise BrokenJson("it is broken or ends in the middle") from None
                if wanted >= MAX_PART_CHARS:
                    raise BrokenJson(f"one of its values has more than {MAX_PART_CHARS:,} characters") from None
                wanted *= 2
                continue
            if end < len(self._text) or complete:
                self._at = end
                return value
            wanted *= 2

    def _fill(self, wanted: int) -> bool:
        """Have this many characters ahead; answer whether there is more to come."""
        while len(self._text) - self._at < wanted:
            if not self._more():
                return False
        return True

    def _more(self) -> bool:
        text = next(self._texts, None)
        if text is None:
            return False
        self._text, self._at = self._text[self._at :] + text, 0
        return True
