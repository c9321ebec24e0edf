"""The trial: a server with the shipped accounts, workers, three repositories, a CI and its day, all real processes."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis

from heald_producer.push import push
from heald_producer.signals import FailureReport
from heald_producer.wire import encode_report
from heald_worker import keys
from heald_worker.config import Timing
from support.guarded import ADMIN, accounts, url_of
from support.server import Server
from support.tokens import TOLD_BY_ITSELF
from support.verbs import HEALD, Process, environment
from support.wait import until
from trial.ci import MadeUpCi, commit_in, make_repositories
from trial.clock import FACTOR, Clock, at
from trial.scenes import DAY, REPOSITORIES, RESTART, TOKEN, Job
from trial.table import Deed, Result, sum_up

PLAYBOOK = Path(__file__).with_name("playbook.py")
TICK = 0.005
"""Seconds of ours between two looks at the day."""
PATIENCE = 240.0
"""Seconds of ours that the day may take."""
OF_THE_DAY = ("retry_first", "retry_most", "transient_first", "transient_most", "incident_window")
OF_THE_DAY += ("notice_first", "notice_most")
"""Waits that the day's clock counts. The others are about processes, which are as fast as ever."""
BY_VERB = (TOKEN, RESTART)
"""Scenes whose reports go by `heald push`, which masks and keeps; the others by the library, which is quicker."""


def configuration() -> str:
    """heald.toml of a new user: every action has a repair, everything else is as shipped, but faster."""
    own = Timing()
    timing = [f"{name} = {getattr(own, name) / FACTOR:g}" for name in OF_THE_DAY]

    def command(name: str) -> str:
        return f'kind = "command"\ncommand = {json.dumps([sys.executable, "-I", str(PLAYBOOK), name])}\n'

    def repair(action: str, name: str, match: str = "") -> str:
        return f'[[repairs]]\naction = "{action}"\nname = "{name}"\n{match}\n{command(name)}'

    return "\n".join(
        [
            "[timing]\nresend_first = 0.5\nresend_most = 2\nlease = 10\nrenewal = 1",
            *timing,
            repair("retry", "retry"),
            repair("patch_forward", "broken_patch", 'match = { stage = "lint" }'),
            repair("patch_forward", "patch"),
            repair("rollback", "revert"),
            *(f"[notices.{ending}]\n{command('page')}" for ending in ("on_escalated", "on_exhausted")),
        ]
    )


class Day:
    """Everything that takes part, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.deeds, self.spool = folder, folder / "deeds", folder / "spool"
        self.token = TOLD_BY_ITSELF[0].make(random.Random())
        self.reports: list[str] = []
        self.lost_by_the_restart: set[str] = set()
        (folder / "heald.toml").write_text(configuration())
        make_repositories(folder / "checkouts")
        self.heads = {name: commit_in(folder / "checkouts" / name) for name in REPOSITORIES}
        (folder / "server").mkdir()
        options = (*accounts(folder / "server"), "--appendonly", "yes", "--appendfsync", "everysec")
        kind = "redis" if shutil.which("redis-server") else "valkey"
        self.server = Server(kind, folder / "server", *options, account=ADMIN)
        self._killed = self._is_back = False
        self._spooled: list[str] = []
        self._read = 0

    @contextmanager
    def begin(self) -> Iterator[None]:
        """Start the server and the workers; end them at the end."""
        self.server.start()
        self.producer = url_of("producer", self.server.port)
        self.admin = redis.Redis.from_url(url_of("admin", self.server.port), socket_timeout=30)
        env = self._environment("worker", DEEDS=str(self.deeds), FORGE_TOKEN=self.token)
        env |= {"CHECKOUTS": str(self.folder / "checkouts"), "SECONDS_TO_RETRY": "0.4", "SECONDS_TO_PATCH": "1.5"}
        env |= {f"GIT_{who}_{what}": "trial" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        try:
            with Process("worker", "--repairs", "2", env=env, cwd=self.folder, name="worker") as worker:
                until(lambda: self.admin.scard("rq:workers:heald-repair") == 2, "the workers are there", 60)
                self.worker = worker
                yield
        finally:
            self.admin.close()
            self.server.stop()

    def _environment(self, account: str, **more: str) -> dict[str, str]:
        return environment(url_of(account, self.server.port), self.folder, HEALD_TAXONOMY="heald", **more)

    def pass_by(self) -> None:
        """Let the day pass, until nothing is to come and nothing is open."""
        self.clock = Clock(min(job.first for job in DAY))
        self.ci = MadeUpCi(self.clock, self.folder / "checkouts", self.token, self._tell)
        deadline = time.monotonic() + PATIENCE
        while not self._is_over():
            if time.monotonic() > deadline:
                raise AssertionError(f"after {PATIENCE:g} s the day is not over\n{self.worker.said()[-4000:]}")
            time.sleep(TICK)
            self.ci.turn()
            self._answer_deeds()
            self._bring_server_back()

    def _is_over(self) -> bool:
        if self.ci.is_busy or not self._rests():
            return False
        coming = self.ci.next_moment
        if coming is not None:
            self.clock.jump(coming)
        return coming is None

    def _rests(self) -> bool:
        """Whether heald has nothing in hand, and no deed is unread."""
        if self.deeds.exists() and self.deeds.stat().st_size > self._read:
            return False
        if self._killed and not self._is_back:
            return False
        inbox, agenda = self.admin.pipeline().llen(keys.INBOX).zcard(keys.AGENDA).execute()
        return inbox == agenda == 0

    def _tell(self, job: Job, report: FailureReport) -> None:
        self.reports.append(report.run_id)
        if job.scene in BY_VERB:
            self._heald_push("-", said=encode_report(report))
        else:
            push(report, url=self.producer)

    def _heald_push(self, *argv: str, said: bytes = b"") -> None:
        env = self._environment("producer", HEALD_SPOOL=str(self.spool), FORGE_TOKEN=self.token)
        command, cwd = [*HEALD, "push", *argv], self.folder / "server"
        subprocess.run(command, input=said, env=env, cwd=cwd, check=True, capture_output=True)

    def _answer_deeds(self) -> None:
        """What the repairs ask of the CI; and somebody who kills the server while a certain one is at work."""
        for deed in self._new_deeds():
            if deed.action != "retry":
                continue
            if deed.run_id.startswith(RESTART) and not self._killed:
                self._kept = self._ended()
                self.server.kill()
                self._killed = True
            self.ci.restart(deed.ci_run)

    def _new_deeds(self) -> list[Deed]:
        if not self.deeds.exists():
            return []
        with self.deeds.open("rb") as file:
            file.seek(self._read)
            whole, _, _ = file.read().rpartition(b"\n")
        self._read += len(whole) + 1 if whole else 0
        return [Deed(**json.loads(line)) for line in whole.splitlines()]

    def _bring_server_back(self) -> None:
        """The server comes back when a runner has kept a report for it."""
        kept = list(self.spool.glob("*.json"))
        if self._killed and not self._is_back and (kept or self.clock.now() > at("16:30")):
            self._spooled = [json.loads(file.read_bytes())["run_id"] for file in kept]
            self.server.start()
            self._is_back = True
            self.lost_by_the_restart = self._kept - self._ended()
            self._heald_push("--spool")

    def _ended(self) -> set[str]:
        rows: Any = self.admin.xrange(keys.RECOVERIES)
        return {fields[b"run"].decode() for _, fields in rows}

    def result(self) -> Result:
        """The day's table, and what does not add up."""
        self._read = 0
        return sum_up(self.admin, self.reports, self._new_deeds(), self.ci.green)

    @property
    def was_killed(self) -> bool:
        """Whether the server was killed in the middle, and came back because a runner had kept a report for it."""
        return self._is_back and any(name.startswith(f"{RESTART}.") for name in self._spooled)

    def printed(self) -> list[bytes]:
        """What repairs printed, as it is kept."""
        outputs = self.admin.scan_iter(keys.OUTPUT_PREFIX + "*")
        return [text for key in outputs for text in self.admin.hvals(key)]

    def leaks(self) -> list[str]:
        """Where the trial's token can be read: keys of the server, and files."""
        token = self.token.encode()
        files = [path for path in self.folder.rglob("*") if path.is_file() and token in path.read_bytes()]
        return [str(path.relative_to(self.folder)) for path in files] + leaking(self.admin, token)

    def rolled_back(self) -> list[str]:
        """Repositories whose default branch is not where it was."""
        return [name for name, head in self.heads.items() if commit_in(self.folder / "checkouts" / name) != head]


def leaking(client: redis.Redis, secret: bytes) -> list[str]:
    """Keys whose value holds the secret."""
    read = {
        b"string": client.get,
        b"hash": client.hgetall,
        b"list": lambda key: client.lrange(key, 0, -1),
        b"stream": client.xrange,
        b"zset": lambda key: client.zrange(key, 0, -1),
        b"set": client.smembers,
    }
    found = []
    for key in client.scan_iter():
        value = read[client.type(key)](key)
        if secret.decode() in str(value):
            found.append(key.decode())
    return found
