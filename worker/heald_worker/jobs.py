"""The three functions that a job may name. Each carries a run id and the version it is for, nothing else.

The control process takes jobs in batches and hands them to `decisions`; these functions do the same for one job, so
that any RQ worker with heald's job class works a queue off. A worker binds its service before it starts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

from heald_worker import decisions, queues
from heald_worker.notifying import notify
from heald_worker.repairing import carry_out, claim
from heald_worker.service import Service

_service: ContextVar[Service] = ContextVar("service")
_in_hand: ContextVar[Callable[[], None] | None] = ContextVar("in_hand", default=None)


def bind(service: Service) -> None:
    """Give the jobs of this process their surroundings."""
    _service.set(service)


def hand_over(work: Callable[[], None] | None) -> None:
    """Let the next `repair` of this process, or of its fork, make the attempt that was claimed for it."""
    _in_hand.set(work)


@queues.job_function
def decide(run_id: str, version: int) -> None:
    """Bring a run one step on: one decision, or its closing."""
    _service.get().corrections.look()
    decisions.decide(_service.get(), [decisions.nudged(queues.DECIDE, run_id, version)])


@queues.job_function
def repair(run_id: str, version: int) -> None:
    """Claim the run's current attempt, unless that is done, and make its repair."""
    if work := _in_hand.get():
        work()
    elif claimed := claim(_service.get(), run_id, version):
        carry_out(_service.get(), claimed)


@queues.job_function
def escalate(run_id: str, version: int) -> None:
    """Tell whoever is to be told that the run was escalated or exhausted."""
    notify(_service.get(), decisions.nudged(queues.ESCALATE, run_id, version))
