"""Lists in columns; where they are wider than the terminal, a card per row. No cell is cut: an id can be copied."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.text import Text

from heald_worker.cli.fitting import folded

GAP = "  "


def columns(
    headings: Sequence[str], rows: Iterable[Sequence[Text | str]], width: int | None = None, *, title: int = 0
) -> list[Text]:
    """The lines of a list, its headings first; no lines when there are no rows.

    Args:
        width: columns that a line may have; None for any number.
        title: the number of the cell that heads the row's card.
    """
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    if not cells:
        return []
    table = [[Text(heading, "dim") for heading in headings], *cells]
    widths = [max(cell.cell_len for cell in column) for column in zip(*table, strict=True)]
    lines = [_line(row, widths) for row in table]
    if width is None or all(line.cell_len <= width for line in lines):
        return lines
    return [line for row in cells for line in _card(headings, row, title, width)]


def _line(row: Sequence[Text], widths: Sequence[int]) -> Text:
    padded = [
        Text.assemble(cell, " " * (width - cell.cell_len)) for cell, width in zip(row[:-1], widths[:-1], strict=True)
    ]
    return Text(GAP).join([*padded, row[-1]])


def _card(headings: Sequence[str], row: Sequence[Text], title: int, width: int) -> Iterator[Text]:
    """A row below each other: its title, then as many cells with their headings to a line as fit."""
    yield from folded(row[title], width)
    line = Text()
    for number, (heading, cell) in enumerate(zip(headings, row, strict=True)):
        if number == title or not cell.plain:
            continue
        named = Text.assemble(GAP, (heading, "dim"), " ", cell)
        if line and line.cell_len + named.cell_len > width:
            yield from folded(line, width)
            line = Text()
        line = Text.assemble(line, named)
    if line:
        yield from folded(line, width)
