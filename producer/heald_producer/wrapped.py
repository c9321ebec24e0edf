"""Tokens that a terminal's width has broken over several lines."""

from __future__ import annotations

import re
from bisect import bisect_right

from heald_producer.shapes import MASK, SHAPES

NARROWEST = 60
"""Columns of a line that may have been broken by its width; a shorter one ended by itself."""
_BREAK = re.compile(r"(?<=[A-Za-z0-9_+/=.%-])\r?\n[ \t]{0,8}(?=[A-Za-z0-9_+/=.%-])")


def mask_wrapped(text: str) -> str:
    """Mask tokens that tell themselves only when the lines that they are broken over are joined again."""
    breaks = [found for found in _BREAK.finditer(text) if _column(text, found.start()) >= NARROWEST]
    if not breaks:
        return text
    ends = [0, *(found.end() for found in breaks)]
    starts = [*(found.start() for found in breaks), len(text)]
    pieces = [text[begin:end] for begin, end in zip(ends, starts, strict=True)]
    seams = [0]
    for piece in pieces:
        seams.append(seams[-1] + len(piece))
    for begin, end in reversed(_broken("".join(pieces), seams)):
        first, last = bisect_right(seams, begin) - 1, bisect_right(seams, end - 1) - 1
        pieces[last] = MASK + pieces[last][end - seams[last] :]
        pieces[first] = pieces[first][: begin - seams[first]] + MASK
        pieces[first + 1 : last] = [MASK] * (last - first - 1)
    rest = (found[0] + piece for found, piece in zip(breaks, pieces[1:], strict=True))
    return "".join((pieces[0], *rest))


def _column(text: str, place: int) -> int:
    return place - text.rfind("\n", 0, place) - 1


def _broken(joined: str, seams: list[int]) -> list[tuple[int, int]]:
    """Where tokens stand that go over a seam, in their order and without overlaps."""
    lowered, found = joined.lower(), []
    for shape in SHAPES:
        if shape.replacement == MASK and any(hint in lowered for hint in shape.hints):
            found += [_within(shape.pattern, match, seams) for match in shape.pattern.finditer(joined)]
    apart: list[tuple[int, int]] = []
    for begin, end in sorted(found):
        over_a_seam = bisect_right(seams, begin) != bisect_right(seams, end - 1)
        if over_a_seam and (not apart or begin >= apart[-1][1]):
            apart.append((begin, end))
    return apart


def _within(pattern: re.Pattern[str], match: re.Match[str], seams: list[int]) -> tuple[int, int]:
    """The span of a token without the next line's first word, where the token is whole before it."""
    begin, end = match.span()
    seam = seams[bisect_right(seams, end - 1) - 1]
    next_word = match.string[seam:end]
    if seam > begin and next_word.isalpha() and pattern.fullmatch(match.string, begin, seam):
        return begin, seam
    return begin, end
