"""Reading a stream as a consumer group: each entry goes to one consumer and comes again until it is acknowledged.

A consumer first gets what it was given before and did not acknowledge, then what dead consumers left behind, then what
is new. An entry is acknowledged when the caller asks for the next one, so a line that was not written is not lost: it
is delivered at least once. Nothing here blocks inside a command that takes entries, so a lost reply loses nothing; it
only leaves entries pending, which are asked for again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, Generic, NamedTuple

import redis

from heald_worker.ledger import load_scripts
from heald_worker.patience import Patience, Tell
from heald_worker.streams import (
    BEGINNING,
    LONGEST_WAIT,
    PAGE,
    Entry,
    MalformedEntry,
    Row,
    Stream,
    wait_for_rows,
)

CLAIM_AFTER = 60.0
"""Seconds after which an entry that its consumer has not acknowledged is taken over by another."""


class Group(NamedTuple):
    """A consumer group and this reader's place in it.

    Attributes:
        name: the group's.
        consumer: this reader's; the same after a restart, and no other reader's.
        start: the id after which a group begins that does not exist yet.
        claim_after: seconds after which a silent consumer's entries are taken over.
    """

    name: str
    consumer: str
    start: str = BEGINNING
    claim_after: float = CLAIM_AFTER


def open_group(client: redis.Redis, stream: Stream[Any], group: Group) -> bool:
    """Create the group where there is none. Returns whether it was created."""
    script = load_scripts(client)["group_open"]
    return bool(script(keys=[stream.key], args=[group.name, group.start]))


def follow_group(
    client: redis.Redis,
    stream: Stream[Entry],
    group: Group,
    *,
    tell: Tell,
    idle: Callable[[], None] = lambda: None,
    endless: bool = True,
    pause: Callable[[float], None] = time.sleep,
) -> Generator[Entry | MalformedEntry, None, None]:
    """The entries of a stream that fall to this consumer, as they come.

    Args:
        client: one that does not repeat commands by itself.
        tell: called with a sentence about what a reader must know: the server is away or back, entries were trimmed
            before the group read them, the group had to be made anew.
        idle: called about once a second while nothing comes; what it raises ends the reading.
        endless: go on when there is nothing left to read.
        pause: waits that many seconds before the server is tried again.

    Raises:
        redis.RedisError: the server refuses, and waiting cannot help.
    """
    reader = _Reader(client, stream, group, tell, pause)
    try:
        while True:
            rows = reader.next_rows(endless)
            for row in rows:
                yield stream.entry(row)
                reader.written.append(row[0])
            if rows:
                continue
            if not endless and reader.at_end:
                return
            idle()
    finally:
        with suppress(redis.RedisError):
            reader.acknowledge()


class _Reader(Generic[Entry]):
    """One consumer's state: what was written and not acknowledged yet, and which of its sources are exhausted."""

    def __init__(
        self,
        client: redis.Redis,
        stream: Stream[Entry],
        group: Group,
        tell: Tell,
        pause: Callable[[float], None],
    ) -> None:
        self._client, self._stream, self._group, self._tell = client, stream, group, tell
        self._patience = Patience(client, tell, pause)
        self._take = load_scripts(client)["group_take"]
        self.written: list[bytes] = []
        self.at_end = False
        self._opened = False
        self._pending_after: str | None = BEGINNING
        self._claim_cursor, self._claim_due = BEGINNING, 0.0

    def next_rows(self, may_wait: bool) -> list[Row]:
        """The next entries from the first source that has some; none after a wait, or when the server was away."""
        self.at_end = False
        try:
            if not self._opened:
                open_group(self._client, self._stream, self._group)
                self._opened = True
            self.acknowledge()
            rows = self._own_pending() or self._abandoned() or self._new(may_wait)
        except redis.RedisError as error:
            self._pending_after = BEGINNING  # entries may have been given to us in a reply that was lost
            if str(error).startswith("NOGROUP"):
                self._opened = False
                self._tell(
                    f"group {self._group.name} of {self._stream.key} is gone; it is made anew and begins "
                    f"after {self._group.start}"
                )
            else:
                self._patience.wait(error)
            return []
        if self._patience.waiting:
            self._tell("the server is back; reading goes on")
            self._patience.over()
        return rows

    def acknowledge(self) -> None:
        """Tell the server what has been written."""
        if self.written:
            self._client.xack(self._stream.key, self._group.name, *self.written)
            self.written.clear()

    def _own_pending(self) -> list[Row]:
        """What this consumer was given before and did not acknowledge."""
        while self._pending_after is not None:
            found: Any = self._client.xreadgroup(
                self._group.name, self._group.consumer, {self._stream.key: self._pending_after}, count=PAGE
            )
            rows = found[0][1] if found else []
            self._pending_after = rows[-1][0].decode() if rows else None
            self._lost([row[0] for row in rows if not row[1]])
            if there := [row for row in rows if row[1]]:
                return there
        return []

    def _abandoned(self) -> list[Row]:
        """What other consumers were given and have not acknowledged for `claim_after`."""
        while time.monotonic() >= self._claim_due:
            cursor, rows, gone = self._client.xautoclaim(
                self._stream.key,
                self._group.name,
                self._group.consumer,
                round(self._group.claim_after * 1000),
                self._claim_cursor,
                count=PAGE,
            )
            self._claim_cursor = cursor.decode()
            if self._claim_cursor == BEGINNING:
                self._claim_due = time.monotonic() + max(LONGEST_WAIT, self._group.claim_after / 2)
            self._lost(gone)
            if rows:
                return list(rows)
        return []

    def _new(self, may_wait: bool) -> list[Row]:
        """What no consumer has been given; waits for it when there is nothing."""
        told = 0
        while True:
            missed, position, first, taken = self._take(
                keys=[self._stream.key], args=[self._group.name, self._group.consumer, PAGE, told]
            )
            if missed in (0, told):
                break
            self._missed(missed, position.decode(), first.decode())
            told = missed
        if not taken:
            self.at_end = True
            if may_wait:
                wait_for_rows(self._client, self._stream.key, position.decode(), 1)
        return [(entry_id, dict(zip(flat[::2], flat[1::2], strict=True))) for entry_id, flat in taken]

    def _missed(self, missed: int, position: str, first: str) -> None:
        begins = f"the stream now begins with {first}" if first else "the stream is empty"
        self._tell(
            f"{'some' if missed < 0 else missed} entries of {self._stream.key} were trimmed before group "
            f"{self._group.name} read them: it had read up to {position}, {begins}"
        )

    def _lost(self, ids: list[bytes]) -> None:
        """Entries that were given to a consumer and trimmed before it had written them."""
        if ids:
            self._client.xack(self._stream.key, self._group.name, *ids)
            self._tell(
                f"{len(ids)} entries of {self._stream.key} were trimmed before group {self._group.name} had written "
                f"them: {ids[0].decode()} to {ids[-1].decode()}"
            )
