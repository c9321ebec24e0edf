"""What waits in a spool is sent along with a report that arrives: some of it, as a build is waiting."""

from __future__ import annotations

from collections.abc import Callable

import redis

from heald_producer.push import INBOX_REFUSAL, Pushed, push_encoded
from heald_producer.spool import MAX_AGE, Drained, Spool, drain

MOST_SECONDS = 5.0
"""No batch is begun later than that."""


def drain_some(
    spool: Spool,
    connection: redis.Redis,
    inbox: int,
    *,
    clock: Callable[[], float],
    now: float,
    warn: Callable[[str], None],
    max_age: float = MAX_AGE,
    refuse_above: int = INBOX_REFUSAL,
) -> Drained:
    """Send what waits, for `MOST_SECONDS` and while the inbox is not too long; the rest waits for the next one.

    Args:
        inbox: how long the inbox was after the report that arrived.
        clock: seconds that never go back.
        now: seconds since the epoch.

    Raises:
        ServerTrouble: the server failed after all.
        SpoolTrouble: the folder cannot be used.
    """
    until, pushed = clock() + MOST_SECONDS, Pushed(0, inbox)

    def send(raws: list[bytes]) -> None:
        nonlocal pushed
        pushed = push_encoded(raws, connection)

    def may_send() -> bool:
        return clock() < until and pushed.inbox <= refuse_above

    return drain(spool, send, now=now, max_age=max_age, warn=warn, may_send=may_send)
