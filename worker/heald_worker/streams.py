"""The two streams as they are read: `heald:events` holds every transition, `heald:recoveries` every completed log.

An entry is decoded once. What cannot be decoded becomes a `MalformedEntry` in its place, so that one bad entry stops
no reader. A client that follows must not repeat commands by itself (redis-py does by default): a server that went
away is noticed here, told, and asked where its streams end when it is back. Consumer groups are in `groups.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
import redis

from heald_producer.signals import Context
from heald_worker import keys
from heald_worker.core.log import RecoveryLog, RecoveryOutcome
from heald_worker.core.policy import Bounds
from heald_worker.core.recovery import Advice, Ending
from heald_worker.core.regression import RegressionCheck
from heald_worker.core.remedies import Grounds
from heald_worker.core.taxonomy import FailureClass, TaxonomyRef
from heald_worker.patience import Patience, Tell
from heald_worker.records import MalformedLog, decode_log, digest_of

Fields = Mapping[bytes, bytes]
Row = tuple[bytes, Fields]

BEGINNING = "0-0"
MOST_SEQUENCE = 2**64 - 1
"""The greatest number that the second half of an entry's id can have."""
PAGE = 100
"""Entries asked for at a time; a recovery's entry may have 200 KiB."""
LONGEST_WAIT = 1.0
"""Seconds that one question for new entries blocks in the server."""


class EventEntry(msgspec.Struct, frozen=True):
    """One transition: of which run, what happened, to which version of the run it led, and the facts of its kind."""

    id: str
    run: str
    kind: str
    version: int
    facts: dict[str, Any]


class RecoveryFacts(msgspec.Struct, frozen=True):
    """What the service knew about a completed run beside its log, frozen when it accepted the run.

    `accepted_at` is microseconds since the epoch on the server's clock, `corrections` the classes that people gave to
    the failures of some attempts. The other fields are `ledger.Run`'s and its recovery's.
    """

    policy_name: str
    taxonomy: TaxonomyRef
    accepted_at: int
    policy_reason: str = ""
    requested_policy: str | None = None
    context: Context = Context()
    advice: Advice | None = None
    regression: RegressionCheck | None = None
    reported_at: str | None = None
    generation: int = 0
    dry_run: bool = False
    notice_tries: int = 0
    max_transient_retries: int = 0
    corrections: dict[int, FailureClass] = {}
    flaky: str | None = None
    remedies: str = ""
    bounds: Bounds = Bounds()
    follows: str | None = None
    quiet: bool = False
    grounds: dict[int, Grounds] = {}
    proof: str | None = None


class RecoveryEntry(msgspec.Struct, frozen=True):
    """One completed recovery.

    Attributes:
        digest: SHA-256 of `data`; checked when the entry is decoded.
        data: the log's canonical bytes, as `recovery.json` holds them.
        log: the same, decoded.
        events: ids of the run's entries in `heald:events`.
        joined: how many reports joined the run.
    """

    id: str
    run: str
    outcome: RecoveryOutcome
    ending: Ending
    digest: str
    data: bytes
    log: RecoveryLog
    facts: RecoveryFacts
    events: tuple[str, ...] = ()
    joined: int = 0

    @property
    def known(self) -> str:
        """How a recovery is known: `proven`, or `claimed` by its repair alone; empty for any other ending."""
        if self.ending is not Ending.RECOVERED:
            return ""
        return "proven" if self.facts.proof else "claimed"

    @property
    def seconds(self) -> float:
        """How long the recovery took, from its acceptance to the moment that fixed its log."""
        return max(0, self.log.evaluated_at.to_micros() - self.facts.accepted_at) / 1e6


class MalformedEntry(Exception):
    """An entry that cannot be read: its stream's key, its id, and what is wrong with it."""

    def __init__(self, key: str, entry_id: str, problem: str) -> None:
        self.key, self.id, self.problem = key, entry_id, problem
        super().__init__(f"entry {entry_id} of {key} cannot be read: {problem}")


Entry = TypeVar("Entry", bound=EventEntry | RecoveryEntry)


class Stream(Generic[Entry]):
    """One stream: its key, and how its entries are decoded."""

    def __init__(self, key: str, decode: Callable[[str, Fields], Entry]) -> None:
        self.key, self._decode = key, decode

    def entry(self, row: Row) -> Entry | MalformedEntry:
        """Decode one entry as redis-py hands it out."""
        entry_id = row[0].decode()
        try:
            return self._decode(entry_id, row[1])
        except KeyError as missing:
            return MalformedEntry(self.key, entry_id, f"it has no field {missing.args[0].decode()}")
        except (ValueError, MalformedLog, msgspec.MsgspecError) as error:
            return MalformedEntry(self.key, entry_id, str(error))


_decode_event_facts = msgspec.json.Decoder(dict[str, Any]).decode
_decode_recovery_facts = msgspec.json.Decoder(RecoveryFacts).decode


def _event(entry_id: str, fields: Fields) -> EventEntry:
    facts = _decode_event_facts(fields[b"facts"])
    return EventEntry(entry_id, fields[b"run"].decode(), fields[b"kind"].decode(), int(fields[b"version"]), facts)


def _recovery(entry_id: str, fields: Fields) -> RecoveryEntry:
    data, digest = fields[b"log"], fields[b"digest"].decode()
    if digest_of(data) != digest:
        raise ValueError("its digest is not that of its log")
    return RecoveryEntry(
        id=entry_id,
        run=fields[b"run"].decode(),
        outcome=RecoveryOutcome(fields[b"outcome"].decode()),
        ending=Ending(fields[b"ending"].decode()),
        digest=digest,
        data=data,
        log=decode_log(data),
        facts=_decode_recovery_facts(fields[b"facts"]),
        events=tuple(fields.get(b"events", b"").decode().split()),
        joined=int(fields.get(b"joined", b"0")),
    )


EVENTS = Stream(keys.EVENTS, _event)
RECOVERIES = Stream(keys.RECOVERIES, _recovery)


def id_order(entry_id: str) -> tuple[int, int]:
    """An entry's id as something to compare by."""
    millis, _, sequence = entry_id.partition("-")
    return int(millis), int(sequence or 0)


def read(
    client: redis.Redis, stream: Stream[Entry], since: str = BEGINNING, count: int = PAGE, until: str = "+"
) -> list[Entry | MalformedEntry]:
    """At most `count` entries after the id `since`, oldest first."""
    rows: Any = client.xrange(stream.key, f"({since}", until, count)
    return [stream.entry(row) for row in rows]


def read_all(
    client: redis.Redis, stream: Stream[Entry], since: str = BEGINNING, until: str = "+"
) -> Iterator[Entry | MalformedEntry]:
    """All entries after the id `since`, up to `until`, page by page."""
    while page := read(client, stream, since, until=until):
        yield from page
        since = page[-1].id


def newest(
    client: redis.Redis, stream: Stream[Entry], count: int, since: str = BEGINNING, until: str = "+"
) -> list[Entry | MalformedEntry]:
    """The newest `count` entries after the id `since`, up to `until`, oldest first."""
    rows: Any = client.xrevrange(stream.key, until, f"({since}", count) if count else []
    return [stream.entry(row) for row in reversed(rows)]


class Extent(NamedTuple):
    """From where to where a stream goes.

    Attributes:
        first: id of its oldest entry, None when it is empty.
        last: the id that was given out last, also when that entry is gone; `BEGINNING` before the first.
        removed: how many entries it has lost, which for heald's streams means trimmed.
    """

    first: str | None
    last: str
    removed: int

    def lacks_after(self, since: str) -> bool:
        """Whether entries after the id `since` may have been trimmed."""
        begins_later = id_order(self.first or self.last) > id_order(since)
        return self.removed > 0 and begins_later


def extent(client: redis.Redis, stream: Stream[Any]) -> Extent:
    """Where a stream begins and ends now."""
    try:
        info = client.xinfo_stream(stream.key)
    except redis.ResponseError as error:
        if "no such key" in str(error).lower():
            return Extent(None, BEGINNING, 0)
        raise
    first = info["first-entry"]
    removed = int(info["entries-added"]) - int(info["length"])
    return Extent(first[0].decode() if first else None, info["last-generated-id"].decode(), removed)


def follow(
    client: redis.Redis,
    stream: Stream[Entry],
    since: str,
    *,
    tell: Tell,
    idle: Callable[[], None] = lambda: None,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Entry | MalformedEntry]:
    """Every entry after the id `since`, as they come, without end.

    Args:
        client: one that does not repeat commands by itself.
        tell: called with a sentence when the server goes away and when it is back.
        idle: called about once a second while nothing comes; what it raises ends the reading.
        pause: waits that many seconds before the server is tried again.

    Raises:
        redis.RedisError: the server refuses, and waiting cannot help.
    """
    patience = Patience(client, tell, pause)
    while True:
        try:
            if patience.waiting:
                since = _rejoin(client, stream, since, tell)
            rows = wait_for_rows(client, stream.key, since, PAGE)
        except redis.RedisError as error:
            patience.wait(error)
            continue
        patience.over()
        if not rows:
            idle()
        for row in rows:
            yield stream.entry(row)
            since = row[0].decode()


def wait_for_rows(client: redis.Redis, key: str, since: str, count: int) -> list[Row]:
    """Entries after `since`, waiting for them up to `LONGEST_WAIT`, and less than the client waits for a reply."""
    patience = client.connection_pool.connection_kwargs.get("socket_timeout") or 2 * LONGEST_WAIT
    block = max(1, round(min(LONGEST_WAIT, patience / 2) * 1000))
    found: Any = client.xread({key: since}, count=count, block=block)
    return found[0][1] if found else []


def _rejoin(client: redis.Redis, stream: Stream[Entry], since: str, tell: Tell) -> str:
    """Where to go on in a server that was away: it may have come back without its last entries, or empty."""
    last = extent(client, stream).last
    if id_order(last) < id_order(since):
        tell(f"the server is back without the newest entries of {stream.key}; reading goes on after {last}")
        return last
    tell(f"the server is back; reading goes on after {since}")
    return since
