"""The rule engine: which rule decides, where its evidence is, and that no text can hurt it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heald_producer.signals import FailureSignal
from heald_worker.core.judge import plain
from heald_worker.core.taxonomy import FailureClass
from heald_worker.rulebook import Rulebook, RuleError, load, shipped, shipped_rulebook, taxonomy_with

messages = st.one_of(
    st.text(max_size=400),
    st.lists(
        st.sampled_from(
            [
                "FAIL: test_a",
                "error: ",
                "\x1b[31m✗ é",
                "connection refused",
                "\r\n",
                "\n",
                "🙂 Killed",
                "2024-01-01T00:00:00Z ",
            ]
        ),
        max_size=30,
    ).map("".join),
)


def book(text: str) -> Rulebook:
    return load([("mine.toml", text)])


def rule(name: str, more: str, failure_class: str = "test") -> str:
    return f'[[rule]]\nname = "{name}"\nclass = "{failure_class}"\n{more}\n'


def verdict(rules: str, message: str, stage: str = "", exit_code: int | None = None) -> str:
    return book(rules).diagnose(FailureSignal(stage, message, exit_code)).rule


def test_a_message_that_no_rule_knows_is_unknown_without_confidence() -> None:
    found = book(rule("a", 'match = "boom"')).diagnose(FailureSignal("", "all quiet"))
    assert (found.failure_class, found.confidence, found.rule, found.evidence) == (FailureClass.UNKNOWN, 0.0, "", None)


def test_the_higher_rank_wins_wherever_it_stands() -> None:
    rules = rule("symptom", 'match = "boom"\nrank = 40') + rule("cause", 'match = "spark"\nrank = 60', "runtime")
    assert verdict(rules, "boom\nthen a spark") == "cause"
    assert verdict(rules, "boom") == "symptom"


def test_of_equal_ranks_the_surer_rule_goes_first_and_then_the_earlier() -> None:
    shared = 'match = "boom"\nrank = 5\nconfidence = '
    rules = rule("first", shared + "0.5") + rule("surer", shared + "0.9") + rule("last", shared + "0.5")
    assert [each.name for each in book(rules).rules] == ["surer", "first", "last"]
    assert verdict(rules, "boom") == "surer"


def test_evidence_is_the_first_line_that_unless_does_not_excuse() -> None:
    rules = rule("a", "match = 'boo+m'\nunless = 'expected'")
    found = book(rules).diagnose(FailureSignal("", "expected boom\n  é boooom!\nboom"))
    assert found.evidence is not None
    assert (found.evidence.line, found.evidence.start, found.evidence.end) == (2, 4, 10)
    assert found.evidence.text == "é boooom!"
    assert verdict(rules, "expected boom") == ""


def test_without_looks_at_the_whole_message() -> None:
    rules = rule("a", 'match = "boom"\nwithout = "drill"')
    assert verdict(rules, "boom") == "a"
    assert verdict(rules, "boom\nthis was a drill") == ""


def test_conditions_on_stage_and_exit_code_hold_together() -> None:
    rules = rule("a", 'match = "boom"\nstage = "^unit"\nexit = [3]')
    assert verdict(rules, "boom", "unit tests", 3) == "a"
    assert verdict(rules, "boom", "unit tests", 4) == ""
    assert verdict(rules, "boom", "a unit", 3) == ""


def test_a_signal_is_known_by_both_of_its_exit_codes() -> None:
    rules = rule("a", "signal = 9", "runtime")
    assert [verdict(rules, "", "", code) for code in (137, -9, 9, None)] == ["a", "a", "", ""]


def test_a_condition_on_the_tool_asks_whether_it_spoke() -> None:
    rules = '[[tool]]\nname = "drill"\nmatch = "^drill: "\n' + rule("a", 'match = "boom"\ntool = "drill"')
    assert verdict(rules, "boom\ndrill: stopped") == "a"
    assert verdict(rules, "boom") == ""


def test_the_diagnosis_names_the_tool_that_speaks_from_the_evidence_on() -> None:
    tools = "".join(f'[[tool]]\nname = "{name}"\nmatch = "^{name}: "\n' for name in ("saw", "drill"))
    found = book(tools + rule("a", 'match = "boom"')).diagnose(FailureSignal("", "saw: fine\nboom\ndrill: stopped"))
    assert found.tool == "drill"


def test_literal_text_within_a_pattern_ends_where_it_says() -> None:
    rules = rule("a", r"match = ['\Qx.y\E$', 'a\\C']")
    assert [verdict(rules, text) for text in ("x.y", "xxy", r"a\C", "ab")] == ["a", "", "a", ""]


def test_flags_of_one_pattern_do_not_reach_the_next() -> None:
    rules = rule("a", 'match = ["(?i)boom", "Crash"]')
    assert [verdict(rules, text) for text in ("BOOM", "Crash", "crash")] == ["a", "a", ""]


def test_patterns_see_single_lines() -> None:
    assert verdict(rule("a", r"match = 'boom\s+bang'"), "boom\nbang") == ""
    assert verdict(rule("a", "match = '^bang$'"), "boom\r\nbang\r\n") == "a"


def test_colours_and_a_ci_s_time_stamps_are_not_part_of_a_line() -> None:
    rules = rule("a", "match = '^boom'")
    assert verdict(rules, "\x1b[1;31mboom\x1b[0m") == "a"
    assert verdict(rules, "2024-05-06T07:08:09.1234567Z start\n2024-05-06T07:08:10.1Z ##[error]boom") == "a"


def test_an_explanation_is_one_sentence_and_names_what_came_close() -> None:
    rules = (
        rule("cause", 'match = "spark"\nrank = 60', "runtime")
        + rule("symptom", 'match = "boom"\nrank = 40')
        + rule("excused", 'match = "boom"\nunless = "boom"\nrank = 70')
        + rule("elsewhere", 'match = "spark"\nstage = "lab"\nrank = 80')
        + rule("silent", 'match = "never"')
    )
    found = book(rules).explain(FailureSignal("shop", "boom\nspark"))
    assert found.diagnosis.rule == "cause"
    assert found.reason == "Line 2 matches cause (rank 60), which means runtime."
    assert {each.rule: each.why for each in found.close} == {
        "elsewhere": "the stage is none of its own",
        "excused": "the line that matches it also matches its `unless`",
        "symptom": "its rank 40 is below the 60 of cause",
    }


def test_a_user_s_rule_replaces_adds_and_removes() -> None:
    full = FailureSignal("", "cp: no space left on device")
    assert shipped().diagnose(full).rule == "disk-full"
    replaced = taxonomy_with([("a.toml", rule("disk-full", 'match = "never"', "unknown"))])
    assert replaced.diagnose(full).rule != "disk-full"
    assert replaced.ref.digest != shipped().ref.digest
    removed = taxonomy_with([("a.toml", '[[rule]]\nname = "disk-full"\nenabled = false\n')])
    assert removed.diagnose(full).rule != "disk-full"
    added = taxonomy_with([("a.toml", rule("mine", 'match = "no space left"'))])
    assert added.diagnose(full).rule == "mine"  # without a rank it goes before the shipped ones


def test_examples_do_not_change_the_digest_and_patterns_do() -> None:
    plain_rule, other = rule("a", 'match = "x"'), rule("a", 'match = "y"')
    assert book(plain_rule).digest == book(plain_rule + 'examples = ["x"]').digest
    assert book(plain_rule).digest != book(other).digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x =", "mine.toml: this is not TOML"),
        ('[rule]\nname = "a"', "mine.toml: `rule` is no list; write [[rule]] with two brackets"),
        ('[[rules]]\nname = "a"', "mine.toml: there is no entry 'rules'"),
        ('[[rule]]\nname = "a"\nclas = "x"', "mine.toml: rule 'a': there is no field `clas`; did you mean `class`?"),
        ('[[rule]]\nname = "a"\nmatch = "x"', "rule 'a': it has no `class`; give one of build, test, runtime"),
        (rule("a", ""), "rule 'a': it would match everything"),
        (rule("a", "match = '(?=x)'"), "rule 'a': `match` pattern '(?=x)' is no RE2 pattern"),
        (rule("a", "unless = 'x*'\nmatch = 'y'"), "`unless` pattern 'x*' matches an empty line"),
        (rule("a", "match = '@odd'"), "there is no set 'odd'"),
        (rule("a", "match = 'x'\ntool = 'odd'"), "there is no tool 'odd'"),
        (rule("a", "match = 'x'\nconfidence = 2.0"), "confidence 2.0 is not between 0 and 1"),
        (rule("a", "match = 'x'\nrank = 101"), "rank 101 is not between 0 and 100"),
        (rule("A b", "match = 'x'"), "'A b' is no name"),
        (rule("a", "match = 'x'") * 2, "a second rule has this name"),
        ('[[rule]]\nname = "a"\nenabled = false', "there is no rule 'a' to disable"),
        (rule("a\\nB", "match = 'x'"), r"'a\nB' is no name"),
        ("sets = " + "[" * 5_000, "mine.toml: this is nested too deep"),
        (rule("a", "rank = " + "9" * 5_000), "mine.toml: this is not TOML: Exceeds the limit"),
        (rule("a", "rank = 0x" + "f" * 5_000), "rule 'a': expected `int` <= 2147483647 - at `$.rank`"),
        (rule("a", f"exit = [1, {2**31}]"), "rule 'a': expected `int` <= 2147483647 - at `$.exit[1]`"),
        (rule("a", f"exit = 1\nexamples = [{{message = 'x', exit_code = {2**31}}}]"), "`$.examples[0].exit_code`"),
        (rule("a", r"match = ['\Qx.y', 'z']"), r"rule 'a': `match` pattern '\\Qx.y' is no RE2 pattern: missing )"),
        (rule("a", r"match = 'x\\\C'"), "is no RE2 pattern: \\C is a byte"),
        (rule("a", f"match = {[f'x{n}' + '(?:.{1000})' * 20 for n in range(40)]}"), "40 patterns together, 'x0"),
        (f"[[tool]]\nname = 'a'\nmatch = {[f'x{n}' + '(?:.{1000})' * 20 for n in range(40)]}", "patterns together"),
    ],
)
def test_a_rule_that_cannot_be_used_says_where_and_what_to_do(text: str, said: str) -> None:
    with pytest.raises(RuleError) as caught:
        book(text)
    assert said in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(messages, st.text(max_size=20), st.none() | st.integers(-(2**31), 2**31 - 1))
def test_any_signal_gets_a_verdict_whose_evidence_lies_in_its_message(
    stage_less: str, stage: str, code: int | None
) -> None:
    signal = FailureSignal(stage, stage_less, code)
    found = shipped_rulebook().diagnose(signal)
    assert found == shipped_rulebook().diagnose(signal)
    assert found == shipped_rulebook().explain(signal).diagnosis
    assert 0 <= found.confidence <= 1
    if found.evidence:
        lines = plain(signal.message).decode().split("\n")
        line = lines[found.evidence.line - 1]
        assert 0 <= found.evidence.start <= found.evidence.end <= len(line)
        assert len(found.evidence.text) <= 200
        assert found.evidence.text in line


def test_text_that_cannot_be_encoded_is_judged_too() -> None:
    assert shipped_rulebook().diagnose(FailureSignal("\udcff", "\ud800 no space left on device")).rule == "disk-full"


@pytest.mark.parametrize(
    "piece", ["a", "error: ", "FAIL ", "(" * 50, "x.c:1:1: ", "expected\n", "\x1b[", "é", "connection refused "]
)
def test_a_message_of_64_kib_of_anything_is_judged(piece: str) -> None:
    signal = FailureSignal("", (piece * 65536)[:65536])
    assert shipped_rulebook().diagnose(signal) == shipped_rulebook().diagnose(signal)
