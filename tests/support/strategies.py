"""Hypothesis strategies for the values of the core: signals, policies, results, instants, logs."""

from __future__ import annotations

from hypothesis import strategies as st

from heald_producer.signals import I32_MAX, I32_MIN, FailureSignal
from heald_worker.core.instant import FIRST_YEAR, LAST_YEAR, Instant, parse_instant
from heald_worker.core.log import RecoveryAttemptResult, RecoveryDecision, RecoveryLog, RecoveryOutcome
from heald_worker.core.policy import U32_MAX, RecoveryAction, RecoveryPolicy
from heald_worker.core.taxonomy import FailureClass

WORDS = ("build", "test", "runtime", "integration", "deploy", "panic", "assertion", "LINKER ERROR", "")
FIRST = parse_instant(f"{FIRST_YEAR:+05}-01-01T00:00:00Z").seconds
LAST = parse_instant(f"{LAST_YEAR:+05}-12-31T23:59:59Z").seconds

texts = st.one_of(st.sampled_from(WORDS), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
u32s = st.integers(0, U32_MAX)
exit_codes = st.none() | st.integers(I32_MIN, I32_MAX)
signals = st.builds(FailureSignal, texts, texts, exit_codes, st.booleans())
small_policies = st.builds(RecoveryPolicy, st.integers(0, 6), st.integers(0, 3), st.booleans(), st.booleans())
results = st.builds(RecoveryAttemptResult, st.booleans(), st.none() | signals)
nanos = st.one_of(
    st.just(0),
    st.integers(0, 999).map(lambda millis: millis * 1_000_000),
    st.integers(0, 999_999).map(lambda micros: micros * 1_000),
    st.integers(0, 999_999_999),
)
instants = st.builds(Instant, st.integers(FIRST, LAST) | st.integers(0, 2**33), nanos)
decisions = st.builds(RecoveryDecision, u32s, st.sampled_from(FailureClass), st.sampled_from(RecoveryAction), texts)
run_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)
logs = st.builds(
    RecoveryLog,
    run_id=texts,
    policy=st.builds(RecoveryPolicy, u32s, u32s, st.booleans(), st.booleans()),
    initial_failure=signals,
    decisions=st.lists(decisions, max_size=4).map(tuple),
    outcome=st.sampled_from(RecoveryOutcome),
    attempts_used=u32s,
    final_failure=st.none() | signals,
    evaluated_at=instants,
)
"""Logs as the reference's types allow them, sensible or not."""
