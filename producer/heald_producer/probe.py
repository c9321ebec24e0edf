"""A probe: what stands in a report's place to see that the way into the inbox is open.

Intake counts it and drops it. A heald that does not know probes makes it a dead letter, and does nothing else.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from heald_producer.signals import WIRE_VERSION

MAX_PROBE_BYTES = 256
_TOKEN = re.compile(r"[A-Za-z0-9]{1,64}")


class Probe(NamedTuple):
    """One probe; its token tells it from others."""

    token: str


class _Envelope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    v: int
    probe: str


_decode = msgspec.json.Decoder(_Envelope).decode


def encode_probe(token: str) -> bytes:
    """The bytes of a probe.

    Args:
        token: 1 to 64 letters and digits.
    """
    return msgspec.json.encode(_Envelope(WIRE_VERSION, token))


def decode_probe(raw: bytes) -> Probe | None:
    """The probe that these bytes hold, or None: a probe has nothing else in it, so no report is taken for one."""
    if len(raw) > MAX_PROBE_BYTES:
        return None
    try:
        found = _decode(raw)
    except msgspec.MsgspecError:
        return None
    is_one = found.v == WIRE_VERSION and _TOKEN.fullmatch(found.probe)
    return Probe(found.probe) if is_one else None
