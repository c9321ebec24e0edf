"""The line that decided, whole: an event keeps some hundred characters of it, the run's messages have the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from heald_producer.mask import Masker
from heald_worker.core.judge import plain
from heald_worker.core.taxonomy import Evidence

_MASKER = Masker()


def told_evidence(facts: Mapping[str, object]) -> Evidence | None:
    """The evidence among an event's facts; None where there is none, or none that can be read."""
    try:
        return msgspec.convert(facts.get("evidence"), Evidence | None)
    except msgspec.ValidationError:
        return None


def line_of(message: str, number: int) -> str:
    """The line of a message, from 1, as rules see it; empty where the message has none of this number."""
    lines = plain(message).split(b"\n")
    return lines[number - 1].decode("utf-8", "replace") if 0 < number <= len(lines) else ""


def whole_line(evidence: Evidence, messages: Iterable[str]) -> str | None:
    """The line from the first message that has it at this place, secrets masked; None where no message has it."""
    lines = (_MASKER.text(line_of(message, evidence.line)).strip() for message in messages)
    return next((line for line in lines if line and evidence.text in line), None)
