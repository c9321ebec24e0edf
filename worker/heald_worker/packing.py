"""How batches travel between Python and the scripts of `lua/`: as msgpack, which both sides read and write in C.

redis-py takes a reply of many parts to pieces in Python, and puts a command of many parts together there; one packed
part costs a tenth of that.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

pack = msgspec.msgpack.Encoder().encode
"""A script's argument; wrap bytes in `blob` first."""


def blob(data: bytes) -> msgspec.Raw:
    """Bytes for `pack`: Lua's cmsgpack knows no binary type, but its strings hold any bytes."""
    return msgspec.Raw(b"\xdb" + len(data).to_bytes(4, "big") + data)


def unpack(packed: bytes) -> list[bytes | None]:
    """The flat list that a script answered: bytes, or None for what is not a text there."""
    return [_unblob(raw) for raw in _decode_list(packed)]


def _unblob(raw: msgspec.Raw) -> bytes | None:
    data = bytes(raw)
    head = data[0]
    if 0xA0 <= head <= 0xBF:
        return data[1:]
    width = _WIDTHS.get(head)
    return data[width:] if width else None


_decode_list = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode
_WIDTHS = {0xD9: 2, 0xDA: 3, 0xDB: 5}
"""Bytes before a text in msgpack, by its first byte."""


MARK_LIFE = 60
"""Seconds after which RQ's tools no longer take a job for one in hand, when its worker was killed."""


class Job(NamedTuple):
    """One RQ job as the scripts write it: `queues.nudge_job` builds it.

    Attributes:
        life: seconds after which its hash vanishes.
        own: its `data` and `description`.
        shared: its other fields, as field, value, field, value...; many jobs of a batch have the same.
        registry: where it is marked as started when its committer goes on with it itself; empty when it is queued.
        mark: what stands there for it.
    """

    queue_key: str
    job_key: str
    job_id: str
    life: int
    own: tuple[str, str]
    shared: tuple[str | int, ...]
    registry: str = ""
    mark: str = ""

    @property
    def fields(self) -> tuple[str | int, ...]:
        """The whole hash, flat like `shared`."""
        data, description = self.own
        return ("data", data, "description", description, *self.shared)


class JobPacker:
    """Packs a batch's jobs: what many of them share goes over the wire once."""

    def __init__(self) -> None:
        self._shared: dict[tuple[str | int, ...], int] = {}

    def pack(self, job: Job) -> tuple[str | int, ...]:
        """The job as the scripts take it; for its shared fields stands their number, from 1."""
        number = self._shared.setdefault(job.shared, len(self._shared) + 1)
        return (job.queue_key, job.job_key, job.job_id, job.life, *job.own, number, job.registry, job.mark)

    @property
    def shared(self) -> list[tuple[str | int, ...]]:
        """The shared fields by number."""
        return list(self._shared)
