"""The state machine of one recovery. The library's loop and the service both drive `advance`.

    deciding --Decide--> waiting --Claim--> repairing --RepairEnded--> deciding | closing
        |                   |                   |
        |                   |                   '--RepairLost--> waiting | deciding | closing
        |                   '--RepairEnded--> deciding | closing   (a repair that touches nothing needs no claim)
        '--(escalate)--> closing --Recorded--> ended
                            '--Recorded, somebody is still to be told--> settling --NoticeEnded--> ended

`Cancel` leads from anywhere before `closing` to `closing`. Entering `closing` fixes `evaluated_at`, and with
it every byte of the log. From then on two things are owed, independent of each other: the log is recorded
(`Recorded`), and somebody is told (`Claim`, `NoticeEnded`). The step that does the second of them ends the
recovery. Nothing here knows a clock: `now` comes from the caller.

Source of the semantics: `execute_recovery_loop` of aivcs-core 0.3.0, module `self_healing`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import Literal

import msgspec
from msgspec.structs import replace

from heald_producer.signals import FailureSignal
from heald_worker.core.fingerprint import fingerprint
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryAttemptResult, RecoveryDecision, RecoveryLog, RecoveryOutcome
from heald_worker.core.policy import (
    ESCALATE_RATIONALE,
    TRANSIENT_RATIONALE,
    RecoveryAction,
    RecoveryPolicy,
    permitted_actions,
    transient_retry_permitted,
)
from heald_worker.core.remedies import Grounds, Retries, choose
from heald_worker.core.taxonomy import Classifier, Diagnose, Diagnosis, FailureClass, classify_failure


class Phase(StrEnum):
    """Where a recovery stands, and so what it waits for."""

    DECIDING = "deciding"
    WAITING = "waiting"
    REPAIRING = "repairing"
    CLOSING = "closing"
    SETTLING = "settling"
    ENDED = "ended"


class Ending(StrEnum):
    """How a recovery came to its end; the log's outcome is `recovered` or, for the others, `failed`."""

    RECOVERED = "recovered"
    EXHAUSTED = "exhausted"
    ESCALATED = "escalated"
    CANCELLED = "cancelled"


class Advice(msgspec.Struct, frozen=True):
    """A bound on the first decision that comes from outside the policy: history, or a run's lineage.

    Attributes:
        kind: `escalate` at once, or take the first permitted action other than `avoid`.
        reason: becomes part of the decision's rationale.
        avoid: the action that the prior run ended with.
    """

    kind: Literal["escalate", "alternate"]
    reason: str
    avoid: RecoveryAction | None = None


class Tried(msgspec.Struct, frozen=True, array_like=True):
    """What was done, and about which failure (by its fingerprint): the same is not done about it again."""

    action: RecoveryAction
    failure: str


class Recovery(msgspec.Struct, frozen=True, omit_defaults=True):
    """The whole state of one recovery: what the ledger keeps, and all that `advance` looks at.

    Attributes:
        failure: the current failure where it differs from the initial one.
        retries_used: retries of flaky tests chosen so far; never reset.
        max_transient_retries: retries of transient failures at most; the reference, and so the default, has none.
        transient_retries_used: retries of transient failures chosen so far; never reset.
        corrected: the attempts whose failure had its class from a person.
        holder: who claimed the running repair or notice.
        losses: how often the current attempt's repair was lost with its worker.
        notice_tries: deliveries of the escalation or exhaustion notice begun so far.
        grounds: what each decision looked at, one per decision; none where the reference's actions are taken.
        tried: patches and rollbacks made in this recovery; only with grounds.
        proof: what showed that the failure is gone, and who saw it; None where a repair only claims it.
        told: the notice was delivered, or has failed for good.
    """

    run_id: str
    policy: RecoveryPolicy
    initial_failure: FailureSignal
    phase: Phase = Phase.DECIDING
    advice: Advice | None = None
    failure: FailureSignal | None = None
    decisions: tuple[RecoveryDecision, ...] = ()
    retries_used: int = 0
    holder: str | None = None
    losses: int = 0
    ending: Ending | None = None
    evaluated_at: Instant | None = None
    notice_tries: int = 0
    max_transient_retries: int = 0
    transient_retries_used: int = 0
    corrected: tuple[int, ...] = ()
    grounds: tuple[Grounds, ...] = ()
    tried: tuple[Tried, ...] = ()
    proof: str | None = None
    told: bool = False

    @property
    def current_failure(self) -> FailureSignal:
        """What is broken now."""
        return self.initial_failure if self.failure is None else self.failure

    @property
    def attempt(self) -> int:
        """The number of the latest attempt, from 1; 0 before the first decision."""
        return len(self.decisions)

    @property
    def action(self) -> RecoveryAction | None:
        """The latest decision's action."""
        return self.decisions[-1].action if self.decisions else None

    @property
    def is_fixed(self) -> bool:
        """Whether its log is fixed and it has not ended: it is recorded, and somebody is told, in any order."""
        return self.phase in (Phase.CLOSING, Phase.SETTLING)

    @property
    def waits_for_notice(self) -> bool:
        """Whether somebody may take its notice in hand; if there is anybody to tell."""
        return self.is_fixed and not self.told and self.holder is None


class Decide(msgspec.Struct, frozen=True, tag=True):
    """Decide about the current failure, whose class is this.

    Attributes:
        transient: it may pass by itself.
        corrected: its class is a person's word, not the rules'.
        grounds: what else the decision looks at; None takes the reference's actions.
    """

    failure_class: FailureClass
    transient: bool = False
    corrected: bool = False
    grounds: Grounds | None = None


class Claim(msgspec.Struct, frozen=True, tag=True):
    """A worker takes the repair, or the notice, in hand."""

    holder: str


class RepairEnded(msgspec.Struct, frozen=True, tag=True):
    """The repair of the current attempt came to a result; `proof` says what showed a success, and who saw it."""

    result: RecoveryAttemptResult
    proof: str | None = None


class RepairLost(msgspec.Struct, frozen=True, tag=True):
    """The claimed repair's worker died (`counts`), or gave the repair back on its way out."""

    max_losses: int
    counts: bool = True


class Cancel(msgspec.Struct, frozen=True, tag=True):
    """A person ends the recovery."""


class Recorded(msgspec.Struct, frozen=True, tag=True):
    """The artifact stands on disk; `notify` says whether somebody is to be told, if nobody was yet."""

    notify: bool


class NoticeEnded(msgspec.Struct, frozen=True, tag=True):
    """The notice was delivered or failed for good (`final`), or is to be tried again."""

    final: bool


Event = Decide | Claim | RepairEnded | RepairLost | Cancel | Recorded | NoticeEnded


class InvalidTransition(ValueError):
    """The event does not belong to the phase: a forged or outdated message, never a state to repair."""

    def __init__(self, phase: Phase, event: Event) -> None:
        super().__init__(f"{type(event).__name__} is not possible while {phase}")


class Announce(msgspec.Struct, frozen=True):
    """Effect: tell the event stream what happened."""

    kind: str
    facts: dict[str, object]


class Nudge(msgspec.Struct, frozen=True):
    """Effect: one job must run to bring the recovery on."""

    job: Literal["decide", "repair", "escalate"]


class Step(msgspec.Struct, frozen=True):
    """What `advance` answers: the next state, and what the caller owes to the world for it."""

    recovery: Recovery
    announces: tuple[Announce, ...]

    @property
    def nudge(self) -> Nudge | None:
        """The job that the new state waits for."""
        return owed(self.recovery)


def open_recovery(
    run_id: str,
    initial_failure: FailureSignal,
    policy: RecoveryPolicy,
    now: Instant,
    advice: Advice | None = None,
    max_transient_retries: int = 0,
) -> Recovery:
    """A new recovery. With no attempts allowed it is closing at once."""
    recovery = Recovery(run_id, policy, initial_failure, advice=advice, max_transient_retries=max_transient_retries)
    return _next_attempt(recovery, now)


def owed(recovery: Recovery) -> Nudge | None:
    """The job a recovery waits for; the same answer serves the first sending and every re-sending.

    That of a closing one sees to both that it owes.
    """
    match recovery.phase:
        case Phase.DECIDING | Phase.CLOSING:
            return Nudge("decide")
        case Phase.WAITING:
            return Nudge("repair")
        case Phase.SETTLING if recovery.holder is None:
            return Nudge("escalate")
        case _:
            return None


def advance(recovery: Recovery, event: Event, now: Instant) -> Step:
    """The next state of a recovery and the effects it owes. Pure.

    Raises:
        InvalidTransition: the event does not belong to the recovery's phase.
    """
    match recovery.phase, event:
        case Phase.DECIDING, Decide():
            return _decide(recovery, event, now)
        case Phase.WAITING, Claim(holder):
            claimed = replace(recovery, phase=Phase.REPAIRING, holder=holder)
            return _step(claimed, "repair_started", _attempt_facts(recovery) | {"holder": holder})
        case ((Phase.WAITING | Phase.REPAIRING), RepairEnded(result, proof)):
            return _end_attempt(recovery, result, proof, now)
        case Phase.REPAIRING, RepairLost(max_losses, counts):
            return _lose_repair(recovery, max_losses, counts, now)
        case ((Phase.DECIDING | Phase.WAITING | Phase.REPAIRING), Cancel()):
            return _step(_close(recovery, Ending.CANCELLED, now), "cancelled", _attempt_facts(recovery))
        case Phase.CLOSING, Recorded(notify):
            return _record(recovery, notify)
        case ((Phase.CLOSING | Phase.SETTLING), Claim(holder)) if recovery.waits_for_notice:
            tries = recovery.notice_tries + 1
            claimed = replace(recovery, holder=holder, notice_tries=tries)
            return _step(claimed, "notice_started", {"try": tries, "holder": holder})
        case ((Phase.CLOSING | Phase.SETTLING), NoticeEnded(final)) if recovery.holder is not None:
            return _end_notice(recovery, final)
    raise InvalidTransition(recovery.phase, event)


def _step(recovery: Recovery, kind: str, facts: dict[str, object]) -> Step:
    return Step(recovery, (Announce(kind, facts),))


def _record(recovery: Recovery, notify: bool) -> Step:
    """A notice that was begun is brought to its end, also where nobody would begin it any more."""
    untold = not recovery.told and (notify or recovery.notice_tries > 0)
    if untold:
        return _step(replace(recovery, phase=Phase.SETTLING), "recorded", {"ending": recovery.ending})
    return Step(replace(recovery, phase=Phase.ENDED), (_ended(recovery),))


def _end_notice(recovery: Recovery, final: bool) -> Step:
    announce = Announce("notice_ended", {"try": recovery.notice_tries, "final": final})
    rested = replace(recovery, holder=None, told=final)
    if final and recovery.phase is Phase.SETTLING:
        return Step(replace(rested, phase=Phase.ENDED), (announce, _ended(recovery)))
    return Step(rested, (announce,))


def _ended(recovery: Recovery) -> Announce:
    return Announce("ended", {"ending": recovery.ending, "attempts": recovery.attempt})


def _attempt_facts(recovery: Recovery) -> dict[str, object]:
    return {"attempt": recovery.attempt, "action": recovery.action}


def _decide(recovery: Recovery, event: Decide, now: Instant) -> Step:
    failure_class = event.failure_class
    action, rationale = _choose(recovery, event)
    decision = RecoveryDecision(recovery.attempt + 1, failure_class, action, rationale)
    decided = replace(recovery, decisions=(*recovery.decisions, decision))
    if event.corrected:
        decided = replace(decided, corrected=(*recovery.corrected, decision.attempt))
    if event.grounds is not None:
        decided = _with_grounds(decided, event.grounds, action)
    if action is RecoveryAction.ESCALATE:
        decided = _close(decided, Ending.ESCALATED, now)
    else:
        decided = replace(_count_retry(decided, decision), phase=Phase.WAITING)
    facts = {"attempt": decision.attempt, "class": failure_class, "action": action, "rationale": rationale}
    return _step(decided, "decided", facts)


def _with_grounds(recovery: Recovery, grounds: Grounds, action: RecoveryAction) -> Recovery:
    grown = replace(recovery, grounds=(*recovery.grounds, grounds))
    if action in (RecoveryAction.PATCH_FORWARD, RecoveryAction.ROLLBACK):
        return replace(grown, tried=(*recovery.tried, Tried(action, known_by(recovery.current_failure))))
    return grown


@lru_cache(maxsize=256)
def known_by(failure: FailureSignal) -> str:
    """By which a failure is known again within one recovery, and among those of one commit's job."""
    return fingerprint(None, failure)


def _count_retry(recovery: Recovery, decision: RecoveryDecision) -> Recovery:
    """Tests are retried because they are flaky, anything else because it is transient; each has its own bound."""
    if decision.action is not RecoveryAction.RETRY:
        return recovery
    if decision.failure_class is FailureClass.TEST:
        return replace(recovery, retries_used=recovery.retries_used + 1)
    return replace(recovery, transient_retries_used=recovery.transient_retries_used + 1)


def _choose(recovery: Recovery, event: Decide) -> tuple[RecoveryAction, str]:
    advice = None if recovery.decisions else recovery.advice
    if advice is not None and advice.kind == "escalate":
        return RecoveryAction.ESCALATE, f"{ESCALATE_RATIONALE} ({advice.reason})"
    if event.grounds is not None:
        return _remedy(recovery, event, event.grounds, advice)
    allowed = _permitted(recovery, event.failure_class, event.transient)
    if advice is None:
        return allowed[0] if allowed else (RecoveryAction.ESCALATE, ESCALATE_RATIONALE)
    for action, rationale in allowed:
        if action is not advice.avoid:
            return action, f"{rationale} ({advice.reason})"
    return RecoveryAction.ESCALATE, f"{ESCALATE_RATIONALE} ({advice.reason})"


def _remedy(recovery: Recovery, event: Decide, grounds: Grounds, advice: Advice | None) -> tuple[RecoveryAction, str]:
    """What the cause's remedies, the policy and the repairs that there are make of a failure."""
    failure = recovery.current_failure
    mine = {tried.action for tried in recovery.tried if tried.failure == known_by(failure)}
    chosen = choose(
        replace(grounds, tried=(*grounds.tried, *sorted(mine))),
        recovery.policy,
        Retries(recovery.retries_used, recovery.transient_retries_used, recovery.max_transient_retries),
        is_test=event.failure_class is FailureClass.TEST,
        flaky=failure.flaky_hint,
        avoid=advice.avoid if advice else None,
    )
    return chosen.action, f"{chosen.reason} ({advice.reason})" if advice else chosen.reason


def _permitted(recovery: Recovery, failure_class: FailureClass, transient: bool) -> list[tuple[RecoveryAction, str]]:
    """The policy's actions, best first, and before them a retry of what may pass by itself."""
    allowed = permitted_actions(failure_class, recovery.current_failure, recovery.policy, recovery.retries_used)
    used, most = recovery.transient_retries_used, recovery.max_transient_retries
    if transient_retry_permitted(failure_class, transient, used, most):
        return [(RecoveryAction.RETRY, TRANSIENT_RATIONALE), *allowed]
    return allowed


def _end_attempt(recovery: Recovery, result: RecoveryAttemptResult, proof: str | None, now: Instant) -> Step:
    facts = _attempt_facts(recovery) | {"success": result.success}
    if result.success:
        recovered = replace(_close(recovery, Ending.RECOVERED, now), proof=proof)
        return _step(recovered, "repair_ended", facts | {"known": "proven" if proof else "claimed", "proof": proof})
    return _step(_next_attempt(_with_failure(recovery, result.next_failure), now), "repair_ended", facts)


def _with_failure(recovery: Recovery, failure: FailureSignal | None) -> Recovery:
    return recovery if failure is None else replace(recovery, failure=failure)


def _lose_repair(recovery: Recovery, max_losses: int, counts: bool, now: Instant) -> Step:
    losses = recovery.losses + counts
    facts = _attempt_facts(recovery) | {"holder": recovery.holder, "losses": losses}
    if losses > max_losses:
        return _step(_next_attempt(recovery, now), "repair_abandoned", facts)
    again = replace(recovery, phase=Phase.WAITING, holder=None, losses=losses)
    return _step(again, "repair_lost" if counts else "repair_returned", facts)


def _next_attempt(recovery: Recovery, now: Instant) -> Recovery:
    if recovery.attempt >= recovery.policy.max_attempts:
        return _close(recovery, Ending.EXHAUSTED, now)
    return replace(recovery, phase=Phase.DECIDING, holder=None, losses=0)


def _close(recovery: Recovery, ending: Ending, now: Instant) -> Recovery:
    return replace(recovery, phase=Phase.CLOSING, holder=None, losses=0, ending=ending, evaluated_at=now)


def outcome_of(ending: Ending) -> RecoveryOutcome:
    """What the log says of an ending."""
    return RecoveryOutcome.RECOVERED if ending is Ending.RECOVERED else RecoveryOutcome.FAILED


def log_of(recovery: Recovery) -> RecoveryLog:
    """The log of a recovery that is closing or beyond: fixed from then on.

    Raises:
        ValueError: the recovery is still under way.
    """
    if recovery.ending is None or recovery.evaluated_at is None:
        raise ValueError(f"run {recovery.run_id} is still {recovery.phase}; it has no log yet")
    outcome = outcome_of(recovery.ending)
    return RecoveryLog(
        run_id=recovery.run_id,
        policy=recovery.policy,
        initial_failure=recovery.initial_failure,
        decisions=recovery.decisions,
        outcome=outcome,
        attempts_used=recovery.attempt,
        final_failure=None if outcome is RecoveryOutcome.RECOVERED else recovery.current_failure,
        evaluated_at=recovery.evaluated_at,
    )


ApplyAction = Callable[[RecoveryAction, FailureSignal], RecoveryAttemptResult]
Consider = Callable[[int, FailureSignal, Diagnosis], Grounds]
"""What a decision of this attempt, about this failure and its diagnosis, looks at."""


def execute_recovery_loop(
    run_id: str,
    initial_failure: FailureSignal,
    policy: RecoveryPolicy,
    apply_action: ApplyAction,
    *,
    now: Instant,
    classify: Classifier = classify_failure,
    diagnose: Diagnose | None = None,
    advice: Advice | None = None,
    max_transient_retries: int = 0,
    corrections: Mapping[int, FailureClass] | None = None,
    grounds: Mapping[int, Grounds] | None = None,
    consider: Consider | None = None,
) -> RecoveryLog:
    """Run a whole recovery in this process, as the reference's function of this name does.

    With nothing but its first five arguments it is the reference's; the others replay what a service run's stream
    entry records.

    Args:
        apply_action: makes one repair; called with the action and the current failure, never for `escalate`.
        now: becomes the log's `evaluated_at`.
        classify: the taxonomy; the reference's by default.
        diagnose: the same, for a taxonomy that also knows what is transient; goes before `classify`.
        advice: a bound on the first decision.
        max_transient_retries: retries of transient failures at most.
        corrections: attempt -> the class that a person had given its failure.
        grounds: attempt -> what its decision looked at, as recorded; without it the reference's actions are taken.
        consider: says the same for attempts that `grounds` does not have.
    """
    judge = diagnose or (lambda signal: Diagnosis(classify(signal)))
    recovery = open_recovery(run_id, initial_failure, policy, now, advice, max_transient_retries)
    while recovery.phase is not Phase.CLOSING:
        if recovery.phase is Phase.DECIDING:
            judged = judge(recovery.current_failure)
            attempt = recovery.attempt + 1
            failure_class = (corrections or {}).get(attempt, judged.failure_class)
            looked_at = (grounds or {}).get(attempt)
            if looked_at is None and consider is not None:
                looked_at = consider(attempt, recovery.current_failure, judged)
            event: Event = Decide(failure_class, judged.transient, grounds=looked_at)
        else:
            action = recovery.decisions[-1].action
            event = RepairEnded(apply_action(action, recovery.current_failure))
        recovery = advance(recovery, event, now).recovery
    return log_of(recovery)
