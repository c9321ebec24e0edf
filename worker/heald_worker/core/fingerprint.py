"""By which failures are known again: their text without what changes from run to run.

Masked are numbers that stand for themselves, times and durations, hashes, UUIDs, addresses, temporary names, colours
and the folders of absolute paths. Digits that belong to a name (`E0432`, `utf8`, `test_add_2`) stay, and so do relative
paths: they tell failures apart. Blanks and line ends count as one blank.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from heald_producer.signals import FailureSignal

MOST_CHARS = 16 * 1024
"""Characters of a message that are looked at: half at its beginning, half at its end."""
LENGTH = 32
"""Hex digits of a fingerprint."""

_COLOURS = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")
_CHANGING = re.compile(
    r"(?<![0-9A-Za-z])[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}(?![0-9A-Za-z])"  # UUIDs
    r"|(?<![0-9A-Za-z_])[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.,]+(?:Z|[+-][0-9:]+)?"
    r"|0[xX][0-9A-Fa-f]+"  # addresses
    r"|(?<![\w.~/\\-])(?:[A-Za-z]:)?[/\\](?:private[/\\])?(?:var[/\\])?(?:tmp|temp|folders)[/\\][^\s'\"`()<>,;:]*"
    r"|(?<![\w.~/\\-])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\"`()<>,;:]+[/\\])+"  # the folders of an absolute path
    r"|(?<![0-9A-Za-z_])tmp[0-9a-z_]{8}(?![0-9a-z_])"
    r"|(?<![0-9A-Za-z])(?=[A-Fa-f]*[0-9])[0-9A-Fa-f]{7,}(?![0-9A-Za-z])"  # hashes
    r"|(?<![0-9A-Za-z_])[0-9]+(?:[.,][0-9]+)*(?:(?:ns|us|µs|ms|s|m|h)(?:[0-9]+(?:ns|us|µs|ms|s|m|h))*(?![0-9A-Za-z]))?"
    r"|(?<=_)[0-9]{4,}"
)
_MASK = "#"
_WRITTEN_OUT = re.compile(
    r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun),? )?"
    r"(?:(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) #|# (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec))"
    r",?(?: #)? #:#(?::#)?"
)
"""Dates in words, after their numbers were masked: `Mon Jan # #:#:#`."""


def fingerprint(repository: str | None, signal: FailureSignal) -> str:
    """What this failure is known by: the same for the same repository, stage and masked message.

    Exit code and `flaky_hint` do not matter. Takes linear time, and bounded: see `MOST_CHARS`.
    """
    where = repository or ""
    text = f"{len(where)}:{len(signal.stage)}:{where}{signal.stage}{masked(signal.message)}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:LENGTH]


def masked(message: str, most: int = MOST_CHARS) -> str:
    """The message without what changes from run to run; at most so many characters of it."""
    if len(message) > most:
        message = message[: most // 2] + " " + message[-most // 2 :]
    text = " ".join([_masked_word(word) for word in _COLOURS.sub("", message).split()])
    return _WRITTEN_OUT.sub(_MASK, text) if "#:#" in text else text


@lru_cache(maxsize=4096)
def _masked_word(word: str) -> str:
    return word if word.isalpha() else _CHANGING.sub(_MASK, word)
