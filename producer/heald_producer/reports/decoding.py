"""From a report's bytes to text and lines, whatever its encoding; nothing here fails, and memory is bounded."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator

MAX_LINE_CHARS = 1024 * 1024

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_UNMARKED = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"), (b"{\0", "utf-16-le"), (b"\0{", "utf-16-be"))
_DECLARED = re.compile(rb"""\s*<\?xml[^>]{0,200}?\bencoding\s{0,9}=\s{0,9}["']([A-Za-z][A-Za-z0-9._-]{0,39})["']""")
_CHARACTER_SETS = (
    *("ascii", "big5", "cp", "euc", "gb", "hz", "iso2022", "iso8859", "johab", "koi8", "kz", "mac", "ptcp", "shift"),
    *("tis", "utf-8"),
)
"""How Python's names of character sets begin; it has codecs for other things too."""


def decoded(pieces: Iterable[bytes], head: bytes) -> Iterator[str]:
    """The text of a file that begins with `head`; bytes that its encoding does not know become U+FFFD."""
    encoding, mark = encoding_of(head)
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    for piece in pieces:
        text = decoder.decode(piece[mark:] if mark else piece)
        mark = max(0, mark - len(piece))
        if text:
            yield text
    if rest := decoder.decode(b"", final=True):
        yield rest


def encoding_of(head: bytes) -> tuple[str, int]:
    """The encoding by byte-order mark, first bytes or XML declaration, else UTF-8; and the mark's length."""
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    for start, encoding in _UNMARKED:
        if head.startswith(start):
            return encoding, 0
    declared = _DECLARED.match(head)
    return (_known(declared[1].decode("ascii")) if declared else "utf-8"), 0


def _known(name: str) -> str:
    """The encoding by a name that a file gives; UTF-8 when there is none of that name for text, or it cannot be."""
    try:
        found = codecs.lookup(name).name
        is_possible = found.startswith(_CHARACTER_SETS) and "<?xml".encode(found) == b"<?xml"  # it was read as ASCII
    except (LookupError, ValueError):
        return "utf-8"
    return found if is_possible else "utf-8"


def lines(texts: Iterable[str]) -> Iterator[str]:
    """Lines without their ends; one beyond `MAX_LINE_CHARS` is cut."""
    rest: list[str] = []
    size = 0
    for text in texts:
        first, *others = text.split("\n")
        if size < MAX_LINE_CHARS:
            rest.append(first[: MAX_LINE_CHARS - size])
            size += len(rest[-1])
        if others:
            yield "".join(rest).removesuffix("\r")
            for line in others[:-1]:
                yield line[:MAX_LINE_CHARS].removesuffix("\r")
            rest = [others[-1][:MAX_LINE_CHARS]]
            size = len(rest[0])
    if size:
        yield "".join(rest).removesuffix("\r")
