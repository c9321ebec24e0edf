"""Canonical bytes are serde_json's, reading them is as strict."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from heald_producer.signals import FailureSignal
from heald_worker.core.instant import Instant, format_instant
from heald_worker.core.log import RecoveryDecision, RecoveryLog, RecoveryOutcome
from heald_worker.core.policy import RecoveryAction, RecoveryPolicy
from heald_worker.core.taxonomy import FailureClass
from heald_worker.records import MalformedLog, UnwritableLog, canonical_bytes, decode_log, digest_of
from heald_worker.strict_json import MAX_DEPTH
from support.strategies import logs

LOG = RecoveryLog(
    run_id="run-1",
    policy=RecoveryPolicy(),
    initial_failure=FailureSignal("test", "t red", 1, True),
    decisions=(RecoveryDecision(1, FailureClass.TEST, RecoveryAction.RETRY, "because"),),
    outcome=RecoveryOutcome.RECOVERED,
    attempts_used=1,
    final_failure=None,
    evaluated_at=Instant(1_770_000_000, 500_000_000),
)
DATA = canonical_bytes(LOG)


def with_field(text: str) -> bytes:
    """The log with one more field in front."""
    return b"{" + text.encode("utf-8", "surrogateescape") + b"," + DATA[1:]


@given(logs)
def test_the_bytes_are_those_of_json_dumps_with_indent_2(log: RecoveryLog) -> None:
    plain = msgspec.to_builtins(log) | {"evaluated_at": format_instant(log.evaluated_at)}
    assert canonical_bytes(log) == json.dumps(plain, indent=2, ensure_ascii=False).encode()


@given(logs)
def test_every_log_is_read_back(log: RecoveryLog) -> None:
    assert decode_log(canonical_bytes(log)) == log


@given(logs, st.booleans(), st.randoms(use_true_random=False))
def test_layout_escapes_and_key_order_do_not_matter(log: RecoveryLog, ascii_only: bool, chance: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, list):
            return [shuffled(item) for item in value]
        if not isinstance(value, dict):
            return value
        keys = list(value)
        chance.shuffle(keys)
        return {key: shuffled(value[key]) for key in keys}

    text = json.dumps(shuffled(json.loads(canonical_bytes(log))), ensure_ascii=ascii_only)
    assert decode_log(text.encode()) == log


def test_the_digest_is_lower_case_hex_sha256() -> None:
    assert digest_of(b"heald") == hashlib.sha256(b"heald").hexdigest()


def test_a_lone_surrogate_is_refused_before_anything_is_written() -> None:
    bad = replace(LOG, initial_failure=FailureSignal("test", "cut \ud83d here"))
    with pytest.raises(UnwritableLog, match=r"run 'run-1' holds the lone surrogate '\\ud83d'"):
        canonical_bytes(bad)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_log_or_one_clear_error(data: bytes) -> None:
    with pytest.raises(MalformedLog):
        decode_log(data)


@given(st.integers(0, len(DATA) - 1), st.binary(max_size=3))
def test_a_damaged_log_is_a_log_or_one_clear_error(place: int, patch: bytes) -> None:
    try:
        log = decode_log(DATA[:place] + patch + DATA[place + 1 :])
    except MalformedLog:
        return
    assert isinstance(log, RecoveryLog)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"attempt": 1', '"attempt": -1', "decisions[0].attempt: is not a whole number from 0 to 4294967295"),
        ('"attempt": 1', '"attempt": 1.0', "decisions[0].attempt: is not a whole number"),
        ('"attempt": 1', '"attempt": -0', "decisions[0].attempt: is not a whole number"),
        ('"attempt": 1', '"attempt": true', "decisions[0].attempt: is not a whole number"),
        ('"exit_code": 1', '"exit_code": 2147483648', "initial_failure.exit_code: is not a whole number"),
        ('"flaky_hint": true', '"flaky_hint": 1', "initial_failure.flaky_hint: is neither true nor false"),
        ('"retry"', '"Retry"', "decisions[0].action: is not one of retry, patch_forward, rollback, escalate"),
        ('"t red"', "7", "initial_failure.message: is not a text"),
        ('"t red"', '"\\ud83d"', "initial_failure.message: holds invalid UTF-8 or a lone surrogate"),
        ('"t red"', '"\udcff"', "initial_failure.message: holds invalid UTF-8 or a lone surrogate"),
        ('"t red"', '"\\ud83d\udc80"', "initial_failure.message: holds invalid UTF-8 or a lone surrogate"),
        ('"outcome"', '"out\udcffcome"', "has a key that holds invalid UTF-8 or a lone surrogate"),
        ('"outcome"', '"Outcome"', "outcome: is missing"),
        ('"outcome"', '"run\\u005fid"', "run_id: stands there twice"),
        ('"2026-', '"20260-', "evaluated_at: is not a timestamp with date, time and offset"),
        ('"decisions": [', '"decisions": 1, "x": [', "decisions: is not an array"),
        ('"policy": {', '"policy": [], "x": {', "policy: is not an object"),
        ('"run-1"', "NaN", "is not JSON: NaN"),
        ('"run-1"', '"run-\n1"', "is not JSON: Invalid control character at line 2, column"),
        ('"run-1",', '"run-1",,', "is not JSON: "),
    ],
)
def test_a_complaint_names_the_field_and_what_is_wrong(old: str, new: str, complaint: str) -> None:
    assert old in DATA.decode()
    with pytest.raises(MalformedLog) as caught:
        decode_log(DATA.decode().replace(old, new, 1).encode("utf-8", "surrogateescape"))
    assert str(caught.value).startswith(complaint)


@pytest.mark.parametrize("data", [b"\xef\xbb\xbf" + DATA, DATA.decode().encode("utf-16"), DATA + b"{}", DATA + b"\0"])
def test_a_byte_order_mark_another_encoding_and_a_second_value_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedLog):
        decode_log(data)


@pytest.mark.parametrize(
    "field",
    [
        '"x": 1e999',
        '"x": ' + "9" * 5000,
        '"x": -0',
        '"x": "\\ud83d"',
        '"x": "\udcff"',
        '"x": {"a": 1, "a": 2, "\udcff": 3}',
        '"x": 1, "x": 2',
        '"x": ' + "[" * (MAX_DEPTH - 1) + "]" * (MAX_DEPTH - 1),
        '"x": "' + "[" * 1000 + '"',
    ],
)
def test_an_unknown_field_may_hold_anything_that_is_json(field: str) -> None:
    assert decode_log(with_field(field)) == LOG


@pytest.mark.parametrize("field", ['"x": NaN', '"x": Infinity', '"x": 01', '"x": "\\x"', '"x": "\t"', '"x": [1,]'])
def test_an_unknown_field_that_is_not_json_is_refused(field: str) -> None:
    with pytest.raises(MalformedLog):
        decode_log(with_field(field))


@pytest.mark.parametrize("depth", [MAX_DEPTH, 100_000])
def test_absurd_nesting_is_refused_without_exhausting_the_stack(depth: int) -> None:
    with pytest.raises(MalformedLog, match="more than 200 arrays and objects inside each other"):
        decode_log(with_field('"x": ' + '[{"a":' * (depth // 2) + "1" + "}]" * (depth // 2)))


@pytest.mark.parametrize("name", ["exit_code", "final_failure"])
def test_only_what_may_be_null_may_be_missing(name: str) -> None:
    facts = json.loads(DATA)
    facts.pop(name, None)
    facts["initial_failure"].pop(name, None)
    log = decode_log(json.dumps(facts).encode())
    assert (log.initial_failure.exit_code if name == "exit_code" else log.final_failure) is None
