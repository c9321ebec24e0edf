"""A small TCP proxy that cuts connections: it forwards a request, drops its reply, and closes both sides."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any

CHUNK = 65_536


class CuttingProxy:
    """Stands between clients and a server on loopback; while `share` is 0 it only forwards.

    Args:
        target: the server's port.

    Attributes:
        share: which part of the replies is dropped together with its connection, from 0 to 1.
        cuts: how many were.
    """

    def __init__(self, target: int, seed: int = 0) -> None:
        self.target, self.share, self.cuts, self.port = target, 0.0, 0, 0
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="cutting proxy", daemon=True)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def __enter__(self) -> CuttingProxy:
        self._thread.start()
        server = self._do(asyncio.start_server(self._attend, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(_cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _attend(self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter) -> None:
        try:
            server_in, server_out = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            client_out.close()
            return
        there = asyncio.ensure_future(_copy(client_in, server_out))
        back = asyncio.ensure_future(self._copy_replies(server_in, client_out))
        try:
            await asyncio.wait((there, back), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (there, back):
                each.cancel()
            for writer in (client_out, server_out):
                writer.close()

    async def _copy_replies(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await _read(source):
            if self._random.random() < self.share:
                self.cuts += 1
                return
            sink.write(data)
            await _drain(sink)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await _read(source):
        sink.write(data)
        await _drain(sink)


async def _read(source: asyncio.StreamReader) -> bytes:
    try:
        return await source.read(CHUNK)
    except OSError:
        return b""


async def _drain(sink: asyncio.StreamWriter) -> None:
    try:
        await sink.drain()
    except OSError:
        return


async def _cancel_all() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
