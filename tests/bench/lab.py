"""Where measurements happen: a server of their own, an empty artifact folder, and worker processes that are timed."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import redis

from heald_producer.push import push_many
from heald_producer.signals import Context, FailureReport, FailureSignal
from heald_worker import keys
from support.server import Server

if TYPE_CHECKING:
    from peers import Peers

MESSAGE = "tests/test_cart.py::test_total AssertionError: expected 200, got 503\n" + "x" * 400
"""What fails in every measured run: a test, in some four hundred bytes."""
STAGE = "unit"
HERE = Path(__file__).resolve().parent
PATIENCE = 300.0
"""Seconds after which a measurement is given up."""


class Effort(NamedTuple):
    """How much is measured: rounds that are interleaved, and the count of things in each."""

    rounds: int = 3
    pushes: int = 20_000
    single_pushes: int = 2_000
    recoveries: int = 20_000
    rq_recoveries: int = 400
    latencies: int = 200
    starts: int = 20
    footprint_runs: int = 10_000
    memory_runs: tuple[int, ...] = (1_000, 10_000)
    backlog: int = 1_000_000
    peer_runs: int = 4_000
    log_megabytes: int = 100
    output_megabytes: int = 1_000


QUICK = Effort(1, 500, 50, 60, 10, 5, 2, 200, (50, 200), 1_000, 60, 4, 4)
"""Enough to see that everything runs; the numbers mean nothing."""


class Spent(NamedTuple):
    """What a worker's work took: seconds on the wall, of its processor time, of the server's, and Redis commands."""

    wall: float
    worker_cpu: float
    server_cpu: float
    commands: int


class Lab:
    """One server, one folder; `fresh` begins anew in both."""

    def __init__(self, server: Server, folder: Path, effort: Effort, peers: Peers | None = None) -> None:
        self.server, self.folder, self.effort, self.peers = server, folder, effort, peers
        self.client = redis.Redis.from_url(server.url)
        self._round = 0

    @property
    def artifacts(self) -> Path:
        """The artifact folder of this round."""
        return self.folder / f"artifacts-{self._round}"

    def fresh(self) -> redis.Redis:
        """Empty the server and take a new artifact folder. Returns a client.

        The old folder stays: ext4 makes new files slowly for a while after many were deleted.
        """
        self._round += 1
        self.client.flushall()
        return self.client

    def push(self, count: int, first: int = 0) -> None:
        """Put runs into the inbox, numbered from `first`."""
        push_many(reports(count, first), connection=self.client)

    def environ(self, configuration: str) -> dict[str, str]:
        """The environment of heald processes under this heald.toml."""
        file = self.folder / "heald.toml"
        file.write_text(configuration)
        own = {name: value for name, value in os.environ.items() if not name.startswith(("HEALD_", "REDIS_"))}
        places = {"HEALD_REDIS_URL": self.server.url, "HEALD_CONFIG": str(file)}
        return own | places | {"HEALD_ARTIFACTS": str(self.artifacts), "PYTHONPATH": str(HERE)}

    @contextmanager
    def process(self, argv: Sequence[str], environ: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        """A process and its descendants, gone at the end; what it says stands in `worker.log`."""
        with (self.folder / "worker.log").open("wb") as said:
            process = subprocess.Popen(
                argv, env=environ, cwd=self.folder, stdout=said, stderr=said, start_new_session=True
            )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def time_worker(
        self, argv: Sequence[str], environ: Mapping[str, str], stream: str, count: int, processes: int = 1
    ) -> Spent:
        """Start a worker, or several, and stop the clock when a stream has this many entries; their start counts."""
        before, commands = self._server_cpu(), self._commands()
        children = _children_cpu()
        begun = time.perf_counter()
        with ExitStack() as workers:
            *_, last = [workers.enter_context(self.process(argv, environ)) for _ in range(processes)]
            self.until(lambda: self.client.xlen(stream) >= count, last, 0.01)
            wall = time.perf_counter() - begun
            server_cpu, commands = self._server_cpu() - before, self._commands() - commands
        return Spent(wall, _children_cpu() - children, server_cpu, commands)

    def until(self, condition: object, process: subprocess.Popen[bytes], pause: float) -> None:
        """Wait for a condition that a process brings about.

        Raises:
            RuntimeError: the process ended before that, or took too long.
        """
        deadline = time.monotonic() + PATIENCE
        while not condition():  # type: ignore[operator]
            if process.poll() is not None or time.monotonic() > deadline:
                said = (self.folder / "worker.log").read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the worker {process.args!r} did not come to its end; it said:\n{said}")
            time.sleep(pause)

    def _server_cpu(self) -> float:
        cpu = self.client.info("cpu")
        return float(cpu["used_cpu_user"] + cpu["used_cpu_sys"])

    def _commands(self) -> int:
        return int(self.client.info("stats")["total_commands_processed"])


def reports(count: int, first: int = 0) -> list[FailureReport]:
    """Reports of failed tests in ten repositories."""
    signal_ = FailureSignal(STAGE, MESSAGE, 1)
    contexts = [Context(repository=f"acme/shop-{n}", ref="refs/heads/main", job="unit") for n in range(10)]
    return [FailureReport(f"run-{n}", signal_, context=contexts[n % 10]) for n in range(first, first + count)]


def heald(*argv: str) -> list[str]:
    """The command line of a heald process of this interpreter."""
    return [sys.executable, "-P", "-m", "heald_worker", *argv]


def recording(*, fsync: bool) -> str:
    """A heald.toml whose repairs only record: a patch, which fails, and then a rollback, which succeeds."""
    repair = 'kind = "record"\nsucceed_from = 2\n'
    actions = ("retry", "patch_forward", "rollback")
    policy = '[policies.default]\ndeploy_stages = ["*"]\n'
    return f"fsync = {str(fsync).lower()}\n{policy}" + "".join(f"[repairs.{action}]\n{repair}" for action in actions)


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


RECOVERIES = keys.RECOVERIES
