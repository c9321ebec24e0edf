"""A log as text for indexing. Source of the semantics: `recovery_log_to_memory_fields` of aivcs-core 0.3.0."""

from __future__ import annotations

import msgspec

from heald_worker.core.log import RecoveryLog, RecoveryOutcome
from heald_worker.core.taxonomy import Classifier, classify_failure


class MemoryFields(msgspec.Struct, frozen=True):
    """One sentence, its tags, and about how many tokens the sentence takes (UTF-8 bytes // 4, at least 1)."""

    summary: str
    tags: tuple[str, ...]
    token_estimate: int


def recovery_log_to_memory_fields(log: RecoveryLog, classify: Classifier = classify_failure) -> MemoryFields:
    """Summary, tags and token estimate of a log; stage and run id stand in the tags as they are."""
    failure_class = classify(log.initial_failure)
    recovered = log.outcome is RecoveryOutcome.RECOVERED
    action = log.decisions[-1].action.camel_case if log.decisions else "none"
    stage = log.initial_failure.stage
    summary = (
        f"{'Successful' if recovered else 'Failed'} recovery for {failure_class} failure in stage '{stage}': "
        f"{action} in {log.attempts_used} attempt(s)"
    )
    tags = [f"recovery:{log.outcome}", f"failure:{failure_class}", f"stage:{stage}", f"run:{log.run_id}"]
    if log.initial_failure.flaky_hint:
        tags.append("flaky:true")
    return MemoryFields(summary, tuple(tags), max(1, len(summary.encode("utf-8", "surrogatepass")) // 4))
