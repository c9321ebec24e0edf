"""The wire keeps what it is given, refuses what it must, and never loses the bytes."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heald_producer.probe import Probe, decode_probe, encode_probe
from heald_producer.signals import (
    I32_MAX,
    I32_MIN,
    MAX_CONTEXT_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_REPORT_BYTES,
    MAX_STAGE_BYTES,
    Context,
    FailureReport,
    FailureSignal,
    InvalidReport,
)
from heald_producer.wire import PoisonReport, decode_report, encode_report, fit, make_report

REASONS = {"too_large", "not_utf8", "not_json", "wrong_shape", "unknown_version", "invalid_run_id"}

any_text = st.text(st.characters(exclude_categories=()))  # lone surrogates and control characters too
run_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", fullmatch=True)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
contexts = st.builds(
    Context,
    **dict.fromkeys(("repository", "commit", "ref", "job", "url", "command", "host"), st.none() | any_text),
    parent_run=st.none() | run_ids,
)
reports = st.builds(
    FailureReport,
    run_id=run_ids,
    signal=st.builds(
        FailureSignal,
        stage=names,
        message=any_text,
        exit_code=st.none() | st.integers(I32_MIN, I32_MAX),
        flaky_hint=st.booleans(),
    ),
    policy=st.none() | names.map(lambda name: name[:30]),
    context=contexts,
    reported_at=st.sampled_from([None, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00.123456+02:00"]),
)


def body(**changes: object) -> bytes:
    """An acceptable report's JSON with some fields changed; None drops a field."""
    fields: dict[str, object] = {"v": 1, "run_id": "r", "signal": {"stage": "s", "message": "m"}}
    fields |= changes
    return json.dumps({key: value for key, value in fields.items() if value is not None}).encode()


def decoded(raw: bytes) -> FailureReport | PoisonReport:
    try:
        return decode_report(raw)
    except PoisonReport as error:
        return error


def poison(raw: bytes) -> PoisonReport:
    with pytest.raises(PoisonReport) as caught:
        decode_report(raw)
    assert caught.value.raw == raw
    assert "\n" not in caught.value.detail
    assert len(caught.value.detail) < 400
    return caught.value


@given(reports)
def test_what_was_fitted_comes_back_from_the_wire_as_it_was(report: FailureReport) -> None:
    fitted = fit(report)
    assert decode_report(encode_report(fitted)) == fitted
    assert fit(fitted) == fitted


@given(st.binary(max_size=400))
def test_any_bytes_are_a_report_or_one_poison(raw: bytes) -> None:
    outcome = decoded(raw)
    assert isinstance(outcome, FailureReport) or (outcome.reason in REASONS and outcome.raw == raw)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists), st.data())
def test_any_json_in_any_field_is_a_report_or_one_poison(value: object, data: st.DataObject) -> None:
    field = data.draw(st.sampled_from(["v", "run_id", "signal", "policy", "context", "reported_at", "other"]))
    outcome = decoded(body(**{field: value}))
    assert isinstance(outcome, FailureReport) or outcome.reason in REASONS


@settings(deadline=None)
@given(
    st.sampled_from(["x", "é", "\n", "\x01", "😀", '"', "\ud800", "\0", "漢\r\n"]),
    st.integers(0, 3 * MAX_MESSAGE_BYTES),
)
def test_a_fitted_report_is_within_every_limit(unit: str, times: int) -> None:
    long = unit * times
    context = Context(**dict.fromkeys(("repository", "commit", "ref", "job", "url", "command", "host"), long))
    report = fit(FailureReport("r" * 128, FailureSignal("\x01" * 256, long), policy="\x02" * 128, context=context))
    raw = encode_report(report)
    assert len(raw) <= MAX_REPORT_BYTES
    assert len(msgspec.json.encode(report.signal.message)) - 2 <= MAX_MESSAGE_BYTES
    assert len(msgspec.json.encode(report.context)) <= MAX_CONTEXT_BYTES
    assert decode_report(raw) == report


def test_a_long_message_keeps_its_head_and_more_of_its_tail_and_says_what_is_missing() -> None:
    message = "".join(f"line {number} é\n" for number in range(20_000))
    cut = fit(FailureReport("r", FailureSignal("s", message))).signal.message
    head, rest = cut.split("\n[... ")
    count, tail = rest.split(" bytes cut by heald ...]\n")
    assert message.startswith(head)
    assert message.endswith(tail)
    assert len(tail) > 2 * len(head)
    assert len(head.encode()) + len(tail.encode()) + int(count) == len(message.encode())
    assert MAX_MESSAGE_BYTES - 200 < len(json.dumps(cut, ensure_ascii=False).encode()) <= MAX_MESSAGE_BYTES + 2


def test_undecodable_output_is_replaced_and_not_fatal() -> None:
    message = b"caf\xe9 \x00 \xff".decode("utf-8", "surrogateescape") + "\ud83d\ude00"
    assert fit(FailureReport("r", FailureSignal("s", message))).signal.message == "caf\ufffd \ufffd \ufffd😀"


@pytest.mark.parametrize(
    ("field", "report"),
    [
        ("run_id", FailureReport("../x", FailureSignal("s", "m"))),
        ("run_id", FailureReport("", FailureSignal("s", "m"))),
        ("run_id", FailureReport("a/b", FailureSignal("s", "m"))),
        ("run_id", FailureReport("a\0", FailureSignal("s", "m"))),
        ("run_id", FailureReport("r" * 300, FailureSignal("s", "m"))),
        ("run_id", FailureReport(7, FailureSignal("s", "m"))),  # type: ignore[arg-type]
        ("stage", FailureReport("r", FailureSignal("é" * 129, "m"))),
        ("stage", FailureReport("r", FailureSignal("a\0b", "m"))),
        ("stage", FailureReport("r", FailureSignal("a\udcffb", "m"))),
        ("stage", FailureReport("r", FailureSignal(None, "m"))),  # type: ignore[arg-type]
        ("message", FailureReport("r", FailureSignal("s", b"bytes"))),  # type: ignore[arg-type]
        ("exit_code", FailureReport("r", FailureSignal("s", "m", 2**31))),
        ("exit_code", FailureReport("r", FailureSignal("s", "m", -(2**31) - 1))),
        ("exit_code", FailureReport("r", FailureSignal("s", "m", True))),
        ("flaky_hint", FailureReport("r", FailureSignal("s", "m", 1, "yes"))),  # type: ignore[arg-type]
        ("policy", FailureReport("r", FailureSignal("s", "m"), policy="p" * 129)),
        ("context.url", FailureReport("r", FailureSignal("s", "m"), context=Context(url=7))),  # type: ignore[arg-type]
        (
            "context.parent_run",
            FailureReport("r", FailureSignal("s", "m"), context=Context(parent_run="a b")),
        ),
        ("reported_at", FailureReport("r", FailureSignal("s", "m"), reported_at="yesterday")),
        ("v", FailureReport("r", FailureSignal("s", "m"), v=2)),
    ],
)
def test_a_producers_mistake_names_its_field(field: str, report: FailureReport) -> None:
    with pytest.raises(InvalidReport) as caught:
        fit(report)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")


def test_encoding_refuses_what_fit_would_have_mended() -> None:
    for message in ("x" * MAX_REPORT_BYTES, "x" * (MAX_MESSAGE_BYTES + 1), "\ud800"):
        with pytest.raises(InvalidReport):
            encode_report(FailureReport("r", FailureSignal("s", message)))


def test_the_version_stands_on_the_wire_and_defaults_do_not() -> None:
    raw = encode_report(FailureReport("r", FailureSignal("s", "m")))
    assert json.loads(raw) == {
        "v": 1,
        "run_id": "r",
        "signal": {"stage": "s", "message": "m", "exit_code": None, "flaky_hint": False},
        "context": {},
    }


def test_a_report_is_made_at_the_time_it_is_told() -> None:
    assert make_report("r", "s", "m", now=1_767_225_600.25).reported_at == "2026-01-01T00:00:00.250Z"


def test_unknown_fields_are_ignored_at_every_level() -> None:
    raw = body(more=[{"a": None}], signal={"stage": "s", "message": "m", "x": 1}, context={"ref": "main", "y": {}})
    assert decode_report(raw) == FailureReport("r", FailureSignal("s", "m"), context=Context(ref="main"))


@pytest.mark.parametrize(
    ("reason", "raw"),
    [
        ("too_large", body(other="x" * MAX_REPORT_BYTES)),
        ("too_large", body(signal={"stage": "s" * (MAX_STAGE_BYTES + 1), "message": "m"})),
        ("too_large", body(signal={"stage": "s", "message": "m" * (MAX_MESSAGE_BYTES + 1)})),
        ("too_large", body(signal={"stage": "s", "message": "\x01" * (MAX_MESSAGE_BYTES // 6 + 1)})),
        ("too_large", body(context={"url": "u" * (MAX_CONTEXT_BYTES + 1)})),
        ("too_large", body(policy="p" * 129)),
        ("not_utf8", body().replace(b'"m"', b'"\xff"')),
        ("not_utf8", body(other="m").replace(b'"other": "m"', b'"other": "\xed\xa0\x80"')),
        ("not_json", b""),
        ("not_json", b"{"),
        ("not_json", b"\xef\xbb\xbf" + body()),
        ("not_json", body() + b"x"),
        ("not_json", body(other="m").replace(b'"other": "m"', b'"other": NaN')),
        ("not_json", body().replace(b'"m"', b'"\\ud800"')),
        ("not_json", body().replace(b'"m"', b'"\\udc00\\ud800"')),
        ("not_json", body(v="x").replace(b"}}", b"}")),
        ("wrong_shape", b"null"),
        ("wrong_shape", b"[]"),
        ("wrong_shape", b"1"),
        ("wrong_shape", body(v=None)),
        ("wrong_shape", body(v="1")),
        ("wrong_shape", body(v=1.0)),
        ("wrong_shape", body(v=True)),
        ("wrong_shape", body(signal=None)),
        ("wrong_shape", body(signal={"stage": "s"})),
        ("wrong_shape", body(signal={"message": "m"})),
        ("wrong_shape", body(signal={"stage": "a\0", "message": "m"})),
        ("wrong_shape", body(signal={"stage": "s", "message": "m", "exit_code": 2**31})),
        ("wrong_shape", body(signal={"stage": "s", "message": "m", "exit_code": -(2**31) - 1})),
        ("wrong_shape", body(signal={"stage": "s", "message": "m", "exit_code": 1.5})),
        (
            "wrong_shape",
            body(signal={"stage": "s", "message": "m", "exit_code": 7}).replace(b"7", b"9" * 5000),
        ),
        ("wrong_shape", body(context={"ref": "\0"})),
        ("wrong_shape", body(reported_at="2026-01-31")),
        ("wrong_shape", body(other=1).replace(b" 1}", b" " + b"[" * 60_000 + b"]" * 60_000 + b"}")),
        ("wrong_shape", body(run_id=None)),
        ("wrong_shape", body(run_id=5)),
        ("unknown_version", body(v=2)),
        ("unknown_version", body(v=0)),
        ("unknown_version", body(v=10**30)),
        ("unknown_version", body(v=2, signal="another shape")),
        ("invalid_run_id", body(run_id="")),
        ("invalid_run_id", body(run_id="..")),
        ("invalid_run_id", body(run_id="a/b")),
        ("invalid_run_id", body(run_id="a\0b")),
        ("invalid_run_id", body(run_id="r" * 300)),
        ("invalid_run_id", body(run_id="r\n")),
        ("invalid_run_id", body(context={"parent_run": "../x"})),
    ],
)
def test_what_cannot_be_accepted_says_why_and_keeps_the_bytes(reason: str, raw: bytes) -> None:
    assert poison(raw).reason == reason


def test_a_poison_report_names_its_run_where_that_can_be_read() -> None:
    assert poison(body(v=2, run_id="run-1")).run_id == "run-1"
    assert poison(body(signal=7, run_id="run-1")).run_id == "run-1"
    assert poison(body(policy="p" * 200, run_id="run-1")).run_id == "run-1"
    assert poison(body(run_id="../x")).run_id == ""


def test_a_message_of_exactly_the_limit_is_accepted() -> None:
    for message in ("m" * MAX_MESSAGE_BYTES, "\n" * (MAX_MESSAGE_BYTES // 2), "é" * (MAX_MESSAGE_BYTES // 2)):
        raw = body(signal={"stage": "s", "message": message})
        if len(raw) <= MAX_REPORT_BYTES:
            assert decode_report(raw).signal.message == message
        assert fit(FailureReport("r", FailureSignal("s", message))).signal.message == message


def test_a_probe_is_a_probe_and_nothing_else_is_one() -> None:
    assert encode_probe("abc123") == b'{"v":1,"probe":"abc123"}'
    assert decode_probe(encode_probe("abc123")) == Probe("abc123")
    report = encode_report(FailureReport("run-1", FailureSignal("unit", "red")))
    for other in (
        report,
        report[:-1] + b',"probe":"abc123"}',
        b'{"v":2,"probe":"abc123"}',
        b'{"v":1,"probe":""}',
        b'{"v":1,"probe":"a b"}',
        b'{"v":1,"probe":"' + b"a" * 65 + b'"}',
        b'{"v":1,"probe":7}',
        b'{"v":1,"probe":"abc123"} ' + b" " * 300,
        b"\xff",
        b"[" * 200,
    ):
        assert decode_probe(other) is None
