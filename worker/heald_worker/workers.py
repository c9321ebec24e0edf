"""The RQ workers: one control process that works in batches, and repair processes that fork for every repair.

Both are RQ workers to RQ's own tools: registered, with a heartbeat, a state and job counts. Neither trusts RQ for
anything that matters: what was lost with a worker comes back by the agenda.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from types import FrameType
from typing import Any

import redis
from rq.executions import Execution
from rq.job import Job
from rq.queue import Queue
from rq.worker import SimpleWorker, Worker, WorkerStatus

from heald_producer.connection import connect
from heald_producer.connection import trouble as explain
from heald_worker import jobs, keys, queues
from heald_worker.agenda import reclaim
from heald_worker.control import Backlog, Bell, Control
from heald_worker.core.recovery import Phase
from heald_worker.ledger import Held, renew
from heald_worker.playbook import CommandRepair
from heald_worker.queues import SafeJob, SafeQueue
from heald_worker.repairing import claim, own_scratch, stop_flag
from heald_worker.repairs.process import become_subreaper, kill_descendants, tie_to_parent
from heald_worker.service import Service, log, milliseconds

WORKER_TTL = 60
"""Seconds without a heartbeat after which RQ's tools no longer count a worker."""
HEARTBEAT_EVERY = 10.0
LONGEST_IDLE = 5.0
TROUBLE_PAUSE = 1.0
LEASE_MARGIN = 4.0
"""Seconds, or a quarter of the lease if that is more, before its end at which a repair is killed that could not be
renewed: one look a second, and two seconds for a server that does not answer, fit in."""
RENEWAL_PATIENCE = 2.0
HORSE_PATIENCE = 5.0
"""Seconds a work-horse gets between SIGTERM and SIGKILL."""


def _rq_options(service: Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "connection": service.client,
        "queue_class": SafeQueue,
        "job_class": SafeJob,
        "worker_ttl": WORKER_TTL,
        "log_job_description": False,
    }


class ControlWorker(SimpleWorker):
    """Intake, decisions, records, notices and the janitor: everything that starts no repair process."""

    def __init__(self, service: Service) -> None:
        names = (queues.DECIDE, queues.RECORD, queues.ESCALATE)
        lists = [SafeQueue(name, connection=service.client) for name in names]
        super().__init__(lists, **_rq_options(service))
        self.service = service
        self.bell = Bell(service.client, (keys.INBOX, *(queue.key for queue in lists)))
        self.control = Control(service, self.bell.ring)
        self._beat_at = 0.0
        self._busy_since: float | None = None

    def work(self, burst: bool = False, **_options: Any) -> bool:  # type: ignore[override]
        """Work until a signal asks to stop or, with `burst`, until nothing is left. Returns whether it did anything."""
        self.bootstrap(logging_level="WARNING")
        self._install_signal_handlers()
        jobs.bind(self.service)
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
            if backlog is None:
                self._note_busy()
                return False
            self._beat()
            if burst and (backlog.paused or self.control.nothing_left(backlog)):
                return True
            self._rest(backlog)
        except redis.RedisError as trouble:
            log.error("%s; heald tries again", explain(trouble, self.service.settings.redis_url))
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
        with self.service.client.pipeline(transaction=False) as pipe:
            self.heartbeat(pipeline=pipe)
            if self._busy_since is not None:
                pipe.hincrbyfloat(self.key, "total_working_time", now - self._busy_since)
                pipe.hincrby(self.key, "successful_job_count", self.control.jobs_done - self.successful_job_count)
                self.successful_job_count = self.control.jobs_done
            if not still_busy:
                self.set_state(WorkerStatus.IDLE, pipeline=pipe)
            pipe.execute()
        self._beat_at, self._busy_since = now, now if still_busy else None

    def clean_group_registries(self) -> None:
        """heald's jobs are in no groups."""


class RepairWorker(Worker):
    """Makes repairs, one at a time, each in a forked work-horse that dies with this process.

    The lease of the claimed repair is renewed where RQ beats its own heart. When it cannot be renewed, the work-horse
    and all that it started are killed before the lease ends, so two attempts never work at once.
    """

    max_connection_wait_time = 2.0

    def __init__(self, service: Service) -> None:
        lists = [SafeQueue(queues.REPAIR, connection=service.client)]
        super().__init__(lists, job_monitoring_interval=1, **_rq_options(service))
        self.service = service
        # A renewal that is late is no renewal: this client neither waits long nor repeats.
        chosen = service.settings
        self._renewals = connect(chosen.redis_url, sentinel=chosen.sentinel, timeout=RENEWAL_PATIENCE, retry=None)
        self._renewed_at = 0.0
        self._stop_by: float | None = None
        self._horse_asked = False

    def work(self, burst: bool = False, **_options: Any) -> bool:  # type: ignore[override]
        """Work until a signal asks to stop or, with `burst`, until the queue is empty."""
        jobs.bind(self.service)
        become_subreaper()
        with own_scratch() as self.service.scratch:
            return bool(super().work(burst=burst, logging_level="WARNING"))

    def clean_group_registries(self) -> None:
        """heald's jobs are in no groups."""

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """A signal: let the repair in hand finish within the grace time, or give it back."""
        grace = self.service.settings.timing.stop_grace
        self._stop_by = time.monotonic() + grace
        stop_flag.raise_in(grace)  # for a repair that is made in this process
        super().request_stop(signum, frame)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Claim one repair and make it: in a work-horse of its own when it starts a process, else right here."""
        claimed = claim(self.service, *job.args)
        if claimed is None:
            self._drop(job, queue)
            return
        self._renewed_at = time.monotonic()
        jobs.hand_over(claimed)
        try:
            self._execute(job, queue, claimed)
        finally:
            jobs.hand_over(None)

    def _execute(self, job: Job, queue: Queue, claimed: Held) -> None:
        repair = self.service.repair_for(claimed.run.recovery, claimed.run.dry_run)
        if isinstance(repair, CommandRepair):
            super().execute_job(job, queue)
            kill_descendants()  # whatever the repair left behind
        else:
            execution = self.prepare_execution(job)
            self.perform_job(job, queue, execution)
            self.set_state(WorkerStatus.IDLE)

    def _drop(self, job: Job, queue: Queue) -> None:
        """A nudge with nothing to do: no job, no trace of it. The agenda sends it again if it was needed."""
        with self.connection.pipeline(transaction=False) as pipe:
            pipe.lrem(queue.intermediate_queue_key, 1, job.id)
            pipe.delete(job.key)
            pipe.execute()

    def setup_work_horse_signals(self) -> None:
        """In the work-horse: SIGTERM, also that of a dying parent, ends the repair and gives it back."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        stop_flag.raise_on_sigterm()
        become_subreaper()
        tie_to_parent(signal.SIGTERM)
        if os.getppid() != self.pid:
            os._exit(1)  # the parent died before it could be watched

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """RQ's heartbeat of a running job, and beside it: renew the lease, or end the repair in time."""
        timing, now = self.service.settings.timing, time.monotonic()
        if self._stop_by is not None and now > self._stop_by:
            self._end_horse(job)
            return
        if now - self._renewed_at < timing.renewal:
            return
        try:
            answer = renew(
                self.service.ledger.scripts["renew"],
                job.args[0],
                job.args[1] + 1,
                milliseconds(timing.lease),
                self._renewals,
            )
            if answer == 0:
                log.warning("run %s was taken from this worker; its repair is ended", job.args[0])
                self._kill_all()
                return
            self._renewed_at = now
            super().maintain_heartbeats(job, execution)
        except (redis.RedisError, OSError) as trouble:
            if now - self._renewed_at > timing.lease - max(LEASE_MARGIN, timing.lease / 4):
                log.error("the lease of %s cannot be renewed (%s); its repair is ended", job.args[0], trouble)
                self._kill_all()

    def _end_horse(self, job: Job) -> None:
        """The grace time is over: ask the work-horse to give its repair back, then insist."""
        if self._horse_asked:
            self._kill_all()
            return
        log.warning("the grace time is over; the repair of run %s is given back", job.args[0])
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.horse_pid, signal.SIGTERM)
        self._horse_asked, self._stop_by = True, time.monotonic() + HORSE_PATIENCE

    def _kill_all(self) -> None:
        self.kill_horse()
        kill_descendants()

    def handle_work_horse_killed(self, job: Job, retpid: Any, ret_val: Any, rusage: Any) -> None:
        """The work-horse died without committing: kill what it started, and take the repair up again at once."""
        kill_descendants()
        run_id = job.args[0]
        now, [held] = self.service.ledger.load([run_id])
        mine = isinstance(held, Held) and held.version == job.args[1] + 1
        if isinstance(held, Held) and mine and held.run.recovery.phase is Phase.REPAIRING:
            reclaim(self.service, held, now)

    def handle_job_failure(
        self, job: Job, queue: Queue, *_args: Any, execution: Execution | None = None, **_more: Any
    ) -> None:
        """A job that failed leaves nothing in RQ's registries: the ledger knows what is to be done."""
        with self.connection.pipeline() as pipe:
            self.increment_failed_job_count(pipe)
            self.cleanup_execution(job, pipeline=pipe, execution=execution)
            pipe.delete(job.key)
            pipe.execute()
