"""Tell people that a run was escalated or exhausted: at least once, with retries, losing nothing when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

import msgspec
import redis

from heald_producer.signals import Context
from heald_worker.commits import GONE_THROUGH, discard
from heald_worker.core.recovery import Claim, Ending, NoticeEnded, Phase, advance, log_of
from heald_worker.decisions import Nudged
from heald_worker.leases import Lease, renewing
from heald_worker.ledger import Held
from heald_worker.moves import move_for
from heald_worker.notices import Delivery, deliver
from heald_worker.playbook import Notice
from heald_worker.records import canonical_bytes, digest_of
from heald_worker.service import Service, log
from heald_worker.states import Run, UnreadableRun

COMMIT_TRIES = 3
"""While a notice is in hand one thing alone may move its run: that its log is recorded."""


def notify(service: Service, nudge: Nudged, stopping: Callable[[], bool] = lambda: False) -> None:
    """Deliver a run's notice once, and commit whether it went through or is to be tried again.

    Args:
        stopping: when it turns true, a notice that runs a command is ended, and tried again later.
    """
    now, [held] = service.ledger.load([nudge.run_id])
    if isinstance(held, UnreadableRun):
        log.error("%s", held)
        return
    if held is None or held.version != nudge.version or not _waits_for_notice(service, held.run):
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
    elif verdict == "moved":
        discard(service, [nudge.finished])


def _waits_for_notice(service: Service, run: Run) -> bool:
    """Where nobody is to be told, a closing run needs no notice; a settling one needs somebody to say so."""
    recovery = run.recovery
    is_somebody = recovery.phase is Phase.SETTLING or service.notice_for(recovery.ending, run) is not None
    return recovery.waits_for_notice and is_somebody


def _deliver(service: Service, held: Held, notice: Notice | None, stopping: Callable[[], bool]) -> None:
    run, limits = held.run, service.settings.limits
    if notice is None:
        delivery = Delivery(False, "no notice is configured any more")
    else:
        delivery = deliver(
            notice,
            notice_facts(held.run) | diagnosis_told(service, held.run),
            scratch=service.scratch,
            stopping=stopping,
        )
    last = run.recovery.notice_tries >= limits.notice_tries and not stopping()  # one that was cut short is not the last
    final = delivery.delivered or delivery.refused or notice is None or last
    if not delivery.delivered:
        log.warning(
            "run %s: its notice failed%s: %s",
            run.recovery.run_id,
            " for good" if final else "",
            delivery.detail,
        )
    try:
        verdict = _hand_in(service, held, delivery, final)
    except redis.RedisError as trouble:
        log.error("run %s: what came of its notice waits for the agenda: %s", run.recovery.run_id, trouble)
        return
    if verdict not in GONE_THROUGH:
        log.warning("run %s: what came of its notice was not committed: %s", run.recovery.run_id, verdict)


def _hand_in(service: Service, claimed: Held, delivery: Delivery, final: bool) -> str:
    """Commit what came of a notice, to the run as it is by now: its log may have been recorded meanwhile.

    Returns:
        The verdict; `moved` when the claim is over.
    """
    now, held = service.ledger.now(), claimed
    detail: dict[str, object] = {"delivered": delivery.delivered, "detail": delivery.detail}
    unheard = delivery.detail if final and not delivery.delivered else ""
    for _ in range(COMMIT_TRIES):
        step = advance(held.run.recovery, NoticeEnded(final), now)
        after = delivery.retry_after
        move = move_for(service, held, step, now, detail=detail, unheard=unheard, retry_after=after)
        [verdict] = service.ledger.commit([move])
        if verdict != "moved":
            return verdict
        now, [found] = service.ledger.load([claimed.run.recovery.run_id])
        if not isinstance(found, Held) or found.claim != claimed.claim:
            break
        held = found
    return "moved"


def notice_facts(run: Run) -> dict[str, object]:
    """What a notice is told: the run, how it ended, its log and where it happened."""
    data = canonical_bytes(log_of(run.recovery))
    return facts_told(data, run.recovery.ending, run.policy_name, run.generation, run.context)


MOST_RUNNERS_UP = 3


def diagnosis_told(service: Service, run: Run) -> dict[str, object]:
    """Why the failure that a run ends with is taken for what it is, and what came close: for whoever has to look.

    Nothing where the rules that judged the run are not heald's own, or are not known here.
    """
    found = service.explain(run.taxonomy, run.recovery.current_failure)
    if found is None:
        return {}
    diagnosis = found.diagnosis
    told = {
        "failure_class": diagnosis.failure_class,
        "subclass": diagnosis.subclass,
        "rule": diagnosis.rule,
        "confidence": diagnosis.confidence,
        "evidence": diagnosis.evidence.text if diagnosis.evidence else "",
        "runners_up": [
            {"rule": each.rule, "failure_class": each.failure_class, "subclass": each.subclass, "why": each.why}
            for each in found.close[:MOST_RUNNERS_UP]
        ],
    }
    return {"diagnosis": told}


def facts_told(data: bytes, ending: Ending | None, policy: str, generation: int, context: Context) -> dict[str, object]:
    """What a notice is told, from a log's canonical bytes and what the service knows beside it."""
    log_told = msgspec.json.decode(data)
    return {
        "run_id": log_told["run_id"],
        "ending": ending,
        "outcome": log_told["outcome"],
        "policy": policy,
        "generation": generation,
        "context": msgspec.to_builtins(context),
        "digest": digest_of(data),
        "log": log_told,
    }
