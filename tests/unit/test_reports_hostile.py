"""A report is what a stranger wrote: it reads no file, never hangs, never grows, and a break costs its rest only."""

from __future__ import annotations

import resource
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heald_producer.reports import message_of
from heald_producer.reports.detect import NotAReport, read_report
from heald_producer.reports.message import MAX_MESSAGE_CHARS
from heald_producer.reports.results import MAX_NAMED, MAX_WARNINGS, ReportSummary, Results
from support.command import clean_environment
from support.reports import MAKERS, Made, summary_of

BAD = '<testcase name="a"><failure message="{}"/></testcase>'
CASES = [Made("adds"), Made("divides", "failed", "expected 2 but was 3"), Made("waits", "skipped")]


def read(document: str) -> ReportSummary:
    return summary_of(document)


# Entities


ATTACKS = {
    "billion laughs": '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>' + BAD.format("&b;"),
    "quadratic": '<!DOCTYPE x [<!ENTITY a "' + "a" * 50_000 + '">]>' + BAD.format("&a;" * 50_000),
    "a file": '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><testsuite><testcase name="&a;"/></testsuite>',
    "a URL": '<!DOCTYPE x [<!ENTITY a SYSTEM "http://127.0.0.1:9/x">]><testsuite>&a;</testsuite>',
    "a parameter entity": '<!DOCTYPE x [<!ENTITY % a SYSTEM "file:///etc/passwd">%a;]><testsuite/>',
    "an attribute's default": '<!DOCTYPE x [<!ATTLIST testcase name CDATA "' + "a" * 9_000 + '">]><testsuite/>',
    "a notation": '<!DOCTYPE x [<!NOTATION a SYSTEM "a">]><testsuite/>',
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_document_that_declares_anything_is_refused_before_it_is_read(attack: str) -> None:
    told = read(ATTACKS[attack])
    assert told.files == told.tests == 0
    assert told.warnings == (
        "report: it declares entities or a document type of its own, which can be an attack (line 1)",
    )


def test_a_document_type_that_stands_elsewhere_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "x.dtd").write_text('<!ENTITY secret "leaked">')
    case = '<testcase name="a&secret;"><error/></testcase>'
    document = f'<!DOCTYPE testsuite SYSTEM "{tmp_path}/x.dtd"><testsuite>{case}</testsuite>'
    assert [failure.name for failure in read(document).failures] == ["a"]


def test_an_entity_that_nobody_declared_breaks_the_document_there() -> None:
    told = read(f"<testsuite>{BAD.format('x')}<testcase name='&nbsp;'/></testsuite>")
    assert told.failed == 1
    assert told.warnings == ("report: it is broken in line 1 (undefined entity); what came before was read",)


# Breaks


@pytest.mark.parametrize("cut", ["</testsuite>", "</testcase></testsuite>", "/failure></testcase></testsuite>"])
def test_a_document_that_ends_in_the_middle_tells_what_failed_before(cut: str) -> None:
    bad = '<testcase name="bad"><failure>why</failure></testcase>'
    document = f'<testsuite tests="9">\n<testcase name="ok"/>\n{bad}</testsuite>'
    told = read(document.removesuffix(cut))
    assert [failure.name for failure in told.failures] == ["bad"]
    assert told.warnings == ("report: it ends in the middle, in line 3; what came before was read",)


@pytest.mark.parametrize("piece", [1, 50, 65_536])
def test_text_just_before_a_break_is_not_lost(piece: int) -> None:
    told = summary_of('<testsuite><testcase name="a"><failure>expected 2\nbut was 3</fail!></testsuite>', piece=piece)
    assert [failure.details for failure in told.failures] == ["expected 2\nbut was 3"]
    assert "it is broken in line 2" in told.warnings[0]


def test_a_case_without_an_end_is_not_counted_as_passed() -> None:
    assert read('<testsuite><testcase name="a"/><testcase name="b">').tests == 1


def test_what_xml_forbids_and_tools_write_does_not_break_it() -> None:
    red = "\x1b[31mred\x1b[0m"
    document = (
        f"\ufeff\n  <?xml version='1.0'?><testsuite><testcase name='a\x07'>"
        f"<failure message='&#27;[1mbold&#x1B;[0m &#0;!'>"
        f"<![CDATA[{red} \x00\x08 \ufffe]]> &#xD800; &#x1f; &#65535;</failure></testcase></testsuite>"
    )
    told = read(document)
    assert told.warnings == ()
    assert message_of(told) == "1 of 1 test failed\n\nFAIL: a\nbold !\nred  \ufffd \ufffd  \ufffd"


@given(st.integers(1, 40))
def test_a_reference_that_two_pieces_tear_is_still_one(piece: int) -> None:
    document = '<testsuite><testcase name="a"><failure message="x&#27;&amp;&#x1b;y &#120;"/></testcase></testsuite>'
    told = summary_of(document, piece=piece)
    assert told.warnings == ()
    assert told.failures[0].message == "x\u241b&\u241by x"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
@given(piece=st.integers(1, 9))
def test_a_byte_order_mark_that_two_pieces_tear_is_still_one(encoding: str, piece: int) -> None:
    assert summary_of("1..1\nnot ok 1 - é\n".encode(encoding), piece=piece).failures[0].name == "é"


# Sizes


def test_nesting_beyond_the_limit_is_refused_and_what_came_before_counts() -> None:
    told = read(f"<testsuites><testsuite>{BAD.format('x')}</testsuite>" + "<testsuite>" * 100_000)
    assert told.failed == 1
    assert told.warnings == ("report: elements are nested deeper than 200 (line 1); what came before was read",)


def test_a_tag_beyond_the_limit_is_refused_without_being_kept() -> None:
    told = read(f"<testsuite>{BAD.format('x')}<testcase name='" + "a" * 6_000_000 + "'/></testsuite>")
    assert told.failed == 1
    assert told.warnings == ("report: one tag has more than 4,194,304 bytes (line 1); what came before was read",)


def test_a_long_attribute_is_read_and_cut() -> None:
    told = read(f"<testsuite>{BAD.format('word ' * 200_000)}</testsuite>")
    assert told.warnings == ()
    assert len(told.failures[0].message) <= 4_010
    assert len(message_of(told)) < 1_000


def test_too_many_names_of_elements_are_refused() -> None:
    told = read("<testsuite>" + "".join(f"<a{number}/>" for number in range(60_000)))
    assert "more than 10,000 different names" in told.warnings[0]


def test_failures_without_number_are_counted_and_kept_in_part() -> None:
    told = read(
        "<testsuite>" + "".join(f'<testcase name="n{n}"><failure>w{n} x</failure></testcase>' for n in range(9_000))
    )
    assert (told.failed, len(told.failures)) == (9_000, 2_000)
    text = message_of(told)
    assert len(text) <= MAX_MESSAGE_CHARS
    assert text.startswith("9,000 of 9,000 tests failed")
    named = text.count("\nFAIL: ") + text.count("\n- ") - 1
    assert text.endswith(f"\n- {9_000 - named:,} more")
    assert len(told.failures) == MAX_NAMED


def test_warnings_without_number_are_bounded() -> None:
    results = Results()
    for number in range(500):
        results.begin_file(f"f{number}")
        results.warn("it is broken")
    told = results.summary().warnings
    assert len(told) == MAX_WARNINGS + 1
    assert told[-1] == "450 more warnings are not shown"


GROWING = {
    "xml.text": (b"<testsuite><testcase name='a'><failure>", b"x < y".replace(b"<", b"&lt;") * 9_000 + b"\n"),
    "xml.cases": (
        b"<testsuite>",
        b"".join(b"<testcase name='n%d'><error>e</error></testcase>" % n for n in range(400)),
    ),
    "xml.comment": (b"<testsuite><!--", b"x" * 50_000),
    "go.json": (b"", b'{"Action":"output","Package":"p","Test":"T","Output":"' + b"x" * 50_000 + b'"}\n'),
    "go.line": (b'{"Action":"run","Package":"p","Test":"T"}\n', b"x" * 50_000),
    "tap.yaml": (b"TAP version 13\nnot ok 1\n  ---\n", b"  " + b"x" * 50_000 + b"\n"),
    "tap.deep": (b"TAP version 13\n", b"".join(b" " * 4 * n + b"not ok\n" for n in range(150))),
    "mocha.json": (b'{"stats":{},"failures":[', b'{"title":"t","err":{"message":"' + b"x" * 50_000 + b'"}},'),
    "mocha.value": (b'{"stats":{},"failures":["', b"x" * 50_000),
    "dart.json": (b'{"type":"start","time":0}\n', b'{"type":"print","time":0,"message":"' + b"x" * 50_000 + b'"}\n'),
}


@pytest.mark.parametrize("name", GROWING)
def test_memory_does_not_grow_with_a_report(name: str) -> None:
    """In a process of its own: how much its peak is higher after 40 MB than after 1 MB."""
    code = """
import resource, sys
from heald_producer.reports.detect import read_report
from heald_producer.reports.message import message_of
from heald_producer.reports.results import Results
start, piece, times = eval(sys.stdin.read())
def pieces(times):
    yield start
    for _ in range(times):
        yield piece
def peak(times):
    results = Results()
    results.begin_file("x")
    read_report(pieces(times), start + piece, "x", results)
    message_of(results.summary())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
first = peak(20)
print(peak(times) - first)
"""
    start, piece = GROWING[name]
    times = max(40_000_000 // len(piece), 21) if not name.startswith(("xml.cases", "tap.deep")) else 60
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=repr((start, piece, times)),
        capture_output=True,
        text=True,
        timeout=100,
        env=clean_environment(),
        check=True,
    )
    unit = 1024 if sys.platform == "darwin" else 1
    assert int(done.stdout) // unit < 24_000, "KiB"


# Anything


def survives(data: bytes, name: str, piece: int = 997) -> ReportSummary:
    results = Results()
    results.begin_file(name)
    with suppress(NotAReport):
        read_report((data[at : at + piece] for at in range(0, len(data), piece)), data[:65_536], name, results)
    told = results.summary()
    assert 0 <= told.failed + told.flaky + told.skipped <= told.tests
    assert len(message_of(told)) <= MAX_MESSAGE_CHARS
    return told


STARTS = [b"", b"<testsuite>", b"<TestRun>", b"<test-run>", b"<test-results>", b"<assembly>", b"1..3\n",
          b"TAP version 14\n",
          b'{"Action":"run","Package":"p","Test":"T"}\n', b'{"type":"start","time":0}\n', b'{"stats":{},"failures":[',
          b"\xff\xfe", b"\xef\xbb\xbf<", b"\x00\x00\xfe\xff"]  # fmt: skip


@given(st.sampled_from(STARTS), st.binary(max_size=400), st.sampled_from(["x.xml", "x.tap", "x"]))
@example(b"<testsuite>", b"</testsuite>" * 3, "x.xml")
@example(b'{"stats":{},"failures":[', b"[" * 100_000, "x")
@example(b'{"type":"start","time":0}\n', b'{"type":"error","time":0,"testID":' + b"9" * 400 + b"}\n", "x")
def test_any_bytes_are_survived(start: bytes, data: bytes, name: str) -> None:
    survives(start + data, name)


@given(st.sampled_from(sorted(MAKERS)), st.data())
def test_a_report_that_was_damaged_anywhere_is_survived(form: str, data: st.DataObject) -> None:
    document = bytearray(MAKERS[form](CASES).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(document)))
        end = data.draw(st.integers(at, min(len(document), at + 30)))
        document[at:end] = data.draw(
            st.binary(max_size=8) | st.sampled_from([b"<", b"&", b'"', b"{", b"\n", b"\0", b"]]>"])
        )
    survives(bytes(document), "x", data.draw(st.sampled_from([1, 7, 4_096])))


@given(st.sampled_from(sorted(MAKERS)), st.floats(0, 1))
def test_a_report_that_was_cut_off_tells_no_failure_that_was_not_there(form: str, share: float) -> None:
    document = MAKERS[form](CASES).encode()
    told = survives(document[: int(len(document) * share)], "x")
    assert told.failed <= 1, "a name may be cut short"
    assert told.flaky == 0


def test_json_of_any_depth_and_shape_is_survived() -> None:
    deep = "[" * 5_000 + "]" * 5_000
    for line in (
        f'{{"stats":{deep},"failures":[]}}',
        '{"stats":{"failures":"many"},"failures":[1,null,[],{"err":3,"title":{},"fullTitle":[],"file":9}]}',
        '{"Action":"fail","Package":"p","Test":"\\ud800"}\n{"Action":"fail","Package":"p"}',
        f'{{"Action":"run","Package":"p"}}\n{{"Action":{deep}}}',
        '{"stats":{"failures":' + "9" * 5_000 + '},"failures":[]}',
    ):
        survives(line.encode(), "x")


def test_reading_is_quick_for_what_makes_naive_readers_slow() -> None:
    """CPU seconds of this process; what is quadratic takes minutes."""
    for document in (
        "TAP version 13\nnot ok 1\n  ---\n  message: " + " " * 1_000_000 + "x\n  ...\n",
        "TAP version 13\nnot ok 1 " + "# " * 400_000 + "\n",
        "<testsuite><testcase name='a'><failure>"
        + "\n" * 1_000_000
        + "\r" * 100_000
        + "</failure></testcase></testsuite>",
        "<testsuite><testcase name='" + "&#27;[" * 100_000 + "'><failure/></testcase></testsuite>",
        '{"Action":"output","Package":"p","Test":"T","Output":"'
        + "x(" * 400_000
        + '"}\n{"Action":"fail","Package":"p","Test":"T"}',
    ):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        survives(document.encode(), "x", piece=65_536)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - before < 10
