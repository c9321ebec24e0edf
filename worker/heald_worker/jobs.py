"""The three functions that a job may name. Each carries a run id and the version it is for, nothing else.

The control process takes jobs in batches and hands them to `decisions`; these functions do the same for one job, so
that any RQ worker with heald's job class works a queue off. A worker binds its service before it starts.
"""

from __future__ import annotations

from contextvars import ContextVar

from heald_worker import decisions, queues
from heald_worker.ledger import Held
from heald_worker.notifying import notify
from heald_worker.repairing import carry_out, claim
from heald_worker.service import Service

_service: ContextVar[Service] = ContextVar("service")
_claimed: ContextVar[Held | None] = ContextVar("claimed", default=None)


def bind(service: Service) -> None:
    """Give the jobs of this process their surroundings."""
    _service.set(service)


def hand_over(claimed: Held | None) -> None:
    """Give the next `repair` of this process, or of its fork, the claim that was made for it."""
    _claimed.set(claimed)


@queues.job_function
def decide(run_id: str, version: int) -> None:
    """Bring a run one step on: one decision, or its closing."""
    decisions.decide(_service.get(), [decisions.nudged(queues.DECIDE, run_id, version)])


@queues.job_function
def repair(run_id: str, version: int) -> None:
    """Claim the run's current attempt, unless that is done, and make its repair."""
    service = _service.get()
    claimed = _claimed.get() or claim(service, run_id, version)
    if claimed is not None:
        carry_out(service, claimed)


@queues.job_function
def escalate(run_id: str, version: int) -> None:
    """Tell whoever is to be told that the run was escalated or exhausted."""
    notify(_service.get(), decisions.nudged(queues.ESCALATE, run_id, version))
