"""From a raw log of any size to the lines that say why it failed: one pass, in memory that does not grow.

The pass finds the places that may matter (`extract_scan`), by what tools print (`extract_rules`); when the log has
ended, the lines that say most and those that stand for most others are chosen among them (`extract_choose`).
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import NamedTuple

from heald_producer.extract_choose import choose
from heald_producer.extract_scan import BLOCK, Scan

_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class Excerpt(NamedTuple):
    """The lines of a log that explain its failure.

    Attributes:
        text: at most 2,000 characters; `[...]` stands where lines are left out, and an ellipsis where a line is cut.
        tool: which tool said the most telling line, where that is known.
        lines: the log's lines that are quoted, as ranges of numbers from 1, both ends included.
        total_lines: how many lines the log has. A lone carriage return ends a line too.
    """

    text: str
    tool: str
    lines: tuple[tuple[int, int], ...]
    total_lines: int


def _unmasked(text: str) -> str:
    return text


class Extractor:
    """Takes a log's bytes as they come; how they are cut into pieces makes no difference.

    Args:
        mask: takes the secrets out of a text; lines are masked before they are cut.
    """

    def __init__(self, mask: Callable[[str], str] = _unmasked) -> None:
        self._mask = mask
        self._scan = Scan()
        self._waiting = bytearray()
        self._begun = False
        self._decoder: codecs.IncrementalDecoder | None = None
        self._open_line = False

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take the next bytes."""
        view = memoryview(data)
        for start in range(0, len(view), BLOCK):
            self._take(bytes(view[start : start + BLOCK]))

    def finish(self) -> Excerpt:
        """What explains the failure; empty when the log says nothing."""
        if not self._begun:
            self._begin()
        if self._decoder:
            self._waiting += self._decoder.decode(b"", final=True).encode()
        self._work(len(self._waiting))
        choice = choose(self._scan.finish(), self._mask)
        return Excerpt(choice.text, choice.tool, choice.lines, self._scan.lines + self._open_line)

    def _take(self, data: bytes) -> None:
        self._waiting += self._decoder.decode(data).encode() if self._decoder else data
        if not self._begun and len(self._waiting) >= len(codecs.BOM_UTF8):
            self._begin()
        while len(self._waiting) >= BLOCK:
            self._work(BLOCK)

    def _begin(self) -> None:
        """Look for a byte-order mark. Windows' shells write UTF-16."""
        self._begun = True
        if self._waiting.startswith(codecs.BOM_UTF8):
            del self._waiting[: len(codecs.BOM_UTF8)]
        elif encoding := _UTF16.get(bytes(self._waiting[:2])):
            self._decoder = codecs.getincrementaldecoder(encoding)("replace")
            self._waiting = bytearray(self._decoder.decode(bytes(self._waiting[2:])).encode())

    def _work(self, size: int) -> None:
        """Scan so many of the waiting bytes. NULs say nothing: they pad, or are halves of UTF-16 without a mark."""
        block = bytes(self._waiting[:size])
        del self._waiting[:size]
        if b"\0" in block:
            block = block.replace(b"\0", b"")
        if block:
            self._open_line = not block.endswith((b"\n", b"\r"))
            self._scan.add(block)
