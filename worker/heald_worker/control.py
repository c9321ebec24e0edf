"""The control process's turn: intake, decisions, records, notices, and the janitor, each in batches."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Lock
from typing import NamedTuple

import msgspec
import redis

from heald_worker import corrections, decisions, keys, queues
from heald_worker.agenda import tend
from heald_worker.core.instant import Instant
from heald_worker.decisions import Nudged
from heald_worker.intake import new_token, take_in
from heald_worker.moves import InHand
from heald_worker.notifying import notify
from heald_worker.packing import MARK_LIFE, unpack
from heald_worker.queues import Hand
from heald_worker.service import Service, log, rq_time

BATCH = 256
LANES = 3
"""Batches that are under way at once."""
TURN_SECONDS = 0.25
"""Signals, heartbeats and the janitor wait for the end of a turn."""
NOTICES_AT_ONCE = 4
JANITOR_BUSY, JANITOR_IDLE = 0.5, 10.0
"""Seconds until the janitor's next round: after a turn that did something, and at most."""
RUNS_PER_NUDGE = 2
"""Open runs and batches, for each open nudge that is allowed, above which intake pauses: what waits for a disk or for
time has no nudge."""


class Backlog(NamedTuple):
    """How much waits where, read in one round trip."""

    inbox: int
    decide: int
    record: int
    repair: int
    escalate: int
    agenda: int
    paused: bool

    @property
    def open_nudges(self) -> int:
        """Jobs under way: what intake is held back by."""
        return self.decide + self.record + self.repair + self.escalate


class Control:
    """One control process's work, a turn at a time; `workers.ControlWorker` runs the loop around it.

    Args:
        wake: called from another thread when a notice has ended and the next one may begin.
        turn_seconds: a turn ends with the first batch after this time.
    """

    def __init__(
        self, service: Service, wake: Callable[[], None] = lambda: None, turn_seconds: float = TURN_SECONDS
    ) -> None:
        self.service, self._wake, self._turn_seconds = service, wake, turn_seconds
        self.jobs_done = 0
        self._counting = Lock()
        self._lanes = ThreadPoolExecutor(LANES - 1, thread_name_prefix="heald-lane")
        self._notices = ThreadPoolExecutor(NOTICES_AT_ONCE, thread_name_prefix="heald-notice")
        self._herald = ThreadPoolExecutor(1, thread_name_prefix="heald-herald")
        self._telling: set[Future[None]] = set()
        self._listing = Lock()
        service.notices_out = lambda: self._herald.submit(self._take_notices)
        self._janitor_due = 0.0
        self._closing = False

    def turn(self) -> Backlog | None:
        """Do a batch of everything there is. Returns None when something was done, else what still waits."""
        backlog = self.backlog()
        self._let_go_of_told()
        if backlog.paused:
            return backlog
        busy = self._tend()
        busy |= self._in_lanes(backlog)
        busy |= backlog.escalate > 0 and self._herald.submit(self._take_notices).result()
        if not busy:
            return backlog
        self._janitor_due = min(self._janitor_due, time.monotonic() + JANITOR_BUSY)
        return None

    def backlog(self) -> Backlog:
        """How much waits where."""
        pipe = self.service.client.pipeline(transaction=False)
        pipe.llen(keys.INBOX)
        for queue in queues.QUEUES:
            pipe.llen(queues.queue_key(queue))
        pipe.zcard(keys.AGENDA)
        pipe.exists(keys.PAUSED)
        pipe.hget(keys.CORRECTIONS, corrections.VERSION.decode())
        with self.service.thinking.elsewhere():
            *counts, version = pipe.execute(raise_on_error=False)
        for reply in counts:
            if isinstance(reply, redis.RedisError):
                raise reply
        self.service.corrections.hear(version)
        inbox, decide, record, repair, escalate, agenda, paused = counts
        return Backlog(inbox, decide, record, repair, escalate, agenda, bool(paused))

    def nothing_left(self, backlog: Backlog) -> bool:
        """Whether every accepted run has ended (parked ones apart) and nothing waits in the inbox."""
        return backlog.inbox == backlog.agenda == 0 and not self._telling

    def next_look(self) -> float:
        """Seconds until the janitor wants a turn."""
        return max(0.0, self._janitor_due - time.monotonic())

    def close(self, seconds: float) -> None:
        """Wait for the notices in hand; what is not done by then comes back by the agenda."""
        deadline = time.monotonic() + seconds
        self._herald.shutdown(wait=False, cancel_futures=True)
        for future in list(self._telling):
            try:
                future.result(max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                log.warning("a notice is still under way; it is ended, and another worker will try it again")
        self._closing = True
        self._lanes.shutdown(wait=False, cancel_futures=True)
        self._notices.shutdown(wait=False, cancel_futures=True)

    def waits_for(self, backlog: Backlog) -> tuple[str, ...]:
        """The lists whose next entry this process would take."""
        lists = [queues.queue_key(queues.DECIDE), queues.queue_key(queues.RECORD)]
        if self._has_room(backlog):
            lists.append(keys.INBOX)
        if len(self._telling) < NOTICES_AT_ONCE:
            lists.append(queues.queue_key(queues.ESCALATE))
        return tuple(lists)

    def _in_lanes(self, backlog: Backlog) -> bool:
        """Work batches off, several at once where there are several: the server commits one while this process thinks
        about the next. Returns whether anything was done.
        """
        batches = sum(math.ceil(waiting / BATCH) for waiting in (backlog.record, backlog.decide, backlog.inbox))
        until = time.monotonic() + self._turn_seconds
        others = [self._lanes.submit(self._lane, until) for _ in range(1, min(batches, LANES))]
        try:
            busy = self._lane(until, backlog)
        finally:
            wait(others)
        return any([busy, *(other.result() for other in others)])

    def _lane(self, until: float, backlog: Backlog | None = None) -> bool:
        """One batch after another of what lies ready, until nothing does or the time is over."""
        busy = False
        with self.service.thinking.alone():
            while self._next_batch(backlog or self.backlog(), until):
                busy, backlog = True, None
                if time.monotonic() >= until:
                    break
        return busy

    def _next_batch(self, backlog: Backlog, until: float) -> bool:
        """One batch; what was begun goes before what is new."""
        return (
            self._work_off(queues.RECORD, backlog.record, BATCH, until)
            or self._work_off(queues.DECIDE, backlog.decide, BATCH, until)
            or self._take_in(backlog, until)
        )

    def _take_in(self, backlog: Backlog, until: float = 0.0) -> bool:
        if not backlog.inbox or not self._has_room(backlog):
            return False
        taken = take_in(self.service, new_token(), self._hand(until))
        self._go_on(taken.in_hand, until, taken.now)
        return taken.reports > 0

    def _hand(self, until: float) -> Hand | None:
        """This process, as long as it goes on with its own runs: what it holds is not for others to take."""
        return Hand(self.service.name, os.urandom(6).hex()) if time.monotonic() < until else None

    def _go_on(self, runs: list[InHand], until: float, now: Instant | None = None) -> None:
        """Bring runs on, step by step, until they wait for something else or the time is over."""
        while runs:
            self._count(len(runs))
            runs, now = decisions.go_on(self.service, runs, self._hand(until), now), None

    def _count(self, jobs: int) -> None:
        with self._counting:
            self.jobs_done += jobs

    def _has_room(self, backlog: Backlog) -> bool:
        """Whether more runs are to be opened: what was begun goes first, and the inbox is the place to wait."""
        begun, most = backlog.decide + backlog.record, self.service.settings.limits.open_nudges
        return begun < 2 * BATCH and backlog.open_nudges < most and backlog.agenda < RUNS_PER_NUDGE * most

    def _tend(self) -> bool:
        if time.monotonic() < self._janitor_due:
            return False
        wait = tend(self.service, lambda token: take_in(self.service, token))
        self._janitor_due = time.monotonic() + (JANITOR_IDLE if wait < 0 else min(JANITOR_IDLE, wait / 1000))
        return wait == 0

    def _work_off(self, queue: str, waiting: int, most: int, until: float = 0.0) -> bool:
        if waiting == 0 or most <= 0:
            return False
        nudges = self._take(queue, most)
        if not nudges:
            return False
        self._count(len(nudges))
        if queue == queues.DECIDE:
            self._go_on(decisions.decide(self.service, nudges, self._hand(until)), until)
        elif queue == queues.RECORD:
            self._go_on(decisions.record(self.service, nudges, self._hand(until)), until)
        else:
            for nudge in nudges:
                self._tell(nudge)
        return True

    def _take_notices(self) -> bool:
        """Begin with notices that wait, as far as there is room. One thread alone does that; it waits for no disk."""
        self._let_go_of_told()
        return self._work_off(queues.ESCALATE, NOTICES_AT_ONCE, NOTICES_AT_ONCE - len(self._telling))

    def _let_go_of_told(self) -> None:
        with self._listing:
            under_way = {future for future in self._telling if not future.done()}
            if len(under_way) < len(self._telling):
                self._janitor_due = 0.0  # what came of a notice may be another try, soon
            self._telling = under_way

    def _tell(self, nudge: Nudged) -> None:
        telling = self._notices.submit(_told, self.service, nudge, lambda: self._closing)
        telling.add_done_callback(lambda _: self._wake())
        with self._listing:
            self._telling.add(telling)

    def _take(self, queue: str, most: int) -> list[Nudged]:
        """Jobs off a queue, marked as started."""
        execution = os.urandom(6).hex()
        packed = self.service.ledger.scripts["take"](
            keys=[queues.queue_key(queue), queues.started_key(queue), keys.PAUSED],
            args=[
                most,
                queues.job_key(""),
                self.service.name,
                rq_time(self.service.clock()),
                execution,
                MARK_LIFE,
            ],
        )
        nudges = {}
        flat = unpack(packed)
        for job_id, data in zip(flat[::2], flat[1::2], strict=True):
            try:
                call = queues.decode_call(data or b"")
            except msgspec.MsgspecError as error:
                log.error("job %s on %s is not one of heald's and was dropped: %s", ascii(job_id), queue, error)
                self.service.client.delete(queues.job_key("").encode() + (job_id or b""))
                continue
            nudge = decisions.nudged(queue, call.run_id, call.version, execution)
            nudges[keys.fold(call.run_id), call.version] = nudge
        return list(nudges.values())


def _told(service: Service, nudge: Nudged, stopping: Callable[[], bool]) -> None:
    try:
        notify(service, nudge, stopping)
    except Exception:
        log.exception("run %s: its notice went wrong; the agenda brings it up again", nudge.run_id)
