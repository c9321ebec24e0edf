"""A whole service in one process: reports in, turns of the control process, jobs of the repair queue, logs out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import redis

from heald_worker import jobs, keys, queues
from heald_worker.config import Settings, Timing
from heald_worker.control import Control
from heald_worker.core.policy import RecoveryAction, RecoveryPolicy
from heald_worker.core.recovery import Ending
from heald_worker.playbook import Notice, Playbook, PlaybookEntry, RecordRepair, Repair, one_for_all
from heald_worker.queues import SafeJob
from heald_worker.records import decode_log
from heald_worker.service import Service
from support.wait import until

ACTIONS = (RecoveryAction.RETRY, RecoveryAction.PATCH_FORWARD, RecoveryAction.ROLLBACK)
SWIFT = Timing(
    resend_first=0.05,
    resend_most=0.2,
    retry_first=0.001,
    retry_most=0.002,
    transient_first=0.001,
    transient_most=0.002,
    notice_first=0.001,
    notice_most=0.002,
)


def settings(
    folder: Path,
    repair: Repair | None = None,
    *,
    repairs: dict[RecoveryAction, Repair] | None = None,
    entries: tuple[PlaybookEntry, ...] = (),
    notices: dict[Ending, Notice] | None = None,
    policy: RecoveryPolicy | None = None,
    **more: Any,
) -> Settings:
    """Settings for a test: a repair for every action, swift timing, the reference's rules, artifacts in its folder.

    Args:
        entries: repairs to choose among, instead of one per action.
    """
    if repairs is None:
        repairs = dict.fromkeys(ACTIONS, repair or RecordRepair())
    entries = entries or one_for_all(repairs)
    more.setdefault("timing", SWIFT)
    more.setdefault("taxonomy", "aivcs")
    more.setdefault("policies", {"default": policy or RecoveryPolicy()})
    return Settings(artifacts=folder / "artifacts", fsync=False, playbook=Playbook(entries, notices or {}), **more)


def report(run_id: str, stage: str = "test", message: str = "t red", **more: Any) -> bytes:
    """One encoded report, as a runner without heald's library might write it."""
    signal = {"stage": stage, "message": message}
    signal |= {key: more.pop(key) for key in ("exit_code", "flaky_hint") if key in more}
    return json.dumps({"v": 1, "run_id": run_id, "signal": signal, **more}).encode()


class House:
    """A service under test.

    Args:
        turn_seconds: with 0 each step goes through its queue; else the service goes on with what it has in hand.
    """

    def __init__(self, conn: redis.Redis, chosen: Settings, name: str = "test-worker", turn_seconds: float = 0) -> None:
        self.conn = conn
        self.service = Service(conn, chosen, name)
        self.control = Control(self.service, turn_seconds=turn_seconds)
        jobs.bind(self.service)

    def push(self, *reports: bytes) -> None:
        self.conn.rpush(keys.INBOX, *reports)

    def turn(self) -> bool:
        """One turn of everything. Returns whether anything was done."""
        busy = self.control.turn() is None
        return self.run_repair_jobs() or busy

    def run_repair_jobs(self) -> bool:
        """Work the repair queue off as an RQ worker would: fetch the job, call its function."""
        busy = False
        while job_id := self.conn.lpop(queues.queue_key(queues.REPAIR)):
            if not self.conn.exists(queues.job_key(job_id.decode())):
                continue  # its run was cancelled, or taken from a worker that died
            job = SafeJob.fetch(job_id.decode(), connection=self.conn)
            job.func(*job.args)
            self.conn.delete(job.key)
            busy = True
        return busy

    def settle(self, condition: Callable[[], object] | None = None) -> None:
        """Turn until every run has ended and nothing waits, or until `condition`."""

        def settled() -> object:
            if self.turn():
                return False
            return condition() if condition else self.control.nothing_left(self.control.backlog())

        until(settled, "the service has nothing left to do")

    def close(self) -> None:
        self.control.close(5)

    def logs(self) -> dict[str, bytes]:
        """Canonical bytes of every completed recovery, by run id; two logs of one run fail here."""
        entries = [fields for _, fields in self.conn.xrange(keys.RECOVERIES)]
        runs = [fields[b"run"].decode() for fields in entries]
        assert len(runs) == len(set(runs)), "a run has two logs"
        return {fields[b"run"].decode(): fields[b"log"] for fields in entries}

    def log(self, run_id: str) -> Any:
        return decode_log(self.logs()[run_id])

    def entry(self, run_id: str) -> dict[str, Any]:
        """The stream entry of a completed run, its facts decoded."""
        for _, fields in self.conn.xrange(keys.RECOVERIES):
            if fields[b"run"].decode() == run_id:
                plain = {key.decode(): value.decode() for key, value in fields.items()}
                return plain | {"facts": json.loads(plain["facts"])}
        raise AssertionError(f"no recovery of {run_id}")

    def events(self, run_id: str) -> list[str]:
        """The kinds of a run's events, in order."""
        entries = [fields for _, fields in self.conn.xrange(keys.EVENTS)]
        return [e[b"kind"].decode() for e in entries if e[b"run"].decode() == run_id.lower()]

    def dead(self) -> list[str]:
        """The reasons of the dead letters, in order."""
        return [fields[b"reason"].decode() for _, fields in self.conn.xrange(keys.DEAD)]

    def leftovers(self) -> set[str]:
        """Keys without an owner or a life: whatever stands beside the streams, counters and mortal keys."""
        lasting = {keys.EVENTS, keys.RECOVERIES, keys.DEAD, keys.STATS, "rq:queues"}
        names = {key.decode() for key in self.conn.scan_iter()}
        return {name for name in names - lasting if self.conn.ttl(name) < 0}


logging.getLogger("heald").setLevel(logging.DEBUG)
