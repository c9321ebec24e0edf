"""Which action heald takes first on labelled failures, and what an on-call engineer thinks of it.

A row of `actions-dev.jsonl` says of the failure with its number which first actions are best, acceptable and harmful,
and whether the same command may pass later. Assumed is what the rows assume: a pull request of the repository itself,
no deploy stage unless the row's stage says so, no repair that reverts, and a repair for every other action.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import scores

from heald_producer.signals import Context, FailureSignal
from heald_worker.considering import Surroundings, grounds_in
from heald_worker.core.instant import Instant
from heald_worker.core.policy import Bounds, RecoveryAction, RecoveryPolicy
from heald_worker.core.recovery import Decide, advance, open_recovery
from heald_worker.rulebook import Rulebook

ASSUMED = "a pull request of the repository itself; no stage deploys unless the row says so; a repair for each action"
PULL_REQUEST = Context(repository="acme/shop", ref="refs/pull/1/merge", pull_request="1", default_branch="main")
REPAIRS = tuple(action for action in RecoveryAction if action is not RecoveryAction.ESCALATE)


def action_scores(
    book: Rulebook, rows: Sequence[Mapping[str, Any]], signals: Sequence[FailureSignal]
) -> dict[str, Any]:
    """What `--json` writes about actions; shares are from 0 to 1.

    Args:
        rows: of `actions-dev.jsonl`; `row` is the number of a signal.
    """
    judged = [_judged(row, first_action(book, signals[row["row"]])) for row in rows]
    found: dict[str, Any] = {"action_rows": len(rows), "assumed": ASSUMED}
    for score in (scores.action_fit, scores.action_best, scores.action_harm):
        measured = scores.interval(score, judged)
        found[score.__name__] = measured.value
        found[f"{score.__name__}_interval"] = [measured.low, measured.high]
    pairs = [(str(row["transient"]), str(book.diagnose(signals[row["row"]]).transient)) for row in rows]
    measured = scores.interval(scores.accuracy, pairs)
    found["transient_accuracy"], found["transient_accuracy_interval"] = measured.value, [measured.low, measured.high]
    found["actions"] = {action: _of_action(action, judged) for action in map(str, RecoveryAction)}
    return found


def _judged(row: Mapping[str, Any], action: str) -> scores.Judged:
    return scores.Judged(action, row["best"], frozenset(row["acceptable"]), frozenset(row["harmful"]))


def first_action(book: Rulebook, signal: FailureSignal) -> str:
    """What the service would do first, by the shipped policy."""
    found = book.diagnose(signal)
    around = Surroundings(PULL_REQUEST, Bounds(), book.remedies, REPAIRS)
    event = Decide(found.failure_class, found.transient, grounds=grounds_in(around, signal, found))
    recovery = open_recovery("eval", signal, RecoveryPolicy(), Instant(0), None, Bounds().max_transient_retries)
    return str(advance(recovery, event, Instant(0)).recovery.action)


def _of_action(action: str, judged: Sequence[scores.Judged]) -> dict[str, int]:
    """How often it was taken, and how often that was best, acceptable, harmful, and missed as the best one."""
    taken = [row for row in judged if row.action == action]
    counts = Counter(
        best=sum(row.best == action for row in taken),
        acceptable=sum(action in row.acceptable for row in taken),
        harmful=sum(action in row.harmful for row in taken),
        missed=sum(row.best == action for row in judged if row.action != action),
    )
    return {"taken": len(taken), **counts}
