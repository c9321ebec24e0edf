"""The one encoding of a recovery log, its digest, and the strict way back.

The bytes are those of serde_json's pretty printer for the reference's `RecoveryLog`: two-space indent, fields in
declaration order, non-ASCII text as it is, no newline at the end. The digest is their lower-case hex SHA-256.

Reading is as strict as the reference's: see `strict_json.py`.
"""

from __future__ import annotations

import hashlib
from json.encoder import encode_basestring as quote

from heald_producer.signals import I32_MAX, I32_MIN, FailureSignal
from heald_worker.core.instant import Instant, format_instant, parse_instant
from heald_worker.core.log import RecoveryDecision, RecoveryLog, RecoveryOutcome
from heald_worker.core.policy import U32_MAX, RecoveryAction, RecoveryPolicy
from heald_worker.core.taxonomy import FailureClass
from heald_worker.strict_json import (
    MalformedJson,
    a_switch,
    a_text,
    an_integer,
    an_object,
    decode,
    list_of,
    one_of,
    optional,
)


class UnwritableLog(ValueError):
    """A log that has no valid encoding."""

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem, self.hint = problem, hint
        super().__init__(problem + (f"; {hint}" if hint else ""))


class MalformedLog(MalformedJson):
    """Bytes that are no recovery log: what is wrong, and in which field (as `decisions[2].attempt`)."""


def digest_of(data: bytes) -> str:
    """Lower-case hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def canonical_bytes(log: RecoveryLog) -> bytes:
    """The only valid encoding of a log: what `recovery.json` holds.

    The layout is spelled out because `json.dumps` with an indent leaves C and takes ten times as long.

    Raises:
        UnwritableLog: a text holds a lone surrogate, which UTF-8 cannot carry.
    """
    decisions = ",\n".join([_decision(decision) for decision in log.decisions])
    final = log.final_failure
    text = (
        f'{{\n  "run_id": {quote(log.run_id)},\n'
        f'  "policy": {_policy(log.policy)},\n'
        f'  "initial_failure": {_signal(log.initial_failure)},\n'
        f'  "decisions": [{f"{_NEWLINE}{decisions}{_NEWLINE}  " if decisions else ""}],\n'
        f'  "outcome": "{log.outcome.value}",\n'
        f'  "attempts_used": {log.attempts_used},\n'
        f'  "final_failure": {"null" if final is None else _signal(final)},\n'
        f'  "evaluated_at": "{format_instant(log.evaluated_at)}"\n}}'
    )
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise UnwritableLog(
            f"the log of run {log.run_id!a} holds the lone surrogate {text[error.start]!a}",
            "decode what programs print with errors='replace'",
        ) from None


_BOOL = ("false", "true")
_NEWLINE = "\n"


def _policy(policy: RecoveryPolicy) -> str:
    return (
        f'{{\n    "max_attempts": {policy.max_attempts},\n'
        f'    "max_flaky_retries": {policy.max_flaky_retries},\n'
        f'    "allow_patch_forward": {_BOOL[policy.allow_patch_forward]},\n'
        f'    "allow_rollback": {_BOOL[policy.allow_rollback]}\n  }}'
    )


def _signal(signal: FailureSignal) -> str:
    exit_code = "null" if signal.exit_code is None else signal.exit_code
    return (
        f'{{\n    "stage": {quote(signal.stage)},\n'
        f'    "message": {quote(signal.message)},\n'
        f'    "exit_code": {exit_code},\n'
        f'    "flaky_hint": {_BOOL[signal.flaky_hint]}\n  }}'
    )


def _decision(decision: RecoveryDecision) -> str:
    return (
        f'    {{\n      "attempt": {decision.attempt},\n'
        f'      "failure_class": "{decision.failure_class.value}",\n'
        f'      "action": "{decision.action.value}",\n'
        f'      "rationale": {quote(decision.rationale)}\n    }}'
    )


def decode_log(data: bytes) -> RecoveryLog:
    """Read the bytes of a log, canonical or not, as strictly as the reference does.

    Raises:
        MalformedLog: they are not JSON, or not a log.
    """
    try:
        log: RecoveryLog = decode(data, _LOG)
    except MalformedJson as error:
        raise MalformedLog(error.problem, error.field) from None
    return log


def _instant(value: object) -> Instant:
    try:
        return parse_instant(a_text(value))
    except MalformedJson:
        raise
    except ValueError as error:
        raise MalformedJson(str(error)) from None


_U32 = an_integer(0, U32_MAX)
_SIGNAL = an_object(
    FailureSignal,
    may_lack=("exit_code",),
    stage=a_text,
    message=a_text,
    exit_code=optional(an_integer(I32_MIN, I32_MAX)),
    flaky_hint=a_switch,
)
_LOG = an_object(
    RecoveryLog,
    may_lack=("final_failure",),
    run_id=a_text,
    policy=an_object(
        RecoveryPolicy,
        max_attempts=_U32,
        max_flaky_retries=_U32,
        allow_patch_forward=a_switch,
        allow_rollback=a_switch,
    ),
    initial_failure=_SIGNAL,
    decisions=list_of(
        an_object(
            RecoveryDecision,
            attempt=_U32,
            failure_class=one_of(FailureClass),
            action=one_of(RecoveryAction),
            rationale=a_text,
        )
    ),
    outcome=one_of(RecoveryOutcome),
    attempts_used=_U32,
    final_failure=optional(_SIGNAL),
    evaluated_at=_instant,
)
