"""The lease of a claimed repair as its holder sees it: on a monotonic clock of its own, and never as too long."""

from __future__ import annotations

import time

import redis

from heald_worker.ledger import Held
from heald_worker.moves import wait_for
from heald_worker.service import Service

MARGIN = 4.0
"""Seconds, or a quarter of the lease if that is more, before its end at which a repair is killed that could not be
renewed: one look a second, and two seconds for a server that does not answer, fit in."""


class Lease:
    """One claim's lease.

    Args:
        renewals: the client that renews it; it must neither wait long nor repeat a command.
        began: when the claim was sent, on the monotonic clock. The server counts from a later moment; a reply may be
            late by any time.
    """

    def __init__(self, service: Service, renewals: redis.Redis, claimed: Held, began: float) -> None:
        self.claimed = claimed
        self._ledger, self._renewals, self._renewed_at = service.ledger, renewals, began
        self._every = service.settings.timing.renewal
        self._length_ms = wait_for(service, claimed.run).due_ms

    @property
    def is_due(self) -> bool:
        """Whether it is time to renew it."""
        return time.monotonic() - self._renewed_at >= self._every

    @property
    def left(self) -> float:
        """Seconds until a repair has to be killed, to be gone for sure when the lease ends."""
        length = self._length_ms / 1000
        return length - max(MARGIN, length / 4) - (time.monotonic() - self._renewed_at)

    def renew(self) -> bool:
        """Renew it. False when it was taken away.

        Raises:
            redis.RedisError: nobody knows.
        """
        asked_at = time.monotonic()
        if not self._ledger.renew(self.claimed, self._length_ms, self._renewals):
            return False
        self._renewed_at = asked_at
        return True
