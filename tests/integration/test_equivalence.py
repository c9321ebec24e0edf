"""Service and library share one state machine: the same script gives the same log, byte for byte."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from heald_producer.signals import FailureReport, FailureSignal
from heald_producer.wire import encode_report
from heald_worker import execute_recovery_loop, keys
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.policy import RecoveryPolicy
from heald_worker.playbook import PythonRepair, RecordRepair, Repair
from heald_worker.records import canonical_bytes, decode_log
from support import scripted
from support.service import House, settings

STAGES = st.sampled_from(["test", "build", "runtime", "integration", "deploy", "Compile-Tests", "ünit TEST", "x"])
WORDS = ["assertion failed", "panic: boom", "handshake refused", "linker error", "", '"\\\n\t\x1b', "naïve 🚑"]


def signals(not_in_messages: str = "") -> st.SearchStrategy[FailureSignal]:
    characters = st.characters(exclude_categories=["Cs"], exclude_characters=not_in_messages)
    return st.builds(
        FailureSignal,
        stage=STAGES,
        message=st.sampled_from(WORDS) | st.text(characters, max_size=40),
        exit_code=st.none() | st.integers(-(2**31), 2**31 - 1),
        flaky_hint=st.booleans(),
    )


SIGNALS = signals()
POLICIES = st.builds(
    RecoveryPolicy,
    max_attempts=st.integers(0, 5),
    max_flaky_retries=st.integers(0, 3),
    allow_patch_forward=st.booleans(),
    allow_rollback=st.booleans(),
)
RESULTS = st.builds(RecoveryAttemptResult, success=st.booleans(), next_failure=st.none() | signals("\0"))
"""What repairs answer. The service makes U+FFFD of a NUL in it, the library's loop takes it as it comes."""

_numbers = itertools.count()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.mark.parametrize("recording", [False, True], ids=["repairs by jobs", "repairs in hand"])
@pytest.mark.parametrize("turn", [0, 60], ids=["by queues", "in one go"])
@given(signal=SIGNALS, policy=POLICIES, script=st.lists(RESULTS, max_size=6))
@profile(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_service_writes_the_log_that_the_loop_returns(
    conn: redis.Redis,
    folder: Path,
    turn: float,
    recording: bool,
    signal: FailureSignal,
    policy: RecoveryPolicy,
    script: list[RecoveryAttemptResult],
) -> None:
    run_id = f"run-{next(_numbers)}"
    repair: Repair = PythonRepair("support.scripted:repair")
    if recording:  # its result depends on the attempt alone
        from_attempt = next((n for n, result in enumerate(script, 1) if result.success), len(script) + 1)
        script = [RecoveryAttemptResult(n >= from_attempt) for n in range(1, 7)]
        repair = RecordRepair(succeed_from=from_attempt)
    scripted.SCRIPTS[run_id] = script
    house = House(conn, settings(folder, repair, policy=policy), turn_seconds=turn)
    conn.rpush(keys.INBOX, encode_report(FailureReport(run_id=run_id, signal=signal)))
    house.settle()
    house.close()
    written = house.logs()[run_id]

    results = iter(script)
    expected = execute_recovery_loop(
        run_id,
        signal,
        policy,
        lambda action, failure: next(results, RecoveryAttemptResult(success=False)),
        now=decode_log(written).evaluated_at,
    )
    assert written == canonical_bytes(expected)
    assert (house.service.artifacts / run_id / "recovery.json").read_bytes() == written
