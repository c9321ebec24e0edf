"""What came of the day: a row for each scene, from heald's streams and the deeds file; as Markdown and as JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import redis

from heald_worker.streams import EVENTS, RECOVERIES, EventEntry, RecoveryEntry, read_all
from trial.scenes import TITLES

COLUMNS = ("what happened", "reports", "runs", "joined", "retries", "patches", "reverts", "pages", "how it ended")
ACTIONS = {"retry": "retries", "patch": "patches", "revert": "reverts", "page": "pages"}


class Deed(NamedTuple):
    """One line of the deeds file."""

    at: float
    action: str
    run_id: str
    repository: str
    job: str
    ci_run: str


class Row(NamedTuple):
    """One scene.

    Attributes:
        joined: how many reports opened no run.
        endings: how many runs ended in which way.
        green: how many of the CI's jobs were green at last, and how many there were.
    """

    scene: str
    reports: int
    runs: int
    joined: int
    retries: int
    patches: int
    reverts: int
    pages: int
    endings: dict[str, int]
    green: tuple[int, int]

    def cells(self) -> tuple[str, ...]:
        numbers = (self.reports, self.runs, self.joined, self.retries, self.patches, self.reverts, self.pages)
        ended = ", ".join(f"{count} {ending}" for ending, count in sorted(self.endings.items()))
        jobs = f"{self.green[0]} of {self.green[1]} {'job' if self.green[1] == 1 else 'jobs'} green at last"
        return (TITLES[self.scene], *map(str, numbers), f"{ended}; {jobs}")


class Result(NamedTuple):
    """The table, and what does not add up: nothing, in a good service."""

    rows: tuple[Row, ...]
    wrong: tuple[str, ...]

    def row(self, scene: str) -> Row:
        [found] = [row for row in self.rows if row.scene == scene]
        return found

    def markdown(self) -> str:
        lines = [COLUMNS, ("---",) * len(COLUMNS), *(row.cells() for row in self.rows)]
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def json(self) -> str:
        rows = [{"what happened": TITLES[row.scene]} | row._asdict() for row in self.rows]
        return json.dumps({"rows": rows, "wrong": self.wrong}, indent=2)


def sum_up(
    client: redis.Redis, reports: Sequence[str], deeds: Iterable[Deed], green: Callable[[str], tuple[int, int]]
) -> Result:
    """Count what was reported, done and told, and check that every report has one run and every run one log."""
    entries = [entry for entry in read_all(client, RECOVERIES) if isinstance(entry, RecoveryEntry)]
    events = [entry for entry in read_all(client, EVENTS) if isinstance(entry, EventEntry)]
    opened = [event.run for event in events if event.kind == "accepted"]
    joined: list[str] = [event.facts["report"] for event in events if event.kind in ("joined", "verdict")]
    done = Counter((scene_of(deed.run_id), deed.action) for deed in deeds)
    endings = Counter((scene_of(entry.run), ending_of(entry)) for entry in entries)
    rows = []
    for scene in TITLES:
        counted = [sum(scene_of(name) == scene for name in names) for names in (reports, opened, joined)]
        acted = [done[scene, action] for action in ACTIONS]
        ended = {what: number for (of, what), number in endings.items() if of == scene}
        rows.append(Row(scene, *counted, *acted, ended, green(scene)))
    return Result(tuple(rows), tuple(_wrong(reports, opened, joined, [entry.run for entry in entries])))


def scene_of(run_id: str) -> str:
    """Run ids begin with their scene's name."""
    return run_id.partition(".")[0]


def ending_of(entry: RecoveryEntry) -> str:
    """How a run ended, how that is known, and whether somebody had been told of its cause before."""
    more = "quietly" if entry.facts.quiet else entry.known
    return f"{entry.ending} ({more})" if more else str(entry.ending)


def _wrong(reports: Sequence[str], opened: list[str], joined: list[str], ended: list[str]) -> Iterable[str]:
    for name, homes in _homes(reports, opened, joined).items():
        if homes != 1:
            yield f"report {name} has {homes} runs"
    for run in set(opened) | set(ended):
        if (opened.count(run), ended.count(run)) != (1, 1):
            yield f"run {run} was opened {opened.count(run)} times and has {ended.count(run)} logs"


def _homes(reports: Sequence[str], opened: list[str], joined: list[str]) -> dict[str, int]:
    return {name: opened.count(name) + joined.count(name) for name in reports}
