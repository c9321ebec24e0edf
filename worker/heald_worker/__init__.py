"""heald's service: decisions, the ledger, repairs and the `heald` command.

The library part (the reference's functions under their own names) loads on first use.
"""

from __future__ import annotations

from heald_producer import __version__

TYPE_CHECKING = False  # type checkers read it as true; importing it from `typing` would take milliseconds
if TYPE_CHECKING:
    from heald_worker.artifacts import read_recovery_artifact, write_recovery_artifact
    from heald_worker.core.instant import Instant
    from heald_worker.core.log import (
        RecoveryAttemptResult,
        RecoveryDecision,
        RecoveryLog,
        RecoveryOutcome,
    )
    from heald_worker.core.memory import recovery_log_to_memory_fields
    from heald_worker.core.policy import RecoveryAction, RecoveryPolicy, decide_action
    from heald_worker.core.recovery import execute_recovery_loop
    from heald_worker.core.regression import check_regression
    from heald_worker.core.taxonomy import FailureClass, classify_failure

_HOMES = {
    "FailureClass": "core.taxonomy",
    "Instant": "core.instant",
    "RecoveryAction": "core.policy",
    "RecoveryAttemptResult": "core.log",
    "RecoveryDecision": "core.log",
    "RecoveryLog": "core.log",
    "RecoveryOutcome": "core.log",
    "RecoveryPolicy": "core.policy",
    "check_regression": "core.regression",
    "classify_failure": "core.taxonomy",
    "decide_action": "core.policy",
    "execute_recovery_loop": "core.recovery",
    "read_recovery_artifact": "artifacts",
    "recovery_log_to_memory_fields": "core.memory",
    "write_recovery_artifact": "artifacts",
}

__all__ = [
    "FailureClass",
    "Instant",
    "RecoveryAction",
    "RecoveryAttemptResult",
    "RecoveryDecision",
    "RecoveryLog",
    "RecoveryOutcome",
    "RecoveryPolicy",
    "__version__",
    "check_regression",
    "classify_failure",
    "decide_action",
    "execute_recovery_loop",
    "read_recovery_artifact",
    "recovery_log_to_memory_fields",
    "write_recovery_artifact",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
