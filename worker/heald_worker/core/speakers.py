"""Who speaks: the tools that wrote the lines of a message."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from heald_worker.core.patterns import find_one_of, one_of
from heald_worker.core.rules import Tool

REMEMBERED = 8192
"""Lines whose tools are known at most; then all are forgotten."""
LONGEST = 400
"""Bytes of a line that is worth being remembered."""


class Speakers:
    """Which tools wrote which lines.

    Raises:
        BadPattern: a pattern does not compile.
    """

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._patterns = {tool.name: one_of(tool.match) for tool in tools}
        self._any = find_one_of([text for tool in tools for text in tool.match])
        self._known: dict[bytes, str] = {}

    def spoke(self, text: bytes, names: Sequence[str]) -> bool:
        """Whether one of the named tools wrote a line of a text."""
        return any(pattern.search(text) for name in names if (pattern := self._patterns.get(name)))

    def first(self, lines: Sequence[bytes], start: int = 0) -> str:
        """The tool that wrote the first known line from a line on, else of all lines; empty when none is known."""
        known = self._known
        for line in chain(lines[start:], lines[:start]):
            name = known[line] if line in known else self._learn(line)
            if name:
                return name
        return ""

    def _learn(self, line: bytes) -> str:
        known = self._any and self._any(line, 0, len(line))[0][0] >= 0
        name = next((name for name in self._patterns if self.spoke(line, [name])), "") if known else ""
        if len(self._known) >= REMEMBERED:
            self._known = {}
        if len(line) <= LONGEST:
            self._known[line] = name
        return name
