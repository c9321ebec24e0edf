"""A diagnosis for reading: its class, the rule and how sure it is, the line that decided, and what came close."""

from __future__ import annotations

from rich.cells import cell_len

from heald_producer.signals import FailureSignal
from heald_worker.cli.common import clean
from heald_worker.cli.evidence import line_of
from heald_worker.config import Settings
from heald_worker.core.rules import Explanation
from heald_worker.core.taxonomy import AIVCS, RULES, Diagnosis, Evidence, Taxonomy
from heald_worker.taxonomies import rulebook_of

Fields = list[tuple[str, str]]

AROUND = 80
"""Characters of a long line that are shown on each side of what matched."""
_LABELS = 14
"""Columns that labels take on a terminal."""
CLOSE = 5
"""Rules that came close, at most, as a person reads them; `--json` has them all."""


def diagnosed(settings: Settings, taxonomy: Taxonomy, signal: FailureSignal) -> Explanation:
    """The diagnosis of a signal with its reason."""
    if taxonomy.ref.name == AIVCS.ref.name:
        return Explanation(taxonomy.diagnose(signal), class_reason(signal), ())
    return rulebook_of(settings).explain(signal)


def class_reason(signal: FailureSignal) -> str:
    """Which of the reference's rules gives the class: by which word."""
    stage, message = signal.stage.lower(), signal.message.lower()
    for _, in_stage, in_message in RULES:
        for word in in_stage:
            if word in stage:
                return f"the stage has {word!r}"
        for word in in_message:
            if word in message:
                return f"the message has {word!r}"
    return "no rule fits"


def headline(diagnosis: Diagnosis) -> str:
    """`integration (dns, transient)`."""
    finer = [diagnosis.subclass, "transient" if diagnosis.transient else ""]
    words = ", ".join(word for word in finer if word)
    return f"{diagnosis.failure_class} ({words})" if words else str(diagnosis.failure_class)


def reasons(found: Explanation, signal: FailureSignal, width: int | None = None) -> Fields:
    """Why the failure has its class, and which rules came close and why they are not the verdict.

    Args:
        width: columns of the terminal; the line that decided is shown in one of its lines, with what matched below.
    """
    diagnosis = found.diagnosis
    fields = [("", clean(found.reason))]
    if diagnosis.rule:
        tool = f", written by {clean(diagnosis.tool)}" if diagnosis.tool else ""
        fields.append(("rule", f"{clean(diagnosis.rule)}, confidence {diagnosis.confidence:g}{tool}"))
    if diagnosis.evidence is not None:
        fields += _marked(diagnosis.evidence, signal.message, width)
    for number, rule in enumerate(found.close[:CLOSE]):
        verdict = f"{rule.failure_class}{f' ({rule.subclass})' if rule.subclass else ''}"
        fields.append(("" if number else "came close", f"{clean(rule.rule)}, {clean(verdict)}: {clean(rule.why)}"))
    if len(found.close) > CLOSE:
        fields.append(("", f"and {len(found.close) - CLOSE} more; --json has them"))
    return fields


def _marked(evidence: Evidence, message: str, width: int | None) -> Fields:
    """The line that decided, and below it what of it matched."""
    line = line_of(message, evidence.line) or evidence.text
    room = AROUND if width is None else (width - _LABELS - (evidence.end - evidence.start)) // 2 - len("...")
    around = max(0, min(AROUND, room))
    begin, end = max(0, evidence.start - around), evidence.end + around
    before = line[begin : evidence.start]
    head = f"...{clean(before)}" if begin else clean(before.lstrip())
    match = clean(line[evidence.start : evidence.end])
    tail = clean(line[evidence.end : end].rstrip()) + ("..." if end < len(line) else "")
    marks = " " * cell_len(head) + "^" * max(1, cell_len(match))
    return [(f"line {evidence.line}", head + match + tail), ("", marks)]
