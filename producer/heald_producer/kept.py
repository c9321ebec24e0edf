"""The beginning and the end of an output, in memory that does not grow with it."""

from __future__ import annotations

HEAD_BYTES = 64 * 1024
TAIL_BYTES = 1024 * 1024


class Kept:
    """Holds the first `HEAD_BYTES` and the last `TAIL_BYTES` of what is read into its `room`.

    The bytes stay where they were read to: passing an output on costs no copy.

    Attributes:
        total: bytes taken so far.
    """

    def __init__(self) -> None:
        self.total = 0
        self._head = b""
        self._ring = memoryview(bytearray(TAIL_BYTES))
        self._next = 0

    def room(self) -> list[memoryview]:
        """Where to read the next bytes to, in this order; the oldest ones stand there."""
        return [self._ring[self._next :], self._ring[: self._next]]

    def take(self, size: int) -> list[memoryview]:
        """Note that so many bytes were read into the room. Returns them; they stay until the next are read."""
        end = self._next + size
        taken = [self._ring[self._next : end], self._ring[: max(0, end - TAIL_BYTES)]]
        if len(self._head) < HEAD_BYTES:
            self._head += b"".join(taken)[: HEAD_BYTES - len(self._head)]
        self.total += size
        self._next = end % TAIL_BYTES
        return taken

    @property
    def head(self) -> bytes:
        """The output's beginning; all of it while it is short."""
        return self._head

    @property
    def tail(self) -> bytes:
        """The output's end, without what is in the head."""
        fresh = self.total - len(self._head)
        whole = bytes(self._ring[self._next :]) + bytes(self._ring[: self._next])
        return whole[TAIL_BYTES - min(TAIL_BYTES, fresh) :]

    @property
    def lost(self) -> int:
        """How many bytes between head and tail are not kept."""
        return max(0, self.total - len(self._head) - TAIL_BYTES)
