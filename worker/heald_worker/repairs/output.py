"""From what a repair printed or raised to the text that is kept of it, and may become the next failure's message."""

from __future__ import annotations

import re

from heald_producer.mask import Masker

MESSAGE_CHARS = 8 * 1024
"""How much of the end of the output is kept."""

_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor movements
    r"|\x1b[\]PX^_][^\x07\x1b\n]{0,2048}(?:\x07|\x1b\\)"  # titles, links and other strings
    r"|\x1b[ -/]*[0-~]?"  # everything else
)
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TORN_CHARS = 4096


def end_of_output(output: bytes, cut: bool, masker: Masker) -> str:
    """The last lines of an output as plain text: no colours, no progress bars, secrets masked.

    Args:
        output: the last bytes; what is not UTF-8 becomes U+FFFD.
        cut: there was more before them, so the first line is torn and left out: half a secret is not recognised.
        masker: knows the secrets that must not show.
    """
    text = output.decode("utf-8", "replace")
    if cut:
        text = text[text.find("\n", 0, _TORN_CHARS) + 1 or _TORN_CHARS :]
    lines = _ESCAPES.sub("", text).replace("\r\n", "\n").split("\n")
    shown = (_CONTROLS.sub("", line.rstrip("\r").rpartition("\r")[2]) for line in lines)
    return last_lines(masker.text("\n".join(shown).strip("\n").rstrip()), MESSAGE_CHARS)


def last_lines(text: str, room: int) -> str:
    """As many whole lines from the end as fit; of a single long line, its end."""
    if len(text) <= room:
        return text
    kept = text[-room:]
    return kept.partition("\n")[2] or kept
