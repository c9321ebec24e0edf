"""Artifacts for tests: small logs, their bytes, and folders full of them."""

from __future__ import annotations

from pathlib import Path

from heald_producer.signals import FailureSignal
from heald_worker.artifact_staging import STAGING
from heald_worker.artifacts import Item, write_artifacts
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryLog, RecoveryOutcome
from heald_worker.core.policy import RecoveryPolicy
from heald_worker.records import canonical_bytes, digest_of


def a_log(run_id: str = "run-1", message: str = "t red", ended: int = 1_770_000_000) -> RecoveryLog:
    """A log of a run that had no attempt, ended at these seconds since the epoch."""
    return RecoveryLog(
        run_id=run_id,
        policy=RecoveryPolicy(),
        initial_failure=FailureSignal("deploy", message),
        decisions=(),
        outcome=RecoveryOutcome.FAILED,
        attempts_used=0,
        final_failure=None,
        evaluated_at=Instant(ended),
    )


def an_item(run_id: str = "run-1", message: str = "t red", ended: int = 1_770_000_000) -> Item:
    """A log as `write_artifacts` takes it."""
    data = canonical_bytes(a_log(run_id, message, ended))
    return run_id, data, digest_of(data)


def filled(directory: Path, *run_ids: str) -> Path:
    """A directory with the artifacts of these runs."""
    write_artifacts(directory, [an_item(run_id) for run_id in run_ids], fsync=False)
    return directory


def staged(directory: Path) -> list[str]:
    """What stands in the staging folder."""
    return sorted(path.name for path in (directory / STAGING).iterdir())
