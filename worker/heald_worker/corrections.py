"""What people said about failures: the class that failures of a fingerprint have, whatever the rules find.

The hash `heald:corrections` is small and seldom changes, so every process keeps a copy of it. The control process hears
with each look at its queues, in the same round trip, whether it has changed; only then the hash is read again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import redis

from heald_worker import keys
from heald_worker.core.taxonomy import FailureClass
from heald_worker.ledger import encode_facts, load_scripts

log = logging.getLogger("heald")

VERSION = b"version"
"""The field that counts changes; no fingerprint looks like it."""


class Correction(msgspec.Struct, frozen=True, omit_defaults=True):
    """The class of one fingerprint, and who gave it: about which run, when (microseconds), and why."""

    failure_class: FailureClass
    run: str
    stage: str
    by: str
    at: int
    repository: str = ""
    reason: str = ""


Table = Mapping[str, Correction]
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Correction).decode


class Corrections:
    """This process's copy of the corrections. Several threads may use one."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._version: object = None
        self.table: Table = {}

    def get(self, fingerprint: str) -> Correction | None:
        """The correction of this fingerprint, if there is one."""
        return self.table.get(fingerprint)

    def hear(self, version: object) -> None:
        """Take note of the version that the server has, or of what it answered instead; read the hash if it changed."""
        if version == self._version:
            return
        if isinstance(version, redis.RedisError):
            if str(version) != str(self._version):
                log.error("the corrections of failure classes cannot be read: %s", version)
            self._version, self.table = version, {}
            return
        fields: Any = self._client.hgetall(keys.CORRECTIONS)
        self.table, self._version = read_table(fields), fields.get(VERSION)

    def look(self) -> None:
        """Ask the server whether they have changed: for processes that hear of it in no other way."""
        try:
            version: object = self._client.hget(keys.CORRECTIONS, VERSION.decode())
        except redis.ResponseError as error:
            version = error
        self.hear(version)


def read_table(fields: Mapping[bytes, bytes]) -> Table:
    """The hash as it is stored; an entry that cannot be read is left out and said."""
    table = {}
    for name, data in fields.items():
        if name == VERSION:
            continue
        try:
            table[name.decode()] = _decode(data)
        except (ValueError, msgspec.MsgspecError) as error:
            log.error("the correction of %a cannot be read: %s", name, error)
    return table


def correct(
    client: redis.Redis, fingerprint: str, correction: Correction, *, most: int, events_kept_ms: int
) -> Literal["corrected", "full"]:
    """Set the class of a fingerprint, and tell it as an event of the run; `full` when there are `most` others."""
    facts = {"class": correction.failure_class, "fingerprint": fingerprint, "by": correction.by}
    answer = load_scripts(client)["correct"](
        keys=[keys.CORRECTIONS, keys.EVENTS, keys.run(correction.run)],
        args=[
            fingerprint,
            _encode(correction),
            most,
            keys.fold(correction.run),
            encode_facts(facts | {"reason": correction.reason}),
            events_kept_ms,
        ],
    )
    return "corrected" if answer == b"corrected" else "full"


def forget(client: redis.Redis, fingerprint: str, run_id: str, by: str, *, events_kept_ms: int) -> bool:
    """Take a correction back, and tell it as an event of the run that it was made about. False when there is none."""
    answer = load_scripts(client)["uncorrect"](
        keys=[keys.CORRECTIONS, keys.EVENTS],
        args=[fingerprint, keys.fold(run_id), encode_facts({"fingerprint": fingerprint, "by": by}), events_kept_ms],
    )
    return bool(answer)
