"""A storm over real processes: kill what runs, seeded and repeatable, until every run has ended.

python tests/chaos/storm.py [--runs N] [--seed S]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

import redis

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chaos.books import check
from heald_worker import keys
from support.server import Server
from support.service import report
from support.verbs import Process, children_of, environment

CONFIG = """
[timing]
resend_first = 0.5
resend_most = 2
lease = 5
renewal = 1
stop_grace = 2
[limits]
max_lost_repairs = 1000
[repairs.patch_forward]
kind = "command"
command = ["/bin/sh", "{script}"]
"""

REPAIR = """
# A repair that locks its run with a folder named after its own process, and notices a rival that is still alive.
for lock in "work/$HEALD_RUN_ID".lock.*; do
  [ -e "$lock" ] && kill -0 "${lock##*.}" 2>/dev/null && touch "work/$HEALD_IDEMPOTENCY_KEY.overlap"
done
lock="work/$HEALD_RUN_ID.lock.$$"
mkdir "$lock"
sleep 0.0$(( $$ % 9 ))
rmdir "$lock"
attempt=${HEALD_IDEMPOTENCY_KEY##*:}
[ "$attempt" -ge "${HEALD_RUN_ID##*-}" ]
"""


class Storm:
    """Processes of every role, and what kills them."""

    def __init__(self, folder: Path, server: Server, seed: int) -> None:
        self.folder, self.server, self.random = folder, server, random.Random(seed)
        (folder / "work").mkdir()
        (folder / "repair.sh").write_text(REPAIR)
        (folder / "heald.toml").write_text(CONFIG.format(script=folder / "repair.sh"))
        self.env = environment(server.url, folder)
        self.processes = {name: self.start(name) for name in ("control-1", "control-2", "repairs-1", "repairs-2")}
        self.killed: dict[str, int] = {}

    def start(self, name: str) -> Process:
        return Process("worker", "--role", name.split("-")[0], env=self.env, cwd=self.folder, name=name)

    def strike(self) -> None:
        """Kill one thing: a worker, a work-horse, a repair, or the server."""
        what = self.random.choices(["control", "repairs", "horse", "command", "server"], [4, 3, 3, 2, 1])[0]
        self.killed[what] = self.killed.get(what, 0) + 1
        if what == "server":
            self.server.kill()
            self.server.start()
        elif what in ("control", "repairs"):
            self.processes[f"{what}-{self.random.choice('12')}"].popen.kill()
        else:
            horses = self.processes[f"repairs-{self.random.choice('12')}"].children()
            victims = horses if what == "horse" else [pid for horse in horses for pid in children_of(horse)]
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def revive(self) -> None:
        for name, process in self.processes.items():
            if process.popen.poll() is not None:
                self.processes[name] = self.start(name)

    def end(self) -> None:
        for process in self.processes.values():
            process.__exit__(None, None, None)


def pushed_runs(count: int, seed: int) -> dict[str, int]:
    """Run ids that end in the number of the attempt that succeeds; 4 is one more than the policy allows."""
    rng = random.Random(seed)
    attempts = [rng.randint(1, 4) for _ in range(count)]
    return {f"run-{number}-{attempt}": attempt for number, attempt in enumerate(attempts)}


def storm(
    folder: Path, kind: str, runs: int, seed: int, strikes: int, seconds: float
) -> tuple[list[str], dict[str, int]]:
    """Push runs, strike, wait for calm, check the books. Returns what is wrong and what was killed how often."""
    data = folder / "server"
    data.mkdir()
    with Server(kind, data, "--appendonly", "yes", "--appendfsync", "always") as server:
        conn = redis.Redis.from_url(server.url)
        weather = Storm(folder, server, seed)
        pushed = pushed_runs(runs, seed)
        try:
            conn.rpush(keys.INBOX, *(report(run_id, stage="build", message="red") for run_id in pushed))
            for _ in range(strikes):
                time.sleep(weather.random.uniform(0.02, 0.4))
                weather.strike()
                weather.revive()
            deadline = time.monotonic() + seconds
            while not _calm(conn) and time.monotonic() < deadline:
                weather.revive()
                time.sleep(0.05)
        finally:
            weather.end()
        return check(conn, folder / "artifacts", pushed, folder / "work"), weather.killed


def _calm(conn: redis.Redis) -> bool:
    return conn.llen(keys.INBOX) == conn.zcard(keys.AGENDA) == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--strikes", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        wrong, killed = storm(Path(folder), "valkey", chosen.runs, chosen.seed, chosen.strikes, 600)
        took = time.monotonic() - began
    print(f"{chosen.runs} runs, seed {chosen.seed}, {took:.0f} s; killed: {killed}")
    print("\n".join(wrong) or "the books balance")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
