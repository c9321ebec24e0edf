"""Whatever a run is decided by, its stream entry holds all that the library's loop needs to write the same log."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as profile
from hypothesis import strategies as st

from heald_producer.signals import Context, FailureReport, FailureSignal
from heald_producer.wire import encode_report
from heald_worker import execute_recovery_loop, keys
from heald_worker.config import Settings
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.policy import Bounds, RecoveryAction, RecoveryPolicy, RetryTestsOn
from heald_worker.core.remedies import Remedy, RemedyTable
from heald_worker.playbook import PlaybookEntry, PythonRepair, RepairMatch
from heald_worker.records import canonical_bytes
from heald_worker.remedy_tables import RemedyTables
from heald_worker.rulepack import read_pack
from heald_worker.streams import RECOVERIES, RecoveryEntry
from support import scripted
from support.service import House, settings

CAUSES = {"outage": "integration", "broken": "build", "red": "test", "crashed": "runtime"}
RULES = "\n".join(
    f'[[rule]]\nname = "t-{cause}"\nclass = "{failure_class}"\nsubclass = "{cause}"\nconfidence = {confidence}\n'
    f"transient = {str(cause == 'outage').lower()}\nmatch = 'it is {cause}'\n"
    for (cause, failure_class), confidence in zip(CAUSES.items(), (0.9, 0.8, 0.6, 0.3), strict=True)
)
PACK = read_pack("rules.toml", RULES)
REPAIR = PythonRepair("support.scripted:repair")

ACTIONS = st.sampled_from(list(RecoveryAction))
MESSAGES = st.sampled_from([f"it is {cause}" for cause in CAUSES] + ["nobody knows"])
STAGES = st.sampled_from(["unit", "deploy-eu", "x"])
SIGNALS = st.builds(FailureSignal, STAGES, MESSAGES, st.none(), st.booleans())
RESULTS = st.builds(RecoveryAttemptResult, st.booleans(), st.none() | SIGNALS)
REMEDIES = st.lists(ACTIONS, min_size=1, max_size=4, unique=True).map(
    lambda actions: tuple(Remedy(action, f"{action} may help") for action in actions)
)
TABLES = st.dictionaries(st.sampled_from([*CAUSES, "test", "unknown"]), REMEDIES).map(RemedyTable)
POLICIES = st.builds(
    RecoveryPolicy,
    max_attempts=st.integers(0, 5),
    max_flaky_retries=st.integers(0, 2),
    allow_patch_forward=st.booleans(),
    allow_rollback=st.booleans(),
)
BOUNDS = st.builds(
    Bounds,
    max_transient_retries=st.integers(0, 3),
    min_confidence=st.sampled_from([0.0, 0.5, 0.7, 1.0]),
    retry_tests_on=st.sampled_from(list(RetryTestsOn)),
)
MATCHES = st.sampled_from([RepairMatch(), RepairMatch(subclass="broken"), RepairMatch(stage="deploy*")])
PATCHES_AND_RETRIES = st.builds(
    PlaybookEntry, st.sampled_from([RecoveryAction.RETRY, RecoveryAction.PATCH_FORWARD]), st.just(REPAIR), MATCHES
)
ROLLBACKS = st.builds(PlaybookEntry, st.just(RecoveryAction.ROLLBACK), st.just(REPAIR), MATCHES, reverts=st.booleans())
ENTRIES = st.lists(PATCHES_AND_RETRIES | ROLLBACKS, min_size=1, max_size=5).map(tuple)
CONTEXTS = st.builds(
    Context,
    repository=st.just("acme/shop"),
    commit=st.sampled_from(["c0ffee", "d00d"]),
    ref=st.sampled_from(["refs/heads/main", "refs/heads/fix"]),
    job=st.sampled_from(["unit", "canary", None]),
    default_branch=st.sampled_from(["main", None]),
)

_numbers = itertools.count()


@pytest.mark.parametrize("turn", [0, 60], ids=["by queues", "in one go"])
@given(
    signals=st.lists(SIGNALS, min_size=1, max_size=3),
    context=CONTEXTS,
    policy=POLICIES,
    bounds=BOUNDS,
    table=TABLES,
    entries=ENTRIES,
    script=st.lists(RESULTS, max_size=6),
)
@profile(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_recorded_of_a_run_gives_its_log_again(
    conn: redis.Redis,
    tmp_path: Path,
    turn: float,
    signals: list[FailureSignal],
    context: Context,
    policy: RecoveryPolicy,
    bounds: Bounds,
    table: RemedyTable,
    entries: tuple[PlaybookEntry, ...],
    script: list[RecoveryAttemptResult],
) -> None:
    """Runs of one commit come one after the other: what was done in one counts in the next."""
    chosen: Settings = settings(
        tmp_path, policy=policy, entries=entries, bounds={"default": bounds}, taxonomy="heald", diagnosis=(PACK,)
    )
    house = House(conn, chosen, turn_seconds=turn)
    house.service.remedies = RemedyTables(conn, table)
    for signal in signals:
        run_id = f"run-{next(_numbers)}"
        scripted.SCRIPTS[run_id] = script
        conn.rpush(keys.INBOX, encode_report(FailureReport(run_id=run_id, signal=signal, context=context)))
        house.settle()
        entry = RECOVERIES.entry(conn.xrevrange(keys.RECOVERIES, count=1)[0])
        assert isinstance(entry, RecoveryEntry)
        assert entry.run == run_id
        assert entry.data == replayed(house, entry, script)
        check_what_it_says(entry, policy, bounds)
    assert not conn.exists(keys.REMEDIES)
    house.close()
    conn.flushall()


def replayed(house: House, entry: RecoveryEntry, script: list[RecoveryAttemptResult]) -> bytes:
    results = iter(script)
    facts = entry.facts
    log = execute_recovery_loop(
        entry.run,
        entry.log.initial_failure,
        entry.log.policy,
        lambda _action, _failure: next(results, RecoveryAttemptResult(success=False)),
        now=entry.log.evaluated_at,
        diagnose=house.service.taxonomy_of(facts.taxonomy).diagnose,
        advice=facts.advice,
        max_transient_retries=facts.max_transient_retries,
        corrections=facts.corrections,
        grounds=facts.grounds,
    )
    return canonical_bytes(log)


def check_what_it_says(entry: RecoveryEntry, policy: RecoveryPolicy, bounds: Bounds) -> None:
    """No decision goes beyond its bounds, by whatever it was made."""
    taken: dict[str, list[Any]] = {}
    for decision in entry.log.decisions:
        taken.setdefault(str(decision.action), []).append(entry.facts.grounds[decision.attempt])
    retries = [each for each in entry.log.decisions if each.action is RecoveryAction.RETRY]
    assert sum(each.failure_class == "test" for each in retries) <= policy.max_flaky_retries
    assert sum(each.failure_class != "test" for each in retries) <= bounds.max_transient_retries
    for action in ("patch_forward", "rollback"):
        for grounds in taken.get(action, []):
            assert grounds.confidence >= bounds.min_confidence
            assert action in grounds.available
            assert action not in grounds.tried
    assert all(grounds.deploys or grounds.reverts for grounds in taken.get("rollback", []))
