"""What is fuzzed: functions of any bytes that return when every promise held, and raise when one was broken.

They need nothing but heald, so that the ordinary suite feeds them too. Whoever feeds them sees to time and memory.
"""

from __future__ import annotations

import atexit
import random
import re
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from fuzz import corpus
from heald_producer.extract import Excerpt, Extractor
from heald_producer.mask import Masker
from heald_producer.reports.detect import HEAD_BYTES, NotAReport, read_report
from heald_producer.reports.message import MAX_MESSAGE_CHARS, message_of
from heald_producer.reports.results import ReportSummary, Results
from heald_producer.shapes import MASK
from heald_producer.signals import MAX_MESSAGE_BYTES, FailureReport, FailureSignal
from heald_producer.wire import PoisonReport, decode_report, encode_report
from heald_worker.artifact_reading import DIGEST_FILE, LOG_FILE, ArtifactError, read_recovery_artifact, verify_artifact
from heald_worker.core.judge import plain
from heald_worker.core.rules import Rule, Tool
from heald_worker.core.taxonomy import MAX_EVIDENCE, Diagnosis
from heald_worker.records import MalformedLog, canonical_bytes, decode_log, digest_of
from heald_worker.rulebook import RuleError, load, shipped_rulebook

EXCERPT_CHARS = 2_000
POISON = {"too_large", "not_utf8", "not_json", "wrong_shape", "unknown_version", "invalid_run_id"}
_RULE_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


# Inputs


def stretched(data: bytes, size: int) -> bytes:
    """What follows the first byte, of one input in 64 over and over: what is harmless once may be slow when long.

    The checksum tells which, as it falls anew for every change: the fuzzer cannot come to prefer such inputs.
    """
    rest = data[1:]
    return (rest * (size // len(rest) + 1))[:size] if rest and zlib.crc32(data) % 64 == 0 else rest


def _pieces(data: bytes, seed: bytes) -> Iterator[bytes]:
    """The bytes in pieces of random sizes, tiny and huge ones; an input's first byte is the seed."""
    chance, start = random.Random(seed), 0
    while start < len(data):
        size = chance.randint(1, 1 << chance.randint(0, 17))
        yield data[start : start + size]
        start += size


def _text(data: bytes) -> str:
    """Any text; bytes that are not UTF-8 become lone surrogates, which programs print too."""
    return data.decode("utf-8", "surrogateescape")


# Extraction


def extraction(data: bytes) -> None:
    """A log of any bytes gives the same bounded excerpt however it is cut into pieces."""
    log = stretched(data, 1_200_000)
    whole = _excerpt([log])
    assert _excerpt(_pieces(log, data[:1])) == whole
    assert len(whole.text) <= EXCERPT_CHARS
    ends = [number for both in whole.lines for number in both]
    assert ends == sorted(ends)
    assert not ends or 1 <= ends[0] <= ends[-1] <= whole.total_lines


def _excerpt(pieces: Iterable[bytes]) -> Excerpt:
    extractor = Extractor(Masker([corpus.SECRET]).text)
    for piece in pieces:
        extractor.feed(piece)
    return extractor.finish()


# Test reports


def report(data: bytes) -> None:
    """A report of any bytes is one summary, the same however it is cut, and one bounded message."""
    document = stretched(data, HEAD_BYTES + 5_000)
    told = _told([document], document)
    assert _comparable(_told(_pieces(document, data[:1]), document)) == _comparable(told)
    assert min(told.tests, told.failed, told.flaky, told.skipped, told.errors) >= 0
    assert told.failed + told.flaky + told.skipped <= told.tests
    assert len(message_of(told)) <= MAX_MESSAGE_CHARS


def _told(pieces: Iterable[bytes], document: bytes) -> ReportSummary:
    results = Results()
    results.begin_file("report.tap")
    with suppress(NotAReport):
        read_report(pieces, document[:HEAD_BYTES], "report.tap", results)
    return results.summary()


def _comparable(told: ReportSummary) -> ReportSummary:
    """Of a broken report, whether expat tells the last words before the break depends on how it is cut."""
    if not told.warnings:
        return told
    lists = {name: getattr(told, name) for name in ("outside", "failures", "passed_on_rerun")}
    return told._replace(**{name: tuple(each.name for each in failures) for name, failures in lists.items()})


# Diagnosis


def diagnosis(data: bytes) -> None:
    """Any stage, exit code and message has a verdict, and its evidence stands in the line that it names."""
    stage, _, rest = data[1:].partition(b"\n")
    exit_code = int.from_bytes(data[:1], "big", signed=True)
    signal = FailureSignal(_text(stage), _text(stretched(data[:1] + rest, MAX_MESSAGE_BYTES)), exit_code or None)
    verdict = shipped_rulebook().diagnose(signal)
    _check_evidence(signal, verdict)
    if len(signal.message) <= 1_000:  # the whole story asks every rule
        assert shipped_rulebook().explain(signal).diagnosis == verdict


def _check_evidence(signal: FailureSignal, verdict: Diagnosis) -> None:
    assert 0 <= verdict.confidence <= 1
    if evidence := verdict.evidence:
        line = plain(signal.message).decode().split("\n")[evidence.line - 1]
        assert 0 <= evidence.start <= evidence.end <= len(line)
        assert evidence.text in line
        assert len(evidence.text) <= MAX_EVIDENCE


# The wire


def wire(data: bytes) -> None:
    """Any bytes are a report, which comes back from the wire as it was, or one poison that keeps them."""
    told = _decoded(data)
    if isinstance(told, PoisonReport):
        assert told.reason in POISON
        assert told.raw == data
        assert "\n" not in told.detail
        assert len(told.detail) < 400
    else:
        assert decode_report(encode_report(told)) == told


def _decoded(data: bytes) -> FailureReport | PoisonReport:
    try:
        return decode_report(data)
    except PoisonReport as poison:
        return poison


# Artifacts


def record(data: bytes) -> None:
    """Any bytes are a log, which is read back from its canonical bytes, or malformed."""
    with suppress(MalformedLog):
        log = decode_log(data)
        assert decode_log(canonical_bytes(log)) == log


def artifact(data: bytes) -> None:
    """Two files of any bytes are a log that has their digest, or an artifact that cannot be believed."""
    digest, _, content = data[1:].partition(b"\0")
    if data[:1] <= corpus.FIRST:  # or hardly anything would get past the digest
        digest = digest_of(content).encode() + digest
    folder = _folder()
    (folder / "run-1" / LOG_FILE).write_bytes(content)
    (folder / "run-1" / DIGEST_FILE).write_bytes(digest)
    with suppress(ArtifactError):
        assert read_recovery_artifact(folder, "run-1") == decode_log(content)
        assert verify_artifact(folder, "run-1").run_id.lower() == "run-1"


@cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="heald-fuzz-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "run-1").mkdir()
    return folder


# Users' rules


def rules(data: bytes) -> None:
    """Any text is a rule pack whose rules then judge, or refused with the one error that has a place and a hint."""
    with suppress(RuleError):
        book = load([("rules.toml", data.decode("utf-8", "replace"))])
        assert all(_RULE_NAME.fullmatch(name) for name in (*_names(book.rules), *_names(book.tools)))
        for trial in book.trials():
            _check_evidence(trial.example.signal(), trial.diagnosis)
        book.explain(FailureSignal("test", "error: it is red", 1))


def _names(members: Iterable[Rule | Tool]) -> list[str]:
    return [member.name for member in members]


# Masking


def masking(data: bytes) -> None:
    """In any text any secret that is long enough goes, and a text without one stays as it is."""
    secret, _, rest = data[1:].partition(b"\n")
    hidden, text = _text(secret), _text(stretched(data[:1] + rest, 30_000))
    masked = Masker([hidden]).text(text)
    assert MASK in masked or masked == text
    # a mask and what stands beside it may spell a secret that was not there
    if len(hidden) >= len(corpus.SECRET) and not set(hidden) & set("[]"):
        assert hidden not in masked
    Masker().command(text.split()[:50])


class Target(NamedTuple):
    """One thing that is fuzzed.

    Attributes:
        run: takes any bytes; raises when a promise is broken.
        seeds: what the fuzzer begins with.
        longest: bytes of an input.
    """

    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    longest: int = 8_192


TARGETS: dict[str, Target] = {
    "extraction": Target(extraction, corpus.logs, 16_384),
    "junit": Target(report, corpus.reports_of("junit")),
    "dotnet": Target(report, corpus.reports_of("trx", "nunit2", "nunit3", "xunit")),
    "tap": Target(report, corpus.reports_of("tap")),
    "go-test": Target(report, corpus.reports_of("go")),
    "mocha": Target(report, corpus.reports_of("mocha")),
    "dart": Target(report, corpus.reports_of("dart")),
    "diagnosis": Target(diagnosis, corpus.failures),
    "wire": Target(wire, corpus.wire_reports),
    "record": Target(record, corpus.records),
    "artifact": Target(artifact, corpus.artifacts),
    "rules": Target(rules, corpus.packs),
    "masking": Target(masking, corpus.secrets),
}
"""Everything that is fuzzed, by name."""
