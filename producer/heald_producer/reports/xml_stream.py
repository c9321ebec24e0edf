"""XML as a stream of elements, read by the standard library's expat with everything dangerous refused.

A document type with declarations of its own is refused before the first of them is read, so there are no entities to
expand and nothing external is ever opened. Memory is bounded: nesting, the size of one tag and the number of different
names have limits, and text is only kept where a reader wants it, as a `Snippet`.

XML 1.0 forbids control characters, also as `&#27;`, yet tools write them: they reach the parser as their Unicode
pictures (U+2400 and on), and `snippet.readable` turns them back. A document that breaks is read up to the break.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pyexpat import ExpatError, ParserCreate, XMLParserType
from typing import Protocol

from heald_producer.reports.snippet import Snippet

MAX_DEPTH = 200
MAX_TAG_CHARS = 4 * 1024 * 1024
MAX_NAMES = 10_000
_PIECE_CHARS = 256 * 1024

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_CONTROL_BYTES = bytes(code for code in range(32) if code not in b"\t\n\r")
_REFERENCE = re.compile(
    r"&#(?:x0*([0-8bcef]|1[0-9a-f])|0*([0-8]|1[1-24-9]|2[0-9]|3[01])"
    r"|x0*(?:d[89a-f][0-9a-f]{2}|fff[ef])|0*(?:5529[6-9]|55[3-9]\d\d|56\d{3}|57[0-2]\d\d|573[0-3]\d|5734[0-3]|6553[45]));",
    re.IGNORECASE,
)
_LONGEST_REFERENCE = 16


class Refused(Exception):
    """The document is not read any further: one clause why."""


class Broken(Exception):
    """The document is no XML from here on: one clause what is wrong and where."""


class Counting(Protocol):
    """What is told of elements without their texts, at less cost; names come as they stand there."""

    depth: int
    """How many elements are open."""

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""

    def end(self, name: str) -> None:
        """The element ends."""


class Reader(Protocol):
    """What is told of the elements; names come without a namespace's prefix."""

    def start(self, name: str, attributes: Mapping[str, str]) -> Snippet | None:
        """An element begins. The snippet, if any, gets its text, and that of its elements that have none."""

    def end(self, name: str) -> Counting | None:
        """The element ends; its snippet is complete. Who is returned is told of all that follows."""


def read_xml(texts: Iterable[str], reader: Reader) -> None:
    """Tell the reader what the document holds.

    Raises:
        Refused, Broken: what came before was told.
    """
    stream = _Stream(reader)
    fed = 0
    for piece in _pieces(_legal(texts)):
        stream.feed(piece)
        fed += len(piece)
    if not fed:
        raise Broken("it is empty")
    stream.feed("", last=True)


class _Stream:
    """One parser and where it is."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._snippets: list[Snippet | None] = []
        self._fed = 0
        self._names: dict[str, str] = {}
        self._parser: XMLParserType = ParserCreate("utf-8", None, self._names)
        self._parser.buffer_text = True
        self._parser.buffer_size = 64 * 1024
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._document_type

    def feed(self, piece: str, *, last: bool = False) -> None:
        data = piece.encode("utf-8")
        self._fed += len(data)
        try:
            self._parser.Parse(data, last)
        except ExpatError as error:
            self._parser.buffer_text = False  # hands over the text before the break, which would be lost
            raise Broken(_sentence(error)) from None
        if self._fed - self._parser.CurrentByteIndex > MAX_TAG_CHARS:
            raise Refused(f"one tag has more than {MAX_TAG_CHARS:,} bytes{self._line()}")
        if len(self._names) > MAX_NAMES:
            raise Refused(f"it has more than {MAX_NAMES:,} different names of elements and attributes")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._snippets) == MAX_DEPTH:
            raise Refused(f"elements are nested deeper than {MAX_DEPTH}{self._line()}")
        snippet = self._reader.start(_local(name), attributes)
        if snippet is None and self._snippets:
            snippet = self._snippets[-1]
        self._snippets.append(snippet)

    def _end(self, name: str) -> None:
        self._snippets.pop()
        if counting := self._reader.end(_local(name)):
            self._count_the_rest(counting)

    def _count_the_rest(self, counting: Counting) -> None:
        counting.depth = len(self._snippets)
        self._parser.StartElementHandler = counting.start
        self._parser.EndElementHandler = counting.end
        self._parser.CharacterDataHandler = None

    def _text(self, text: str) -> None:
        snippet = self._snippets[-1]
        if snippet is not None:
            snippet.add(text)

    def _document_type(self, name: str, system: str | None, public: str | None, has_declarations: int) -> None:
        if has_declarations:
            raise Refused(f"it declares entities or a document type of its own, which can be an attack{self._line()}")

    def _line(self) -> str:
        return f" (line {self._parser.CurrentLineNumber:,})"


def _local(name: str) -> str:
    return name.rpartition(":")[2] if ":" in name else name


def _sentence(error: ExpatError) -> str:
    reason = str(error).partition(": line")[0]
    if reason in ("no element found", "unclosed token", "unclosed CDATA section"):
        return f"it ends in the middle, in line {error.lineno:,}"
    return f"it is broken in line {error.lineno:,} ({reason})"


def _pieces(texts: Iterable[str]) -> Iterator[str]:
    """The same text in pieces of a size that costs little, without white space before the first `<`."""
    begun = False
    for text in texts:
        if not begun:
            text = text.lstrip("\ufeff \t\r\n")
            begun = bool(text)
        for start in range(0, len(text), _PIECE_CHARS):
            yield text[start : start + _PIECE_CHARS]


def _legal(texts: Iterable[str]) -> Iterator[str]:
    """The same text with characters that XML forbids as pictures, also where they are written as references."""
    rest = ""
    for text in texts:
        text = rest + text
        cut = text.rfind("&", max(len(text) - _LONGEST_REFERENCE, 0))
        cut = len(text) if cut < 0 or ";" in text[cut:] else cut
        text, rest = text[:cut], text[cut:]
        if "&#" in text:
            text = _REFERENCE.sub(_referred, text)
        if _has_controls(text):
            text = _CONTROL.sub(lambda found: _picture(ord(found[0])), text)
        if text:
            yield text
    if rest:
        yield rest


def _has_controls(text: str) -> bool:
    """Whether there is something to replace. Searching for the pattern would take longer than all the rest."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:  # surrogates
        return True
    return len(data.translate(None, _CONTROL_BYTES)) < len(data) or "\ufffe" in text or "\uffff" in text


def _referred(found: re.Match[str]) -> str:
    code = int(found[1], 16) if found[1] else int(found[2]) if found[2] else 0xFFFF
    return _picture(code)


def _picture(code: int) -> str:
    return chr(0x2400 + code) if code < 32 else "\ufffd"
