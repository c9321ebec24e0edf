"""The first and the last bytes of an output, in memory that does not grow with it."""

from __future__ import annotations

HEAD_BYTES = 16 * 1024
TAIL_BYTES = 256 * 1024


class Excerpt:
    """Takes bytes as they come and keeps the first `HEAD_BYTES` and the last `TAIL_BYTES`.

    Attributes:
        total: bytes taken so far.
    """

    def __init__(self) -> None:
        self.total = 0
        self._head = bytearray()
        self._ring = memoryview(bytearray(TAIL_BYTES))
        self._next = 0
        self._in_ring = 0

    def add(self, data: memoryview) -> None:
        """Take the next bytes of the output."""
        self.total += len(data)
        if len(self._head) < HEAD_BYTES:
            room = HEAD_BYTES - len(self._head)
            self._head += data[:room]
            data = data[room:]
        data = data[-TAIL_BYTES:]
        until_end = TAIL_BYTES - self._next
        first, rest = data[:until_end], data[until_end:]
        self._ring[self._next : self._next + len(first)] = first
        self._ring[: len(rest)] = rest
        self._next = (self._next + len(data)) % TAIL_BYTES
        self._in_ring = min(TAIL_BYTES, self._in_ring + len(data))

    @property
    def head(self) -> bytes:
        """The output's beginning; all of it while it is short."""
        return bytes(self._head)

    @property
    def tail(self) -> bytes:
        """The output's end, without what is in the head."""
        if self._in_ring < TAIL_BYTES:
            return bytes(self._ring[: self._next])
        return bytes(self._ring[self._next :]) + bytes(self._ring[: self._next])

    @property
    def lost(self) -> int:
        """How many bytes between head and tail are not kept."""
        return self.total - len(self._head) - self._in_ring
