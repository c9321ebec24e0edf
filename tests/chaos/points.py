"""The named points of the flow at which a victim can be made to die. The product knows nothing of them.

A point is a script of `lua/`, asked or answered; a function of the product, called or returned; or a call of the
operating system with which an artifact is made. A name that is no longer there ends the victim at once, and the storm.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Point(NamedTuple):
    """Where a process dies.

    Attributes:
        what: `script NAME`, or `MODULE:ATTRIBUTE` of a function.
        when: before it does its work, or after that and before its caller knows.
        where: in the process itself, or in a work-horse that it has forked.
        only: text that the first argument has to be, for calls that are made for many things.
    """

    what: str
    when: Literal["before", "after"]
    where: Literal["process", "horse"] = "process"
    only: str = ""


CONTROL = {
    "a batch is moved off the inbox": Point("script intake_take", "after"),
    "a batch is committed, unanswered": Point("script intake_commit", "after"),
    "nudges are taken": Point("script take", "after"),
    "before a commit": Point("script commit", "before"),
    "a commit is unanswered": Point("script commit", "after"),
    "half an artifact is written": Point("os:open", "before", only="recovery.digest"),
    "an artifact is staged": Point("os:rename", "before"),
    "an artifact is in place, not synced": Point("os:rename", "after"),
    "between artifact and ended": Point("heald_worker.closing:write_artifacts", "after"),
    "the janitor has looked": Point("script due", "after"),
    "before a notice": Point("heald_worker.notifying:deliver", "before"),
    "a notice is delivered, not noted": Point("heald_worker.notifying:deliver", "after"),
}
REPAIRS = {
    "a repair's nudge is taken": Point("heald_worker.repair_worker:claim", "before"),
    "a claim is unanswered": Point("script commit", "after"),
    "claimed, not forked": Point("heald_worker.repair_worker:claim", "after"),
    "the parent of a fresh work-horse": Point("heald_worker.repair_worker:RepairWorker.fork_work_horse", "after"),
    "a work-horse before its repair": Point("heald_worker.repairing:perform", "before", "horse"),
    "repaired, not committed": Point("heald_worker.repairing:perform", "after", "horse"),
    "a result is unanswered": Point("script commit", "after", "horse"),
    "before a renewal": Point("script renew", "before"),
    "a renewal is unanswered": Point("script renew", "after"),
}
BY_ROLE = {"control": CONTROL, "repairs": REPAIRS}
