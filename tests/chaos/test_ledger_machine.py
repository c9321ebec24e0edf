"""The real scripts and `advance` on a real server, step by step: whatever is lost, doubled or broken off in between,
each step is made once, nothing open is forgotten, and every run has exactly one ending.

HEALD_CHAOS_EXAMPLES=2000 makes a long run of it, with other orders each time, and looks for the shortest that fails.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, Phase
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from chaos.cast import POLICIES, RETRIES_SUCCEED_FROM, Part
from heald_worker import agenda, closing, decisions, execute_recovery_loop, keys, notifying, queues, repairing
from heald_worker.artifacts import ArtifactsUnavailable, write_artifacts
from heald_worker.config import Limits
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Advice, Ending
from heald_worker.intake import new_token, take_in
from heald_worker.ledger import Held, encode_facts
from heald_worker.moves import InHand
from heald_worker.notices import Delivery
from heald_worker.playbook import CommandNotice, CommandRepair, RecordRepair
from heald_worker.queues import Hand
from heald_worker.records import canonical_bytes, decode_log
from heald_worker.repairs import RepairOrder, RepairReport
from heald_worker.service import Service
from heald_worker.states import UnreadableRun
from support.service import settings

EXAMPLES = int(os.environ.get("HEALD_CHAOS_EXAMPLES", "20"))
SEEDED = "HEALD_CHAOS_EXAMPLES" not in os.environ
STORIES = [("tbs", "default"), ("fts", "long"), ("ubs", "tame"), ("rr", "short"), ("tss", "default"), ("tf", "short")]
PARTS = tuple(Part(f"m-{number}-{word}", policy, "acme/shop") for number, (word, policy) in enumerate(STORIES))
HERE = {"repository": "acme/shop", "commit": "9fceb02", "ref": "refs/heads/main"}
"""Of one commit those that begin alike have one cause, and all of them have one branch."""
BREAKABLE = (keys.EVENTS, keys.STATS, keys.RECOVERIES, "rq:queues", *map(queues.queue_key, queues.QUEUES))
REPAIRS = {
    RecoveryAction.RETRY: RecordRepair(succeed_from=RETRIES_SUCCEED_FROM),
    RecoveryAction.PATCH_FORWARD: CommandRepair(("scripted",)),
    RecoveryAction.ROLLBACK: CommandRepair(("scripted",)),
}
ASIDE = "aside"


class Crash(BaseException):
    """The process dies here: nothing after this line happens."""


class Plan:
    """What goes wrong at which of the scripts that one rule runs: a process dies, or a reply is lost."""

    def __init__(self) -> None:
        self.at, self.kind = 0, "nothing"

    def __call__(self, act: Callable[[], Any]) -> Any:
        self.at -= 1
        if self.at != 0 or self.kind == "nothing":
            return act()
        if self.kind == "dies before":
            raise Crash
        answer = act()
        if self.kind == "dies after":
            raise Crash
        return act() if self.kind == "asks again" else answer


PLANS = st.tuples(st.integers(1, 5), st.sampled_from(["nothing", "dies before", "dies after", "asks again"]))
CALM = (0, "nothing")
WORKERS = st.integers(0, 1)
HAND = Hand("a-worker", "e")


class Machine(RuleBasedStateMachine):
    """Two workers, one server, four runs, and everything that can go wrong between them."""

    conn: redis.Redis
    folder: Path

    def __init__(self) -> None:
        super().__init__()
        self.conn.config_set("maxmemory", 0)
        self.conn.flushall()
        self.plan, self.pushed, self.shaken = Plan(), 0, False
        self.workers = [self._worker(0), self._worker(1)]
        self.claims: list[tuple[int, Held]] = []
        self.newer: dict[str, bytes] = {}
        self.cancelled: set[str] = set()
        self.commits: dict[tuple[str, int], bytes] = {}
        self.seen: dict[str, int] = {}
        self.looked, self.looked_at = 0, dict[str, int]()
        self.in_hand: dict[int, list[InHand]] = {}
        self.disk_is_away, self.meanwhile = False, False
        self.dead_claims: set[bytes] = set()

    def _worker(self, number: int) -> Service:
        notices = {Ending.ESCALATED: CommandNotice(("scripted",))}
        chosen = settings(
            self.folder,
            repairs=REPAIRS,
            notices=notices,
            policies=POLICIES,
            limits=Limits(max_lost_repairs=1000, notice_tries=1000),
        )
        service = Service(self.conn, chosen, f"worker-{number}")
        for name, script in list(service.ledger.scripts.items()):
            service.ledger.scripts[name] = self._planned(script)
        return service

    def _planned(self, script: Any) -> Any:
        return lambda *args, **kwargs: self.plan(lambda: script(*args, **kwargs))

    def act(self, worker: int, plan: tuple[int, str], work: Callable[[Service], Any]) -> Any:
        """Let a worker do something by this plan; one that dies is followed by another that knows nothing."""
        self.plan.at, self.plan.kind = plan
        try:
            return work(self.workers[worker])
        except Crash:
            self.workers[worker] = self._worker(worker)
            self.in_hand.pop(worker, None)
        except (redis.ResponseError, UnreadableRun):
            pass  # it says so, and goes on
        finally:
            self.plan.kind = "nothing"
        return None

    @rule(part=st.sampled_from(PARTS), other=st.booleans())
    def push(self, part: Part, other: bool) -> None:
        """A report; the same again is a duplicate, another one is refused."""
        self.conn.rpush(keys.INBOX, part.report(context=HERE, **({"extra": 1} if other else {})))
        self.pushed += 1

    @rule(worker=WORKERS, plan=PLANS)
    def intake(self, worker: int, plan: tuple[int, str]) -> None:
        self.act(worker, plan, lambda service: take_in(service, new_token()))

    @rule(worker=WORKERS, plan=PLANS)
    def intake_in_hand(self, worker: int, plan: tuple[int, str]) -> None:
        """An intake that goes on with its runs itself, while others get at them."""
        taken = self.act(worker, plan, lambda service: take_in(service, new_token(), HAND))
        if taken:
            self.in_hand.setdefault(worker, []).extend(taken.in_hand)

    @rule(worker=WORKERS, plan=PLANS, hand=st.sampled_from([HAND, HAND, None]))
    def go_on(self, worker: int, plan: tuple[int, str], hand: Hand | None) -> None:
        """One more step with what a worker has in hand; without a hand it lets go of it."""
        if runs := self.in_hand.pop(worker, []):
            self.in_hand[worker] = self.act(worker, plan, lambda s: decisions.go_on(s, runs, hand)) or []

    @rule(worker=WORKERS, plan=PLANS, queue=st.sampled_from(queues.QUEUES), doubled=st.booleans())
    def work_off(self, worker: int, plan: tuple[int, str], queue: str, doubled: bool) -> None:
        """Take the next job of a queue, or act on it while it stays there for somebody else as well."""
        key = queues.queue_key(queue)
        job_id = self.conn.lindex(key, 0) if doubled else self.conn.lpop(key)
        data = self.conn.hget(queues.job_key((job_id or b"").decode()), "data")
        if data:
            call = queues.decode_call(data)
            self.nudge(worker, plan, queue, call.run_id, call.version)

    @rule(worker=WORKERS)
    def a_good_moment(self, worker: int) -> None:
        """A report comes in, and each queue is worked off once, with nothing going wrong."""
        self.intake(worker, CALM)
        for queue in queues.QUEUES:
            for _ in range(self.conn.llen(queues.queue_key(queue))):
                self.work_off(worker, CALM, queue, False)

    @rule(
        worker=WORKERS,
        plan=PLANS,
        queue=st.sampled_from(queues.QUEUES),
        part=st.sampled_from(PARTS),
        version=st.integers(1, 8),
    )
    def nudge(self, worker: int, plan: tuple[int, str], queue: str, part: Part | str, version: int) -> None:
        """A nudge for any version, on any queue."""
        run_id = part if isinstance(part, str) else part.run_id
        nudge = decisions.nudged(queue, run_id, version)
        if queue == queues.DECIDE:
            self.act(worker, plan, lambda service: decisions.decide(service, [nudge]))
        elif queue == queues.RECORD:
            self.act(worker, plan, lambda service: decisions.record(service, [nudge]))
        elif queue == queues.ESCALATE:
            self.act(worker, plan, lambda service: notifying.notify(service, nudge))
        elif claimed := self.act(worker, plan, lambda service: repairing.claim(service, run_id, version)):
            self.claims.append((worker, claimed))

    @rule(away=st.booleans())
    def the_disk_comes_or_goes(self, away: bool) -> None:
        self.disk_is_away = away

    @rule(meanwhile=st.booleans())
    def notices_take_long_or_not(self, meanwhile: bool) -> None:
        """While somebody is told, another worker looks at the run, and perhaps writes its artifact."""
        self.meanwhile = meanwhile

    def write(self, *args: Any, **more: Any) -> Any:
        """Artifacts, where there is a disk."""
        if self.disk_is_away:
            raise ArtifactsUnavailable("artifacts", OSError("away"))
        return write_artifacts(*args, **more)

    def deliver(self, run_id: str) -> Delivery:
        """Tell somebody; the plan of the teller waits until that is done."""
        plan, self.plan.kind = (self.plan.at, self.plan.kind), "nothing"
        version = self.conn.hget(keys.run(run_id), "v")
        if self.meanwhile and version:
            for member in self.conn.zrange(keys.AGENDA, 0, -1):
                self._make_due(member)
            other = self._worker(1)
            agenda.tend(other, lambda token: take_in(other, token))
            decisions.decide(other, [decisions.nudged(queues.DECIDE, run_id, int(version))])
        self.plan.at, self.plan.kind = plan
        return Delivery(True, "scripted")

    @precondition(lambda self: self.claims)
    @rule(plan=PLANS, data=st.data(), again=st.booleans())
    def hand_in(self, plan: tuple[int, str], data: st.DataObject, again: bool) -> None:
        """A repair ends, whoever holds its claim by now; perhaps twice."""
        worker, claimed = data.draw(st.sampled_from(self.claims))
        if not again:
            self.claims.remove((worker, claimed))
        self.act(worker, plan, partial(self._carry_out, claimed))

    def _carry_out(self, claimed: Held, service: Service) -> None:
        repairing.carry_out(service, claimed, lambda: False)

    @precondition(lambda self: self.claims)
    @rule(plan=PLANS, data=st.data())
    def renew(self, plan: tuple[int, str], data: st.DataObject) -> None:
        worker, claimed = data.draw(st.sampled_from(self.claims))
        run_id = claimed.run.recovery.run_id
        renewed = self.act(worker, plan, lambda service: service.ledger.renew(claimed, 60_000))
        if renewed and run_id not in self.newer:
            assert self.conn.hget(keys.run(run_id), "c") == claimed.commit_id.encode(), (
                "a claim that is over was renewed"
            )

    @rule(members=st.sets(st.integers(0, 9)))
    def time_passes(self, members: set[int]) -> None:
        """What stands at these places of the agenda is due."""
        for place, member in enumerate(self.conn.zrange(keys.AGENDA, 0, -1)):
            if place in members:
                self._make_due(member)

    @rule(worker=WORKERS, plan=PLANS)
    def janitor(self, worker: int, plan: tuple[int, str]) -> None:
        self.act(worker, plan, lambda service: agenda.tend(service, lambda token: take_in(service, token)))

    @rule(worker=WORKERS, plan=PLANS, part=st.sampled_from(PARTS))
    def cancel(self, worker: int, plan: tuple[int, str], part: Part) -> None:
        self.cancelled.add(part.run_id)
        self.act(worker, plan, lambda service: decisions.cancel(service, part.run_id))

    @rule(part=st.sampled_from(PARTS))
    def a_newer_heald_writes(self, part: Part) -> None:
        """A run that no worker here can read, until `all_are_upgraded`."""
        state = self.conn.hget(keys.run(part.run_id), "s")
        if state and part.run_id not in self.newer:
            self.newer[part.run_id] = state
            newer = json.loads(state) | {"format": 99}
            self.conn.hset(keys.run(part.run_id), "s", json.dumps(newer))

    @rule(worker=WORKERS, plan=PLANS, part=st.sampled_from(PARTS))
    def park(self, worker: int, plan: tuple[int, str], part: Part) -> None:
        """It could not be advanced for the last time."""
        version = self.seen.get(part.run_id, 0)
        self.act(worker, plan, lambda service: service.ledger.park(part.run_id, version, "it went wrong"))
        if self.conn.hexists(keys.PARKED, part.run_id):  # its lease is over, and its repair with it
            self.dead_claims.add(self.conn.hget(keys.run(part.run_id), "c"))

    @rule()
    def all_are_upgraded(self) -> None:
        for run_id, state in self.newer.items():
            self.conn.hset(keys.run(run_id), "s", state)
        self.newer = {}

    @rule(worker=WORKERS, plan=PLANS, part=st.sampled_from(PARTS))
    def resume(self, worker: int, plan: tuple[int, str], part: Part) -> None:
        self.act(worker, plan, lambda service: self._resume(service, part.run_id))

    def _resume(self, service: Service, run_id: str) -> None:
        service.ledger.scripts["unpark"](
            keys=[keys.run(run_id), keys.AGENDA, keys.PARKED, keys.EVENTS],
            args=[keys.fold(run_id), encode_facts({"by": "test"}), 10**9],
        )

    @rule(data=st.data(), key=st.sampled_from(BREAKABLE))
    def a_key_holds_something_else(self, data: st.DataObject, key: str) -> None:
        """While one thing is tried."""
        if self.conn.exists(key):
            self.conn.rename(key, ASIDE)
        self.conn.set(key, "no heald wrote this")
        self._try_something(data)
        self.conn.delete(key)
        if self.conn.exists(ASIDE):
            self.conn.rename(ASIDE, key)

    @rule(data=st.data())
    def memory_is_full(self, data: st.DataObject) -> None:
        """While one thing is tried."""
        self.conn.config_set("maxmemory", 1)
        self._try_something(data)
        self.conn.config_set("maxmemory", 0)

    def _try_something(self, data: st.DataObject) -> None:
        worker, plan, part = data.draw(WORKERS), data.draw(PLANS), data.draw(st.sampled_from(PARTS))
        version, self.shaken = self.seen.get(part.run_id, 1), True
        attempts: list[Callable[[], object]] = [
            lambda: self.intake(worker, plan),
            lambda: self.janitor(worker, plan),
            lambda: self.cancel(worker, plan, part),
            lambda: self.hand_in(plan, data, True) if self.claims else None,
        ]
        attempts += [partial(self.nudge, worker, plan, queue, part, version) for queue in queues.QUEUES]
        data.draw(st.sampled_from(attempts))()

    @rule(queue=st.sampled_from(queues.QUEUES))
    def a_nudge_is_lost(self, queue: str) -> None:
        self.conn.lpop(queues.queue_key(queue))

    def _make_due(self, member: bytes) -> None:
        self.conn.zadd(keys.AGENDA, {member: 1}, xx=True)

    @invariant()
    def the_books_balance(self) -> None:
        """After every step."""
        self.versions_grow_and_each_is_committed_once()
        self.a_run_is_open_or_has_one_log()
        self.everything_open_is_on_the_agenda_or_parked()
        self.a_step_moves_its_run_ahead_on_the_agenda()
        self.each_step_is_told_once()
        self.every_report_is_waiting_accepted_joined_a_duplicate_or_dead()
        self.a_report_that_joined_has_a_run_of_its_cause_and_is_counted_there()
        self.no_two_repairs_change_the_branch()
        assert not [key for key in self._keys("rq:job:") if self.conn.ttl(key) == -1], "a job lives for ever"

    def versions_grow_and_each_is_committed_once(self) -> None:
        for run_id, (version, commit) in self._open().items():
            assert version >= self.seen.get(run_id, 0), f"{run_id} went back to version {version}"
            assert self.commits.setdefault((run_id, version), commit) == commit, f"{run_id}: {version} twice"
            self.seen[run_id] = version

    def a_run_is_open_or_has_one_log(self) -> None:
        logs, open_ = self._logs(), set(self._open())
        assert not open_ & logs.keys(), f"open and ended: {open_ & logs.keys()}"
        stones = {key.decode().removeprefix(keys.TOMBSTONE_PREFIX) for key in self._keys(keys.TOMBSTONE_PREFIX)}
        assert stones == logs.keys() | self._joined().keys()
        assert self.seen.keys() <= open_ | logs.keys(), f"vanished: {self.seen.keys() - open_ - logs.keys()}"

    def everything_open_is_on_the_agenda_or_parked(self) -> None:
        members = {member.decode() for member in self.conn.zrange(keys.AGENDA, 0, -1)}
        parked = {run.decode() for run in self.conn.hkeys(keys.PARKED)}
        batches = {
            key.decode().replace(keys.INTAKE_PREFIX, keys.INTAKE_MEMBER) for key in self._keys(keys.INTAKE_PREFIX)
        }
        open_ = set(self._open())
        assert open_ | batches <= members | parked, f"forgotten: {(open_ | batches) - members - parked}"
        assert members | parked <= open_ | batches, f"of no run: {(members | parked) - open_ - batches}"
        slow = {run.decode() for run in self.conn.zrange(keys.UNCLOSED, 0, -1)}
        assert slow <= open_, f"late, and of no run: {slow - open_}"
        assert not members & parked, f"parked, and on the agenda: {members & parked}"

    def a_step_moves_its_run_ahead_on_the_agenda(self) -> None:
        """A claim by its lease; anything else beyond now. A step whose follow-ups failed is due at once."""
        seconds, micros = self.conn.time()
        now = seconds * 1000 + micros // 1000
        moved = [run_id for run_id, (version, _) in self._open().items() if version > self.looked_at.get(run_id, 0)]
        for run_id in moved:
            score = self.conn.zscore(keys.AGENDA, run_id)
            state = self.conn.hget(keys.run(run_id), "s")
            held = b'"phase":"repairing"' in state and run_id not in self.newer
            if score is not None and score != 1 and not self.shaken:
                assert score > (now + 20_000 if held else self.looked), f"{run_id} stands where it stood"
        self.shaken = False
        self.looked, self.looked_at = now, {run_id: version for run_id, (version, _) in self._open().items()}

    def each_step_is_told_once(self) -> None:
        told: Counter[tuple[str, bytes, bytes]] = Counter()
        for _, fields in self.conn.xrange(keys.EVENTS):
            if fields[b"kind"] not in (b"duplicate", b"joined", b"parked", b"resumed"):
                told[fields[b"run"].decode(), fields[b"version"], fields[b"kind"]] += 1
        assert not [step for step, count in told.items() if count > 1]
        for run_id, version in self.seen.items():
            missing = {str(n).encode() for n in range(1, version + 1)} - {v for run, v, _ in told if run == run_id}
            assert not missing, f"{run_id}: nobody was told of {missing}"

    def every_report_is_waiting_accepted_joined_a_duplicate_or_dead(self) -> None:
        stats = {name.decode(): int(count) for name, count in self.conn.hgetall(keys.STATS).items()}
        waiting = sum(self.conn.llen(key) for key in (keys.INBOX, *self._keys(keys.INTAKE_PREFIX)))
        taken = sum(stats.get(name, 0) for name in ("accepted", "joined", "duplicate", "dead"))
        assert waiting + taken == self.pushed
        assert stats.get("accepted", 0) == len(self._open().keys() | self._logs().keys())
        assert stats.get("joined", 0) == len(self._joined())

    def a_report_that_joined_has_a_run_of_its_cause_and_is_counted_there(self) -> None:
        joined, causes = self._joined(), {part.run_id: part.signal for part in PARTS}
        counts = {run_id: int(self.conn.hget(keys.run(run_id), "j") or 0) for run_id in self._open()}
        counts |= {f[b"run"].decode(): int(f[b"joined"]) for _, f in self.conn.xrange(keys.RECOVERIES)}
        assert not joined.keys() & counts.keys(), "a report has joined, and has a run of its own"
        assert {run_id: count for run_id, count in counts.items() if count} == dict(Counter(joined.values()))
        assert all(causes[name] == causes[run_id] for name, run_id in joined.items())

    def no_two_repairs_change_the_branch(self) -> None:
        """Retries are recorded here: whatever is claimed changes it."""
        at_work = []
        for run_id, (_, commit) in self._open().items():
            state = self.newer.get(run_id) or self.conn.hget(keys.run(run_id), "s")
            if json.loads(state).get("phase") == "repairing" and commit not in self.dead_claims:
                at_work.append(run_id)
        assert len(at_work) <= 1, f"side by side: {at_work}"

    def _keys(self, prefix: str) -> list[bytes]:
        return list(self.conn.scan_iter(f"{prefix}*", count=1000))

    def _logs(self) -> dict[str, bytes]:
        """The log of each ended run; two of one run fail here."""
        entries = self.conn.xrange(keys.RECOVERIES)
        logs = {fields[b"run"].decode(): fields[b"log"] for _, fields in entries}
        assert len(logs) == len(entries), "a run has two logs"
        return logs

    def _joined(self) -> dict[str, str]:
        """Reports that joined a run, and that run."""
        joined = {}
        for key in self._keys(keys.TOMBSTONE_PREFIX):
            kind, _, run_id = self.conn.get(key).decode().split()[1].partition(":")
            if kind == "joined":
                joined[key.decode().removeprefix(keys.TOMBSTONE_PREFIX)] = run_id
        return joined

    def _facts(self) -> dict[str, Any]:
        """What stands beside each log."""
        entries = self.conn.xrange(keys.RECOVERIES)
        return {fields[b"run"].decode(): json.loads(fields[b"facts"]) for _, fields in entries}

    def _open(self) -> dict[str, tuple[int, bytes]]:
        found = {}
        for key in self._keys(keys.RUN_PREFIX):
            version, commit = self.conn.hmget(key, "v", "c")
            found[key.decode().removeprefix(keys.RUN_PREFIX)] = int(version), commit
        return found

    def teardown(self) -> None:
        """Everything is mended, and goes to its end."""
        self.all_are_upgraded()
        self.disk_is_away = False
        for part in PARTS:
            self.resume(0, CALM, part)
        for _ in range(200):
            self.a_good_moment(0)
            for worker, claimed in self.claims:
                self.act(
                    worker, CALM, lambda service, claimed=claimed: repairing.carry_out(service, claimed, lambda: False)
                )
            self.claims = []
            if not self.conn.zcard(keys.AGENDA) and not self.conn.llen(keys.INBOX):
                break
            for member in self.conn.zrange(keys.AGENDA, 0, -1):
                self._make_due(member)
            self.janitor(0, CALM)
        self.everything_has_ended()

    def everything_has_ended(self) -> None:
        """Nothing is open, and every log is the loop's."""
        assert self.conn.zrange(keys.AGENDA, 0, -1) == []
        assert self.conn.hgetall(keys.PARKED) == {}
        self.the_books_balance()
        assert not self._keys(keys.BRANCH_PREFIX), "a branch is not free"
        assert not [key for key in self._keys(keys.INCIDENT_PREFIX) if self.conn.hget(key, "state") == b"open"]
        logs, facts = self._logs(), self._facts()
        for part in PARTS:
            if part.run_id in logs and part.run_id not in self.cancelled:
                advice = msgspec.convert(facts[part.run_id]["advice"], Advice | None)
                assert logs[part.run_id] == expected(part, logs[part.run_id], advice)


def expected(part: Part, data: bytes, advice: Advice | None) -> bytes:
    """What the loop writes for this script."""
    attempts = iter(range(1, 100))

    def scripted(action: RecoveryAction, _failure: object) -> RecoveryAttemptResult:
        return part.result(action, next(attempts))

    now, policy = decode_log(data).evaluated_at, POLICIES[part.policy]
    log = execute_recovery_loop(part.run_id, part.signal, policy, scripted, now=now, advice=advice)
    return canonical_bytes(log)


def test_no_order_of_steps_and_deaths_breaks_the_ledger(
    conn: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scripted(_repair: object, order: RepairOrder, **_more: object) -> RepairReport:
        return RepairReport(Part(order.run_id, "", None).result(order.action, order.attempt), "scripted")

    monkeypatch.setattr(repairing, "perform", scripted)
    running: list[Machine] = []

    def made(machine: Machine) -> None:
        Machine.__init__(machine)
        running[:] = [machine]

    monkeypatch.setattr(notifying, "deliver", lambda _notice, facts, **_more: running[0].deliver(facts["run_id"]))
    monkeypatch.setattr(closing, "write_artifacts", lambda *args, **more: running[0].write(*args, **more))
    machine = type("LedgerMachine", (Machine,), {"conn": conn, "folder": tmp_path, "__init__": made})
    try:
        run_state_machine_as_test(
            machine,
            settings=profile(
                max_examples=EXAMPLES,
                stateful_step_count=40,
                deadline=None,
                database=None,
                derandomize=SEEDED,
                phases=(Phase.generate,) if SEEDED else (Phase.generate, Phase.shrink),
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        conn.config_set("maxmemory", 0)
