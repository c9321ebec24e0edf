"""From a raw log to the lines that say why: for any tool, behind any CI's decorations, in any bytes."""

from __future__ import annotations

import codecs
import re
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heald_producer.extract import Excerpt, Extractor
from heald_producer.extract_choose import GAP, LONGEST_QUOTE, ROOM
from heald_producer.extract_lines import clean_line, shape
from heald_producer.extract_rules import STRONG, judge, needles
from heald_producer.extract_scan import BLOCK, LONGEST_LINE
from heald_producer.mask import Masker
from support.ci_logs import LOGS, CiLog, text_of, well


def excerpt_of(log: str | bytes, piece: int = 1 << 20, mask: Callable[[str], str] = str) -> Excerpt:
    data = log.encode() if isinstance(log, str) else log
    extractor = Extractor(mask)
    for start in range(0, len(data), piece):
        extractor.feed(data[start : start + piece])
    return extractor.finish()


def lines_of(log: str) -> list[str]:
    return [clean_line(line.encode()) for line in re.split("\r\n|\n|\r", log)]


def assert_it_tells_why(excerpt: Excerpt, log: CiLog) -> None:
    for reason in log.reasons:
        assert reason in excerpt.text, excerpt.text
    assert len(excerpt.text) <= ROOM


# What tools print


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
def test_the_lines_that_matter_are_quoted_with_the_tool(log: CiLog) -> None:
    excerpt = excerpt_of(text_of(log))
    assert_it_tells_why(excerpt, log)
    assert not log.tool or excerpt.tool == log.tool


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
def test_little_else_is_quoted(log: CiLog) -> None:
    ours = set(lines_of(log.failure) + lines_of(log.after))
    foreign = [line for line in excerpt_of(text_of(log)).text.splitlines() if line != GAP and line not in ours]
    assert len(foreign) <= 6


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
def test_a_failure_is_found_far_from_the_end(log: CiLog) -> None:
    assert_it_tells_why(excerpt_of(text_of(log) + "\n".join(well(2500))), log)


def test_ordinary_lines_are_no_errors_though_they_talk_of_them() -> None:
    assert [line for line in well(200) if judge(line).score >= STRONG] == []


def test_an_excerpt_s_ranges_are_the_numbers_of_its_lines() -> None:
    log = text_of(LOGS[0])
    excerpt, lines = excerpt_of(log), lines_of(log)
    quoted = [lines[number - 1] for first, last in excerpt.lines for number in range(first, last + 1)]
    assert [line for line in excerpt.text.splitlines() if line != GAP] == quoted
    assert excerpt.total_lines == log.count("\n")


def test_what_is_left_out_is_marked_and_what_is_adjacent_is_not() -> None:
    excerpt = excerpt_of(text_of(LOGS[0]))
    assert excerpt.text.count(GAP) == len(excerpt.lines) - 1


def test_a_short_log_is_quoted_whole() -> None:
    assert excerpt_of("one\n\ntwo\n") == Excerpt("one\n\ntwo", "", ((1, 3),), 3)
    assert excerpt_of("only") == Excerpt("only", "", ((1, 1),), 1)


@pytest.mark.parametrize("nothing", [b"", b"\n\n\n", b"\0" * 5000, b" \t\r\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE])
def test_a_log_that_says_nothing_gives_nothing(nothing: bytes) -> None:
    excerpt = excerpt_of(nothing)
    assert (excerpt.text, excerpt.tool, excerpt.lines) == ("", "", ())


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)
def test_the_scan_stops_at_every_failure(log: CiLog) -> None:
    """What it stops at first is near enough for the rest to be kept with it."""
    every, _ = needles()
    heads = [line for line in lines_of(log.failure) if judge(line).kind == "head"]
    assert any(every.search(line.encode()) for line in heads)


# Not fooled


def test_the_last_lines_are_not_the_reason_when_they_only_tell_the_exit_code() -> None:
    reason = ["src/drawer.c:3:1: error: unknown type name 'coin'"]
    ending = ["make: *** [all] Error 1", *[f"uploading part {number}" for number in range(400)], "exit code 1"]
    assert reason[0] in excerpt_of("\n".join(well(3000) + reason + ending)).text


def test_a_line_said_a_thousand_times_is_quoted_once_or_twice_and_the_reason_still_is() -> None:
    noise = [f"[till-{n % 7}] dial tcp 10.0.0.{n % 250}:80: connect: connection refused" for n in range(1000)]
    reason = "AssertionError: expected 3 drawers, got 2"
    text = excerpt_of("\n".join([*well(500), *noise, *well(500), reason, *noise, "1 failed"])).text
    assert reason in text
    assert text.count("connection refused") <= 3


def test_the_first_of_many_errors_is_quoted() -> None:
    errors = [f"src/part_{n}.cpp:{n}:1: error: unknown name thing_{chr(97 + n % 26)}{n}" for n in range(5000)]
    text = excerpt_of("\n".join([*well(100), *errors, "make: *** [all] Error 1"])).text
    assert "src/part_0.cpp:0:1: error: unknown name thing_a0" in text


def test_an_error_among_errors_that_are_none_is_found() -> None:
    """A region in which every line has a suspicious word is not read line by line; the reason is seen all the same."""
    words = ("red", "green", "blue", "amber", "pink", "teal", "gold", "grey")
    noise = [
        " ".join([words[n % 8], words[n // 8 % 8], words[n // 64 % 8], words[n // 512 % 8], words[n // 4096], "error"])
        for n in range(30_000)
    ]
    noise[17_000] = "src/drawer.c:3:1: error: unknown type name 'coin'"
    assert noise[17_000] in excerpt_of("\n".join(noise)).text


def test_errors_of_a_command_that_succeeded_come_last() -> None:
    borne = ["fatal: no tag describes this commit", 'The command "git describe" exited with 0.']
    errors = [f"till.go:{n}:1: undefined: coin{chr(97 + n % 26)}{chr(97 + n // 26)}" for n in range(100)]
    text = excerpt_of("\n".join([*borne, *errors, 'The command "go build" exited with 2.'])).text
    assert "till.go:0:1: undefined: coinaa" in text
    assert "fatal: no tag" not in text


# What stands for most of a failure


def stack(number: int) -> list[str]:
    """An error of its own, with a stack that others have too."""
    below = [f"\tat shop.frames.Layer{chr(65 + n)}.call(Layer{chr(65 + n)}.java:{n})" for n in range(20)]
    return [f"shop.StuckException: drawer {chr(97 + number % 26) * 3} is stuck", *below]


def share_of(lines: list[str], text: str) -> float:
    """Which share of some lines, repetitions included, stands in a text."""
    quoted = set(text.splitlines())
    return sum(line in quoted for line in lines) / len(lines)


def test_frames_that_many_stacks_share_are_quoted_rather_than_a_few_of_one() -> None:
    many = [line for number in range(20) for line in stack(number)]
    own = [f"\tat shop.once.Only{chr(65 + n)}.run(Only{chr(65 + n)}.java:9)" for n in range(26)]
    text = excerpt_of("\n".join([*well(500), "shop.OtherError: alone", *own, *many, "exit status 1"])).text
    assert "shop.OtherError: alone" in text
    assert share_of(many, text) > 0.8 > share_of(own, text)


def test_reasons_have_room_beside_any_number_of_stacks() -> None:
    many = [line for number in range(200) for line in stack(number)]
    reasons = ["ld: cannot find -ldrawer", "E: Unable to locate package till", "fatal: early EOF"]
    text = excerpt_of("\n".join([*reasons, *well(300), *many])).text
    assert [reason for reason in reasons if reason not in text] == []


HELP = (
    "[ERROR] To see the full stack trace of the errors, re-run Maven with the -e switch.",
    "[ERROR] Re-run Maven using the -X switch to enable full debug logging.",
    "[ERROR] ",
    "[ERROR] [Help 1] http://cwiki.apache.org/confluence/display/MAVEN/MojoFailureException",
)


def test_what_was_tolerated_long_ago_gets_less_room_than_what_the_log_ends_with() -> None:
    old = [line for number in range(9) for line in stack(number)]
    last = ["[ERROR] Failed to execute goal shop:till: it failed -> [Help 1]", "[ERROR] ", *HELP]
    text = excerpt_of("\n".join([*old, *well(2000), *last])).text
    assert share_of([line.rstrip() for line in last], text) == 1


def test_an_error_of_many_lines_is_quoted_whole_when_there_is_room() -> None:
    block = ["npm error code ERESOLVE", *[f"npm error   peer till-{chr(97 + n)} wants a drawer" for n in range(26)]]
    assert share_of(block, excerpt_of("\n".join([*well(900), *block, *well(900)])).text) == 1


def test_a_gap_of_a_few_characters_is_closed() -> None:
    log = ["E   assert 1 == 2", "", "x.py:3: AssertionError"]
    assert "\n".join(log) in excerpt_of("\n".join([*well(900), *log, *well(900)])).text


def test_nothing_that_is_overwritten_or_a_part_of_a_key_closes_a_gap() -> None:
    log = "error: one\n" + "5%\r10%\r" + "error: two\n" + "Qk" * 25 + "\nerror: three\n"
    text = excerpt_of("fine\n" * 900 + log + "fine\n" * 900).text
    assert f"error: one\n{GAP}\nerror: two\n{GAP}\nerror: three" in text


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("github.com/acme/till.(*Ledger).Balance(0x0)", "frame"),
        ("testing.tRunner(0xc0001b4820, 0x6b2c18)", "frame"),
        ("created by testing.(*T).Run in goroutine 1", "frame"),
        ("panic({0x6421e0?, 0x8f3b10?})", ""),
        ("/till/Cart.java:[12,8] cannot find symbol", "head"),
        ("/till/Cart.java:[12,8] Unsafe is internal proprietary API and may be removed in a future release", ""),
        ("/till/Cart.java:[12,8] [deprecation] add(int) in Cart has been deprecated", ""),
    ],
)
def test_frames_of_go_and_warnings_of_javac_are_no_reasons(line: str, kind: str) -> None:
    assert judge(line).kind == kind


# Behind any CI's decorations


def travis(text: str) -> str:
    return "travis_fold:start:script\r\x1b[0Ktravis_time:start:0a1b2c\r\x1b[0K$ make test\n" + text


def gitlab(text: str) -> str:
    stamp = "2024-02-01T10:00:00.123456Z 00O "
    head = "section_start:1706781600:step_script\r\x1b[0K\x1b[0Ksection\n"
    return head + "".join(f"{stamp}{line}\n" for line in text.splitlines())


def buildkite(text: str) -> str:
    return "".join(f"\x1b_bk;t=17067816{n % 100000:05}\x07{line}\r\n" for n, line in enumerate(text.splitlines()))


DECORATIONS: dict[str, Callable[[str], str]] = {
    "github": lambda text: re.sub("^", "2024-02-01T10:00:00.1234567Z ", text, flags=re.MULTILINE),
    "github downloaded": lambda text: re.sub("^", "test\tRun make\t2024-02-01T10:00:00.1234567Z ", text, flags=re.M),
    "gitlab": gitlab,
    "travis": travis,
    "jenkins": lambda text: re.sub("^", "[2024-02-01T10:00:00.123Z] ", text, flags=re.MULTILINE),
    "jenkins, short": lambda text: re.sub("^", "10:00:00  ", text, flags=re.MULTILINE),
    "buildkite": buildkite,
    "windows": lambda text: text.replace("\n", "\r\n"),
    "coloured": lambda text: re.sub(r"(\w+)", "\x1b[1;31m\\1\x1b[0m", text),
    "nul": lambda text: text.replace("e", "\0e\0"),
    "bom": lambda text: "\ufeff" + text,
}


@pytest.mark.parametrize("decoration", DECORATIONS)
@pytest.mark.parametrize("name", ["gcc", "surefire", "pytest", "rspec", "npm install", "git", "jest"])
def test_decorations_of_a_ci_change_nothing(decoration: str, name: str) -> None:
    [log] = [each for each in LOGS if each.name == name]
    assert_it_tells_why(excerpt_of(DECORATIONS[decoration](text_of(log, 200))), log)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-8-sig"])
@pytest.mark.parametrize("piece", [1, 7, 65536])
def test_byte_order_marks_tell_the_encoding(encoding: str, piece: int) -> None:
    mark = codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b""
    log = mark + text_of(LOGS[-1], 100).encode(encoding)
    assert_it_tells_why(excerpt_of(log, piece), LOGS[-1])


def test_of_a_progress_bar_only_its_last_frame_is_quoted() -> None:
    bar = "".join(f"\rfetching coins {percent}%" for percent in range(101))
    assert excerpt_of(f"begin{bar}\nend\n").text == "fetching coins 100%\nend"


def test_a_carriage_return_ends_a_line_as_it_does_for_editors() -> None:
    log = "a\rb\r\nc\n\r\nFATAL: d\n"
    assert log.splitlines()[4:] == ["FATAL: d"]
    assert excerpt_of("x\n" * 3000 + log).lines[-1][-1] == 3005


# Long lines


def test_a_long_line_is_quoted_around_what_it_says() -> None:
    log = "fine\n" * 3000 + "pad " * 300_000 + "error: the drawer is stuck " + "pad " * 300_000 + "\nfine\n"
    text = excerpt_of(log).text
    assert "error: the drawer is stuck" in text
    assert max(map(len, text.splitlines())) <= LONGEST_QUOTE


def test_of_a_line_that_is_too_long_beginning_and_end_are_quoted_as_the_cause_is_told_last() -> None:
    line = "[ERROR] Failed to execute goal shop:till: " + "Could not collect; " * 30 + "No space left on device"
    text = excerpt_of("fine\n" * 900 + line + "\n" + "fine\n" * 900).text
    assert text.startswith("[ERROR] Failed to execute goal shop:till: ")
    assert "…" in text
    assert "Could not collect; No space left on device" in text


@pytest.mark.parametrize("place", [100, LONGEST_LINE, BLOCK - 40, BLOCK + 5, 3 * BLOCK])
def test_half_a_secret_is_never_quoted(place: int) -> None:
    """Where a long line is cut the mask would not know what is left of a secret, so no torn word is quoted."""
    secret = "S3cr3t-" * 1000
    log = "ok " * (place // 3) + f"error: bad token {secret}, error: refused {secret} error" + " ok" * 2000 + "\n"
    text = excerpt_of("fine\n" * 900 + log + "fine\n" * 900, mask=Masker([secret]).text).text
    assert "S3cr3t" not in text


def test_secrets_are_masked_before_a_line_is_cut() -> None:
    token = "gh" + "p_" + "aB3dE6" * 6
    log = "fine\n" * 900 + "error: " + "x" * (LONGEST_QUOTE - 20) + f" {token}\n"
    assert "aB3dE6" not in excerpt_of(log, mask=Masker().text).text


def test_the_rest_of_a_private_key_is_no_context() -> None:
    key = "\n".join("MIIEowIBAAKCAQEA" * 4 for _ in range(40))
    log = "fine\n" * 900 + f"-----BEGIN RSA PRIVATE KEY-----\n{key}\nerror: cannot read the key\n" + "fine\n" * 900
    text = excerpt_of(log, mask=Masker().text).text
    assert "cannot read the key" in text
    assert "MIIEow" not in text


# Any bytes

WORDS = st.sampled_from(
    [b"error: x", b"\r", b"\n", b"\r\n", b"\0", b"\x1b[31m", b"\xff\xfe", b"FAIL", b" at a.b(C.java:3)", b"x" * 5000,
     b"panic: y\n", b"make: *** [all] Error 1\n", b"Caused by: z\n", b"\xef\xbb\xbf", b"E   assert\n", b"ok 1\n"]
)  # fmt: skip
LOG_BYTES = st.lists(WORDS | st.binary(max_size=60), max_size=60).map(b"".join)


@settings(deadline=None)
@given(LOG_BYTES, st.integers(1, 4000), st.integers(1, 300))
def test_any_bytes_in_any_pieces_give_the_same_bounded_excerpt(data: bytes, piece: int, times: int) -> None:
    data *= times
    whole = excerpt_of(data)
    assert excerpt_of(data, piece) == whole
    assert len(whole.text) <= ROOM
    ends = [number for pair in whole.lines for number in pair]
    assert ends == sorted(ends)
    assert not ends or (ends[0] >= 1 and ends[-1] <= whole.total_lines)


@settings(deadline=None, max_examples=8)
@given(LOG_BYTES.filter(bool))
def test_blocks_are_scanned_alike_wherever_lines_fall(data: bytes) -> None:
    data = (data * (2 * BLOCK // len(data) + 1))[: 2 * BLOCK + 999]
    assert excerpt_of(data, 100_003) == excerpt_of(data)


def test_lines_are_counted_as_python_counts_them_across_blocks() -> None:
    data = b"a\r\nb\rc\n" * (BLOCK // 3) + b"panic: here"
    excerpt = excerpt_of(data, 99_991)
    assert excerpt.total_lines == BLOCK // 3 * 3 + 1
    assert excerpt.lines[-1][-1] == excerpt.total_lines


@given(st.text(max_size=300))
def test_a_judgement_is_bounded_for_any_text(text: str) -> None:
    assert 0 <= judge(text).score <= 10
    shape(text)
    clean_line(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    "unit",
    [
        b"error %d: x\n",
        b"x",
        b"error ",
        b"\r",
        b"\x1b[",
        b"\xff\xfe\n",
        b"Caused by: a.b.C%d\n",
        b"make: *** Error %d\n",
    ],
)
def test_memory_does_not_grow_with_a_log(unit: bytes) -> None:
    excerpt_of(b"error\n")  # compiles the rules
    pieces = [b"".join(unit % number if b"%d" in unit else unit for number in range(part * 9999, part * 9999 + 9999))
              for part in range(3)]  # fmt: skip
    extractor = Extractor()
    tracemalloc.start()
    try:
        for piece in pieces * 6:
            extractor.feed(piece)
        extractor.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 20 * 1024 * 1024


@pytest.mark.parametrize("length", [1000, 3000, 6000, 40_000])
def test_an_error_at_the_end_of_one_long_word_is_found(length: int) -> None:
    log = f"ok\n{'y' * length} error: cannot find symbol Foo\nend\n"
    extractor = Extractor()
    extractor.feed(log.encode())
    assert "error: cannot find symbol Foo" in extractor.finish().text
