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

from heald_producer.signals import FailureSignal
from heald_worker import keys
from heald_worker.core.instant import Instant
from heald_worker.core.recovery import Announce, Recovery
from heald_worker.packing import MARK_LIFE, Job, JobPacker, blob, pack, unpack
from heald_worker.states import STATE_FORMAT, Run, UnreadableRun, decode_run
from heald_worker.thinking import Thinking


class Held(NamedTuple):
    """A run as loaded: commit against `version` and `commit_id`, which made it. `digest` is its report's.

    The number alone is no fence: a server that forgot its last second counts the same numbers again.
    `spent` is what was done about this job of this commit in whatever run: a field of its record -> how often.
    `verdict` is the failure of a later attempt of the CI, which is what the retry in hand came to.

    Attributes:
        claim: the commit that claimed its repair or notice, while somebody has it in hand.
        until: when the lease of that ends or, where nobody has it, when its notice may be tried again (ms).
    """

    run: Run
    version: int
    commit_id: str
    digest: str
    spent: Mapping[str, int] = {}
    verdict: FailureSignal | None = None
    claim: str = ""
    until: int = 0

    def after(self, move: Move, recovery: Recovery) -> Held:
        """The same run once the move to this state has been committed."""
        run = replace(self.run, recovery=recovery, format=STATE_FORMAT)
        claim = self.claim if move.term is KEPT else move.term.claim
        return self._replace(run=run, version=self.version + 1, commit_id=move.commit_id, verdict=None, claim=claim)


class Term(NamedTuple):
    """For how long a repair or notice is left to whoever has it in hand or, without a claim, is not to be begun."""

    claim: str = ""
    ms: int = 0


NO_TERM, KEPT = Term(), Term(ms=-1)
"""Nothing is in hand or put off; what the commits before have said about that holds on."""


class Finished(NamedTuple):
    """A job that the commit makes superfluous: its hash, the started registry, and its mark there."""

    job_key: str
    registry_key: str = ""
    mark: str = ""


class Budget(NamedTuple):
    """What a step takes from the budget of its commit's job: one of a field that may have `most`."""

    field: str
    most: int


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
    claimed: bool
    only_tried: bool


class Move(NamedTuple):
    """One run's step: from the version that was loaded, and the commit `base` that made it, to the next.

    `opened` is what is fixed of the run, where the ledger does not hold it as a part of its own yet. `joinable` says
    what a report may do to the run from now on, `branch` is the key of the branch that its repair holds.
    `unheard` are the fields of a notice that has failed for good, to be kept until it is sent again.
    `opened` is what is fixed of the run, where the ledger does not hold it as a part of its own yet. With a term that
    is kept, the run is due when that ends, not in `due_ms`.
    """

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
    unheard: Sequence[str] = ()
    opened: bytes = b""
    budget: Budget | None = None
    joinable: str = ""
    takes_verdict: bool = False
    branch: str = ""
    term: Term = NO_TERM


class Resend(NamedTuple):
    """The nudge of a run at a version, to be sent again.

    Attributes:
        closed_at: when the log of a run that takes long to end was fixed (ms), so that it is told of; else 0.
    """

    run_id: str
    version: int
    job: Job
    closed_at: int = 0


class Due(NamedTuple):
    """One entry of the agenda that is due. `version` is -1 for an entry with no run behind it."""

    member: str
    version: int


UNHEARD_MOST = 1000
"""Notices that failed, and are kept to be sent again; the oldest go first."""

_encode_facts = msgspec.json.Encoder().encode


def new_commit_id() -> str:
    """An id for one commit: the same on every repetition of its script, never the same for two commits of a run."""
    return os.urandom(9).hex()


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
    budgets: int


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
        with self.thinking.elsewhere():
            seconds, micros = self.client.time()
        return Instant(int(seconds), int(micros) * 1000)

    def load(self, run_ids: Sequence[str]) -> tuple[Instant, list[Held | UnreadableRun | None]]:
        """The server's time and each run, in one round trip; None for a run that is not open."""
        folded = [keys.fold(run_id) for run_id in run_ids]
        seconds, micros, *cells = unpack(self.scripts["load"](args=[keys.RUN_PREFIX, pack(folded)]))
        now = Instant(int(seconds or 0), int(micros or 0) * 1000)
        rows = zip(*[iter(cells)] * 9, strict=True)
        return now, [_held(run_id, *row) for run_id, row in zip(run_ids, rows, strict=True)]

    def commit(self, moves: Sequence[Move]) -> list[str]:
        """Commit each move behind its fence, in one round trip.

        Returns:
            Per move `committed`, `already_mine`, `moved`, `spent` (its budget is used up), `busy` (another run's repair
            works on the branch), or `error: ...`.
        """
        if not moves:
            return []
        spans = self.spans
        answers = self.scripts["commit"](
            keys=[keys.AGENDA, keys.EVENTS, keys.RECOVERIES, keys.STATS, keys.PARKED, keys.UNCLOSED, keys.UNHEARD],
            args=[
                pack(_packed_batch(moves)),
                spans.events,
                spans.recoveries,
                spans.tombstones,
                spans.regression_window,
                keys.RUN_PREFIX,
                keys.TOMBSTONE_PREFIX,
                spans.flaky,
                MARK_LIFE,
                spans.budgets,
                keys.REMEDIES,
                UNHEARD_MOST,
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

    def resend(self, nudges: Sequence[Resend]) -> list[str]:
        """Send the nudges of runs, each for a version, again: all in one round trip.

        Returns:
            Per nudge `sent`, `queued` when it is not lost at all, `moved`, or `error: ...`.
        """
        if not nudges:
            return []
        jobs = JobPacker()
        items = [(keys.fold(each.run_id), each.version, jobs.pack(each.job), each.closed_at) for each in nudges]
        answers = self.scripts["resend"](keys=[keys.UNCLOSED], args=[pack([items, jobs.shared]), keys.RUN_PREFIX])
        return str(answers.decode()).split("\n")

    def renew(self, claimed: Held, lease_ms: int, client: redis.Redis | None = None) -> bool:
        """Renew a claim's lease. False when the claim is over, or somebody else's."""
        run_id = claimed.run.recovery.run_id
        answer = self.scripts["renew"](
            keys=[keys.run(run_id), keys.AGENDA],
            args=[claimed.commit_id, lease_ms, keys.fold(run_id), "" if claimed.run.recovery.is_fixed else "1"],
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


def encode_signal(signal: FailureSignal) -> bytes:
    """A failure as JSON: how a verdict waits for its run."""
    return _encode_facts(signal)


def _held(
    run_id: str,
    version: bytes | None,
    state: bytes | None,
    digest: bytes | None,
    commit_id: bytes | None,
    opened: bytes | None,
    spent: bytes | None,
    verdict: bytes | None,
    claim: bytes | None,
    until: bytes | None,
) -> Held | UnreadableRun | None:
    if version is None:
        return UnreadableRun(run_id, -1, state.decode()) if state else None
    try:
        run = decode_run(run_id, int(version), state or b"", opened)
        made_by, of_report, claimed_by = ((text or b"").decode() for text in (commit_id, digest, claim))
        known = (made_by, of_report, read_spent(spent), _decode_verdict(verdict) if verdict else None)
        return Held(run, int(version), *known, claimed_by, int(until or 0))
    except UnreadableRun as unreadable:
        return unreadable
    except (ValueError, msgspec.MsgspecError) as error:
        return UnreadableRun(run_id, -1, f"its hash cannot be read: {error}")


def read_spent(record: bytes | None) -> dict[str, int]:
    """What the record of a commit's job counts; what cannot be read counts as nothing."""
    if not record:
        return {}
    try:
        return {field: int(count) for field, count in _decode_spent(record).items() if count.isdigit()}
    except msgspec.MsgspecError:
        return {}


_decode_verdict = msgspec.json.Decoder(FailureSignal).decode
_decode_spent = msgspec.json.Decoder(dict[str, str]).decode


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
        blob(move.opened) if move.opened else False,
        move.budget or False,
        move.joinable,
        move.takes_verdict,
        move.branch,
        False if move.term == NO_TERM else move.term,
        move.unheard or False,
    ]
