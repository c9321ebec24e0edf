"""Reports onto the inbox: plain variadic RPUSH, pipelined, no MULTI. It needs that one permission and no other.

Pushing is at least once: a chunk whose reply was lost may stand in the inbox twice, and intake takes the
second for the duplicate it is.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from heald_producer.connection import Server, ServerTrouble, address, configured_server, connect, trouble
from heald_producer.signals import INBOX, FailureReport
from heald_producer.wire import encode_report, fit

INBOX_WARNING = 100_000
INBOX_REFUSAL = 1_000_000
"""Reports in the inbox from which a producer should warn, and from which it should push no more."""

CHUNK_REPORTS = 256
CHUNK_BYTES = 512 * 1024
"""One RPUSH carries at most this many reports, and bytes but for its last report."""
CHUNKS_PER_TRIP = 8


class Pushed(NamedTuple):
    """What was acknowledged: how many reports, and how long the inbox was after the last of them."""

    sent: int
    inbox: int


class PushFailed(ServerTrouble):
    """The server took only the first `sent` reports; the others are not in the inbox, or not for sure."""

    def __init__(self, reason: ServerTrouble, sent: int) -> None:
        self.sent = sent
        super().__init__(reason.problem, reason.hint)


def push(report: FailureReport, *, connection: redis.Redis | None = None, url: str | None = None) -> Pushed:
    """Put one report into the inbox; see `push_many`."""
    return push_many([report], connection=connection, url=url)


def push_many(
    reports: Iterable[FailureReport],
    *,
    connection: redis.Redis | None = None,
    url: str | None = None,
    refuse_above: int | None = None,
) -> Pushed:
    """Put reports into the inbox, in their order, as they come.

    Args:
        connection: a client to use; without one, a client of `url` is opened and closed.
        url: the server; without it HEALD_REDIS_URL, REDIS_URL or heald.toml name it.
        refuse_above: stop when the server's last answer told of a longer inbox.

    Raises:
        InvalidReport: a report is wrong; the chunks before it have been sent.
        PushFailed: the server failed, or the inbox is too long.
        ServerTrouble: the URL or the configuration is not usable.
    """
    encoded = (encode_report(fit(report)) for report in reports)
    if connection is not None:
        return push_encoded(encoded, connection, refuse_above=refuse_above)
    with open_connection(configured_server(url, os.environ, Path.cwd())) as own:
        return push_encoded(encoded, own, refuse_above=refuse_above)


def open_connection(server: Server, *, timeout: float = 5.0) -> redis.Redis:
    """A client for pushing: it gives up soon, as a build is waiting."""
    retry = Retry(ExponentialBackoff(cap=0.5, base=0.1), retries=1)
    return connect(server.url, sentinel=server.sentinel, timeout=timeout, retry=retry)


def push_encoded(raws: Iterable[bytes], connection: redis.Redis, *, refuse_above: int | None = None) -> Pushed:
    """`push_many` for reports that are encoded already.

    Raises:
        PushFailed: the server failed, or the inbox is too long.
    """
    pushed = Pushed(0, 0)
    parts = chunks(raws)
    while trip := list(islice(parts, CHUNKS_PER_TRIP)):
        if refuse_above is not None and pushed.inbox > refuse_above:
            full = ServerTrouble(
                f"the inbox holds {pushed.inbox:,} reports, the limit is {refuse_above:,}",
                "do workers run? `heald health` tells",
            )
            raise PushFailed(full, pushed.sent)
        pushed = _send(trip, connection, pushed)
    return pushed


def _send(trip: list[list[bytes]], connection: redis.Redis, pushed: Pushed) -> Pushed:
    """Send chunks in one round trip and add what was acknowledged to `pushed`."""
    try:
        with connection.pipeline(transaction=False) as pipeline:
            for chunk in trip:
                pipeline.rpush(INBOX, *chunk)
            replies = pipeline.execute(raise_on_error=False)
    except (redis.RedisError, OSError) as error:
        raise PushFailed(trouble(error, address(connection)), pushed.sent) from None
    for chunk, reply in zip(trip, replies, strict=True):
        if isinstance(reply, redis.RedisError):
            raise PushFailed(trouble(reply, address(connection)), pushed.sent)
        pushed = Pushed(pushed.sent + len(chunk), reply)
    return pushed


def chunks(raws: Iterable[bytes]) -> Iterator[list[bytes]]:
    """What one RPUSH carries at a time."""
    chunk: list[bytes] = []
    size = 0
    for raw in raws:
        chunk.append(raw)
        size += len(raw)
        if len(chunk) == CHUNK_REPORTS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
