"""What wakes an idle control process."""

from __future__ import annotations

import contextlib
import time
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any

import redis

BELL_WAIT = 60
"""Seconds a listener blocks in the server before it asks again."""


class Bell:
    """Wakes the control process when one of some lists is not empty, without taking anything from it.

    Each list has a listener that moves its first element onto its own place (BLMOVE LEFT LEFT): it blocks while the
    list is empty and changes nothing, so a lost reply or a killed process costs nothing either. The element itself
    is not fetched: whoever may push could make it half a gigabyte.
    """

    def __init__(self, client: redis.Redis, lists: tuple[str, ...]) -> None:
        self._client = client
        self._rang: SimpleQueue[None] = SimpleQueue()  # unlike an event, safe to ring from a signal handler
        self._armed = {name: Event() for name in lists}
        for name in lists:
            Thread(target=self._listen, args=(name,), name=f"bell {name}", daemon=True).start()

    def wait(self, seconds: float, lists: tuple[str, ...]) -> None:
        """Return when one of these lists is not empty, `ring` is called, or the time is over."""
        for name in lists:
            self._armed[name].set()
        with contextlib.suppress(Empty):
            self._rang.get(timeout=seconds)
        for _ in range(self._rang.qsize()):
            self._rang.get_nowait()

    def ring(self) -> None:
        """Wake whoever waits. A signal handler may do this at any moment."""
        self._rang.put(None)

    def _listen(self, name: str) -> None:
        armed = self._armed[name]
        while True:
            armed.wait()
            began = time.monotonic()
            try:
                while not self._holds_something(name):
                    if time.monotonic() - began < 1:
                        time.sleep(1)  # a server that is full or read-only does not block
                    began = time.monotonic()
            except redis.RedisError:
                time.sleep(1)
            armed.clear()
            self.ring()

    def _holds_something(self, name: str) -> bool:
        """Block until a list holds something, or for `BELL_WAIT`; the server is told to keep its element to itself."""
        pool = self._client.connection_pool
        connection: Any = pool.get_connection()
        listen = ("BLMOVE", name, name, "LEFT", "LEFT", BELL_WAIT)
        try:
            connection.send_packed_command(
                connection.pack_commands([("CLIENT", "REPLY", "SKIP"), listen, ("LLEN", name)])
            )
            return bool(connection.read_response(timeout=BELL_WAIT + 5))
        except BaseException:
            connection.disconnect()
            raise
        finally:
            pool.release(connection)
