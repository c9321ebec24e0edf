"""What a typed user of the library writes; mypy reads it, nothing runs it."""

from __future__ import annotations

from pathlib import Path

import heald_producer
import heald_worker
from heald_producer.push import push


def push_one() -> int:
    signal = heald_producer.FailureSignal(stage="unit", message="tests/test_a.py::test_b failed", exit_code=1)
    return push(heald_producer.FailureReport(run_id="run-1", signal=signal)).sent


def recover(folder: Path) -> Path:
    def apply(
        action: heald_worker.RecoveryAction, failure: heald_producer.FailureSignal
    ) -> heald_worker.RecoveryAttemptResult:
        return heald_worker.RecoveryAttemptResult(success=action is heald_worker.RecoveryAction.RETRY)

    log: heald_worker.RecoveryLog = heald_worker.execute_recovery_loop(
        "run-1",
        heald_producer.FailureSignal("test", "red"),
        heald_worker.RecoveryPolicy(),
        apply,
        now=heald_worker.Instant(0),
    )
    summary: str = heald_worker.recovery_log_to_memory_fields(log).summary
    print(summary, heald_worker.check_regression(log.initial_failure, [log]).recommendation)
    return heald_worker.write_recovery_artifact(log, folder)
