"""Notices that failed for good, as they are listed, sent again and forgotten.

What they tell is not kept twice: it is in the run's entry in `heald:recoveries` or, before that, in the ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import redis

from heald_worker import keys
from heald_worker.ledger import UNHEARD_MOST


class UnheardNotice(msgspec.Struct, frozen=True):
    """One notice that nobody got.

    Attributes:
        id: of its entry; tells when it failed.
        ending: how the run came to its end, as far as it can be read.
        tries: deliveries that were begun.
        reason: one line, masked, about the last of them.
    """

    id: str
    run: str
    ending: str
    tries: int
    reason: str


def unheard_notices(client: redis.Redis) -> list[UnheardNotice]:
    """All that are kept, the oldest first."""
    rows: Any = client.xrange(keys.UNHEARD, count=UNHEARD_MOST)
    return [_notice(entry_id, fields) for entry_id, fields in rows]


def forget(client: redis.Redis, notices: Sequence[UnheardNotice]) -> int:
    """Keep these no longer. Returns how many were still there."""
    return int(client.xdel(keys.UNHEARD, *(notice.id for notice in notices))) if notices else 0


def _notice(entry_id: bytes, fields: dict[bytes, bytes]) -> UnheardNotice:
    text = {name.decode("utf-8", "replace"): value.decode("utf-8", "replace") for name, value in fields.items()}
    tries = text.get("tries", "")
    return UnheardNotice(
        id=entry_id.decode(),
        run=text.get("run", ""),
        ending=text.get("ending", ""),
        tries=int(tries) if tries.isdecimal() else 0,
        reason=text.get("reason", ""),
    )
