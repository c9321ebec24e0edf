"""Repair orders to make in tests."""

from __future__ import annotations

from typing import Any

from heald_producer.signals import Context, FailureSignal
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.taxonomy import FailureClass
from heald_worker.repairs import RepairOrder

CONTEXT = Context(
    repository="acme/shop",
    commit="0123456789abcdef0123456789abcdef01234567",
    ref="refs/heads/main",
    job="unit",
    url="https://ci.example/runs/7",
    command="pytest -q",
    host="runner-1",
    provider="github",
    workflow="ci.yml",
    ci_run="4711",
    ci_attempt="2",
    pull_request="12",
    head_ref="refs/heads/fix",
    head_commit="89abcdef89abcdef89abcdef89abcdef89abcdef",
    fork=False,
    default_branch="main",
)


def order(**changes: Any) -> RepairOrder:
    """A second attempt at patching a failed test forward."""
    fields: dict[str, Any] = {
        "run_id": "ci-7",
        "attempt": 2,
        "action": RecoveryAction.PATCH_FORWARD,
        "failure_class": FailureClass.TEST,
        "failure": FailureSignal("unit tests", "1 test failed", 1, True),
        "context": CONTEXT,
        "generation": 1,
        "subclass": "assertion",
        "rule": "pytest-assert",
        "evidence": "E   assert 1 == 2",
        "confidence": 0.9,
    }
    return RepairOrder(**(fields | changes))
