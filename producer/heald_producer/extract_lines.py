"""From the raw bytes of a log's line to the text a person reads, and to the shape that its repetitions share."""

from __future__ import annotations

import re

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    r"|\x1b\][^\x07\x1b]{0,2048}(?:\x07|\x1b\\)"  # titles, links
    r"|\x1b[PX^_][^\x07\x1b]{0,2048}(?:\x07|\x1b\\)"  # strings for the terminal, such as Buildkite's times
    r"|\x1b[ -/]+[0-~]"  # character sets
    r"|\x1b[0-~]?"
)
_OVERSTRUCK = re.compile(r"[^\x08]\x08")
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_STAMP = re.compile(
    r"(?:[^\t]{1,80}\t[^\t]{1,80}\t(?=\d{4}-\d\d-\d\dT))?"  # GitHub: job and step, in a downloaded log
    r"(?:\[?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?\]?(?: \d\d[OE](?:\+| |$))?(?: |$)"
    r"|\[?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?\]?(?: {1,2}|$))?"  # Jenkins, TeamCity
    r"(?:#\d{1,5} \d{1,6}\.\d{1,4} )?"  # docker buildx
)
_MARKER = re.compile(r"(?:travis_(?:fold|time):(?:start|end):\S*|section_(?:start|end):\d+:\S*)+")
_NUMBERS = re.compile(r"0[xX][0-9a-fA-F]+|\b[0-9a-f]{7,64}\b|\d+(?:[.,:]\d+)*")
_FOLDERS = re.compile(r"(?:[A-Za-z]:)?(?:[\w.@~+-]{0,100}[/\\]){1,50}")


def clean_line(raw: bytes) -> str:
    """The line as a person reads it: no escape codes, no CI's timestamp or fold marker, no blanks at its end."""
    text = raw.decode("utf-8", "replace")
    if not text.isprintable():
        text = _CONTROLS.sub("", _OVERSTRUCK.sub("", _ESCAPES.sub("", text)))
    stamp = _STAMP.match(text)
    text = text[stamp.end() :] if stamp else text
    return (_MARKER.sub("", text) if ":" in text else text).rstrip()


def shape(text: str) -> str:
    """The text with numbers, hashes and folders masked: equal for the repetitions of a line."""
    return _FOLDERS.sub("/", _NUMBERS.sub("0", text.strip()))


def count_breaks(data: bytes, start: int, end: int) -> int:
    """How many lines end between two offsets, neither of them inside a `\\r\\n`.

    A lone carriage return ends one too, as for editors and for Python: each frame of a progress bar counts.
    """
    breaks = data.count(b"\n", start, end)
    if returns := data.count(b"\r", start, end):
        breaks += returns - data.count(b"\r\n", start, end)
    return breaks
