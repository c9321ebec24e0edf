"""Which remedy a decision takes, from the cause, the policy, the repairs that there are, and what was done before."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from heald_producer.signals import FailureSignal
from heald_worker import execute_recovery_loop
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryAttemptResult, RecoveryLog
from heald_worker.core.policy import RecoveryAction, RecoveryPolicy
from heald_worker.core.remedies import UNKNOWN_CAUSE, Grounds, Remedy, RemedyTable, Retries, choose
from heald_worker.core.taxonomy import Diagnosis, FailureClass

RETRY, PATCH, ROLLBACK, ESCALATE = RecoveryAction
EVERYTHING = (RETRY, PATCH, ROLLBACK)
CODE = (Remedy(PATCH, "the code is broken"), Remedy(ROLLBACK, "undo it"), Remedy(ESCALATE, "its author has to look"))
OUTAGE = (Remedy(RETRY, "outages end"), Remedy(ESCALATE, "whoever runs it has to look"))
SURE = Grounds(cause="x", remedies=CODE, available=EVERYTHING, confidence=0.9, min_confidence=0.5)
DEFAULT = RecoveryPolicy()
NOTHING_USED = Retries(max_transient=2)


def chosen(grounds: Grounds, policy: RecoveryPolicy = DEFAULT, **more: Any) -> tuple[RecoveryAction, str]:
    found = choose(grounds, policy, more.pop("retries", NOTHING_USED), **({"is_test": False, "flaky": False} | more))
    return found.action, found.reason


def test_the_first_remedy_that_can_be_taken_is_taken_with_its_sentence() -> None:
    assert chosen(SURE) == (PATCH, "x: the code is broken")
    assert chosen(replace(SURE, remedies=OUTAGE)) == (RETRY, "x: outages end")


@pytest.mark.parametrize(
    ("grounds", "policy", "why"),
    [
        (replace(SURE, available=(RETRY,)), RecoveryPolicy(), "no repair is configured for it"),
        (SURE, RecoveryPolicy(allow_patch_forward=False), "the policy does not allow it"),
        (replace(SURE, confidence=0.4), RecoveryPolicy(), "not sure enough: 0.4 of 0.5"),
        (replace(SURE, tried=(PATCH,)), RecoveryPolicy(), "was done about this very failure"),
    ],
)
def test_what_cannot_be_taken_is_left_out_and_the_rationale_says_why(
    grounds: Grounds, policy: RecoveryPolicy, why: str
) -> None:
    action, rationale = chosen(grounds, policy)
    assert action is ESCALATE
    assert rationale.startswith("x: its author has to look (not patch_forward: ")
    assert why in rationale


@pytest.mark.parametrize(
    ("place", "action"),
    [({}, ESCALATE), ({"deploys": True}, ROLLBACK), ({"reverts": True}, ROLLBACK)],
)
def test_nothing_is_rolled_back_where_nothing_was_deployed_and_nothing_reverts(
    place: dict[str, bool], action: RecoveryAction
) -> None:
    assert chosen(replace(SURE, tried=(PATCH,), **place))[0] is action


def test_only_harmless_actions_follow_from_a_diagnosis_that_is_not_sure() -> None:
    unsure = replace(SURE, confidence=0.1, deploys=True, remedies=(*CODE[:2], *OUTAGE))
    assert chosen(unsure)[0] is RETRY


@pytest.mark.parametrize(("used", "spent"), [(2, 0), (0, 2), (1, 2)])
def test_retries_are_bounded_by_this_recovery_and_by_the_job_of_its_commit(used: int, spent: int) -> None:
    grounds = replace(SURE, remedies=OUTAGE, transient_spent=spent)
    action, rationale = chosen(grounds, retries=Retries(transient=used, max_transient=2))
    assert (action, rationale) == (ESCALATE, "x: whoever runs it has to look (not retry: 2 of 2 retries are used)")


def test_a_flaky_test_is_retried_first_and_then_patched() -> None:
    assert chosen(SURE, is_test=True, flaky=True)[0] is RETRY
    assert chosen(SURE, is_test=True, flaky=True, retries=Retries(flaky=1))[0] is PATCH
    assert chosen(replace(SURE, flaky_spent=1), is_test=True, flaky=True)[0] is PATCH


def test_no_test_is_retried_where_that_could_hide_that_the_change_made_it_flaky() -> None:
    action, rationale = chosen(replace(SURE, retry_tests=False), is_test=True, flaky=True)
    assert action is PATCH
    assert "could hide a test" in rationale


def test_what_a_rule_calls_transient_is_retried_first_where_no_table_speaks_of_it() -> None:
    table = RemedyTable(causes={"build": CODE, "known": CODE})
    transient = Diagnosis(FailureClass.BUILD, "new", transient=True)
    assert [remedy.action for remedy in table.remedies_for(transient)] == [RETRY, PATCH, ROLLBACK, ESCALATE]
    assert table.remedies_for(replace(transient, subclass="known")) == CODE
    assert table.remedies_for(replace(transient, transient=False)) == CODE


def test_what_nobody_listed_is_escalated() -> None:
    assert chosen(replace(SURE, remedies=())) == (ESCALATE, "x: nothing that could help is left")
    assert chosen(Grounds()) == (ESCALATE, UNKNOWN_CAUSE[0].reason)


def test_remedies_are_those_of_the_rule_then_of_the_subclass_then_of_the_class() -> None:
    table = RemedyTable(causes={"dns": OUTAGE, "build": CODE}, rules={"own": CODE[:1]})
    integration, build = FailureClass.INTEGRATION, FailureClass.BUILD
    assert table.remedies_for(Diagnosis(integration, "dns", rule="own")) == CODE[:1]
    assert table.remedies_for(Diagnosis(integration, "dns", rule="other")) == OUTAGE
    assert table.remedies_for(Diagnosis(build, "compile")) == CODE
    assert table.remedies_for(Diagnosis(integration, "tls")) == UNKNOWN_CAUSE
    assert table.remedies_for(Diagnosis(integration, "dns"), build) == CODE
    assert table.remedies_for(Diagnosis(integration, "dns"), integration) == OUTAGE


FAILED = RecoveryAttemptResult(success=False)


def loop(message: str, *results: RecoveryAttemptResult, **more: Any) -> RecoveryLog:
    script = iter(results)
    return execute_recovery_loop(
        "run-1",
        FailureSignal("unit", message),
        more.pop("policy", RecoveryPolicy()),
        lambda _action, _failure: next(script, FAILED),
        now=Instant(0),
        **more,
    )


def actions(log: RecoveryLog) -> list[str]:
    return [str(decision.action) for decision in log.decisions]


def test_the_same_patch_is_not_tried_twice_on_the_same_failure() -> None:
    log = loop("broken", FAILED, consider=lambda *_: SURE)
    assert actions(log) == ["patch_forward", "escalate"]
    other = RecoveryAttemptResult(False, FailureSignal("unit", "broken elsewhere"))
    assert actions(loop("broken", other, FAILED, consider=lambda *_: SURE)) == ["patch_forward"] * 2 + ["escalate"]


def test_recorded_grounds_give_the_log_again() -> None:
    seen: dict[int, Grounds] = {}

    def consider(attempt: int, _failure: FailureSignal, _diagnosis: Diagnosis) -> Grounds:
        return seen.setdefault(attempt, replace(SURE, remedies=OUTAGE, cause=f"cause {attempt}"))

    first = loop("outage", FAILED, FAILED, consider=consider, max_transient_retries=2)
    assert actions(first) == ["retry", "retry", "escalate"]
    assert loop("outage", FAILED, FAILED, grounds=seen, max_transient_retries=2) == first


def test_without_grounds_the_actions_are_the_reference_s() -> None:
    assert actions(loop("panic: boom", policy=RecoveryPolicy(max_attempts=2))) == ["rollback"] * 2
