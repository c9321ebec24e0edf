"""Which runs are wanted: by where they failed, how they stand, what was done about them, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase

import click
import msgspec
import redis

from heald_producer.signals import Context
from heald_worker.cli.times import since_id
from heald_worker.core.log import RecoveryDecision
from heald_worker.core.recovery import Ending, Phase
from heald_worker.states import UnreadableRun
from heald_worker.streams import MalformedEntry, RecoveryEntry, id_order
from heald_worker.views import OpenRun

MOST_SEEN = 10_000
"""Runs that are looked at, of the open and of the ended ones, before a search says that it stops."""
PHASES = tuple(phase.value for phase in Phase if phase is not Phase.ENDED)
ENDINGS = tuple(ending.value for ending in Ending)
STATES = ("parked", "open", *PHASES, "ended", *ENDINGS)

Listed = OpenRun | RecoveryEntry | MalformedEntry


class Selection(msgspec.Struct, frozen=True):
    """What a run must be to be listed; what is empty, or None, asks for nothing.

    Attributes:
        states: any of `STATES`.
        repository: a glob, as in `[[rules]]`; so is `ref`, which fits a branch's or tag's short name, too.
        classes: the class that the first decision was made about is one of these.
        actions: one of these was decided.
        since: the id of a stream's entry after which the run ended, or was accepted when it is open.
        before: the same, before which.
    """

    states: frozenset[str] = frozenset()
    repository: str | None = None
    ref: str | None = None
    classes: frozenset[str] = frozenset()
    actions: frozenset[str] = frozenset()
    since: str | None = None
    before: str | None = None

    def wants(self, *states: str) -> bool:
        """Whether runs of these states are asked for."""
        return not self.states or not self.states.isdisjoint(states)

    @property
    def narrows(self) -> bool:
        """Whether some runs do not fit: all that a list's own order leaves may have to be looked at."""
        return self != Selection()

    def fits(self, run: Listed) -> bool:
        """Whether a run is one of these. An entry that cannot be read always is: it has to be told of."""
        if isinstance(run, MalformedEntry):
            return True
        if isinstance(run, RecoveryEntry):
            return self.wants("ended", run.ending) and self._fits(run.id, run.facts.context, run.log.decisions)
        if isinstance(run.run, UnreadableRun):
            return self.wants(run.state) and self == Selection(self.states)
        phase = () if run.parked is not None else (run.run.recovery.phase,)
        accepted = f"{run.run.accepted_at // 1000}-0"
        return self.wants(run.state, *phase) and self._fits(accepted, run.run.context, run.run.recovery.decisions)

    def _fits(self, at: str, context: Context, decisions: tuple[RecoveryDecision, ...]) -> bool:
        return (
            (self.repository is None or fnmatchcase(context.repository or "", self.repository))
            and (self.ref is None or any(fnmatchcase(ref, self.ref) for ref in _spellings(context.ref or "")))
            and (not self.classes or (bool(decisions) and decisions[0].failure_class in self.classes))
            and (not self.actions or any(decision.action in self.actions for decision in decisions))
            and (self.since is None or id_order(at) > id_order(self.since))
            and (self.before is None or id_order(at) < id_order(self.before))
        )


def _spellings(ref: str) -> tuple[str, str]:
    return ref, ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


def period(client: redis.Redis, since: str | None, until: str | None) -> tuple[str | None, str | None]:
    """The ids between which `--since` and `--until` ask for entries; durations count back from the server's clock.

    Raises:
        click.UsageError: one cannot be understood, or nothing can lie between them.
    """
    after = None if since is None else since_id(client, since)
    before = None if until is None else since_id(client, until, "--until")
    if after is not None and before is not None and id_order(after) >= id_order(before):
        raise click.UsageError(f"nothing lies between --since {since} and --until {until}: the first must be earlier")
    return after, before


def search(runs: Iterable[Listed], wanted: Selection, most: int, stopped: Callable[[Listed], None]) -> Iterator[Listed]:
    """At most so many of the runs that fit; `stopped` is told the last of `MOST_SEEN` that were looked at."""
    found = 0
    for number, run in enumerate(runs, start=1):
        if wanted.fits(run):
            yield run
            found += 1
        if found == most:
            return
        if number == MOST_SEEN:
            stopped(run)
            return
