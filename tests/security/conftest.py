"""Attackers work with a raw Redis client; what they attack is a whole service in one process, or real workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from support.guarded import Guarded, guarded_server
from support.server import Server
from support.service import House, settings
from support.workplace import Workplace


@pytest.fixture
def it(conn: redis.Redis, tmp_path: Path) -> Iterator[House]:
    """The service in this process; its repairs only record."""
    house = House(conn, settings(tmp_path))
    yield house
    house.close()


@pytest.fixture
def workplace(server: Server, conn: redis.Redis, tmp_path: Path) -> Workplace:
    """A folder for real workers."""
    return Workplace(server, conn, tmp_path)


@pytest.fixture(scope="module")
def guarded(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A server with the deployed accounts."""
    with guarded_server(server.kind, tmp_path_factory.mktemp("guarded")) as running:
        yield running
