"""Tell people that a run was escalated or exhausted: at least once, with retries, losing nothing when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

import msgspec
import redis

from heald_worker.commits import GONE_THROUGH, discard
from heald_worker.core.recovery import Claim, NoticeEnded, Phase, Recovery, advance, log_of
from heald_worker.decisions import Nudged
from heald_worker.leases import Lease, renewing
from heald_worker.ledger import Held
from heald_worker.moves import move_for
from heald_worker.notices import Delivery, deliver
from heald_worker.playbook import Notice
from heald_worker.records import canonical_bytes, digest_of
from heald_worker.service import Service, log
from heald_worker.states import UnreadableRun


def notify(service: Service, nudge: Nudged, stopping: Callable[[], bool] = lambda: False) -> None:
    """Deliver the notice of a settling run once, and commit whether it went through or is to be tried again.

    Args:
        stopping: when it turns true, a notice that runs a command is ended, and tried again later.
    """
    now, [held] = service.ledger.load([nudge.run_id])
    if isinstance(held, UnreadableRun):
        log.error("%s", held)
        return
    if held is None or held.version != nudge.version or not _waits_for_notice(held.run.recovery):
        discard(service, [nudge.finished])
        return
    step = advance(held.run.recovery, Claim(service.name), now)
    move = move_for(service, held, step, now, finished=nudge.finished)
    began = time.monotonic()
    [verdict] = service.ledger.commit([move])
    if verdict in GONE_THROUGH:
        claimed = held.after(move, step.recovery)
        notice = service.notice_for(claimed.run.recovery.ending, claimed.run)
        lease = Lease(service, service.client, claimed, began, notice.time_limit if notice else 0)
        taken = Event()
        with renewing(lease, taken.set):
            _deliver(service, claimed, notice, lambda: stopping() or taken.is_set())


def _waits_for_notice(recovery: Recovery) -> bool:
    return recovery.phase is Phase.SETTLING and recovery.holder is None


def _deliver(service: Service, held: Held, notice: Notice | None, stopping: Callable[[], bool]) -> None:
    run, limits = held.run, service.settings.limits
    if notice is None:
        delivery = Delivery(False, "no notice is configured any more")
    else:
        delivery = deliver(notice, notice_facts(held), scratch=service.scratch, stopping=stopping)
    last = run.recovery.notice_tries >= limits.notice_tries and not stopping()  # one that was cut short is not the last
    final = delivery.delivered or notice is None or last
    if not delivery.delivered:
        log.warning(
            "run %s: its notice failed%s: %s",
            run.recovery.run_id,
            " for good" if final else "",
            delivery.detail,
        )
    detail = {"delivered": delivery.delivered, "detail": delivery.detail}
    try:
        now = service.ledger.now()
        step = advance(run.recovery, NoticeEnded(final), now)
        service.ledger.commit([move_for(service, held, step, now, detail=detail)])
    except redis.RedisError as trouble:
        log.error("run %s: what came of its notice waits for the agenda: %s", run.recovery.run_id, trouble)


def notice_facts(held: Held) -> dict[str, object]:
    """What a notice is told: the run, how it ended, its log and where it happened."""
    recovery = held.run.recovery
    recovery_log = log_of(recovery)
    data = canonical_bytes(recovery_log)
    return {
        "run_id": recovery.run_id,
        "ending": recovery.ending,
        "outcome": recovery_log.outcome,
        "policy": held.run.policy_name,
        "generation": held.run.generation,
        "context": msgspec.to_builtins(held.run.context),
        "digest": digest_of(data),
        "log": msgspec.json.decode(data),
    }
