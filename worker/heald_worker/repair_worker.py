"""The repair process as an RQ worker: one repair at a time, each in a forked work-horse that dies with this process.

It does not trust RQ for anything that matters: what is lost with a worker comes back by the agenda.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from functools import partial
from types import FrameType
from typing import Any

import redis
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.queue import Queue
from rq.timeouts import BaseTimeoutException
from rq.worker import Worker, WorkerStatus

from heald_producer.connection import connect
from heald_worker import jobs, keys, queues
from heald_worker.agenda import reclaim
from heald_worker.core.recovery import Phase
from heald_worker.leases import Lease, kept
from heald_worker.ledger import Held
from heald_worker.moves import job_timeout
from heald_worker.playbook import CommandRepair, PythonRepair, Repair
from heald_worker.playbooks import Teller
from heald_worker.queues import SafeQueue
from heald_worker.repairing import carry_out, claim, own_scratch, stop_flag
from heald_worker.repairs.process import become_subreaper, kill_descendants, tie_to_parent
from heald_worker.service import Service, log
from heald_worker.upkeep import RegisteredWorker, rq_options

RENEWAL_PATIENCE = 2
"""Seconds that a look at the lease may take, whatever the server or the network does."""
LAST_WORDS = 5
"""Seconds that a worker which stops takes to sign off."""
HORSE_PATIENCE = 5.0
"""Seconds a work-horse gets between SIGTERM and SIGKILL."""
TROUBLE_PAUSE = 1.0
"""Seconds before a server that was away is asked again."""
PAUSE_LOOK = 2.0
"""Seconds between two looks whether the pause is over."""
BEAT_EVERY = 20.0
"""Seconds between two heartbeats for RQ's tools while a repair is made in this process."""
SAME_SIGNAL = 1.0
"""Seconds within which a second signal is the first one once more: of the terminal, and of the supervisor."""


class TooSlow(BaseTimeoutException):
    """A server did not answer in time."""


class RepairWorker(RegisteredWorker, Worker):
    """Makes repairs.

    The lease of a command is renewed where RQ beats its own heart, in the parent of its work-horse; that of a function,
    which is called in this process, from a thread. When it cannot be renewed, the repair and all that it started are
    killed before the lease ends, so two attempts never work at once.
    """

    max_connection_wait_time = 2.0

    def __init__(self, service: Service) -> None:
        lists = [SafeQueue(queues.REPAIR, connection=service.client)]
        super().__init__(lists, job_monitoring_interval=1, **rq_options(service))
        service.client.connection_pool.reset()  # an open connection would not wait as long as RQ blocks
        self.service = service
        self.teller = Teller(service.settings.playbook, rules="")
        # A renewal that is late is no renewal: this client neither waits long nor repeats.
        chosen = service.settings
        self._renewals = connect(chosen.redis_url, sentinel=chosen.sentinel, timeout=RENEWAL_PATIENCE, retry=None)
        self._lease: Lease | None = None
        self._stop_by: float | None = None
        self._asked_at = self._beat_at = 0.0
        self._horse_asked = False
        self._taken = 0

    def work(self, burst: bool = False, **_options: Any) -> bool:  # type: ignore[override]
        """Work until a signal asks to stop or, with `burst`, until the queue is empty. Returns whether it did anything.

        RQ's own loop ends, as if all were well, when the server is away at the wrong moment; this one waits for it.
        """
        jobs.bind(self.service)
        become_subreaper()
        self.bootstrap(logging_level="WARNING")
        self._install_signal_handlers()
        with own_scratch() as self.service.scratch:
            try:
                while not self._stop_requested and self._turn(burst):
                    pass
            except StopRequested:
                pass
            finally:
                self.teardown()
        return self._taken > 0

    def _turn(self, burst: bool) -> bool:
        """Take one job and do it. Returns whether to go on."""
        try:
            self.check_for_suspension(burst)
            if self.should_run_maintenance_tasks:
                self.run_maintenance_tasks()
            if self._stop_requested:
                return False
            taken = self.dequeue_job_and_maintain_ttl(None if burst else self.dequeue_timeout)
            self.note_trouble(None)
            if taken is None:
                return False
            self._taken += 1
            self.execute_job(*taken)
            self.heartbeat()
        except redis.RedisError as trouble:
            self._wait(trouble)
        return True

    def _wait(self, trouble: redis.RedisError) -> None:
        """Wait a moment for a server that is away, with nothing in hand: the agenda brings up what was."""
        self.note_trouble(trouble)
        self._state = WorkerStatus.IDLE  # a signal ends the wait, too
        self.executions.clear()
        if not self._stop_requested:
            time.sleep(TROUBLE_PAUSE)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """A signal: let the repair in hand finish within the grace time, or give it back."""
        grace, self._asked_at = self.service.settings.timing.stop_grace, time.monotonic()
        self._stop_by = self._asked_at + grace
        stop_flag.raise_in(grace)  # for a repair that is made in this process
        super().request_stop(signum, frame)

    def request_force_stop(self, signum: int, frame: FrameType | None) -> None:
        """A second signal: the grace time is over."""
        now = time.monotonic()
        if now - self._asked_at > SAME_SIGNAL:
            self._asked_at = self._stop_by = now
            stop_flag.raise_in(0)

    def teardown(self) -> None:
        """Sign off, unless the server is away."""
        with contextlib.suppress(redis.RedisError, TooSlow), self.death_penalty_class(LAST_WORDS, TooSlow):
            super().teardown()

    def set_shutdown_requested_date(self) -> None:
        """Nothing: a signal's handler must not wait for a server while a lease runs out."""

    def check_for_suspension(self, burst: bool) -> None:
        """Take no job while RQ's workers are suspended, or heald is paused."""
        super().check_for_suspension(burst)
        while not (self._stop_requested or burst) and self.connection.exists(keys.PAUSED):
            self.heartbeat()
            time.sleep(PAUSE_LOOK)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Claim one repair and make it: in a work-horse of its own when it starts a process, else right here."""
        self._state = WorkerStatus.BUSY  # from here on a signal waits for the repair, and leaves no claim behind
        began = time.monotonic()
        claimed = claim(self.service, *job.args)
        if claimed is None:
            self._drop(job)
            return
        repair = self.service.repair_for(claimed.run)
        longest = repair.time_limit if isinstance(repair, PythonRepair) else math.inf  # a command's keeper sees to it
        self._lease = lease = Lease(self.service, self._renewals, claimed, began, longest)
        if lease.is_due and not lease.renew():  # the claim's reply came late
            self._drop(job)
            return
        job.timeout = job_timeout(self.service, repair)  # the configuration's word, not that of whoever wrote the job
        jobs.hand_over(partial(carry_out, self.service, claimed, partial(_is_to_end, lease)))
        try:
            self._execute(job, queue, repair, lease)
        finally:
            jobs.hand_over(None)

    def _execute(self, job: Job, queue: Queue, repair: Repair | None, lease: Lease) -> None:
        if isinstance(repair, CommandRepair):
            try:
                super().execute_job(job, queue)
            finally:
                kill_descendants()  # whatever the repair left behind
        else:
            self._execute_here(job, queue, lease)

    def _execute_here(self, job: Job, queue: Queue, lease: Lease) -> None:
        execution = self.prepare_execution(job)
        with kept(lease, partial(self._beat, job, execution)):
            self.perform_job(job, queue, execution)
        self.set_state(WorkerStatus.IDLE)

    def _beat(self, job: Job, execution: Execution) -> None:
        """Tell RQ's tools that this worker lives, from another thread than the repair's."""
        if time.monotonic() - self._beat_at < BEAT_EVERY:
            return
        self._beat_at = time.monotonic()
        with contextlib.suppress(redis.RedisError, OSError), self._renewals.pipeline(transaction=False) as pipe:
            self.heartbeat(pipeline=pipe)
            execution.heartbeat(job.started_job_registry, self.worker_ttl, pipe)
            pipe.execute()

    def prepare_job_execution(self, job: Job, remove_from_intermediate_queue: bool = False) -> None:
        """RQ's own, but the job keeps a life: that of a worker which is killed would stay for good."""
        super().prepare_job_execution(job, remove_from_intermediate_queue)
        self.connection.expire(job.key, queues.JOB_LIFE + int(job.timeout or 0))

    def _drop(self, job: Job) -> None:
        """A nudge with nothing to do: no job, no trace of it. The agenda sends it again if it was needed."""
        self.connection.delete(job.key)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """RQ's own, but a work-horse that goes wrong before it begins is no second worker."""
        worker = os.getpid()
        try:
            super().fork_work_horse(job, queue)
        except BaseException:
            if os.getpid() != worker:
                os._exit(1)
            raise

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
        assert self._lease is not None
        if self._stop_by is not None and time.monotonic() > self._stop_by:
            self._end_horse(job)
        elif self._lease.is_due:
            self._renew(self._lease, job, execution)

    def _renew(self, lease: Lease, job: Job, execution: Execution) -> None:
        try:
            with self.death_penalty_class(RENEWAL_PATIENCE, TooSlow):
                lost = "" if lease.renew() else "it was taken from this worker"
                if not lost:
                    super().maintain_heartbeats(job, execution)
        except (redis.RedisError, OSError, TooSlow) as trouble:
            lost = f"its lease cannot be renewed ({trouble})" if lease.left < 0 else ""
        if lost:
            log.error("the repair of run %s is ended: %s", job.args[0], lost)
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

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Kill the work-horse, if there is one: RQ would take no horse for this process's own group."""
        if self.horse_pid:
            super().kill_horse(sig)

    def handle_work_horse_killed(self, job: Job, retpid: Any, ret_val: Any, rusage: Any) -> None:
        """The work-horse died without committing: kill what it started, and take the repair up again at once."""
        kill_descendants()
        assert self._lease is not None
        now, [held] = self.service.ledger.load([job.args[0]])
        mine = isinstance(held, Held) and held.commit_id == self._lease.claimed.commit_id
        if isinstance(held, Held) and mine and held.run.recovery.phase is Phase.REPAIRING:
            reclaim(self.service, held, now, counts=not self._horse_asked)

    def handle_job_failure(
        self, job: Job, queue: Queue, *_args: Any, execution: Execution | None = None, **_more: Any
    ) -> None:
        """A job that failed leaves nothing in RQ's registries: the ledger knows what is to be done."""
        with self.connection.pipeline() as pipe:
            self.increment_failed_job_count(pipe)
            self.cleanup_execution(job, pipeline=pipe, execution=execution)
            pipe.delete(job.key)
            pipe.execute()


def _is_to_end(lease: Lease) -> bool:
    """Whether the repair in hand is to be ended; a process that slept through its lease does not get that far."""
    lease.enforce()
    return stop_flag()
