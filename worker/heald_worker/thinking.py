"""One thread of a process thinks at a time; the others wait for the server or the disk meanwhile.

Python's own lock would let threads that all have something to think about take turns in tiny pieces, and give it up at
each of the many short calls that write a file. Handed on only where a thread has to wait anyway, three threads keep
the server and this process busy at once, at the price of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, local


class Thinking:
    """The right to think, of one process. Threads that never ask for it are not concerned."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._thread = local()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Think, while no other thread does."""
        with self._lock:
            self._thread.thinks = True
            try:
                yield
            finally:
                self._thread.thinks = False

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Wait for the server or the disk, and let another thread think; one that does not think just waits."""
        if not getattr(self._thread, "thinks", False):
            yield
            return
        self._lock.release()
        try:
            yield
        finally:
            self._lock.acquire()
