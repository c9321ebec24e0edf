"""Waiting for a server that is restarted or replaced, so that a reader goes on where it was."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import redis

from heald_producer.connection import address, trouble

Tell = Callable[[str], None]
"""Takes one sentence for whoever runs the reader."""

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
"""Seconds between two tries to reach the server."""


class Patience:
    """Tells once that the server is away, and waits longer before each try."""

    def __init__(self, client: redis.Redis, tell: Tell, pause: Callable[[float], None]) -> None:
        self._client, self._tell, self._pause = client, tell, pause
        self._seconds = 0.0

    @property
    def waiting(self) -> bool:
        """Whether the server was away when it was asked last."""
        return self._seconds > 0

    def wait(self, error: redis.RedisError) -> None:
        """Wait before the server is tried again.

        Raises:
            redis.RedisError: this error, when waiting cannot help.
        """
        if not passes(error):
            raise error
        if not self.waiting:
            self._tell(f"{trouble(error, address(self._client)).problem}; waiting for it")
        self._seconds = min(max(FIRST_PAUSE, self._seconds * 2), LONGEST_PAUSE)
        with suppress(redis.RedisError):
            self._client.connection_pool.disconnect()  # the next try may find another primary
        self._pause(self._seconds)

    def over(self) -> None:
        """The server answered."""
        self._seconds = 0.0


_PASSING_WORDS = ("UNBLOCKED", "MASTERDOWN", "NOREPLICAS", "MISCONF")


def passes(error: redis.RedisError) -> bool:
    """Whether the server's trouble may be over when it is asked again: a restart, a failover, a full disk."""
    if isinstance(error, redis.AuthenticationError):
        return False
    if isinstance(error, redis.ConnectionError | redis.TimeoutError | redis.ReadOnlyError):
        return True
    return str(error).startswith(_PASSING_WORDS)
