"""Servers for the suite: an embedded Valkey on a free port, and a system redis-server where one is installed.

`HEALD_TEST_SERVER=/path/of/a/server` makes the suite use that one instead.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from support.server import Server, kinds

for ignored in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
    # Under nohup, or in the background of a script, these are ignored: by what the tests start, too.
    if signal.getsignal(ignored) is signal.SIG_IGN:
        signal.signal(ignored, signal.SIG_DFL)

os.environ.pop("COLUMNS", None)  # where a shell exports it, verbs would fold what tests read


@pytest.fixture(scope="session", params=kinds())
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real server for the whole session; tests flush it."""
    with Server(request.param, tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def conn(server: Server) -> Iterator[redis.Redis]:
    """A client of an empty server."""
    client = redis.Redis.from_url(server.url, socket_timeout=60)  # a busy machine is no failure
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def vectors() -> Path:
    """The folder of the reference's golden vectors."""
    return Path(__file__).parent / "vectors"
