"""A folder with a heald.toml in which real workers run, for tests that look at them from outside."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import redis

from heald_worker import keys
from support.server import Server
from support.verbs import Process, environment

SWIFT = """
[timing]
resend_first = 0.2
resend_most = 1
lease = 10
renewal = 1
retry_first = 0.05
retry_most = 0.1
notice_first = 0.05
notice_most = 0.1
"""
ACTIONS = ("retry", "patch_forward", "rollback")


class Workplace:
    """Workers of one server, in a folder of their own."""

    def __init__(self, server: Server, conn: redis.Redis, folder: Path) -> None:
        self.server, self.conn, self.folder = server, conn, folder
        self.env = environment(server.url, folder)

    def configure(self, script: str, *, more: str = "") -> None:
        """Every action runs this Python script (with the repair's variables)."""
        (self.folder / "repair.py").write_text(script)
        command = json.dumps([sys.executable, str(self.folder / "repair.py")])
        repairs = "".join(f"[repairs.{action}]\nkind = 'command'\ncommand = {command}\n" for action in ACTIONS)
        (self.folder / "heald.toml").write_text(SWIFT + repairs + more)

    def worker(self, *argv: str, name: str = "worker") -> Process:
        return Process("worker", *argv, env=self.env, cwd=self.folder, name=name)

    def burst(self) -> str:
        """Run a worker until nothing is left; what it said."""
        with self.worker("--burst") as process:
            code = process.wait()
            assert code == 0, process.said()
            return process.said()

    def push(self, *reports: bytes) -> None:
        self.conn.rpush(keys.INBOX, *reports)

    def ended(self) -> list[str]:
        """Run ids of the completed recoveries, in their order."""
        return [fields[b"run"].decode() for _, fields in self.conn.xrange(keys.RECOVERIES)]

    def events(self, run_id: str) -> list[str]:
        """The kinds of a run's events, in order."""
        entries = [fields for _, fields in self.conn.xrange(keys.EVENTS)]
        return [entry[b"kind"].decode() for entry in entries if entry[b"run"].decode() == run_id]

    def marks(self) -> list[str]:
        """Lines that repairs wrote to `marks`."""
        path = self.folder / "marks"
        return path.read_text().splitlines() if path.exists() else []
