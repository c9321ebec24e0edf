"""The control process as an RQ worker: to RQ's own tools registered, with a heartbeat, a state and job counts.

It does not trust RQ for anything that matters: what is lost with a worker comes back by the agenda.
"""

from __future__ import annotations

import contextlib
import gc
import time
from types import FrameType
from typing import Any

import redis
from rq.worker import SimpleWorker, WorkerStatus

from heald_worker import jobs, keys, queues
from heald_worker.bell import Bell
from heald_worker.control import Backlog, Control
from heald_worker.playbooks import Teller
from heald_worker.queues import SafeQueue
from heald_worker.repairing import own_scratch
from heald_worker.service import Service, log
from heald_worker.upkeep import RegisteredWorker, rq_options

COLLECT_EVERY = 50_000
"""New objects between two rounds of the garbage collector: a batch makes thousands that die young, and no cycles."""
HEARTBEAT_EVERY = 30.0
LONGEST_IDLE = 10.0
TROUBLE_PAUSE = 1.0
COMMAND_PATIENCE = 15


class ControlWorker(RegisteredWorker, SimpleWorker):
    """Intake, decisions, records, notices and the janitor: everything that starts no repair process."""

    def __init__(self, service: Service) -> None:
        names = (queues.DECIDE, queues.RECORD, queues.ESCALATE)
        lists = [SafeQueue(name, connection=service.client) for name in names]
        super().__init__(lists, **rq_options(service))
        self.service = service
        self.teller = Teller(service.settings.playbook, service.taxonomy.ref.digest)
        self.bell = Bell(service.client, (keys.INBOX, *(queue.key for queue in lists)))
        self.control = Control(service, self.bell.ring)
        self._beat_at = 0.0
        self._busy_since: float | None = None

    @property
    def connection_timeout(self) -> int:
        """Seconds that a command may take; a listener brings its own."""
        return COMMAND_PATIENCE

    def work(self, burst: bool = False, **_options: Any) -> bool:  # type: ignore[override]
        """Work until a signal asks to stop or, with `burst`, until nothing is left. Returns whether it did anything."""
        self.bootstrap(logging_level="WARNING")
        gc.freeze()
        gc.set_threshold(COLLECT_EVERY)
        self._install_signal_handlers()
        jobs.bind(self.service)
        with own_scratch() as self.service.scratch:
            try:
                while not self._stop_requested and not self._turn(burst):
                    pass
            finally:
                self.control.close(self.service.settings.timing.stop_grace)
                with contextlib.suppress(redis.RedisError):
                    self._beat()
                    self.teardown()
        return self.control.jobs_done > 0

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """A signal: finish the batch in hand, then stop."""
        self._stop_requested = True
        self.bell.ring()

    def _turn(self, burst: bool) -> bool:
        """One turn, and the wait after it. Returns whether a burst is over."""
        try:
            if self.should_run_maintenance_tasks:
                self.run_maintenance_tasks()
            backlog = self.control.turn()
            self.note_trouble(None)
            if backlog is None:
                self._note_busy()
                return False
            self._beat()
            if burst and (backlog.paused or self.control.nothing_left(backlog)):
                return True
            self._rest(backlog)
        except redis.RedisError as trouble:
            self.note_trouble(trouble)
            self._pause()
        except Exception:
            log.exception("a turn of the control process failed; heald goes on")
            self._pause()
        return False

    def _pause(self) -> None:
        self.bell.wait(TROUBLE_PAUSE, ())

    def _rest(self, backlog: Backlog) -> None:
        if backlog.paused:
            self.bell.wait(TROUBLE_PAUSE, ())
        else:
            self.bell.wait(min(LONGEST_IDLE, self.control.next_look()), self.control.waits_for(backlog))

    def _note_busy(self) -> None:
        if self._busy_since is None:
            self._busy_since = time.monotonic()
            self.set_state(WorkerStatus.BUSY)
        if time.monotonic() - self._beat_at > HEARTBEAT_EVERY:
            self._beat(still_busy=True)

    def _beat(self, still_busy: bool = False) -> None:
        """Tell RQ's tools that this worker lives, what it does, and what it has done since."""
        now = time.monotonic()
        if self._busy_since is None and now - self._beat_at < HEARTBEAT_EVERY:
            return
        self.heartbeat()
        with self.service.client.pipeline(transaction=False) as pipe:
            if self._busy_since is not None:
                pipe.hincrbyfloat(self.key, "total_working_time", now - self._busy_since)
                pipe.hincrby(self.key, "successful_job_count", self.control.jobs_done - self.successful_job_count)
                self.successful_job_count = self.control.jobs_done
            if not still_busy:
                self.set_state(WorkerStatus.IDLE, pipeline=pipe)
            pipe.execute()
        self._beat_at, self._busy_since = now, now if still_busy else None
