"""Where the fuzzer begins: for every target a few inputs that make sense, and words that inputs are mended with."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from heald_producer.signals import I32_MAX, I32_MIN
from heald_producer.wire import encode_report, make_report
from heald_worker.records import canonical_bytes, digest_of
from support.artifacts import a_log
from support.ci_logs import LOGS, text_of
from support.reports import CAN_BE_FLAKY, MAKERS, Made

FIRST = b"\x07"
"""The first byte, which decides how the others are cut, or what becomes of them."""
SECRET = "hunter2-hunter2"


def logs() -> Iterator[bytes]:
    """Logs of failed builds, short ones, some as Windows writes them."""
    for number, log in enumerate(LOGS):
        text = text_of(log, lines=number % 5)
        yield FIRST + text.encode("utf-16" if number % 17 == 0 else "utf-8")


def reports_of(*forms: str) -> Callable[[], Iterator[bytes]]:
    """Test reports in these formats."""

    def seeds() -> Iterator[bytes]:
        for form in forms:
            cases = [Made("adds"), Made("divides", "failed", "expected 2 & got <3>\n\tat a.b(C.java:3)")]
            cases += [Made("waits", "skipped"), *([Made("rests", "flaky", "late")] if form in CAN_BE_FLAKY else [])]
            document = MAKERS[form](cases)
            yield FIRST + document.encode()
            yield FIRST + document.encode("utf-16")

    return seeds


def failures() -> Iterator[bytes]:
    """A stage on the first line, then the message."""
    for log in LOGS:
        yield FIRST + f"test\n{log.failure.strip()}".encode()


def wire_reports() -> Iterator[bytes]:
    """Failure reports as producers send them."""
    yield encode_report(make_report("run-1", "test", "it is red\n\x1b[31m\0", now=1_770_000_000.5))
    yield encode_report(make_report("r", "é", "", now=0, exit_code=I32_MIN, flaky_hint=True, policy="careful"))
    yield b'{"v":2,"run_id":"r","signal":{"stage":"s","message":"m","exit_code":%d},"other":[1.5e3]}' % I32_MAX


def records() -> Iterator[bytes]:
    """Recovery logs."""
    for log in (a_log(), a_log("RUN-1", "é\n\x1b", 253_402_300_799), a_log("other", "", -1)):
        yield canonical_bytes(log)


def artifacts() -> Iterator[bytes]:
    """Digest and log: the digest as it has to be, or written out."""
    for content in records():
        yield FIRST + b"\n\0" + content
        yield b"x" + digest_of(content).encode() + b"\0" + content


def packs() -> Iterator[bytes]:
    """Rules with everything that a rule can have."""
    yield rb"""
[sets]
quoted = ['expected: ', '^E ']
[[tool]]
name = 'gcc'
match = '^gcc: '
[[rule]]
name = 'a-1'
class = 'build'
subclass = 'link'
transient = true
confidence = 0.5
rank = 50
match = ['(?i)undefined (?:symbol|reference)', '\bld: ']
unless = ['@quoted']
without = ['none']
stage = 'build'
exit = [1, 2]
signal = 9
tool = 'gcc'
examples = ['gcc: ld: no', {message = 'x', stage = 'build', exit_code = 1}]
counterexamples = ['fine']
"""
    yield b"[[rule]]\nname = 'b'\nclass = 'test'\nmatch = '''x\\d{2,}$'''\nexamples = \"x12\\u00e9\"\n"
    yield b"[[rule]]\nname = 'c'\nenabled = false\n"


def secrets() -> Iterator[bytes]:
    """A secret on the first line, then a text with secrets of several kinds."""
    key = "M" + "I" * 63
    token = "gh" + "p_" + "aB3dE6" * 6
    texts = (
        f"-----BEGIN RSA PRIVATE KEY-----\n{key}\n{key}\n-----END RSA PRIVATE KEY-----\n",
        f"login --password {SECRET} # {SECRET}",
        f"export TOKEN={token}",
        f"{'x' * 70} {token[:9]}\n{token[9:]}",
        f"curl -u me:{SECRET} https://x",
        "Authorization: Bearer abc.def-123456789",
        "https://me:s3cr3tpass@host.example/x?token=abcdef123456",
        'password: "s3cr3t-pa55word"',
        "AKIA" + "A1" * 8,
    )
    for text in texts:
        yield FIRST + f"{SECRET}\n{text}".encode()


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for line in text.split("\n") for word in line.split("¦") if word)


_XML = r"""
<![CDATA[¦]]>¦<!--¦-->¦<?¦?>¦<!DOCTYPE a [¦&#27;¦&#x1b;¦&lt;¦&nbsp;¦/>¦</¦ message=¦ name=¦ result=
"""
_RECORD = r"""
"run_id"¦"policy"¦"max_attempts"¦"initial_failure"¦"decisions"¦"outcome"¦"attempts_used"¦"attempt"¦"failure_class"
"action"¦"rationale"¦"final_failure"¦"evaluated_at"¦"recovered"¦"retry"¦null¦NaN¦-0¦1e5¦\ud83d\ude00¦\ud800¦[[[[
"""
WORDS = {
    "extraction": ("error: ", "FAILED", "panic: ", "\r\n", "\x1b[31m", "Traceback", "make: *** [all] Error 1"),
    "junit": _words(rf"""{_XML}
<testsuites¦<testsuite¦<testcase¦<failure¦<error¦<skipped¦<rerunFailure¦<flakyError¦<system-out¦<stackTrace
 classname=¦ type=¦ file=¦ line=¦ tests=¦ status=¦ failures=¦ errors=¦ disabled=
"""),
    "dotnet": _words(rf"""{_XML}
<UnitTestResult¦<ErrorInfo¦<Message¦<StackTrace¦<RunInfo¦<Text¦<TestMethod¦ outcome=¦<InnerResults¦<test-case
<test-suite¦<failure¦<message¦<stack-trace¦<reason¦ site=¦ label=¦<error¦<collection¦<errors¦ exception-type=
"""),
    "tap": _words(r"""
not ok ¦ok ¦1..¦Bail out!¦ # SKIP¦ # TODO¦  ---¦  ...¦    ¦TAP version 14¦pragma +strict¦message: |¦# Subtest: ¦\#
"""),
    "go-test": _words(r"""
"Action":¦"fail"¦"pass"¦"skip"¦"output"¦"build-output"¦"build-fail"¦"Package":¦"Test":¦"Output":¦"ImportPath":
"FailedBuild":¦--- FAIL: ¦panic: ¦=== RUN ¦\n¦\ud800
"""),
    "mocha": _words(r"""
"stats"¦"tests"¦"passes"¦"failures"¦"pending"¦"err"¦"message"¦"stack"¦"title"¦"fullTitle"¦"currentRetry"¦"file"
"actual"¦"expected"¦null¦1e9¦\u0000
"""),
    "dart": _words(r"""
"type"¦"testStart"¦"testDone"¦"error"¦"print"¦"group"¦"suite"¦"testID"¦"result"¦"skipped"¦"hidden"¦"isFailure"
"stackTrace"¦"done"¦"success"¦"message"¦true
"""),
    "diagnosis": ("error: ", "expected", "\r\n", "\x1b[31m", "##[error]", "::error::", "2026-01-31T12:00:00Z "),
    "wire": _words(r"""
"v":¦"run_id":¦"signal":¦"stage":¦"message":¦"exit_code":¦"flaky_hint":¦"policy":¦"context":¦"reported_at":
"parent_run":¦"url":¦\ud800¦\u0000¦-0¦1e400¦[[[[
"""),
    "record": _words(_RECORD),
    "artifact": _words(_RECORD),
    "rules": _words(r"""
[[rule]]¦[[tool]]¦[sets]¦name = ¦class = ¦match = ¦unless = ¦without = ¦stage = ¦exit = ¦signal = ¦tool = ¦rank =
confidence = ¦examples = ¦enabled = false¦'''¦\Q¦\E¦(?i)¦(?:¦{1000}¦\pL¦\x{10ffff}¦[^\n]¦\A¦\z¦\C¦nan¦0xffff¦[[[[
1979-05-27T07:32:00Z¦@quoted
"""),
    "masking": _words(r"""
ghp_¦AKIA¦-----BEGIN PRIVATE KEY-----¦-----END PRIVATE KEY-----¦password=¦token: ¦://¦@¦Bearer ¦Authorization: ¦eyJ
--api-key ¦cookie: a=¦curl ¦docker login -p ¦%20¦\n¦xoxb-¦sk-¦AccountKey=¦_authToken=¦login x password
"""),
}
"""Target -> what the fuzzer puts into inputs now and then, as it would not find it by itself."""
