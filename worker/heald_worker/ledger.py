"""The truth about every open run, committed only behind a version fence.

A run is a hash; its version grows by one with each commit. Whoever wants to move a run loads it, computes the next
state with `core.recovery.advance`, and commits "if the version is still the one I saw". The scripts in `lua/` do that
atomically and in batches; a commit repeated because its reply was lost is recognised by its id and changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

import msgspec
import redis
from msgspec.structs import replace
from redis.commands.core import Script

from heald_producer.signals import Context
from heald_worker import keys
from heald_worker.core.instant import Instant
from heald_worker.core.recovery import Announce, Recovery
from heald_worker.core.regression import RegressionCheck
from heald_worker.core.taxonomy import TaxonomyRef
from heald_worker.packing import Job, JobPacker, blob, pack, unpack
from heald_worker.thinking import Thinking

STATE_FORMAT = 2
"""2 added retries of transient failures and flaky tests that were learnt: a heald that reads 1 would forget them."""


class Run(msgspec.Struct, frozen=True, omit_defaults=True):
    """One open run: its recovery, and the service's facts about it, frozen at intake.

    Attributes:
        recovery: the state that `core.recovery.advance` moves.
        taxonomy: the rules that judge it.
        policy_name: the policy's name; the policy itself stands in the recovery.
        policy_reason: why this policy.
        requested_policy: what the report asked for.
        regression: what history said when the run was accepted.
        reported_at: the runner's clock, as it sent it.
        accepted_at: Redis's clock, microseconds since the epoch.
        generation: 0 for a run that no repair caused, one more than its parent's otherwise.
        dry_run: decide and record, repair nothing.
        flaky: the run that showed this failure to be flaky, which is why its hint is set; None when the report set it.
        format: version of the encoding that it was read from, 1 where it does not say. What an older one lacks has its
            default; a newer one is parked, not guessed at.
    """

    recovery: Recovery
    taxonomy: TaxonomyRef
    policy_name: str
    accepted_at: int
    policy_reason: str = ""
    requested_policy: str | None = None
    context: Context = Context()
    regression: RegressionCheck | None = None
    reported_at: str | None = None
    generation: int = 0
    dry_run: bool = False
    flaky: str | None = None
    format: int = 1


class _Format(msgspec.Struct):
    format: int = 1


class Held(NamedTuple):
    """A run as loaded: commit against `version` and `commit_id`, which made it. `digest` is its report's.

    The number alone is no fence: a server that forgot its last second counts the same numbers again.
    """

    run: Run
    version: int
    commit_id: str
    digest: str

    def after(self, move: Move, recovery: Recovery) -> Held:
        """The same run once the move to this state has been committed."""
        run = replace(self.run, recovery=recovery)
        return self._replace(run=run, version=self.version + 1, commit_id=move.commit_id)


class UnreadableRun(Exception):
    """The ledger holds a state that this version of heald cannot read."""

    def __init__(self, run_id: str, version: int, problem: str) -> None:
        self.run_id, self.version, self.problem = run_id, version, problem
        super().__init__(f"run {run_id}: {problem}")


class Finished(NamedTuple):
    """A job that the commit makes superfluous: its hash, the started registry, and its mark there."""

    job_key: str
    registry_key: str = ""
    mark: str = ""


class Completion(NamedTuple):
    """What the commit that ends a run writes beside the ledger."""

    fields: Sequence[str | msgspec.Raw]
    digest: str
    generation: int
    prior_key: str
    evaluated_at: int
    outcome: str
    ending: str
    action: str
    flaky_key: str
    flaky: str


class Move(NamedTuple):
    """One run's step: from the version that was loaded, and the commit `base` that made it, to the next."""

    run_id: str
    version: int
    base: str
    commit_id: str
    state: bytes
    due_ms: int
    announces: Sequence[Announce]
    job: Job | None = None
    finished: Finished | None = None
    completion: Completion | None = None


class Due(NamedTuple):
    """One entry of the agenda that is due. `version` is -1 for an entry with no run behind it."""

    member: str
    version: int


_encode_state = msgspec.json.Encoder().encode
_decode_run = msgspec.json.Decoder(Run).decode
_decode_format = msgspec.json.Decoder(_Format).decode
_encode_facts = msgspec.json.Encoder().encode


def new_commit_id() -> str:
    """An id for one commit: the same on every repetition of its script, never the same for two commits."""
    return os.urandom(9).hex()


def encode_run(run: Run) -> bytes:
    """The state field of a run's hash, in this heald's format."""
    return _encode_state(run if run.format == STATE_FORMAT else replace(run, format=STATE_FORMAT))


def decode_run(run_id: str, version: int, state: bytes) -> Run:
    """Read a state field.

    Raises:
        UnreadableRun: a newer format, or not a state at all.
    """
    try:
        run = _decode_run(state)
    except msgspec.MsgspecError as error:
        raise UnreadableRun(run_id, version, _newer(state) or f"its state cannot be read: {error}") from error
    if newer := run.format > STATE_FORMAT and _newer(state):
        raise UnreadableRun(run_id, version, newer)
    return run


def _newer(state: bytes) -> str:
    """What is wrong with a state of a newer format, however different it is; empty for any other."""
    try:
        found = _decode_format(state).format
    except msgspec.MsgspecError:
        return ""
    return f"its state has format {found}, this heald reads up to {STATE_FORMAT}" if found > STATE_FORMAT else ""


def load_scripts(client: redis.Redis) -> dict[str, Script]:
    """Every file of `lua/` as a script of this client, by its name without the ending."""
    folder = resources.files("heald_worker") / "lua"
    return {
        entry.name.removesuffix(".lua"): client.register_script(entry.read_text("utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".lua")
    }


class Spans(NamedTuple):
    """How long things are kept, in milliseconds."""

    events: int
    recoveries: int
    tombstones: int
    regression_window: int
    flaky: int


class Ledger:
    """The open runs of one server.

    Attributes:
        scripts: the operations of `lua/` by name; a thread that thinks lets another one think while they run.
    """

    def __init__(self, client: redis.Redis, spans: Spans) -> None:
        self.client, self.spans = client, spans
        self.thinking = Thinking()
        self.scripts = {name: self._waiting_for(script) for name, script in load_scripts(client).items()}

    def _waiting_for(self, script: Script) -> Callable[..., Any]:
        def run(**call: Any) -> Any:
            with self.thinking.elsewhere():
                return script(**call)

        return run

    def now(self) -> Instant:
        """The server's clock, the only one that decides anything."""
        seconds, micros = self.client.time()
        return Instant(int(seconds), int(micros) * 1000)

    def load(self, run_ids: Sequence[str]) -> tuple[Instant, list[Held | UnreadableRun | None]]:
        """The server's time and each run, in one round trip; None for a run that is not open."""
        folded = [keys.fold(run_id) for run_id in run_ids]
        seconds, micros, *cells = unpack(self.scripts["load"](args=[keys.RUN_PREFIX, pack(folded)]))
        now = Instant(int(seconds or 0), int(micros or 0) * 1000)
        rows = zip(*[iter(cells)] * 4, strict=True)
        return now, [_held(run_id, *row) for run_id, row in zip(run_ids, rows, strict=True)]

    def commit(self, moves: Sequence[Move]) -> list[str]:
        """Commit each move behind its fence, in one round trip.

        Returns:
            Per move `committed`, `already_mine`, `moved`, or `error: ...`.
        """
        if not moves:
            return []
        spans = self.spans
        answers = self.scripts["commit"](
            keys=[keys.AGENDA, keys.EVENTS, keys.RECOVERIES, keys.STATS, keys.PARKED],
            args=[
                pack(_packed_batch(moves)),
                spans.events,
                spans.recoveries,
                spans.tombstones,
                spans.regression_window,
                keys.RUN_PREFIX,
                keys.TOMBSTONE_PREFIX,
                spans.flaky,
            ],
        )
        return str(answers.decode()).split("\n")

    def due(self, most: int, first_ms: int, longest_ms: int) -> tuple[int, list[Due]]:
        """Milliseconds until the next entry is due (-1: the agenda is empty), and what is due now."""
        wait, entries = self.scripts["due"](
            keys=[keys.AGENDA],
            args=[most, first_ms, longest_ms, keys.RUN_PREFIX, keys.TOMBSTONE_PREFIX, keys.INTAKE_PREFIX],
        )
        return int(wait), [Due(member.decode(), int(version)) for member, version in entries]

    def resend(self, nudges: Sequence[tuple[str, int, Job]]) -> list[str]:
        """Send the nudges of runs, each for a version, again: all in one round trip.

        Returns:
            Per nudge `sent`, `queued` when it is not lost at all, `moved`, or `error: ...`.
        """
        if not nudges:
            return []
        jobs = JobPacker()
        items = [(keys.fold(run_id), version, jobs.pack(job)) for run_id, version, job in nudges]
        answers = self.scripts["resend"](args=[pack([items, jobs.shared]), keys.RUN_PREFIX])
        return str(answers.decode()).split("\n")

    def renew(self, claimed: Held, lease_ms: int, client: redis.Redis | None = None) -> bool:
        """Renew a claim's lease. False when the claim is over, or somebody else's."""
        run_id = claimed.run.recovery.run_id
        answer = self.scripts["renew"](
            keys=[keys.run(run_id), keys.AGENDA],
            args=[claimed.commit_id, lease_ms, keys.fold(run_id)],
            client=client,
        )
        return bool(answer)

    def park(self, run_id: str, version: int, reason: str, tries: int = 1) -> bool:
        """Note that a run could not be advanced; at the last of `tries`, take it off the agenda and say why."""
        answer = self.scripts["park"](
            keys=[keys.run(run_id), keys.AGENDA, keys.PARKED, keys.EVENTS],
            args=[version, keys.fold(run_id), reason, encode_facts({"reason": reason}), tries],
        )
        return bool(answer)


def encode_facts(facts: Mapping[str, object]) -> bytes:
    """An event's facts as JSON."""
    return _encode_facts(facts)


def _held(
    run_id: str, version: bytes | None, state: bytes | None, digest: bytes | None, commit_id: bytes | None
) -> Held | UnreadableRun | None:
    if version is None:
        return UnreadableRun(run_id, -1, state.decode()) if state else None
    try:
        run = decode_run(run_id, int(version), state or b"")
        return Held(run, int(version), (commit_id or b"").decode(), (digest or b"").decode())
    except UnreadableRun as unreadable:
        return unreadable
    except ValueError as error:
        return UnreadableRun(run_id, -1, f"its hash cannot be read: {error}")


def _packed_batch(moves: Sequence[Move]) -> list[object]:
    jobs = JobPacker()
    packed = [_packed(move, jobs) for move in moves]
    return [packed, jobs.shared]


def _packed(move: Move, jobs: JobPacker) -> list[object]:
    return [
        keys.fold(move.run_id),
        move.version,
        move.base,
        move.commit_id,
        blob(move.state),
        move.due_ms,
        [(announce.kind, blob(encode_facts(announce.facts))) for announce in move.announces],
        jobs.pack(move.job) if move.job else False,
        move.finished or False,
        move.completion or False,
    ]
