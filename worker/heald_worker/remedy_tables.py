"""The tables of remedies that open runs are decided by, kept in Redis by digest until the last of them has ended.

So a worker with other remedies than those a run was accepted with decides about it as it was promised, and editing
them parks nobody.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec
import redis

from heald_worker import keys
from heald_worker.core.remedies import RemedyTable

_encode = msgspec.json.Encoder(order="sorted").encode
_decode = msgspec.json.Decoder(RemedyTable).decode


class Kept(NamedTuple):
    """A table as Redis keeps it: its digest, and itself as JSON."""

    digest: str
    data: bytes


def kept_form(table: RemedyTable) -> Kept:
    """The table's canonical JSON and its lower-case hex SHA-256, of which 32 digits are enough."""
    data = _encode(table)
    return Kept(hashlib.sha256(data).hexdigest()[:32], data)


class RemedyTables:
    """This process's own table, and those of runs that were accepted with another one.

    Attributes:
        own: the table that new runs are accepted with.
    """

    def __init__(self, client: redis.Redis, own: RemedyTable) -> None:
        self._client, self._table = client, own
        self.own = kept_form(own)
        self._others: dict[str, RemedyTable] = {}

    def table(self, digest: str) -> RemedyTable:
        """The table that a run was accepted with; where it is lost or cannot be read, this process's own."""
        if digest == self.own.digest:
            return self._table
        if digest not in self._others:
            found = self._read(digest)
            if found is None:
                return self._table
            self._others[digest] = found
        return self._others[digest]

    def _read(self, digest: str) -> RemedyTable | None:
        stored = self._client.hget(keys.REMEDIES, digest)
        try:
            return _decode(stored) if stored else None
        except msgspec.MsgspecError:
            return None
