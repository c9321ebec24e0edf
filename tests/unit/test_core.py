"""The state machine, and what it promises along every path that events can take it."""

from __future__ import annotations

from itertools import count, pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from heald_producer.signals import FailureSignal
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryAttemptResult, RecoveryOutcome
from heald_worker.core.policy import (
    ESCALATE_RATIONALE,
    PATCH_RATIONALE,
    RETRY_RATIONALE,
    ROLLBACK_RATIONALE,
    TRANSIENT_RATIONALE,
    U32_MAX,
    RecoveryAction,
    RecoveryPolicy,
    decide_action,
    permitted_actions,
)
from heald_worker.core.recovery import (
    Advice,
    Cancel,
    Claim,
    Decide,
    Ending,
    Event,
    InvalidTransition,
    NoticeEnded,
    Nudge,
    Phase,
    Recorded,
    Recovery,
    RepairEnded,
    RepairLost,
    Step,
    advance,
    execute_recovery_loop,
    log_of,
    open_recovery,
    owed,
)
from heald_worker.core.taxonomy import Diagnosis, FailureClass, classify_failure
from support.strategies import results, signals, small_policies

NOW = Instant(1_770_000_000)
FLAKY = FailureSignal("test", "t red", 1, True)
FAILED = RecoveryAttemptResult(False)
MENDED = RecoveryAttemptResult(True)

POSSIBLE: dict[Phase, set[type[Event]]] = {
    Phase.DECIDING: {Decide, Cancel},
    Phase.WAITING: {Claim, RepairEnded, Cancel},
    Phase.REPAIRING: {RepairEnded, RepairLost, Cancel},
    Phase.CLOSING: {Recorded, Claim},
    Phase.SETTLING: {Claim},
    Phase.ENDED: set(),
}


def possible(recovery: Recovery) -> set[type[Event]]:
    """What may happen now; a notice that somebody has in hand can only end."""
    if not recovery.is_fixed:
        return POSSIBLE[recovery.phase]
    notice: set[type[Event]] = {NoticeEnded} if recovery.holder else set() if recovery.told else {Claim}
    return notice | (POSSIBLE[recovery.phase] - {Claim})


EVENTS: tuple[Event, ...] = (
    Decide(FailureClass.TEST),
    Claim("worker-1"),
    RepairEnded(FAILED),
    RepairLost(2),
    Cancel(),
    Recorded(True),
    NoticeEnded(True),
)


def opened(
    policy: RecoveryPolicy | None = None, signal: FailureSignal = FLAKY, advice: Advice | None = None
) -> Recovery:
    return open_recovery("run-1", signal, policy or RecoveryPolicy(), NOW, advice)


def after(recovery: Recovery, *events: Event) -> Recovery:
    for event in events:
        recovery = advance(recovery, event, NOW).recovery
    return recovery


def decide(recovery: Recovery) -> Recovery:
    return after(recovery, Decide(classify_failure(recovery.current_failure)))


def in_phase(phase: Phase) -> Recovery:
    waiting = decide(opened())
    closing = after(waiting, RepairEnded(MENDED))
    return {
        Phase.DECIDING: opened(),
        Phase.WAITING: waiting,
        Phase.REPAIRING: after(waiting, Claim("worker-1")),
        Phase.CLOSING: closing,
        Phase.SETTLING: after(closing, Recorded(True)),
        Phase.ENDED: after(closing, Recorded(False)),
    }[phase]


@st.composite
def events_for(draw: st.DrawFn, recovery: Recovery) -> Event:
    """Any event that is possible now."""
    kind = draw(st.sampled_from(sorted(possible(recovery) - {Cancel}, key=lambda kind: kind.__name__)))
    if kind is Decide:
        return Decide(classify_failure(recovery.current_failure))
    arguments: dict[type[Event], st.SearchStrategy[Event]] = {
        Claim: st.builds(Claim, st.sampled_from(["worker-1", "worker-2"])),
        RepairEnded: st.builds(RepairEnded, results),
        RepairLost: st.builds(RepairLost, st.integers(0, 2), st.booleans()),
        Recorded: st.builds(Recorded, st.booleans()),
        NoticeEnded: st.builds(NoticeEnded, st.booleans()),
    }
    return draw(arguments[kind])


@st.composite
def walks(draw: st.DrawFn) -> list[Step]:
    """A recovery's life: the steps from its opening, each with its own second, to its end or to a point on the way."""
    advice = draw(
        st.none()
        | st.builds(
            Advice,
            st.sampled_from(["escalate", "alternate"]),
            st.just("history says so"),
            st.none() | st.sampled_from(RecoveryAction),
        )
    )
    recovery = open_recovery("run-1", draw(signals), draw(small_policies), Instant(0), advice)
    steps = [Step(recovery, ())]
    length, cancel_at = draw(st.integers(0, 40)), draw(st.integers(0, 60))
    for second in range(1, length):
        recovery = steps[-1].recovery
        if recovery.phase is Phase.ENDED:
            break
        cancel = second == cancel_at and Cancel in possible(recovery)
        event = Cancel() if cancel else draw(events_for(recovery))
        steps.append(advance(recovery, event, Instant(second)))
    return steps


@given(walks())
def test_decisions_count_from_1_and_stay_within_the_policy(walk: list[Step]) -> None:
    for step in walk:
        recovery = step.recovery
        assert [decision.attempt for decision in recovery.decisions] == list(range(1, recovery.attempt + 1))
        assert recovery.attempt <= recovery.policy.max_attempts
        retries = [decision for decision in recovery.decisions if decision.action is RecoveryAction.RETRY]
        assert len(retries) == recovery.retries_used <= recovery.policy.max_flaky_retries
        escalated = [decision.action is RecoveryAction.ESCALATE for decision in recovery.decisions]
        assert not any(escalated[:-1])


@given(walks())
def test_decisions_are_only_ever_added(walk: list[Step]) -> None:
    for before, later in pairwise(walk):
        shared = later.recovery.decisions[: before.recovery.attempt]
        assert shared == before.recovery.decisions
        assert later.recovery.attempt - before.recovery.attempt in (0, 1)


@given(walks())
def test_the_log_is_fixed_when_the_recovery_begins_to_close(walk: list[Step]) -> None:
    closed = [step.recovery for step in walk if step.recovery.phase in (Phase.CLOSING, Phase.SETTLING, Phase.ENDED)]
    assert len({msgspec.json.encode(log_of(recovery)) for recovery in closed}) <= 1
    for recovery in closed:
        log = log_of(recovery)
        assert log.attempts_used == len(log.decisions)
        assert (log.final_failure is None) == (log.outcome is RecoveryOutcome.RECOVERED)
        assert (recovery.ending is Ending.RECOVERED) == (log.outcome is RecoveryOutcome.RECOVERED)


@given(walks())
def test_only_what_is_in_hand_has_a_holder(walk: list[Step]) -> None:
    for step in walk:
        recovery = step.recovery
        if recovery.phase is Phase.REPAIRING:
            assert recovery.holder
        elif not recovery.is_fixed:
            assert recovery.holder is None


@given(walks())
def test_every_step_is_announced_and_the_end_exactly_once(walk: list[Step]) -> None:
    assert all(step.announces for step in walk[1:])
    kinds = [announce.kind for step in walk for announce in step.announces]
    assert kinds.count("ended") == (walk[-1].recovery.phase is Phase.ENDED)
    assert kinds.count("decided") == walk[-1].recovery.attempt


@given(walks())
def test_a_state_survives_its_encoding(walk: list[Step]) -> None:
    for step in walk:
        data = msgspec.json.encode(step.recovery)
        assert msgspec.json.decode(data, type=Recovery) == step.recovery


@given(signals, small_policies, st.lists(results, max_size=8))
def test_the_loop_and_single_steps_make_the_same_log(
    signal: FailureSignal, policy: RecoveryPolicy, script: list[RecoveryAttemptResult]
) -> None:
    scripted = iter(script)
    looped = execute_recovery_loop("run-1", signal, policy, lambda *_: next(scripted, FAILED), now=NOW)
    recovery, scripted = opened(policy, signal), iter(script)
    while recovery.phase is not Phase.CLOSING:
        if recovery.phase is Phase.DECIDING:
            recovery = decide(recovery)
        else:
            recovery = after(recovery, Claim("worker-1"), RepairLost(1), Claim("worker-2"))
            recovery = after(recovery, RepairEnded(next(scripted, FAILED)))
    assert log_of(recovery) == looped


@pytest.mark.parametrize("phase", Phase)
@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_out_of_place_is_refused_and_changes_nothing(phase: Phase, event: Event) -> None:
    recovery = in_phase(phase)
    assert recovery.phase is phase
    if type(event) in possible(recovery):
        assert advance(recovery, event, NOW).recovery != recovery
    else:
        with pytest.raises(InvalidTransition, match=f"{type(event).__name__} is not possible while {phase}"):
            advance(recovery, event, NOW)


@pytest.mark.parametrize(
    ("phase", "nudge"),
    [
        (Phase.DECIDING, "decide"),
        (Phase.WAITING, "repair"),
        (Phase.REPAIRING, None),
        (Phase.CLOSING, "decide"),
        (Phase.SETTLING, "escalate"),
        (Phase.ENDED, None),
    ],
)
def test_each_phase_waits_for_one_job_or_none(phase: Phase, nudge: str | None) -> None:
    assert owed(in_phase(phase)) == (Nudge(nudge) if nudge else None)  # type: ignore[arg-type]


def test_with_no_attempts_allowed_a_recovery_is_exhausted_at_once() -> None:
    recovery = opened(RecoveryPolicy(max_attempts=0))
    assert (recovery.phase, recovery.ending, recovery.evaluated_at) == (Phase.CLOSING, Ending.EXHAUSTED, NOW)
    assert log_of(recovery).final_failure == FLAKY


def test_four_billion_attempts_are_a_number_and_not_a_list() -> None:
    policy = RecoveryPolicy(U32_MAX, U32_MAX)
    attempts = count(1)
    log = execute_recovery_loop(
        "run-1", FLAKY, policy, lambda *_: RecoveryAttemptResult(next(attempts) == 100), now=NOW
    )
    assert (log.outcome, log.attempts_used) == (RecoveryOutcome.RECOVERED, 100)


def test_the_loop_never_applies_escalate() -> None:
    def apply(action: RecoveryAction, failure: FailureSignal) -> RecoveryAttemptResult:
        raise AssertionError(f"{action} was applied to {failure}")

    log = execute_recovery_loop("run-1", FailureSignal("deploy", ""), RecoveryPolicy(), apply, now=NOW)
    assert [decision.action for decision in log.decisions] == [RecoveryAction.ESCALATE]
    assert (log.outcome, log.attempts_used) == (RecoveryOutcome.FAILED, 1)


def test_a_failure_that_turns_into_another_is_decided_anew() -> None:
    panic = FailureSignal("deploy", "panic")
    recovery = after(decide(opened()), RepairEnded(RecoveryAttemptResult(False, panic)))
    assert recovery.current_failure == panic
    assert decide(recovery).action is RecoveryAction.ROLLBACK
    assert after(decide(recovery), RepairEnded(FAILED)).current_failure == panic


def test_the_next_failure_of_a_successful_repair_is_dropped() -> None:
    recovery = after(decide(opened()), RepairEnded(RecoveryAttemptResult(True, FailureSignal("deploy", "panic"))))
    assert (recovery.ending, log_of(recovery).final_failure) == (Ending.RECOVERED, None)


def test_a_cancelled_recovery_has_failed_with_what_is_broken_now() -> None:
    panic = FailureSignal("deploy", "panic")
    second = decide(after(decide(opened()), RepairEnded(RecoveryAttemptResult(False, panic))))
    for recovery in (second, after(second, Claim("worker-1"))):
        cancelled = after(recovery, Cancel())
        assert (cancelled.phase, cancelled.ending, cancelled.holder) == (Phase.CLOSING, Ending.CANCELLED, None)
        log = log_of(cancelled)
        assert (log.outcome, log.attempts_used, log.final_failure) == (RecoveryOutcome.FAILED, 2, panic)


def test_a_lost_repair_is_made_again_until_it_was_lost_too_often() -> None:
    recovery = decide(opened())
    for lost in (1, 2):
        step = advance(after(recovery, Claim("worker-1")), RepairLost(2), NOW)
        recovery = step.recovery
        assert (recovery.phase, recovery.holder, recovery.losses) == (Phase.WAITING, None, lost)
        assert step.announces[0].kind == "repair_lost"
    step = advance(after(recovery, Claim("worker-1")), RepairLost(2), NOW)
    assert step.announces[0].kind == "repair_abandoned"
    assert (step.recovery.phase, step.recovery.attempt, step.recovery.losses) == (Phase.DECIDING, 1, 0)
    assert decide(step.recovery).attempt == 2


def test_a_repair_given_back_does_not_count_as_lost() -> None:
    recovery = decide(opened())
    for _ in range(10):
        step = advance(after(recovery, Claim("worker-1")), RepairLost(0, counts=False), NOW)
        recovery = step.recovery
        assert step.announces[0].kind == "repair_returned"
    assert (recovery.phase, recovery.losses) == (Phase.WAITING, 0)


def test_a_repair_lost_too_often_on_the_last_attempt_exhausts_the_recovery() -> None:
    recovery = after(decide(opened(RecoveryPolicy(max_attempts=1))), Claim("worker-1"), RepairLost(0))
    assert (recovery.phase, recovery.ending) == (Phase.CLOSING, Ending.EXHAUSTED)


def test_a_notice_is_tried_until_it_is_final() -> None:
    settling = in_phase(Phase.SETTLING)
    held = after(settling, Claim("worker-1"))
    with pytest.raises(InvalidTransition):
        advance(held, Claim("worker-2"), NOW)
    assert (held.notice_tries, held.holder, owed(held)) == (1, "worker-1", None)
    again = after(held, NoticeEnded(False))
    assert (again.phase, again.holder, owed(again)) == (Phase.SETTLING, None, Nudge("escalate"))
    done = after(again, Claim("worker-2"), NoticeEnded(True))
    assert (done.phase, done.notice_tries) == (Phase.ENDED, 2)


@pytest.mark.parametrize("order", ["told first", "recorded first", "recorded while somebody tells"])
def test_telling_and_recording_are_owed_apart_and_the_second_ends_the_recovery(order: str) -> None:
    tell, record = (Claim("worker-1"), NoticeEnded(True)), (Recorded(True),)
    orders: dict[str, tuple[Event, ...]] = {
        "told first": (*tell, *record),
        "recorded first": (*record, *tell),
        "recorded while somebody tells": (tell[0], *record, tell[1]),
    }
    *before, last = orders[order]
    almost = after(in_phase(Phase.CLOSING), *before)
    assert almost.phase is not Phase.ENDED
    step = advance(almost, last, NOW)
    assert (step.recovery.phase, step.announces[-1].kind) == (Phase.ENDED, "ended")


def test_a_notice_that_was_told_is_not_begun_again_while_its_log_waits_for_a_disk() -> None:
    told = after(in_phase(Phase.CLOSING), Claim("worker-1"), NoticeEnded(True))
    assert (told.phase, told.waits_for_notice, owed(told)) == (Phase.CLOSING, False, Nudge("decide"))
    with pytest.raises(InvalidTransition):
        advance(told, Claim("worker-2"), NOW)


def test_a_notice_that_was_begun_is_waited_for_also_by_a_worker_that_would_tell_nobody() -> None:
    tried = after(in_phase(Phase.CLOSING), Claim("worker-1"), NoticeEnded(False), Recorded(False))
    assert (tried.phase, owed(tried)) == (Phase.SETTLING, Nudge("escalate"))


def test_a_recovery_under_way_has_no_log() -> None:
    with pytest.raises(ValueError, match="run run-1 is still waiting; it has no log yet"):
        log_of(in_phase(Phase.WAITING))


def test_advice_to_escalate_ends_the_recovery_with_its_reason() -> None:
    recovery = decide(opened(advice=Advice("escalate", "it failed twice before")))
    assert (recovery.phase, recovery.ending) == (Phase.CLOSING, Ending.ESCALATED)
    assert recovery.decisions[0].rationale == f"{ESCALATE_RATIONALE} (it failed twice before)"


@pytest.mark.parametrize(
    ("avoid", "policy", "action", "rationale"),
    [
        (RecoveryAction.RETRY, RecoveryPolicy(), RecoveryAction.PATCH_FORWARD, PATCH_RATIONALE),
        (RecoveryAction.PATCH_FORWARD, RecoveryPolicy(), RecoveryAction.RETRY, RETRY_RATIONALE),
        (
            RecoveryAction.RETRY,
            RecoveryPolicy(allow_patch_forward=False),
            RecoveryAction.ESCALATE,
            ESCALATE_RATIONALE,
        ),
        (None, RecoveryPolicy(), RecoveryAction.RETRY, RETRY_RATIONALE),
    ],
)
def test_advice_to_alternate_takes_the_first_permitted_action_that_is_not_avoided(
    avoid: RecoveryAction | None, policy: RecoveryPolicy, action: RecoveryAction, rationale: str
) -> None:
    recovery = decide(opened(policy, advice=Advice("alternate", "history", avoid)))
    assert recovery.action is action
    assert recovery.decisions[0].rationale == f"{rationale} (history)"


def test_advice_bounds_the_first_decision_only() -> None:
    recovery = decide(opened(advice=Advice("alternate", "history", RecoveryAction.RETRY)))
    assert recovery.action is RecoveryAction.PATCH_FORWARD
    recovery = decide(after(recovery, RepairEnded(FAILED)))
    assert (recovery.action, recovery.decisions[1].rationale) == (RecoveryAction.RETRY, RETRY_RATIONALE)


@settings(max_examples=300)
@given(st.sampled_from(FailureClass), signals, small_policies, st.integers(0, 4))
def test_the_decision_is_the_first_permitted_action_or_escalate(
    failure_class: FailureClass, signal: FailureSignal, policy: RecoveryPolicy, retries_used: int
) -> None:
    permitted = permitted_actions(failure_class, signal, policy, retries_used)
    action, rationale = decide_action(failure_class, signal, policy, retries_used)
    assert (action, rationale) == (permitted[0] if permitted else (RecoveryAction.ESCALATE, ESCALATE_RATIONALE))
    if action is RecoveryAction.RETRY:
        assert failure_class is FailureClass.TEST
        assert signal.flaky_hint
        assert retries_used < policy.max_flaky_retries
    if action is RecoveryAction.PATCH_FORWARD:
        assert policy.allow_patch_forward
    if action is RecoveryAction.ROLLBACK:
        assert policy.allow_rollback


def test_advance_leaves_the_state_it_was_given_alone() -> None:
    recovery = in_phase(Phase.WAITING)
    copy = replace(recovery)
    advance(recovery, Claim("worker-1"), NOW)
    assert recovery == copy


def transient_loop(most: int, policy: RecoveryPolicy | None = None, **more: Any) -> list[tuple[str, str]]:
    """The decisions about an integration failure that may pass by itself, and that no repair mends."""
    log = execute_recovery_loop(
        "run-1",
        FailureSignal("fetch", "could not resolve host"),
        policy or RecoveryPolicy(max_attempts=5),
        lambda *_: FAILED,
        now=NOW,
        diagnose=lambda _: Diagnosis(FailureClass.INTEGRATION, transient=True),
        max_transient_retries=most,
        **more,
    )
    return [(decision.action, decision.rationale) for decision in log.decisions]


def test_a_transient_integration_failure_is_retried_within_its_bound_before_anything_stronger() -> None:
    retry, rollback = (RecoveryAction.RETRY, TRANSIENT_RATIONALE), (RecoveryAction.ROLLBACK, ROLLBACK_RATIONALE)
    assert transient_loop(2) == [retry, retry, rollback, rollback, rollback]
    assert transient_loop(9) == [retry] * 5
    assert transient_loop(2, RecoveryPolicy(max_attempts=1)) == [retry]
    escalate = (RecoveryAction.ESCALATE, ESCALATE_RATIONALE)
    assert transient_loop(1, RecoveryPolicy(allow_rollback=False)) == [retry, escalate]


def test_without_a_bound_of_its_own_nothing_is_retried_as_transient() -> None:
    assert {action for action, _ in transient_loop(0)} == {RecoveryAction.ROLLBACK}


@pytest.mark.parametrize("failure_class", sorted(set(FailureClass) - {FailureClass.INTEGRATION}))
def test_only_integration_failures_are_retried_as_transient(failure_class: FailureClass) -> None:
    recovery = open_recovery("run-1", FailureSignal("s", "m"), RecoveryPolicy(), NOW, max_transient_retries=9)
    assert after(recovery, Decide(failure_class, transient=True)).transient_retries_used == 0


def test_transient_and_flaky_retries_do_not_use_each_other_up() -> None:
    policy = RecoveryPolicy(max_attempts=9, max_flaky_retries=1)
    recovery = open_recovery("run-1", FLAKY, policy, NOW, max_transient_retries=2)
    used = []
    for failure_class in ("integration", "test", "integration", "test", "integration"):
        recovery = after(recovery, Decide(FailureClass(failure_class), transient=True))
        used.append((recovery.retries_used, recovery.transient_retries_used, str(recovery.action)))
        recovery = after(recovery, RepairEnded(FAILED))
    assert used == [(0, 1, "retry"), (1, 1, "retry"), (1, 2, "retry"), (1, 2, "patch_forward"), (1, 2, "rollback")]


def test_advice_bounds_a_transient_retry_as_any_other_action() -> None:
    alternate = Advice("alternate", "it did not help", RecoveryAction.RETRY)
    first, *_ = transient_loop(2, advice=alternate)
    assert first == (RecoveryAction.ROLLBACK, f"{ROLLBACK_RATIONALE} (it did not help)")
    assert transient_loop(2, advice=Advice("escalate", "twice is enough"))[0][0] is RecoveryAction.ESCALATE


def test_a_person_s_class_goes_before_the_rules_from_its_attempt_on() -> None:
    corrected = transient_loop(1, corrections={2: FailureClass.TEST, 3: FailureClass.UNKNOWN})
    assert [action for action, _ in corrected] == ["retry", "patch_forward", "escalate"]
    recovery = after(
        opened(), Decide(FailureClass.BUILD, corrected=True), RepairEnded(FAILED), Decide(FailureClass.TEST)
    )
    assert (recovery.corrected, recovery.decisions[0].failure_class) == ((1,), "build")
