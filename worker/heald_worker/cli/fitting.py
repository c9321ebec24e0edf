"""Lines made to fit a terminal: folded at blanks, and within a word where it is longer than a line. Nothing is cut."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

NARROWEST = 20
"""Columns that lines have at least, however narrow the terminal says it is."""
_HANG = 2
_ENOUGH = 24
"""Columns that a text needs beside its head; with fewer it goes below."""
_MEASURE = Console(width=NARROWEST, legacy_windows=False)


def folded(text: Text, width: int | None) -> list[Text]:
    """The lines of a text, each at most so many columns wide; what goes on stands deeper than its beginning."""
    lines = list(text.split("\n", allow_blank=True))
    if width is None:
        return lines
    return [part for line in lines for part in (_fold(line, width) if line.cell_len > width else [line])]


def hung(head: Text, text: Text, below: Text, width: int | None) -> list[Text]:
    """The lines of a text beside its head; those that follow the first stand after `below`, as wide as the head."""
    if width is None or head.cell_len + min(text.cell_len, _ENOUGH) <= width:
        parts = folded(text, None if width is None else width - head.cell_len)
        heads = [head, *[below] * (len(parts) - 1)]
        return [Text.assemble(before, part) for before, part in zip(heads, parts, strict=True)]
    indent = Text(" " * 2 * _HANG)
    return [*folded(head, width), *(Text.assemble(indent, part) for part in folded(text, width - 2 * _HANG))]


def _fold(line: Text, width: int) -> list[Text]:
    blanks = len(line.plain) - len(line.plain.lstrip(" "))
    lead = min(blanks, width // 2)
    parts = line[blanks:].wrap(_MEASURE, width - lead - _HANG, overflow="fold")
    for part in parts:
        part.rstrip()
    return [Text.assemble(" " * (lead + (_HANG if number else 0)), part) for number, part in enumerate(parts)]
