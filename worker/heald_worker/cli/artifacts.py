"""`heald artifacts`: write artifacts again from the recovery stream, remove old ones."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import click

from heald_worker.artifact_reading import ArtifactError, verify_in
from heald_worker.artifact_staging import holds_foreign_files, remove_artifact, sweep
from heald_worker.artifact_walk import count, walk
from heald_worker.artifacts import write_artifacts
from heald_worker.cli.common import Output, clean, connect, server_options, settings_options
from heald_worker.cli.progress import progress
from heald_worker.cli.verify import dir_option, existing
from heald_worker.config import Settings
from heald_worker.config_values import duration
from heald_worker.keys import RECOVERIES, fold

if TYPE_CHECKING:
    from heald_worker.streams import MalformedEntry, RecoveryEntry

STALE_STAGING = 3600.0
"""Seconds after which a folder in the staging folder can only be a killed process's."""
BATCH = 100
_STATES = ("written", "same", "replaced", "bad")
_AGES = ("old", "young", "bad")
_ENTRY_ID = re.compile(r"\d{1,20}(-\d{1,20})?")
_check_duration = duration().check


def _entry_id(_context: click.Context, _option: click.Parameter, value: str) -> str:
    if not _ENTRY_ID.fullmatch(value):
        raise click.BadParameter("an id of the stream is milliseconds, perhaps with a number: 1767323045000-0")
    return value


def _seconds(_context: click.Context, option: click.Parameter, value: str) -> float:
    seconds = _check_duration(value, option.opts[0])
    assert isinstance(seconds, float)
    return seconds


@click.group()
def artifacts() -> None:
    """Write artifacts again from the recovery stream, or remove old ones."""


@artifacts.command()
@click.option("--since", metavar="ID", default="0-0", callback=_entry_id, help="Only entries after this id.")
@dir_option
@server_options
def rebuild(settings: Settings, output: Output, since: str) -> int:
    """Write again what the recovery stream holds.

    Artifacts that are there and the same stay untouched, others are replaced.
    Exit code 1: an entry could not be read, or an artifact not be put in place.
    """
    from heald_worker.streams import RECOVERIES as RECOVERY_STREAM
    from heald_worker.streams import read_all

    client = connect(settings)
    entries = read_all(client, RECOVERY_STREAM, since)
    states: Counter[str] = Counter()
    with progress("rebuilding", lambda: client.xlen(RECOVERIES)) as advance:
        while batch := list(islice(entries, BATCH)):
            for restored in _restore(batch, settings):
                states[restored.state] += 1
                _tell(output, restored)
            advance(len(batch))
    output.record({state: states[state] for state in _STATES})
    counted = "{written:,} written, {same:,} already there, {replaced:,} replaced, {bad:,} bad"
    output.print(counted.format(**{state: states[state] for state in _STATES}), style="bold")
    return 1 if states["bad"] else 0


class _Restored(NamedTuple):
    """What came of one entry: `key` and `name` tell in output which it was."""

    key: str
    name: str
    state: str
    problem: str = ""


def _restore(batch: Iterable[RecoveryEntry | MalformedEntry], settings: Settings) -> Iterator[_Restored]:
    """Write the artifacts of some entries."""
    items = []
    for entry in batch:
        if isinstance(entry, Exception):
            yield _Restored("entry", entry.id, "bad", str(entry))
        elif fold(entry.log.run_id) != fold(entry.run):
            problem = f"entry {entry.id} says run {entry.run!a}, its log {entry.log.run_id!a}"
            yield _Restored("entry", entry.id, "bad", problem)
        else:
            items.append((entry.log.run_id, entry.data, entry.digest))
    for run_id, state, trouble in write_artifacts(settings.artifacts, items, fsync=settings.fsync):
        if state == "failed":
            yield _Restored("run", run_id, "bad", f"run {run_id!a}: {trouble}")
        else:
            yield _Restored("run", run_id, state)


def _tell(output: Output, restored: _Restored) -> None:
    facts = {restored.key: restored.name, "state": restored.state}
    if restored.problem:
        output.record({**facts, "problem": restored.problem})
        output.print(clean(restored.problem), style="red")
        return
    output.record(facts)
    if restored.state == "replaced":
        output.print(f"run {restored.name}: something else stood there and was replaced", style="yellow")


@artifacts.command()
@click.option("--older-than", "age", metavar="AGE", required=True, callback=_seconds, help="For example 30d or 12h.")
@click.option("--dry-run", "only_tell", is_flag=True, help="Tell what would be removed.")
@dir_option
@settings_options
def prune(settings: Settings, output: Output, age: float, only_tell: bool) -> int:
    """Remove old artifacts.

    Old is what ended longer ago than AGE, by its own log. What cannot be verified is kept and named.
    Exit code 1: something was kept for that reason.
    """
    folder = existing(settings.artifacts)
    oldest = time.time() - age
    states: Counter[str] = Counter()

    def look(directory: int, run: str) -> tuple[str, str, str]:
        state, problem = _prune_one(directory, run, oldest, only_tell)
        return run, state, problem

    with progress("pruning", lambda: count(folder)) as advance:
        for answers in walk(folder, look, lambda _stray: None):
            for run, state, problem in answers:
                states[state] += 1
                _tell_pruned(output, run, state, problem, only_tell)
            advance(len(answers))
    if not only_tell:
        sweep(folder, STALE_STAGING, time.time())
    output.record({"removed": 0 if only_tell else states["old"], **{state: states[state] for state in _AGES}})
    verb = "would be removed" if only_tell else "removed"
    output.print(f"{states['old']:,} {verb}, {states['young']:,} kept, {states['bad']:,} kept as bad", style="bold")
    return 1 if states["bad"] else 0


def _prune_one(directory: int, run: str, oldest: float, only_tell: bool) -> tuple[str, str]:
    """Whether one artifact is `young`, `old` (and removed), or `bad` with the problem."""
    try:
        if verify_in(directory, run).evaluated_at.seconds >= oldest:
            return "young", ""
        if holds_foreign_files(directory, run):
            return "bad", f"artifact of run {run}: other files are in its folder"
        if not only_tell:
            remove_artifact(directory, run)
        return "old", ""
    except ArtifactError as error:
        return "bad", error.problem
    except OSError as error:
        return "bad", f"artifact of run {run}: it cannot be removed: {error.strerror}"


def _tell_pruned(output: Output, run: str, state: str, problem: str, only_tell: bool) -> None:
    if problem:
        output.record({"run": run, "removed": False, "problem": problem})
        output.print(clean(f"kept: {problem}"), style="red")
    elif state == "old":
        output.record({"run": run, "removed": not only_tell})
        if only_tell:
            output.print(f"would be removed: {run}")
