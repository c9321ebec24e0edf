"""Dead letters as they are read, replayed and purged: what intake could not accept, with the reason.

A letter keeps a whole report where heald could bound it, else only its beginning; only whole ones can be replayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import msgspec
import redis

from heald_worker import keys
from heald_worker.ledger import load_scripts
from heald_worker.streams import BEGINNING, MOST_SEQUENCE, id_order

PAGE = 64
"""Letters handled in one round trip; each has 128 KiB at most."""


class DeadLetter(msgspec.Struct, frozen=True):
    """One report that could not be accepted.

    Attributes:
        reason: one stable word, as `too_large` or `run_id_conflict`.
        detail: one line that says what is wrong.
        run: the run id it names, where that can be read; else empty.
        length: the report's bytes.
        digest: of its bytes, as intake saw them.
        body: the report, or its beginning.
        whole: whether `body` is all of it.
    """

    id: str
    reason: str
    detail: str
    run: str
    length: int
    digest: str
    body: bytes
    whole: bool


def newest_letters(client: redis.Redis) -> Iterator[DeadLetter]:
    """The dead letters, the newest first, page by page."""
    edge = "+"
    while True:
        rows: Any = client.xrevrange(keys.DEAD, edge, "-", PAGE)
        if not rows:
            return
        yield from (_letter(entry_id, fields) for entry_id, fields in rows)
        edge = f"({rows[-1][0].decode()}"


def read_letter(client: redis.Redis, entry_id: str) -> DeadLetter | None:
    """One dead letter; None when there is none of this id."""
    rows: Any = client.xrange(keys.DEAD, entry_id, entry_id)
    return _letter(*rows[0]) if rows else None


def _letter(entry_id: bytes, fields: dict[bytes, bytes]) -> DeadLetter:
    """Whatever stands there: a letter that lacks a field is shown without it."""
    text = {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in fields.items()}
    length = text.get("length", "")
    return DeadLetter(
        id=entry_id.decode(),
        reason=text.get("reason", "unknown"),
        detail=text.get("detail", ""),
        run=text.get("run", ""),
        length=int(length) if length.isdecimal() else 0,
        digest=text.get("digest", ""),
        body=fields.get(b"body", b""),
        whole=text.get("whole") == "1",
    )


def replay_letters(client: redis.Redis, ids: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Put these letters back into the inbox: each id with `replayed`, `not_whole` or `gone`."""
    script, rest = load_scripts(client)["replay_dead"], iter(ids)
    while page := list(islice(rest, PAGE)):
        answers = script(keys=[keys.DEAD, keys.INBOX], args=page)
        yield from zip(page, (answer.decode() for answer in answers), strict=True)


def purge_letters(client: redis.Redis, ids: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Delete these letters for good: each id with `purged` or `gone`."""
    rest = iter(ids)
    while page := list(islice(rest, PAGE)):
        pipe = client.pipeline(transaction=False)
        for entry_id in page:
            pipe.xdel(keys.DEAD, entry_id)
        yield from zip(page, ("purged" if deleted else "gone" for deleted in pipe.execute()), strict=True)


def purge_up_to(client: redis.Redis, last: str) -> int:
    """Delete for good all letters up to this id. Returns how many there were."""
    millis, sequence = id_order(last)
    following = f"{millis}-{sequence + 1}" if sequence < MOST_SEQUENCE else f"{millis + 1}-0"
    return int(client.xtrim(keys.DEAD, minid=following, approximate=False))


def last_letter(client: redis.Redis) -> str:
    """Id of the newest letter: where an action on all of them stops, as replayed ones may come back as new ones."""
    rows: Any = client.xrevrange(keys.DEAD, "+", "-", 1)
    return rows[0][0].decode() if rows else BEGINNING


def letter_ids(client: redis.Redis, last: str) -> Iterator[str]:
    """The ids of all letters up to `last`, the oldest first, page by page."""
    script, after = load_scripts(client)["dead_ids"], BEGINNING
    while ids := [entry_id.decode() for entry_id in script(keys=[keys.DEAD], args=[after, last, PAGE])]:
        yield from ids
        after = ids[-1]
