"""docs/state-machine.md says what `advance` does: every transition, and no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import pytest

from heald_producer.signals import FailureSignal
from heald_worker.agenda import TRIES_BEFORE_PARKING
from heald_worker.config import Timing
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryAttemptResult, RecoveryOutcome
from heald_worker.core.policy import RecoveryPolicy
from heald_worker.core.recovery import (
    Cancel,
    Claim,
    Decide,
    Ending,
    Event,
    InvalidTransition,
    NoticeEnded,
    Phase,
    Recorded,
    Recovery,
    RepairEnded,
    RepairLost,
    advance,
    log_of,
    open_recovery,
    owed,
)
from heald_worker.core.taxonomy import FailureClass
from heald_worker.intake import INTAKE_LEASE_MS

PAGE = (Path(__file__).parents[2] / "docs" / "state-machine.md").read_text("utf-8")
NOW = Instant(1_767_323_045, 0)
EVENTS: tuple[Event, ...] = (
    *(Decide(failure_class) for failure_class in FailureClass),
    Claim("worker-1"),
    RepairEnded(RecoveryAttemptResult(True)),
    RepairEnded(RecoveryAttemptResult(False)),
    RepairEnded(RecoveryAttemptResult(False, FailureSignal("deploy", "other", None, False))),
    *(RepairLost(most, counts) for most in (0, 1) for counts in (True, False)),
    Cancel(),
    Recorded(True),
    Recorded(False),
    NoticeEnded(True),
    NoticeEnded(False),
)
MOST_TRIES = 2
"""Notices are tried without end; two tries show everything."""


class Transition(NamedTuple):
    """One row: from where, by what, to where, and what is told."""

    phase: str
    event: str
    to: str
    told: tuple[str, ...]


def explore() -> tuple[set[Transition], set[Recovery]]:
    """Everything that can happen to a recovery, step by step from its opening."""
    signal = FailureSignal("test", "red", 1, True)
    policies = (RecoveryPolicy(max_attempts=2), RecoveryPolicy(max_attempts=0))
    ahead = [open_recovery("run-1", signal, policy, NOW) for policy in policies]
    seen, transitions = set(ahead), set()
    while ahead:
        recovery = ahead.pop()
        for transition, after in _steps(recovery):
            transitions.add(transition)
            if after not in seen and after.notice_tries <= MOST_TRIES:
                seen.add(after)
                ahead.append(after)
    return transitions, seen


def _steps(recovery: Recovery) -> Iterator[tuple[Transition, Recovery]]:
    for event in EVENTS:
        try:
            step = advance(recovery, event, NOW)
        except InvalidTransition:
            continue
        told = tuple(announce.kind for announce in step.announces)
        yield Transition(recovery.phase, type(event).__name__, step.recovery.phase, told), step.recovery


TRANSITIONS, STATES = explore()


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without backticks."""
    section = re.split(rf"^## {heading}$", PAGE, flags=re.MULTILINE)[1].split("\n## ")[0]
    table = re.findall(r"^\| (.*) \|$", section, re.MULTILINE)[1:]
    return [[cell.replace("`", "").strip() for cell in row.split(" | ")] for row in table]


def test_the_table_of_transitions_is_what_advance_does() -> None:
    documented = [
        Transition(phase, event, to, tuple(told.split(", "))) for phase, event, to, told in rows("Transitions")
    ]
    assert len(documented) == len(set(documented))
    assert set(documented) == TRANSITIONS


def test_every_event_is_explained() -> None:
    explained = set(re.findall(r"^- \*\*`(\w+)`\*\*", PAGE, re.MULTILINE))
    assert explained == {type(event).__name__ for event in EVENTS} == {row[1] for row in rows("Transitions")}


def test_the_table_of_phases_names_each_with_the_job_that_it_waits_for() -> None:
    documented = {row[0]: row[2] if len(row) > 2 else "" for row in rows("Phases")}
    jobs: dict[str, set[str]] = {phase: set() for phase in Phase}
    for state in STATES:
        nudge = owed(state)
        jobs[state.phase] |= {nudge.job} if nudge else set()
    assert {phase: {job} - {"", "|"} for phase, job in documented.items()} == jobs


def test_the_table_of_endings_gives_each_its_outcome() -> None:
    documented = {row[0]: row[1] for row in rows("Endings")}
    ended = [state for state in STATES if state.phase is Phase.ENDED]
    assert documented == {str(state.ending): str(log_of(state).outcome) for state in ended}
    assert set(documented) == set(Ending)
    assert set(documented.values()) == set(RecoveryOutcome)


def test_every_kind_of_event_that_the_code_tells_is_on_the_page() -> None:
    core = {kind for transition in TRANSITIONS for kind in transition.told}
    scripts = "".join(entry.read_text("utf-8") for entry in (resources.files("heald_worker") / "lua").iterdir())
    of_scripts = set(re.findall(r"'kind', '(\w+)'|tell\(run, '(\w+)'", scripts))
    service = {kind for pair in of_scripts for kind in pair if kind}
    assert {row[0] for row in rows("Events that are told")} == service
    assert {kind for row in rows("Transitions") for kind in row[3].split(", ")} == core


@pytest.mark.parametrize("name", ["resend_first", "retry_first", "lease", "renewal", "notice_first"])
def test_times_on_the_page_are_the_defaults(name: str) -> None:
    shown = set(re.findall(rf"`timing\.{name}` \((\d+) s\)", PAGE))
    assert shown == {f"{getattr(Timing(), name):g}"}


def test_other_numbers_on_the_page_are_the_codes() -> None:
    assert f"| an intake batch | {INTAKE_LEASE_MS // 1000} s |" in PAGE
    assert f"Another takes it up after {INTAKE_LEASE_MS // 1000} s" in PAGE
    assert "when that has failed four times" in PAGE
    assert TRIES_BEFORE_PARKING == 4
    assert Timing().resend_most == 30
    assert "`timing.resend_most` (30 s)" in PAGE
