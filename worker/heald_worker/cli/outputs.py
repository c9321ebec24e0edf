"""What a run's repairs printed, for reading."""

from __future__ import annotations

from collections.abc import Mapping

from rich.text import Text

from heald_worker.cli.accounts import count
from heald_worker.cli.common import Output, clean
from heald_worker.core.log import RecoveryDecision
from heald_worker.states import UnreadableRun
from heald_worker.streams import RecoveryEntry
from heald_worker.views import OpenRun


def draw_outputs(run: OpenRun | RecoveryEntry, outputs: Mapping[int, str], output: Output) -> None:
    """The outputs for a person, each under the attempt that it is of."""
    decisions = decisions_of(run)
    for attempt, text in outputs.items():
        lines = clean(text, multiline=True).splitlines()
        head = "  ".join(part for part in (f"attempt {attempt}", action_of(decisions, attempt)) if part)
        output.print(Text.assemble((head, "bold"), (f"  {count(len(lines), 'line')}", "dim")))
        for line in lines:
            output.print(f"  {line}")
    if not outputs:
        output.note("heald: no repair of this run has printed anything that is kept")


def decisions_of(run: OpenRun | RecoveryEntry) -> tuple[RecoveryDecision, ...]:
    """What was decided about a run so far, as far as it can be read."""
    if isinstance(run, RecoveryEntry):
        return run.log.decisions
    return () if isinstance(run.run, UnreadableRun) else run.run.recovery.decisions


def action_of(decisions: tuple[RecoveryDecision, ...], attempt: int) -> str:
    """The action of an attempt, counted from 1; empty where it is not known."""
    return decisions[attempt - 1].action if 0 < attempt <= len(decisions) else ""
