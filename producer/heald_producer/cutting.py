"""Text made to fit: sizes are those of the JSON encoding, cuts fall between characters."""

from __future__ import annotations

import msgspec

_CUT_LINE = "\n[... {} bytes cut by heald ...]\n"
_CUT_LINE_ROOM = 64
_ELLIPSIS = "…"

_encode = msgspec.json.Encoder().encode


def encoded_size(text: str) -> int:
    """Bytes of the text as a JSON string, without its quotes."""
    return len(_encode(text)) - 2


def is_unicode(text: str) -> bool:
    """Whether the text can be encoded: lone surrogates cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def readable(text: str) -> str:
    """The text with surrogate pairs joined, and lone surrogates and NUL as U+FFFD."""
    if not is_unicode(text):
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "\ufffd")


def cut_middle(text: str, room: int) -> str:
    """The text when it encodes within `room` bytes; else some of its head, a line, and more of its tail."""
    if encoded_size(text) <= room:
        return text
    kept = room - _CUT_LINE_ROOM
    head = text[: _longest(text, kept // 4)]
    tail = text[len(text) - _longest(text, kept - kept // 4, from_end=True) :]
    lost = len(text.encode()) - len(head.encode()) - len(tail.encode())
    return head + _CUT_LINE.format(lost) + tail


def cut_end(text: str, room: int) -> str:
    """The text when it encodes within `room` bytes; else its head and an ellipsis."""
    if encoded_size(text) <= room:
        return text
    return text[: _longest(text, room - len(_ELLIPSIS.encode()))] + _ELLIPSIS


def _longest(text: str, room: int, *, from_end: bool = False) -> int:
    """How many characters from the start, or the end, of the text encode within `room` bytes."""
    fits, too_many = 0, min(len(text), room) + 1
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        part = text[len(text) - middle :] if from_end else text[:middle]
        if encoded_size(part) <= room:
            fits = middle
        else:
            too_many = middle
    return fits
