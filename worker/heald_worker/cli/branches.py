"""A run's events as the branches of its timeline: what happened, the line that decided it, with `--full` every fact."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from rich.text import Text

from heald_worker.cli.accounts import KINDS, count, event_record, event_style, event_words
from heald_worker.cli.common import Output, clean
from heald_worker.cli.evidence import told_evidence, whole_line
from heald_worker.cli.times import id_micros, local_time
from heald_worker.core.log import RecoveryDecision
from heald_worker.states import UnreadableRun
from heald_worker.streams import EventEntry, MalformedEntry, RecoveryEntry
from heald_worker.views import OpenRun, Timeline

_ANY, _LAST = Text("  ├─ ", "dim"), Text("  └─ ", "dim")
_BELOW_ANY, _BELOW_LAST = Text("  │  ", "dim"), Text("     ")
KIND_WIDTH = max(map(len, KINDS))


def branch_records(
    run: OpenRun | RecoveryEntry, events: Sequence[EventEntry | MalformedEntry]
) -> Iterator[dict[str, object]]:
    """Events for `--json`; a decision also has the whole line that decided it."""
    for event in events:
        if isinstance(event, MalformedEntry):
            yield {"id": event.id, "malformed": event.problem}
        else:
            line = _deciding_line(run, event)
            yield event_record(event) | ({} if line is None else {"evidence_line": line})


def draw_branches(
    run: OpenRun | RecoveryEntry, timeline: Timeline, output: Output, *, full: bool = False, grows: bool = False
) -> None:
    """A timeline, or what is new of one that grows until its run has ended."""
    kinds = max((len(event.kind) for event in timeline.events if isinstance(event, EventEntry)), default=0)
    kinds = KIND_WIDTH if grows else kinds
    branches = [*_trimmed(run, timeline), *(_branch(run, event, kinds, output, full) for event in timeline.events)]
    ends = not grows or isinstance(run, RecoveryEntry)
    for number, branch in enumerate(branches, start=1):
        last = ends and number == len(branches)
        output.beside(_LAST if last else _ANY, branch, _BELOW_LAST if last else _BELOW_ANY)


def _trimmed(run: OpenRun | RecoveryEntry, timeline: Timeline) -> Iterator[Text]:
    """What the run itself still knows of the time whose events are gone."""
    if not timeline.trimmed:
        return
    yield Text(f"{count(timeline.trimmed, 'event')} of this run were trimmed; what was decided:", "dim")
    for decision in decisions_of(run):
        words = f"attempt {decision.attempt}, {decision.failure_class} failure: {decision.action}"
        yield Text.assemble(("decided", "cyan"), f"  {words} ({clean(decision.rationale)})")


def decisions_of(run: OpenRun | RecoveryEntry) -> tuple[RecoveryDecision, ...]:
    """What was decided so far; nothing where that cannot be read."""
    if isinstance(run, RecoveryEntry):
        return run.log.decisions
    return () if isinstance(run.run, UnreadableRun) else run.run.recovery.decisions


def _branch(
    run: OpenRun | RecoveryEntry, event: EventEntry | MalformedEntry, kinds: int, output: Output, full: bool
) -> Text:
    at = Text.assemble((local_time(id_micros(event.id)), "dim"), "  ")
    if isinstance(event, MalformedEntry):
        return Text.assemble(at, (f"cannot be read: {clean(event.problem)}", "red"))
    kind, words = clean(event.kind), event_words(event)
    line = Text.assemble(at, (f"{kind:<{kinds}}", event_style(event)), "  ", words)
    if output.width is not None and _LAST.cell_len + line.cell_len > output.width:
        line = Text.assemble(at, (kind, event_style(event)), "\n  ", words)
    return Text("\n").join([line, *_evidence(run, event), *(_facts(event) if full else ())])


def _evidence(run: OpenRun | RecoveryEntry, event: EventEntry) -> Iterator[Text]:
    evidence = told_evidence(event.facts)
    if evidence is None:
        return
    line = _deciding_line(run, event)
    kept = clean(evidence.text) + " (as far as it was kept)" if line is None else clean(line)
    yield Text.assemble((f"  line {evidence.line}: ", "dim"), kept)


def _deciding_line(run: OpenRun | RecoveryEntry, event: EventEntry) -> str | None:
    evidence = told_evidence(event.facts)
    return None if evidence is None else whole_line(evidence, _messages(run, first=event.facts.get("attempt") == 1))


def _messages(run: OpenRun | RecoveryEntry, *, first: bool) -> list[str]:
    """What the run keeps of its failures, those that the attempt was about before others."""
    if isinstance(run, RecoveryEntry):
        signals = [run.log.initial_failure, run.log.final_failure]
    elif isinstance(run.run, UnreadableRun):
        signals = []
    else:
        signals = [run.run.recovery.initial_failure, run.run.recovery.failure]
    found = [signal.message for signal in signals if signal is not None]
    return found if first else found[::-1]


def _facts(event: EventEntry) -> Iterator[Text]:
    for name, value in event.facts.items():
        shown = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        yield Text.assemble((f"  {clean(name)}: ", "dim"), clean(shown))
