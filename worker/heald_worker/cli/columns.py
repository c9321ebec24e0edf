"""Lists in columns. Nothing is cut or folded, so that an id can be copied from a narrow terminal too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

GAP = "  "


def columns(headings: Sequence[str], rows: Iterable[Sequence[Text | str]]) -> list[Text]:
    """The lines of a list, its headings first; no lines when there are no rows."""
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    if not cells:
        return []
    table = [[Text(heading, "dim") for heading in headings], *cells]
    widths = [max(cell.cell_len for cell in column) for column in zip(*table, strict=True)]
    return [_line(row, widths) for row in table]


def _line(row: Sequence[Text], widths: Sequence[int]) -> Text:
    padded = [
        Text.assemble(cell, " " * (width - cell.cell_len)) for cell, width in zip(row[:-1], widths[:-1], strict=True)
    ]
    return Text(GAP).join([*padded, row[-1]])
