"""One report as bytes: JSON with a version tag, within the limits of `signals.py` on both sides.

`fit` is the producer's side: it refuses mistakes and cuts what is merely long. `decode_report` is intake's
side: it trusts nobody, and everything that it cannot accept becomes one `PoisonReport` that keeps the bytes.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NoReturn

import msgspec
from msgspec.structs import replace

from heald_producer.cutting import cut_end, cut_middle, encoded_size, is_unicode, readable
from heald_producer.signals import (
    I32_MAX,
    I32_MIN,
    MAX_CONTEXT_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_POLICY_BYTES,
    MAX_REPORT_BYTES,
    MAX_STAGE_BYTES,
    WIRE_VERSION,
    Context,
    FailureReport,
    FailureSignal,
    InvalidReport,
    check_run_id,
)

_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)

CONTEXT_ROOM = {
    "repository": 512,
    "commit": 128,
    "ref": 512,
    "job": 512,
    "url": 2048,
    "command": 2048,
    "host": 256,
    "provider": 64,
    "workflow": 256,
    "ci_run": 128,
    "ci_attempt": 64,
    "pull_request": 64,
    "head_ref": 256,
    "head_commit": 128,
    "default_branch": 256,
}
"""Encoded bytes to which `fit` cuts each string of a context; together they are below `MAX_CONTEXT_BYTES`."""


class _Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """`FailureReport` as it stands on the wire: the version comes first and must be there."""

    v: int
    run_id: str
    signal: FailureSignal
    policy: str | None = None
    context: Context = Context()
    reported_at: str | None = None


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(_Envelope).decode


class PoisonReport(Exception):
    """Bytes that are no acceptable report.

    Attributes:
        reason: one stable word: `too_large`, `not_utf8`, `not_json`, `wrong_shape`, `unknown_version` or
            `invalid_run_id`.
        detail: one line that says what is wrong, and where.
        raw: the bytes.
        run_id: the run id they name, where it can be read and is valid; else empty.
    """

    def __init__(self, reason: str, detail: str, raw: bytes, run_id: str = "") -> None:
        self.reason, self.detail, self.raw, self.run_id = reason, detail, raw, run_id
        super().__init__(f"{reason}: {detail}")


class _TooLarge(InvalidReport):
    """A field beyond its limit, which a dead letter tells apart from other mistakes."""


def encode_report(report: FailureReport) -> bytes:
    """The report's bytes on the wire. Take a report that came from `fit` or `make_report`.

    Raises:
        InvalidReport: the report holds what `fit` refuses or would have cut.
    """
    envelope = _Envelope(report.v, report.run_id, report.signal, report.policy, report.context, report.reported_at)
    try:
        raw = _encode(envelope)
    except UnicodeEncodeError:
        raise InvalidReport("report", "a string is not valid Unicode", "pass the report through fit()") from None
    _check_limits(report, len(raw))
    return raw


def decode_report(raw: bytes) -> FailureReport:
    """The report that these bytes hold. Unknown fields are ignored.

    Raises:
        PoisonReport: for everything that cannot be accepted, and nothing else.
    """
    if len(raw) > MAX_REPORT_BYTES:
        raise PoisonReport("too_large", f"{len(raw)} bytes; a report has at most {MAX_REPORT_BYTES}", raw)
    try:
        str(raw, "utf-8")
        envelope = _decode(raw)
    except UnicodeDecodeError as error:
        raise PoisonReport("not_utf8", f"byte {error.start} is not valid UTF-8", raw) from None
    except (msgspec.DecodeError, RecursionError) as error:
        _refuse(raw, error)
    if envelope.v != WIRE_VERSION:
        raise _unknown_version(envelope.v, raw, envelope.run_id)
    report = FailureReport(envelope.run_id, envelope.signal, envelope.policy, envelope.context, envelope.reported_at)
    try:
        _check_limits(report, len(raw))
    except InvalidReport as error:
        raise PoisonReport(_reason(error), str(error), raw, _readable_run_id(envelope.run_id)) from None
    return report


def _refuse(raw: bytes, error: Exception) -> NoReturn:
    """Tell broken JSON, another version and a wrong shape apart, at leisure."""
    try:
        body = msgspec.json.decode(raw)
    except msgspec.ValidationError:
        body = None
    except msgspec.DecodeError as broken:
        raise PoisonReport("not_json", str(broken), raw) from None
    except RecursionError:
        raise PoisonReport("wrong_shape", "nested too deep", raw) from None
    fields = body if isinstance(body, dict) else {}
    version, run_id = fields.get("v"), _readable_run_id(fields.get("run_id"))
    if type(version) is int and version != WIRE_VERSION:
        raise _unknown_version(version, raw, run_id)
    detail = "nested too deep" if isinstance(error, RecursionError) else str(error)
    raise PoisonReport("wrong_shape", detail, raw, run_id) from None


def _unknown_version(version: int, raw: bytes, run_id: str) -> PoisonReport:
    detail = f"wire version {str(version)[:20]}; this heald reads version {WIRE_VERSION}"
    return PoisonReport("unknown_version", detail, raw, _readable_run_id(run_id))


def _reason(error: InvalidReport) -> str:
    if isinstance(error, _TooLarge):
        return "too_large"
    return "invalid_run_id" if error.field in ("run_id", "context.parent_run") else "wrong_shape"


def _readable_run_id(run_id: object) -> str:
    try:
        return check_run_id(run_id)  # type: ignore[arg-type]  # it answers for anything
    except InvalidReport:
        return ""


def _check_limits(report: FailureReport, size: int) -> None:
    """What must hold on both sides; `size` is the encoded report's, and so bounds each of its parts."""
    check_run_id(report.run_id)
    signal, context, code = report.signal, report.context, report.signal.exit_code
    _check_name("stage", signal.stage, MAX_STAGE_BYTES)
    if code is not None and not I32_MIN <= code <= I32_MAX:
        raise InvalidReport("exit_code", f"{str(code)[:20]} is beyond a signed 32-bit number")
    if report.policy is not None:
        _check_name("policy", report.policy, MAX_POLICY_BYTES)
    if report.reported_at is not None and not _INSTANT.fullmatch(report.reported_at):
        raise InvalidReport("reported_at", "not an RFC 3339 time", "write it as 2026-01-31T12:00:00Z")
    if context.parent_run is not None:
        _check_parent(context.parent_run)
    if any(isinstance(text, str) and "\0" in text for text in msgspec.structs.astuple(context)):
        raise InvalidReport("context", "a string holds a NUL character")
    if size > MAX_CONTEXT_BYTES:
        _check_size("context", len(_encode(context)), MAX_CONTEXT_BYTES)
    if size > MAX_MESSAGE_BYTES:
        _check_size("message", encoded_size(signal.message), MAX_MESSAGE_BYTES)
        _check_size("report", size, MAX_REPORT_BYTES)


def _check_name(field: str, text: str, limit: int) -> None:
    _check_size(field, len(text.encode("utf-8", "surrogatepass")), limit)
    if "\0" in text:
        raise InvalidReport(field, "holds a NUL character")


def _check_size(field: str, size: int, limit: int) -> None:
    if size > limit:
        raise _TooLarge(field, f"{size} bytes; at most {limit} are allowed")


def _check_parent(run_id: str) -> None:
    try:
        check_run_id(run_id)
    except InvalidReport as error:
        raise InvalidReport("context.parent_run", error.problem, error.hint) from None


def make_report(
    run_id: str,
    stage: str,
    message: str,
    *,
    now: float,
    exit_code: int | None = None,
    flaky_hint: bool = False,
    policy: str | None = None,
    context: Context | None = None,
) -> FailureReport:
    """A report that fits the wire, reported at `now` (seconds since the epoch, the runner's clock).

    Raises:
        InvalidReport: names the field that is wrong; a long message or context is cut, not refused.
    """
    signal = FailureSignal(stage, message, exit_code, flaky_hint)
    return fit(FailureReport(run_id, signal, policy, context or Context(), utc_text(now)))


def utc_text(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def fit(report: FailureReport) -> FailureReport:
    """The report as the wire takes it: mistakes are refused, what is merely long is cut.

    The message loses its middle, and a line says how much; strings of the context lose their end. What is
    not valid Unicode in them, and NUL, becomes U+FFFD.

    Raises:
        InvalidReport: names the field that is wrong.
    """
    _check_types(report)
    for field, name in (("stage", report.signal.stage), ("policy", report.policy or "")):
        if not is_unicode(name):
            raise InvalidReport(field, "not valid Unicode")
    fitted = replace(
        report,
        signal=replace(report.signal, message=cut_middle(readable(report.signal.message), MAX_MESSAGE_BYTES)),
        context=_fit_context(report.context),
    )
    if fitted.v != WIRE_VERSION:
        raise InvalidReport("v", f"{fitted.v} is not a version that can be written", f"use {WIRE_VERSION}")
    _check_limits(fitted, MAX_REPORT_BYTES)
    return fitted


def _check_types(report: FailureReport) -> None:
    try:
        plain = msgspec.to_builtins(report, builtin_types=(bytes, bytearray, memoryview, datetime))
        msgspec.convert(plain, FailureReport)
    except (msgspec.ValidationError, TypeError) as error:
        problem, _, place = str(error).partition(" - at `$.")
        raise InvalidReport(place.rstrip("`").removeprefix("signal.") or "report", problem) from None


def _fit_context(context: Context) -> Context:
    strings = {field: getattr(context, field) for field in CONTEXT_ROOM}
    return Context(
        **{
            field: None if text is None else cut_end(readable(text), CONTEXT_ROOM[field])
            for field, text in strings.items()
        },
        parent_run=context.parent_run,
        fork=context.fork,
    )
