"""What came of ended runs: which repositories fail most, and which repairs hold. Pure; from the recovery stream alone.

A failure comes back when a run with the same fingerprint is accepted within a window after the recovery. Only ended
runs are known here, so one that is still open has not come back yet.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from heald_worker.core.fingerprint import fingerprint
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Ending
from heald_worker.streams import RecoveryEntry


class Past(NamedTuple):
    """What counts of one ended run; times are microseconds since the epoch on the server's clock."""

    repository: str
    ending: Ending
    actions: tuple[RecoveryAction, ...]
    failure: str
    accepted_at: int
    ended_at: int
    dry_run: bool


class RepositoryCount(msgspec.Struct, frozen=True):
    """How the runs of one repository ended; its name is empty where reports did not tell it."""

    repository: str
    runs: int
    recovered: int
    escalated: int
    exhausted: int
    cancelled: int


class RepairCount(msgspec.Struct, frozen=True):
    """How one action did in one repository.

    Attributes:
        tried: attempts that took it, those of dry runs left out.
        recovered: how many of them ended their run as recovered.
        came_back: after how many of these the same failure was reported again within the window.
    """

    action: RecoveryAction
    repository: str
    tried: int
    recovered: int
    came_back: int


def past_of(entry: RecoveryEntry) -> Past:
    """What counts of an entry."""
    log, facts = entry.log, entry.facts
    return Past(
        repository=facts.context.repository or "",
        ending=entry.ending,
        actions=tuple(decision.action for decision in log.decisions),
        failure=fingerprint(facts.context.repository, log.initial_failure),
        accepted_at=facts.accepted_at,
        ended_at=log.evaluated_at.to_micros(),
        dry_run=facts.dry_run,
    )


def count_repositories(pasts: Iterable[Past]) -> list[RepositoryCount]:
    """The repositories, those with most failures first."""
    endings: dict[str, Counter[Ending]] = defaultdict(Counter)
    for past in pasts:
        endings[past.repository][past.ending] += 1
    counts = [
        RepositoryCount(
            repository,
            runs=by.total(),
            recovered=by[Ending.RECOVERED],
            escalated=by[Ending.ESCALATED],
            exhausted=by[Ending.EXHAUSTED],
            cancelled=by[Ending.CANCELLED],
        )
        for repository, by in endings.items()
    ]
    return sorted(counts, key=lambda each: (-each.runs, each.repository))


def count_repairs(pasts: Sequence[Past], window: float) -> list[RepairCount]:
    """What became of repairs, by action, those that were tried most first.

    Args:
        window: seconds after a recovery within which the same failure counts as having come back.
    """
    reported: dict[str, list[int]] = defaultdict(list)
    for past in sorted(pasts, key=lambda each: each.accepted_at):
        reported[past.failure].append(past.accepted_at)
    tried, recovered, came_back = (Counter[tuple[RecoveryAction, str]]() for _ in range(3))
    for past in pasts:
        if past.dry_run:
            continue
        tried.update((action, past.repository) for action in past.actions if action is not RecoveryAction.ESCALATE)
        if past.ending is Ending.RECOVERED and past.actions:
            key = past.actions[-1], past.repository
            recovered[key] += 1
            came_back[key] += _is_reported_again(reported[past.failure], past.ended_at, round(window * 1_000_000))
    counts = [RepairCount(*key, tried[key], recovered[key], came_back[key]) for key in tried]
    order = list(RecoveryAction)
    return sorted(counts, key=lambda each: (order.index(each.action), -each.tried, each.repository))


def _is_reported_again(reported: Sequence[int], after: int, window: int) -> bool:
    following = bisect_right(reported, after)
    return following < len(reported) and reported[following] <= after + window
