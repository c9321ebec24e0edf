"""How an open run stands in the ledger: what intake fixed, written once, and how far it has come, written by each step.

A step so writes some hundred bytes, however long the failure's message is.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from heald_producer.signals import Context, FailureSignal
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryDecision
from heald_worker.core.policy import Bounds
from heald_worker.core.recovery import Ending, Phase, Recovery, Tried
from heald_worker.core.regression import RegressionCheck
from heald_worker.core.remedies import Grounds
from heald_worker.core.taxonomy import TaxonomyRef

STATE_FORMAT = 4
"""2 added retries of transient failures and flaky tests that were learnt; 3 parted what is fixed from what changes;
4 added remedies, what each decision looked at, and that somebody may be told before the log is recorded."""
PARTED = 3
"""The first format in two parts; before it, the whole run stood where its progress stands now."""


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
        remedies: the digest of the table that says what can help; empty where the reference's actions are taken.
        bounds: heald's own bounds beside the policy.
        follows: the run about the same cause, or of the attempt of the CI before, that has ended.
        quiet: nobody is told of its end: somebody was told of the run that it follows.
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
    remedies: str = ""
    bounds: Bounds = Bounds()
    follows: str | None = None
    quiet: bool = False
    format: int = 1

    @property
    def is_parted(self) -> bool:
        """Whether the ledger holds it in two parts already."""
        return self.format >= PARTED


class _Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `advance` changes of a recovery, by the names and with the defaults that it has there."""

    format: int = 1
    phase: Phase = Phase.DECIDING
    failure: FailureSignal | None = None
    decisions: tuple[RecoveryDecision, ...] = ()
    retries_used: int = 0
    holder: str | None = None
    losses: int = 0
    ending: Ending | None = None
    evaluated_at: Instant | None = None
    notice_tries: int = 0
    transient_retries_used: int = 0
    corrected: tuple[int, ...] = ()
    grounds: tuple[Grounds, ...] = ()
    tried: tuple[Tried, ...] = ()
    proof: str | None = None
    told: bool = False


CHANGING = _Progress.__struct_fields__[1:]
"""The fields of a recovery that its progress holds."""


class _Format(msgspec.Struct):
    format: int = 1


class UnreadableRun(Exception):
    """The ledger holds a state that this version of heald cannot read."""

    def __init__(self, run_id: str, version: int, problem: str) -> None:
        self.run_id, self.version, self.problem = run_id, version, problem
        super().__init__(f"run {run_id}: {problem}")


_encode = msgspec.json.Encoder().encode
_decode_run = msgspec.json.Decoder(Run).decode
_decode_progress = msgspec.json.Decoder(_Progress).decode
_decode_format = msgspec.json.Decoder(_Format).decode


def encode_opened(run: Run) -> bytes:
    """What is fixed of a run: it as intake has opened it, or as it was when it was parted."""
    return _encode(run)


def encode_progress(recovery: Recovery) -> bytes:
    """How far a recovery has come, in this heald's format."""
    return _encode(
        _Progress(
            STATE_FORMAT,
            recovery.phase,
            recovery.failure,
            recovery.decisions,
            recovery.retries_used,
            recovery.holder,
            recovery.losses,
            recovery.ending,
            recovery.evaluated_at,
            recovery.notice_tries,
            recovery.transient_retries_used,
            recovery.corrected,
            recovery.grounds,
            recovery.tried,
            recovery.proof,
            recovery.told,
        )
    )


def decode_run(run_id: str, version: int, state: bytes, opened: bytes | None) -> Run:
    """Read a run from its hash.

    Args:
        state: its progress; in formats before 3 the whole run.
        opened: what is fixed of it; None in formats before 3.

    Raises:
        UnreadableRun: a newer format, or not a state at all.
    """
    try:
        run = _parted(opened, state) if opened else _decode_run(state)
    except msgspec.MsgspecError as error:
        raise UnreadableRun(run_id, version, _newer(state) or f"its state cannot be read: {error}") from error
    if newer := run.format > STATE_FORMAT and _newer(state):
        raise UnreadableRun(run_id, version, newer)
    return run


def _parted(opened: bytes, state: bytes) -> Run:
    run, progress = _decode_run(opened), _decode_progress(state)
    changed = {name: getattr(progress, name) for name in CHANGING}
    return replace(run, recovery=replace(run.recovery, **changed), format=progress.format)


def _newer(state: bytes) -> str:
    """What is wrong with a state of a newer format, however different it is; empty for any other."""
    try:
        found = _decode_format(state).format
    except msgspec.MsgspecError:
        return ""
    return f"its state has format {found}, this heald reads up to {STATE_FORMAT}" if found > STATE_FORMAT else ""
