"""From what a command printed to the text that becomes the next failure's message."""

from __future__ import annotations

import re

from heald_producer.mask import Masker

MESSAGE_CHARS = 8 * 1024
"""How much of the end of the output is kept."""

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles, links and other strings
    r"|\x1b[ -/]*[0-~]?"  # everything else
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_OVERWRITTEN = re.compile(r"[^\n]*\r(?!\n)")


def end_of_output(output: bytes, cut: bool, masker: Masker) -> str:
    """The last lines of an output as plain text: no colours, no progress bars, secrets masked.

    Args:
        output: the last bytes; what is not UTF-8 becomes U+FFFD.
        cut: there was more before them, so the first line is not whole and is left out.
        masker: knows the secrets that must not show.
    """
    text = output.decode("utf-8", "replace")
    if cut:
        text = text.partition("\n")[2] or text
    text = _ESCAPES.sub("", text).replace("\r\n", "\n").rstrip("\r")
    text = _CONTROLS.sub("", _OVERWRITTEN.sub("", text)).strip("\n").rstrip()
    return last_lines(masker.text(text), MESSAGE_CHARS)


def last_lines(text: str, room: int) -> str:
    """As many whole lines from the end as fit; of a single long line, its end."""
    if len(text) <= room:
        return text
    kept = text[-room:]
    return kept.partition("\n")[2] or kept
