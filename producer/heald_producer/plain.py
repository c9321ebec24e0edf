"""From the bytes a command printed to lines a person reads: no escape codes, no overwritten progress."""

from __future__ import annotations

import re

from heald_producer.excerpt import Excerpt

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    r"|\x1b\][^\x07\x1b\n]{0,2048}(?:\x07|\x1b\\)"  # titles, links
    r"|\x1b[PX^_][^\x1b\n]{0,2048}\x1b\\"  # strings for the terminal
    r"|\x1b[ -/]+[0-~]"  # character sets
    r"|\x1b[0-~]?"
)
_OVERSTRUCK = re.compile(r"[^\n\x08]\x08")
_OVERWRITTEN = re.compile(r"^[^\n]*\r(?=[^\n\r])", re.MULTILINE)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_LONGEST_TORN_LINE = 4096


def plain_text(excerpt: Excerpt) -> str:
    """All of the excerpt as text; a line says what is missing between its head and its tail.

    The lines that the gap tears are left out: half a secret would not be recognised as one.
    """
    if not excerpt.lost:
        return _plain(excerpt.head + excerpt.tail)
    head = excerpt.head[: excerpt.head.rfind(b"\n") + 1]
    tail = excerpt.tail
    torn = tail.find(b"\n", 0, _LONGEST_TORN_LINE) + 1 or _LONGEST_TORN_LINE
    return f"{_plain(head)}\n[... {excerpt.lost} bytes not kept by heald ...]\n{_plain(tail[torn:])}"


def last_lines(text: str, count: int) -> str:
    """The last lines of a text, without blank ones around them."""
    return "\n".join(text.rstrip().split("\n")[-count:]).strip("\n")


def _plain(data: bytes) -> str:
    text = data.decode("utf-8", "replace").replace("\r\n", "\n")
    text = _OVERSTRUCK.sub("", _ESCAPES.sub("", text))
    text = _CONTROLS.sub("", _OVERWRITTEN.sub("", text))
    return "\n".join(line.rstrip() for line in text.split("\n"))
