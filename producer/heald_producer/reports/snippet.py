"""A bounded part of a text that comes in pieces, and text from a report as lines for a person."""

from __future__ import annotations

import re

HEAD_CHARS = 4_000
TAIL_CHARS = 4_000
NAME_CHARS = 1_000
GAP = "[...]"
_STACK_INDENT = 4

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    r"|\x1b\][^\x07\x1b\n]{0,2048}(?:\x07|\x1b\\)"  # titles, links
    r"|\x1b[ -/]*[0-~]?"
)
_OVERWRITTEN = re.compile(r"^[^\n]*\r(?=[^\n\r])", re.MULTILINE)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PICTURES = {0x2400 + code: code for code in range(32)}


class Snippet:
    """Takes text as it comes and keeps its head and its tail."""

    def __init__(self, head: int = HEAD_CHARS, tail: int = TAIL_CHARS) -> None:
        self._head_room, self._tail_room = head, tail
        self._head: list[str] = []
        self._tail = ""
        self._lost = False

    def add(self, text: str) -> None:
        """Take the next piece."""
        if self._head_room:
            first = text[: self._head_room]
            self._head.append(first)
            self._head_room -= len(first)
            text = text[len(first) :]
        if text:
            self._lost = self._lost or len(self._tail) + len(text) > self._tail_room
            self._tail = (self._tail + text)[-self._tail_room :]

    def text(self) -> str:
        """What was kept. Words that a gap tears are left out: half a secret would not be recognised as one."""
        head = "".join(self._head)
        if not self._lost:
            return head + self._tail
        return f"{whole_words(head)}\n{GAP}\n{_from_a_boundary(self._tail)}"


def whole_words(text: str) -> str:
    """A text that was cut, up to its last whole line; when it has only one, up to its last whole word."""
    end = text.rfind("\n")
    return text[: end if end >= 0 else max(text.rfind(" "), 0)]


def _from_a_boundary(text: str) -> str:
    start = text.find("\n") + 1 or text.find(" ") + 1
    return text[start:] if start else ""


def bounded(text: str, limit: int = HEAD_CHARS) -> str:
    """The text; when it is too long, the whole words of its beginning."""
    return text if len(text) <= limit else f"{whole_words(text[:limit])} {GAP}".lstrip()


def one_line(text: str, limit: int = NAME_CHARS) -> str:
    """A name on one line, bounded."""
    if len(text) <= limit and text.isascii() and text.isprintable() and "  " not in text:
        return text.strip(" ")  # as nearly all names are
    return bounded(" ".join(readable(bounded(text, 4 * limit)).split()), limit)


def dedented(text: str) -> str:
    """Lines as they were before they were written into an indented document, without blank ones around them."""
    lines = text.expandtabs(4).strip("\r\n ").split("\n")
    indents = [len(line) - len(line.lstrip(" ")) for line in lines[1:] if line.strip()]
    margin = min(indents, default=0)
    if margin <= _STACK_INDENT:  # a stack trace's own
        return "\n".join(lines)
    return "\n".join((lines[0], *(line[margin:] for line in lines[1:])))


def readable(text: str) -> str:
    """Text without escape codes, overwritten progress and control characters.

    Control characters that a parser does not take travel as their Unicode pictures (see `xml_stream`).
    """
    text = text.translate(_PICTURES) if not text.isascii() else text
    text = _OVERWRITTEN.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n")))
    return "\n".join(line.rstrip() for line in _CONTROLS.sub("", text).split("\n"))
