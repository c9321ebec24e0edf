"""Rules in groups: a part of a pattern stands for all of it, and what was seen before changes no verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from heald_producer.signals import FailureSignal
from heald_worker.core import matching, speakers
from heald_worker.core.matching import Compiled
from heald_worker.core.needed import needed
from heald_worker.core.patterns import BadPattern, Joined, any_part, compile_pattern, finder, in_lines
from heald_worker.rulebook import Rulebook, load, shipped_rulebook

LINES = [
    line.encode()
    for row in (Path(__file__).parent / "diagnosis_lines.tsv").read_text("utf-8").splitlines()
    for line in row.split("\t", 1)[1].replace("\\n", "\n").replace("\\t", "\t").split("\n")
]


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        (r"\bcannot find -l\S+", [("i", "cannot find -l")]),
        (r"(?i)\bretry\b.*\b(https?://|ftp://)x", [("i", "(https?://|ftp://)x")]),
        (r"^//\S+\s+in \d+ dogs", [("i", r"in \d+ dogs")]),
        (r"a.*bcd|^e.*fgh$", [("i", "bcd"), ("i", "fgh$")]),
        (r"error .* a drill", [("i", " a drill")]),
        (r"[^a]bcd.*", [("i", "bcd")]),
        (r"bcd[^a]efg", [("", "bcd[^a]efg")]),
        (r"^\w+$", [("", r"^\w+$")]),
        (r"abc(?i)def|g", [("", r"abc(?i)def|g")]),
        (r"abc\Q.*\E", [("", r"abc\Q.*\E")]),
        (r"\101bcd.*", [("", r"\101bcd.*")]),
        (r"x{0,3}abc.*d{2,}", [("i", "abc")]),
        (r"(abc|d).*efg", [("i", "efg")]),
        (r"(abc.*|def)x", [("", "(abc.*|def)x")]),
        (r"a[]|(]bc", [("i", r"a[]|(]bc")]),
    ],
)
def test_the_part_that_a_pattern_cannot_do_without(pattern: str, parts: list[tuple[str, str]]) -> None:
    assert list(needed(pattern)) == parts


def test_wherever_a_shipped_pattern_is_found_a_part_of_it_is() -> None:
    missed, lines = [], Joined(LINES)
    for rule in shipped_rulebook().rules:
        compiled = Compiled(rule, [])
        part = any_part(compiled.needed)
        near = set(lines.places(finder(part))) if part else set()
        missed += [(rule.name, LINES[number]) for number in compiled.found(lines) if number not in near]
    assert missed == []


def rules() -> Rulebook:
    return load(
        [
            (
                "t.toml",
                r"""
[[rule]]
name = "first"
class = "build"
rank = 9
match = '\Aboom\z'
[[rule]]
name = "second"
class = "test"
rank = 8
match = '(?i)BOOM'
unless = 'fine'
[[tool]]
name = "drill"
match = '\Adrill'
""",
            )
        ]
    )


def told(book: Rulebook, message: str) -> tuple[str, int, str]:
    found = book.diagnose(FailureSignal("", message))
    return found.rule, found.evidence.line if found.evidence else 0, found.tool


def test_what_is_found_in_a_line_does_not_depend_on_where_it_stands() -> None:
    book = rules()
    for message in ("boom", "a\nboom", "boom\nb", "a\n\nboom\nb"):
        assert told(book, message)[0] == "first"
    assert told(book, "a\ndrill 3\nboom fine\n boom")[:2] == ("second", 4)
    assert told(book, "a\ndrill 3\nboom fine\n boom")[2] == "drill"


def test_a_verdict_is_the_same_whatever_was_seen_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "REMEMBERED", 3)
    monkeypatch.setattr(speakers, "REMEMBERED", 3)
    book, messages = rules(), [f"x{n}\nboom {n}\ndrill\n{'y' * n * 40}" for n in range(20)]
    assert [told(book, each) for each in messages + messages] == [("second", 2, "drill")] * 40


def test_more_lines_than_a_group_picks_are_told_apart() -> None:
    lines = [f"boom {n} fine" for n in range(matching.MOST_PICKED + 5)]
    assert told(rules(), "\n".join([*lines, "a boom"]))[:2] == ("second", len(lines) + 1)


def test_a_pattern_that_asks_for_more_than_a_line_is_refused() -> None:
    with pytest.raises(BadPattern, match="one line at a time"):
        compile_pattern("(?-m:^a)")
    assert in_lines(r"\A\\Ab\z\Q\A\E") == r"^\\Ab$\Q\A\E"
