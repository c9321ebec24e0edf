"""What came of ended runs: counted per repository and per repair, and when a failure has come back."""

from __future__ import annotations

from typing import Any

from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Ending
from heald_worker.effectiveness import Past, RepairCount, RepositoryCount, count_repairs, count_repositories

RETRY, PATCH, ESCALATE = RecoveryAction.RETRY, RecoveryAction.PATCH_FORWARD, RecoveryAction.ESCALATE
SECOND = 1_000_000
WINDOW = 60.0


def past(accepted: float, ended: float, *actions: RecoveryAction, **more: Any) -> Past:
    """A run of seconds that recovered by its last action."""
    known: dict[str, Any] = {"repository": "acme/app", "ending": Ending.RECOVERED, "failure": "f", "dry_run": False}
    return Past(accepted_at=round(accepted * SECOND), ended_at=round(ended * SECOND), actions=actions, **(known | more))


def came_back(*pasts: Past) -> int:
    return sum(each.came_back for each in count_repairs(pasts, WINDOW))


def test_the_repository_that_fails_most_comes_first() -> None:
    pasts = [
        past(0, 1, repository="b"),
        past(0, 1, repository="a"),
        past(0, 1, repository="busy"),
        past(0, 1, repository="busy", ending=Ending.ESCALATED),
        past(0, 1, repository="busy", ending=Ending.EXHAUSTED),
        past(0, 1, repository="busy", ending=Ending.CANCELLED),
    ]
    busy, a, b = count_repositories(pasts)
    assert busy == RepositoryCount("busy", runs=4, recovered=1, escalated=1, exhausted=1, cancelled=1)
    assert (a.repository, b.repository) == ("a", "b")


def test_each_attempt_was_tried_and_the_last_one_of_a_recovered_run_recovered_it() -> None:
    pasts = [
        past(0, 1, RETRY, RETRY, PATCH),
        past(0, 1, PATCH, failure="other"),
        past(0, 1, RETRY, ESCALATE, ending=Ending.ESCALATED),
        past(0, 1, PATCH, ending=Ending.EXHAUSTED),
    ]
    assert count_repairs(pasts, WINDOW) == [
        RepairCount(RETRY, "acme/app", tried=3, recovered=0, came_back=0),
        RepairCount(PATCH, "acme/app", tried=3, recovered=2, came_back=0),
    ]


def test_repositories_are_told_apart() -> None:
    counts = count_repairs([past(0, 1, RETRY), past(0, 1, RETRY, repository="x"), past(0, 1, RETRY, repository="x")], 1)
    assert [(each.repository, each.tried) for each in counts] == [("x", 2), ("acme/app", 1)]


def test_a_failure_comes_back_when_it_is_reported_within_the_window_after_its_recovery() -> None:
    assert came_back(past(0, 10, RETRY), past(70, 71, RETRY)) == 1
    assert came_back(past(0, 10, RETRY), past(70.1, 71, RETRY)) == 0
    assert came_back(past(0, 10, RETRY), past(9, 71, RETRY)) == 0, "it was reported before that recovery"
    assert came_back(past(0, 10, RETRY), past(20, 21, RETRY, failure="other")) == 0
    assert came_back(past(0, 10, RETRY, ending=Ending.EXHAUSTED), past(20, 21)) == 0, "nothing was recovered"


def test_a_recovery_is_counted_once_however_often_its_failure_comes_back_and_in_whatever_order() -> None:
    pasts = [past(0, 10, RETRY), past(20, 500, RETRY), past(30, 40, RETRY)]
    for order in (pasts, pasts[::-1]):
        assert came_back(*order) == 1
    assert came_back(past(0, 10, RETRY), past(20, 21, RETRY), past(30, 31, RETRY)) == 2


def test_what_was_only_tried_dry_is_no_repair_but_its_failure_was_reported() -> None:
    assert count_repairs([past(0, 1, RETRY, ending=Ending.EXHAUSTED, dry_run=True)], WINDOW) == []
    assert came_back(past(0, 10, RETRY), past(20, 21, RETRY, ending=Ending.EXHAUSTED, dry_run=True)) == 1
