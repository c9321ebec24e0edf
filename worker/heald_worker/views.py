"""What people ask about runs, read without scanning: which are open, which have ended, and what happened to one.

One run costs a fixed number of round trips, however many runs there are: the ledger or the tombstone names everything
else by id. Lists are read in pages.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

import msgspec
import redis

from heald_worker import keys
from heald_worker.states import Run, UnreadableRun, decode_run
from heald_worker.streams import EVENTS, PAGE, RECOVERIES, EventEntry, MalformedEntry, RecoveryEntry


class OpenRun(msgspec.Struct, frozen=True):
    """One run that has not ended.

    Attributes:
        run_id: as its report spelled it, where the state can be read.
        run: its state, or why it cannot be read.
        version: the version of the state.
        due: when the agenda looks at it again, milliseconds since the epoch; None when it is not on the agenda.
        parked: why it cannot be advanced; None when it is under way.
        events: ids of its entries in `heald:events`.
        joined: how many reports have joined it.
        waits_for: the run whose repair of the branch it waits for, if it does.
    """

    run_id: str
    run: Run | UnreadableRun
    version: int
    due: float | None
    parked: str | None
    events: tuple[str, ...]
    joined: int = 0
    waits_for: str | None = None

    @property
    def state(self) -> Literal["open", "parked"]:
        """`parked` when it cannot be advanced."""
        return "open" if self.parked is None else "parked"


class Forgotten(msgspec.Struct, frozen=True):
    """One run that has ended and whose entry, with this id, was trimmed from `heald:recoveries`."""

    run_id: str
    entry_id: str


Found = OpenRun | RecoveryEntry | MalformedEntry | Forgotten | None


class Timeline(NamedTuple):
    """A run's events in their order, and how many of them have been trimmed since."""

    events: list[EventEntry | MalformedEntry]
    trimmed: int


def find_run(client: redis.Redis, run_id: str) -> Found:
    """One run, open or ended; None when nothing is known of it."""
    folded = keys.fold(run_id)
    pipe = client.pipeline(transaction=False)
    _ask(pipe, folded)
    pipe.get(keys.tombstone(run_id))
    *row, stone = pipe.execute(raise_on_error=False)
    found = _open_run(folded, row)
    if stone is None or (found is not None and found.version > 0):
        return found
    if isinstance(stone, redis.RedisError):
        raise stone
    if joined := _joined(stone):
        return find_run(client, joined)
    return _ended_run(client, run_id, stone)


def joined_run(client: redis.Redis, run_id: str) -> str:
    """The run that the report of this id has joined; empty for a run of its own, and for an id that is not known."""
    stone: Any = client.get(keys.tombstone(run_id))
    return _joined(stone) if stone else ""


def _joined(stone: bytes) -> str:
    words = stone.decode("utf-8", "replace").split()
    place = words[1] if len(words) > 1 else ""
    return place.removeprefix(keys.JOINED) if place.startswith(keys.JOINED) else ""


def _ended_run(client: redis.Redis, run_id: str, stone: bytes) -> RecoveryEntry | MalformedEntry | Forgotten:
    words = stone.decode().split()
    entry_id = words[1] if len(words) > 1 else "0-0"
    rows: Any = client.xrange(keys.RECOVERIES, entry_id, entry_id)
    return RECOVERIES.entry(rows[0]) if rows else Forgotten(run_id, entry_id)


def open_runs(client: redis.Redis) -> Iterator[OpenRun]:
    """The runs that are under way, those that the agenda looks at next first."""
    return _existing(client, _on_agenda(client))


def parked_runs(client: redis.Redis) -> Iterator[OpenRun]:
    """The runs that cannot be advanced."""
    return _existing(client, (member.decode() for member, _ in client.hscan_iter(keys.PARKED, count=PAGE)))


def ended_runs(
    client: redis.Redis, most: int, *, since: str | None = None, before: str | None = None
) -> Iterator[RecoveryEntry | MalformedEntry]:
    """At most so many runs that have ended, the newest first, with entries after `since` and before `before`."""
    before = "+" if before is None else f"({before}"
    while most > 0:
        rows: Any = client.xrevrange(keys.RECOVERIES, before, "-" if since is None else f"({since}", min(most, PAGE))
        if not rows:
            return
        yield from map(RECOVERIES.entry, rows)
        most -= len(rows)
        before = f"({rows[-1][0].decode()}"


def _on_agenda(client: redis.Redis) -> Iterator[str]:
    start = 0
    while True:
        page: Any = client.zrange(keys.AGENDA, start, start + PAGE - 1)
        if not page:
            return
        members = (member.decode() for member in page)
        yield from (member for member in members if not member.startswith(keys.INTAKE_MEMBER))
        start += PAGE


def _existing(client: redis.Redis, members: Iterable[str]) -> Iterator[OpenRun]:
    """The runs behind these names, each once: the agenda moves while it is read."""
    seen: set[str] = set()
    rest = iter(members)
    while page := list(islice(rest, PAGE)):
        fresh = [member for member in dict.fromkeys(page) if member not in seen]
        seen.update(fresh)
        pipe = client.pipeline(transaction=False)
        for member in fresh:
            _ask(pipe, member)
        replies = pipe.execute(raise_on_error=False) if fresh else []
        rows = [replies[i : i + _REPLIES] for i in range(0, len(replies), _REPLIES)]
        found = (_open_run(member, row) for member, row in zip(fresh, rows, strict=True))
        yield from (run for run in found if run is not None)


_REPLIES = 3


def _ask(pipe: Any, folded: str) -> None:
    pipe.hmget(keys.run(folded), "v", "s", "i", "e", "j", "q")
    pipe.hget(keys.PARKED, folded)
    pipe.zscore(keys.AGENDA, folded)


def _open_run(folded: str, replies: Sequence[Any]) -> OpenRun | None:
    """What `_ask` got; None when there is no such run."""
    held, parked, due = replies
    reason = parked.decode("utf-8", "replace") if isinstance(parked, bytes) else None
    scored = due if isinstance(due, float) else None
    if isinstance(held, redis.RedisError):
        return OpenRun(folded, UnreadableRun(folded, -1, str(held)), -1, scored, reason, ())
    version, state, opened, events, joined, waits_for = held
    if version is None:
        gone = UnreadableRun(folded, -1, "its state is gone")
        return None if reason is None else OpenRun(folded, gone, -1, scored, reason, ())
    ids = tuple((events or b"").decode().split())
    try:
        run = decode_run(folded, int(version), state or b"", opened)
    except UnreadableRun as unreadable:
        return OpenRun(folded, unreadable, int(version), scored, reason, ids)
    others = int(joined) if joined and joined.isdigit() else 0
    holder = waits_for.decode("utf-8", "replace") if waits_for else None
    return OpenRun(run.recovery.run_id, run, int(version), scored, reason, ids, others, holder)


def timeline(client: redis.Redis, run: OpenRun | RecoveryEntry, seen: Container[str] = ()) -> Timeline:
    """What happened to a run, by the ids that it keeps but those that were seen, in one round trip."""
    wanted = [event_id for event_id in run.events if event_id not in seen]
    pipe = client.pipeline(transaction=False)
    for event_id in wanted:
        pipe.xrange(keys.EVENTS, event_id, event_id)
    events = [EVENTS.entry(row) for rows in pipe.execute() for row in rows]
    return Timeline(events, len(wanted) - len(events))
