"""A storm over real processes: workers that are made to die, and whatever else goes wrong, until all runs have ended.

`run.py` beside it is what `make chaos` starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import redis

from chaos.books import Books, Wrong
from chaos.cast import NOTICE, Part, cast, command, configuration
from heald_producer.connection import connect
from heald_worker import keys, queues
from support.guarded import ADMIN, accounts, url_of
from support.sentinel import Watched, watched_servers
from support.server import Server
from support.verbs import children_of, environment

if TYPE_CHECKING:
    from chaos.faults import Fault

VICTIM = Path(__file__).with_name("victim.py")
NAMES = ("control-1", "control-2", "repairs-1", "repairs-2")
TICK = 0.02
REVIVE_PAUSE = 0.4
"""Seconds between two starts of one process: one that finds no server ends at once."""
MOST_REFUSALS = 20
"""Starts of one worker that may end as wrong usage: while its folder is gone, that is so."""
INTAKE_LEASE_MS = 1500
PATIENCE = 3.0
"""Seconds that the storm itself waits for a reply."""


class Victim:
    """One worker process of the storm, and when it was started."""

    def __init__(self, name: str, env: dict[str, str], folder: Path) -> None:
        self.name, self.role, self.born = name, name.partition("-")[0], time.monotonic()
        with (folder / f"{name}.log").open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-P", str(VICTIM), "worker", "--role", self.role],
                env=env,
                cwd=folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def is_dead(self) -> bool:
        return self.popen.poll() is not None

    def horses(self) -> list[int]:
        """Its work-horses: children of a repair process."""
        return children_of(self.pid)

    def keepers(self) -> list[int]:
        """The keepers of its repairs or notices."""
        return [pid for parent in (self.pid, *self.horses()) for pid in children_of(parent) if _is_keeper(pid)]

    def commands(self) -> list[int]:
        """What its keepers keep."""
        return [pid for keeper in self.keepers() for pid in children_of(keeper)]


class Ground(NamedTuple):
    """Where a scene is played.

    Attributes:
        url: the workers' server; empty behind Sentinel.
        conn: the storm's own client, never through a proxy.
    """

    url: str
    conn: redis.Redis
    server: Server | None
    watched: Watched | None


Site = Callable[[Path, "Sequence[Fault]"], contextlib.AbstractContextManager[Ground]]


class Outcome(NamedTuple):
    """What a scene came to."""

    faults: tuple[str, ...]
    runs: int
    struck: Counter[str]
    seconds: float
    wrong: list[Wrong]


class Storm:
    """One scene: a server, four workers, some runs and some faults.

    Attributes:
        worker_url: the server as the workers are told of it; a fault may put something in between.
        struck: how often each fault struck.
    """

    def __init__(self, folder: Path, ground: Ground, seed: int, parts: Sequence[Part], faults: Sequence[Fault]) -> None:
        self.folder, self.ground, self.seed, self.faults = folder, ground, seed, faults
        self.random, self.struck = random.Random(f"storm {seed}"), Counter[str]()
        self.conn, self.worker_url = ground.conn, ground.url
        self.waiting, self.pushed, self.twins = list(parts), dict[str, Part](), dict[str, Part]()
        self.processes: dict[str, Victim] = {}
        self._later: list[tuple[float, Callable[[], None]]] = []
        self._extra, self._refusals = 0, Counter[str]()

    @property
    def server(self) -> Server:
        """The one server."""
        assert self.ground.server, "there are several"
        return self.ground.server

    def prepare(self) -> None:
        """Lay out the folder that the workers work in."""
        (self.folder / "work").mkdir()
        script = self.folder / "repair.sh"
        script.write_text(command())
        Path(f"{script}.notice").write_text(NOTICE)
        more = [line for fault in self.faults for line in fault.configuration(self)]
        (self.folder / "heald.toml").write_text(configuration(script, more))

    def start(self, name: str) -> None:
        """Start a worker, for the first time or again."""
        plan: dict[str, object] = {"role": name.partition("-")[0], "parent": os.getpid(), "seed": self.seed}
        plan["intake_lease_ms"] = INTAKE_LEASE_MS
        for fault in self.faults:
            plan |= fault.plan(self, name)
        env = environment(self.worker_url, self.folder, CHAOS_PLAN=json.dumps(plan))
        self.processes[name] = Victim(name, env, self.folder)

    def push(self, most: int) -> None:
        """Let some of the runs that have not begun begin."""
        portion, self.waiting = self.waiting[:most], self.waiting[most:]
        if not portion:
            return
        self.pushed |= {part.run_id: part for part in portion}
        twins = [part.twin for part in portion if part.twin]
        self.twins |= {part.run_id: part for part in twins}
        try:
            self.conn.rpush(keys.INBOX, *(part.report() for part in (*portion, *twins)))
        except redis.RedisError:  # nobody knows whether they came in: pushed again, they are duplicates at worst
            self.waiting = portion + self.waiting

    def push_more(self, count: int) -> None:
        """Let runs begin that nobody had planned: for faults that have not found their moment yet."""
        self._extra += 1
        self.waiting += cast(count, self.seed, f"more{self._extra}", _lengths(self.faults))
        self.push(count)

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do something after a while, while the storm goes on."""
        self._later.append((time.monotonic() + seconds, act))

    def victims(self, role: str = "") -> list[Victim]:
        """The living workers of a role, in the seed's order."""
        found = [each for each in self.processes.values() if not each.is_dead and each.role.startswith(role)]
        self.random.shuffle(found)
        return found

    def blow(self, strikes: int, seconds: float) -> None:
        """Push runs and strike, then wait until all runs have ended, at most `seconds`."""
        deadline = time.monotonic() + seconds
        strikes = min(strikes, sum(fault.most for fault in self.faults))
        made: Counter[str] = Counter()
        portion = max(1, len(self.waiting) // (strikes + 2))
        self.push(2 * portion)
        for fault in self.faults:
            fault.begin(self)
        self._wait_for_work(deadline)
        next_strike = time.monotonic()
        while time.monotonic() < deadline:
            self._tick()
            if strikes > 0 and time.monotonic() >= next_strike:
                strikes -= 1
                fault = self.random.choice([fault for fault in self.faults if made[fault.name] < fault.most])
                next_strike = time.monotonic() + self.random.uniform(0.5, 1.5) * fault.pause
                made[fault.name] += 1
                fault.strike(self)
                self.push(portion)
            elif strikes == 0 and not self._later and time.monotonic() >= next_strike:
                next_strike = time.monotonic() + 0.3
                self.push(len(self.waiting))
                settled = [fault.settled(self) for fault in self.faults]
                if all(settled) and not self.waiting and self.is_calm():
                    return
        for fault in self.faults:
            fault.lift(self)

    def _wait_for_work(self, deadline: float) -> None:
        """What strikes before the workers have come up strikes nothing."""
        while not self.conn.exists(keys.RECOVERIES) and time.monotonic() < deadline:
            self._tick()

    def wait_for_calm(self, seconds: float) -> None:
        """Wait until nothing is open any more; the books will tell if that did not come."""
        deadline = time.monotonic() + seconds
        while not self.is_calm() and time.monotonic() < deadline:
            self._tick()

    def is_calm(self) -> bool:
        """Whether every accepted run has ended and nothing waits."""
        try:
            waiting = [self.conn.llen(name) for name in (keys.INBOX, *map(queues.queue_key, queues.QUEUES))]
            return not any(waiting) and self.conn.zcard(keys.AGENDA) == 0
        except redis.RedisError:
            return False

    def _tick(self) -> None:
        time.sleep(TICK)
        now = time.monotonic()
        due = [entry for entry in self._later if entry[0] <= now]
        self._later = [entry for entry in self._later if entry[0] > now]
        for _, act in due:
            act()
        for name, victim in list(self.processes.items()):
            if victim.is_dead and now - victim.born > REVIVE_PAUSE:
                self._refusals[name] += victim.popen.returncode in (1, 2)
                if self._refusals[name] > MOST_REFUSALS:
                    raise RuntimeError(f"{name} cannot work at all; see {self.folder / name}.log")
                self.start(name)

    def end(self) -> None:
        """End every worker: gracefully, so that what they leave behind is theirs."""
        for victim in self.processes.values():
            if not victim.is_dead:
                for signum in (signal.SIGCONT, signal.SIGTERM):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(victim.pid, signum)
        for victim in self.processes.values():
            try:
                victim.popen.wait(20)
            except subprocess.TimeoutExpired:
                victim.popen.kill()
                victim.popen.wait(10)


def play(
    folder: Path, site: Site, seed: int, runs: int, faults: Sequence[Fault], strikes: int, seconds: float = 120
) -> Outcome:
    """Play one scene from the first report to the checked books."""
    began = time.monotonic()
    parts = cast(runs, seed, lengths=_lengths(faults))
    with contextlib.ExitStack() as stack:
        ground = stack.enter_context(site(folder, faults))
        storm = Storm(folder, ground, seed, parts, faults)
        stack.callback(lambda: [fault.close(storm) for fault in faults])
        for fault in faults:
            fault.set_up(storm)
        storm.prepare()
        try:
            for name in (*NAMES, *(name for fault in faults for name in fault.helpers)):
                storm.start(name)
            storm.blow(strikes, seconds)
            for fault in faults:
                fault.late(storm)
            storm.wait_for_calm(30)
        finally:
            storm.end()
        books = Books(storm.conn, folder, storm.pushed, storm.twins)
        wrong = books.check(max(fault.overlap for fault in faults))
        wrong += [complaint for fault in faults for complaint in fault.complaints(storm)]
    names = tuple(fault.name for fault in faults)
    return Outcome(names, len(storm.pushed), storm.struck, time.monotonic() - began, wrong)


@contextlib.contextmanager
def one_server(folder: Path, faults: Sequence[Fault]) -> Iterator[Ground]:
    """One server with heald's accounts and an append-only file; the storm itself is the administrator."""
    data = folder / "server"
    data.mkdir()
    fsync = "everysec" if any(fault.lossy for fault in faults) else "always"
    options = (*accounts(data), "--appendonly", "yes", "--appendfsync", fsync)
    with Server("valkey", data, *options, tied=True, account=ADMIN) as server:
        yield Ground(url_of("worker", server.port), _client(url_of("admin", server.port)), server, None)


@contextlib.contextmanager
def behind_sentinel(folder: Path, faults: Sequence[Fault]) -> Iterator[Ground]:
    """A master, a replica and a Sentinel, which the workers are told of by their configuration."""
    with watched_servers("valkey", folder, "--appendonly", "yes") as watched:
        client = connect("", sentinel=watched.settings, timeout=PATIENCE, retry=None)
        yield Ground("", client, None, watched)


def _client(url: str) -> redis.Redis:
    return connect(url, timeout=PATIENCE, retry=None)


def _lengths(faults: Sequence[Fault]) -> dict[str, float]:
    together: Counter[str] = Counter()
    for fault in faults:
        for tail, share in fault.lengths.items():
            together[tail] = max(together[tail], share)
    return dict(together)


def _is_keeper(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"keeper.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
