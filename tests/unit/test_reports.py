"""Every format of test reports tells the same: how many tests, which failed, why, and what passed on a rerun."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heald_producer.reports import message_of, read_reports
from heald_producer.reports.detect import NotAReport
from support.reports import CAN_BE_FLAKY, MAKERS, Made, made_cases, summary_of

CASES = [
    Made("adds"),
    Made("divides", "failed", "expected 2 but was 3"),
    Made("waits", "skipped"),
    Made("connects", "failed", "connect ECONNREFUSED 127.0.0.1:5432"),
]


@pytest.mark.parametrize("form", MAKERS)
def test_every_format_tells_counts_names_and_messages(form: str) -> None:
    told = summary_of(MAKERS[form](CASES))
    assert (told.files, told.tests, told.failed, told.skipped, told.errors, told.flaky) == (1, 4, 2, 1, 0, 0)
    assert [failure.name for failure in told.failures] == ["group.divides", "group.connects"]
    text = message_of(told)
    assert text.startswith("2 of 4 tests failed, 1 skipped\n\nFAIL: group.divides\n")
    assert "expected 2 but was 3\n" in text
    assert "connect ECONNREFUSED 127.0.0.1:5432" in text
    assert told.warnings == told.notes == ()


@pytest.mark.parametrize("form", MAKERS)
@given(st.data())
def test_what_was_made_is_read_back_in_every_format(form: str, data: st.DataObject) -> None:
    cases = data.draw(made_cases(flaky=form in CAN_BE_FLAKY))
    told = summary_of(MAKERS[form](cases), piece=data.draw(st.sampled_from([3, 64, 65_536])))
    named = {
        verdict: [f"group.{case.name}" for case in cases if case.verdict == verdict] for verdict in ("failed", "flaky")
    }
    assert told.tests == len(cases)
    assert [failure.name for failure in told.failures] == named["failed"]
    assert [failure.name for failure in told.passed_on_rerun] == named["flaky"]
    assert told.skipped == sum(case.verdict == "skipped" for case in cases)
    assert told.flaky_hint == (bool(named["flaky"]) and not named["failed"])
    messages = [case.message for case in cases if case.verdict == "failed"]
    told_of = [f"{failure.message}\n{failure.details}" for failure in told.failures]
    for message, words in zip(messages, told_of, strict=True):
        assert " ".join(message.split()) in " ".join(words.split()).replace('\\"', '"')
    assert told.warnings == ()


@pytest.mark.parametrize("form", MAKERS)
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_marks_of_byte_order_and_utf_16_are_understood(form: str, encoding: str) -> None:
    document = MAKERS[form](CASES).replace('encoding="utf-8"', f'encoding="{encoding.removesuffix("-sig")}"')
    assert summary_of(document.encode(encoding)).failed == 2


def test_a_declared_latin_1_is_believed_and_a_false_utf_8_costs_a_letter_only() -> None:
    body = '<testsuite><testcase name="naïve"><failure message="café"/></testcase></testsuite>'
    declared = '<?xml version="1.0" encoding="ISO-8859-1"?>' + body
    assert summary_of(declared.encode("latin-1")).failures[0].message == "café"
    assert summary_of(body.encode("latin-1")).failures[0].message == "caf�"


@pytest.mark.parametrize("name", ["shift_jis", "gb18030", "windows-1251"])
def test_other_declared_encodings_are_decoded(name: str) -> None:
    document = (
        f'<?xml version="1.0" encoding="{name}"?><testsuite><testcase name="{"тест"}"><error/></testcase></testsuite>'
    )
    assert summary_of(document.encode(name)).failures[0].name == "тест"


@pytest.mark.parametrize("name", ["zip", "rot13", "unicode_escape", "idna", "utf-16", "no-such", "hex", "utf-7"])
def test_an_encoding_that_is_none_is_read_as_utf_8(name: str) -> None:
    document = f'<?xml version="1.0" encoding="{name}"?><testsuite><testcase name="é"><error/></testcase></testsuite>'
    assert summary_of(document.encode()).failures[0].name == "é"


# JUnit's dialects


def suite(*cases: str, attributes: str = "") -> str:
    return f'<testsuite name="s" {attributes}>{"".join(cases)}</testsuite>'


def names(document: str) -> list[str]:
    return [failure.name for failure in summary_of(document).failures]


def test_pytest_errors_of_collection_and_setup_come_first() -> None:
    told = summary_of(
        suite(
            '<testcase classname="t.test_a" name="test_b"><failure message="assert 1 == 2">'
            "E   assert 1 == 2</failure></testcase>",
            '<testcase classname="t.test_a" name="test_c"><error message="failed on setup with &quot;x&quot;">'
            "E   ConnectionError: no database</error></testcase>",
            '<testcase classname="" name="t.test_z"><error message="collection failure">'
            "E   ModuleNotFoundError: No module named 'shop'</error></testcase>",
        )
    )
    assert (told.tests, told.failed, told.errors) == (2, 2, 1)
    assert message_of(told) == (
        "1 error outside of the tests, 2 of 2 tests failed"
        "\n\nERROR: s.t.test_z\nE   ModuleNotFoundError: No module named 'shop'"
        "\n\nFAIL: t.test_a.test_c\nE   ConnectionError: no database"
        "\n\nFAIL: t.test_a.test_b\nE   assert 1 == 2"
    )


def test_surefire_reruns_that_all_failed_are_one_failure() -> None:
    told = summary_of(
        suite(
            '<testcase classname="a.B" name="c"><failure message="first" type="X">first</failure>'
            '<rerunFailure message="second"><stackTrace>second</stackTrace>'
            "<system-out>noise</system-out></rerunFailure>"
            '<rerunError message="third"/></testcase>',
            attributes='tests="1" failures="1" errors="0"',
        )
    )
    assert (told.tests, told.failed, told.flaky, told.flaky_hint, told.warnings) == (1, 1, 0, False, ())
    assert "noise" not in message_of(told)


@pytest.mark.parametrize("element", ["flakyFailure", "flakyError"])
def test_surefire_and_nextest_tell_of_passes_on_a_rerun(element: str) -> None:
    told = summary_of(
        suite(
            f'<testcase classname="a.B" name="c"><{element} message="late"><stackTrace>X: late\n\tat a.B.c(B.java:3)'
            f"</stackTrace><system-err>noise</system-err></{element}></testcase>",
            '<testcase name="d"/>',
            attributes='tests="2" failures="0"',
        )
    )
    assert (told.tests, told.failed, told.flaky, told.flaky_hint) == (2, 0, 1, True)
    assert message_of(told) == (
        "1 of 2 tests failed and passed on a rerun\n\nFAIL: a.B.c\nX: late\n    at a.B.c(B.java:3)"
    )


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (0, 0, 1), (0, 1, 0)])
def test_the_same_case_failed_and_passed_is_flaky_in_any_order(order: tuple[int, ...]) -> None:
    runs = ['<testcase classname="a" name="b"><failure>x</failure></testcase>', '<testcase classname="a" name="b"/>']
    told = summary_of(suite(*(runs[number] for number in order)))
    assert (told.tests, told.failed, told.flaky, told.flaky_hint) == (1, 0, 1, True)


def test_a_test_that_failed_for_good_beside_a_flaky_one_leaves_no_hint() -> None:
    told = summary_of(suite('<testcase name="a"><flakyFailure/></testcase><testcase name="b"><failure/></testcase>'))
    assert (told.failed, told.flaky, told.flaky_hint) == (1, 1, False)
    assert message_of(told).startswith("1 of 2 tests failed, 1 passed on a rerun")


def test_the_same_name_in_another_suite_class_or_line_is_another_test() -> None:
    bad = '<testcase classname="{}" name="b" file="x.py" line="{}"><failure>x</failure></testcase>'
    document = (
        f"<testsuites>{suite(bad.format('a', 1))}<testsuite name='t'>{bad.format('a', 1)}</testsuite></testsuites>"
    )
    assert summary_of(document).failed == 2
    assert summary_of(suite(bad.format("a", 1), bad.format("c", 1), bad.format("a", 2))).failed == 3


def test_nested_suites_of_phpunit_are_read_to_the_bottom() -> None:
    document = (
        '<testsuites><testsuite name="all" tests="2" failures="1"><testsuite name="CartTest" tests="2" failures="1">'
        '<testsuite name="CartTest::testSum" tests="2" failures="1"><testcase name="testSum with data set #0"/>'
        '<testcase name="testSum with data set #1" class="CartTest" file="/src/CartTest.php" line="12">'
        '<failure type="ExpectationFailedException">CartTest::testSum with data set #1\n'
        "Failed asserting that 3 matches expected 4.\n\n/src/CartTest.php:14</failure></testcase>"
        "</testsuite></testsuite></testsuite></testsuites>"
    )
    told = summary_of(document)
    assert (told.tests, told.failed, told.warnings) == (2, 1, ())
    assert "Failed asserting that 3 matches expected 4." in message_of(told)


def test_bazel_says_why_in_the_output_of_the_suite() -> None:
    document = (
        "<testsuites><testsuite name='//shop:test' tests='1' errors='1'><testcase name='//shop:test'>"
        "<error message='exited with error code 1'></error></testcase>"
        "<system-out><![CDATA[ImportError: No module named 'basket']]></system-out></testsuite></testsuites>"
    )
    assert message_of(summary_of(document)) == (
        "1 of 1 test failed\n\nFAIL: //shop:test\nImportError: No module named 'basket'"
    )


def test_ctest_says_why_in_the_output_of_the_case() -> None:
    document = suite(
        '<testcase name="parse" classname="parse" status="fail"><failure message="Failed"/><properties/>'
        "<system-out>parse.cpp:3: assertion x == y failed</system-out></testcase>"
        '<testcase name="off" status="disabled"/>'
        '<testcase name="none" status="notrun"><skipped message="x"/></testcase>',
        attributes='tests="3" failures="1" disabled="1" skipped="1"',
    )
    told = summary_of(document)
    assert (told.tests, told.failed, told.skipped, told.warnings) == (3, 1, 2, ())
    assert message_of(told).endswith("FAIL: parse\nparse.cpp:3: assertion x == y failed")


def test_go_junit_report_tells_a_build_failure_as_an_error_outside_of_the_tests() -> None:
    document = suite(
        '<testcase classname="shop" name="[build failed]"><error message="Build error">'
        "./cart.go:3:1: undefined: total</error></testcase>"
    )
    told = summary_of(document)
    assert (told.tests, told.failed, told.errors) == (0, 0, 1)
    assert (
        message_of(told)
        == "1 error outside of the tests\n\nERROR: shop > [build failed]\nBuild error\n./cart.go:3:1: undefined: total"
    )


def test_jest_tells_a_suite_that_did_not_run_as_an_error_outside_of_the_tests() -> None:
    document = suite(
        '<testcase classname="Test suite failed to run" name="cart.test.js Test suite failed to run">'
        "<failure>SyntaxError: Unexpected token (3:7)</failure></testcase>"
    )
    assert (summary_of(document).failed, summary_of(document).errors) == (0, 1)


def test_a_suites_own_error_is_an_error_outside_of_the_tests() -> None:
    told = summary_of(suite('<error message="the fixture did not start">java.net.ConnectException</error>'))
    assert (told.errors, told.outside[0].name) == (1, "s")
    assert told.outside[0].message == "the fixture did not start"


def test_counters_that_contradict_the_cases_are_a_warning_and_the_cases_count() -> None:
    told = summary_of(suite('<testcase name="a"><failure/></testcase>', attributes='tests="9" failures="3"'))
    assert (told.tests, told.failed) == (1, 1)
    assert told.warnings == ("report: suite s: counters tell of 3 failures, cases of 1; the cases count",)
    told = summary_of(suite('<testcase name="a"/>', attributes='tests="9"'))
    assert told.warnings == ("report: suite s: counters tell of 9 tests, 1 are there; the cases count",)


def test_missing_names_and_odd_counters_cost_nothing() -> None:
    document = (
        "<testsuites tests='many'><testsuite failures='-1'><testcase><failure/></testcase></testsuite></testsuites>"
    )
    told = summary_of(document)
    assert (told.failed, told.failures[0].name) == (1, "(a test without a name)")
    two = "<testsuite><testcase><failure/></testcase><testcase/></testsuite>"
    assert (summary_of(two).tests, summary_of(two).flaky) == (2, 0), "tests without a name are not runs of one test"


def test_several_failures_of_one_case_are_one_failed_test_with_all_their_words() -> None:
    told = summary_of(suite('<testcase name="a"><failure message="one"/><error message="two">three</error></testcase>'))
    assert told.failed == 1
    assert {"one", "two", "three"} <= set(message_of(told).split())


def test_a_disabled_test_is_left_out_whatever_it_holds() -> None:
    assert summary_of(suite('<testcase name="a" status="disabled"><failure/></testcase>')).skipped == 1


# .NET


def test_trx_tells_of_rows_crashes_and_classes() -> None:
    document = (
        "<TestRun><Results><UnitTestResult testId='1' testName='Adds' outcome='Failed'><InnerResults>"
        "<UnitTestResult testId='1' testName='Adds (1,2)' outcome='Passed'/>"
        "<UnitTestResult testId='1' testName='Adds (2,2)' outcome='Failed'><Output><ErrorInfo>"
        "<Message>Expected:&lt;4&gt;</Message>"
        "<StackTrace>   at Shop.CartTests.Adds() in /src/CartTests.cs:line 9</StackTrace>"
        "</ErrorInfo></Output>"
        "</UnitTestResult></InnerResults></UnitTestResult></Results>"
        "<TestDefinitions><UnitTest id='1'><TestMethod className='Shop.CartTests'/></UnitTest></TestDefinitions>"
        "<ResultSummary outcome='Failed'><RunInfos><RunInfo outcome='Error'><Text>Test host process crashed</Text>"
        "</RunInfo></RunInfos></ResultSummary></TestRun>"
    )
    told = summary_of(document)
    assert (told.tests, told.failed, told.errors) == (2, 1, 1)
    assert message_of(told) == (
        "1 error outside of the tests, 1 of 2 tests failed"
        "\n\nERROR: the test run\nTest host process crashed"
        "\n\nFAIL: Shop.CartTests.Adds (2,2)\nExpected:<4>\nat Shop.CartTests.Adds() in /src/CartTests.cs:line 9"
    )


def test_nunit_tells_a_setup_of_a_suite_once_and_not_what_only_sums_up() -> None:
    document = (
        "<test-run><test-suite name='all' result='Failed' site='Child'><failure><message>One or more child tests had "
        "errors</message></failure><test-suite fullname='Shop.Tests' result='Failed' site='SetUp'><failure><message>"
        "OneTimeSetUp: no database</message></failure></test-suite></test-suite></test-run>"
    )
    told = summary_of(document)
    assert (told.errors, told.failed, told.outside[0].name) == (1, 0, "Shop.Tests")


def test_xunit_tells_errors_of_an_assembly() -> None:
    document = (
        "<assemblies><assembly><errors><error type='assembly-cleanup' name='Shop'><failure><message>left over</message>"
        "</failure></error></errors><class><test name='A' result='Fail'><failure exception-type='X'>"
        "<message>m</message>"
        "<stack-trace>at Shop.A()</stack-trace></failure></test></class></assembly></assemblies>"
    )
    told = summary_of(document)
    assert [(each.name, each.message) for each in (*told.outside, *told.failures)] == [
        ("Shop (assembly-cleanup)", "left over"),
        ("A", "m"),
    ]


# TAP


def test_tap_without_numbers_descriptions_or_order() -> None:
    told = summary_of(
        "TAP version 12\nok\nnot ok\nok-no number\nnot ok 4-tight\nnot ok - # TODO later\nok # skip x\n1..6\n"
    )
    assert (told.tests, told.failed, told.skipped) == (6, 2, 2)
    assert [failure.name for failure in told.failures] == ["test 2", "tight"]


def test_tap_subtests_are_named_by_what_holds_them_and_counted_once() -> None:
    told = summary_of(
        "TAP version 14\n# Subtest: cart\n    # Subtest: sums\n        ok 1 - empty\n        not ok 2 - two\n"
        "          ---\n          error: '3 is not 4'\n          ...\n        1..2\n    not ok 1 - sums\n    1..1\n"
        "not ok 1 - cart\nok 2 - alone\n1..2\n"
    )
    assert (told.tests, told.failed, told.errors) == (3, 1, 0)
    assert [(failure.name, failure.message) for failure in told.failures] == [("cart > sums > two", "3 is not 4")]


def test_tap_diagnostics_in_comments_belong_to_the_failure_before() -> None:
    told = summary_of("1..2\nnot ok 1 - sum\n#   Failed test 'sum'\n#          got: '3'\n#     expected: '4'\nok 2\n")
    assert message_of(told) == "1 of 2 tests failed\n\nFAIL: sum\nFailed test 'sum'\n       got: '3'\n  expected: '4'"


def test_tap_that_bails_out_or_ends_early_has_failed_outside_of_the_tests() -> None:
    told = summary_of("1..3\nok 1\nBail out! No database.\n")
    assert (told.errors, told.outside[0].message) == (1, "No database.")
    told = summary_of("1..3\nok 1\n")
    assert told.outside[0].message == "3 tests were planned and 1 ran: the program ended before its time"
    assert summary_of("1..1\nok 1\nok 2\n").warnings == ("report: 1 tests were planned and 2 ran; all of them count",)


def test_a_yaml_block_without_an_end_ends_with_the_next_point() -> None:
    told = summary_of("TAP version 13\nnot ok 1 - a\n  ---\n  message: x\nnot ok 2 - b\n")
    assert [failure.name for failure in told.failures] == ["a", "b"]


def test_prose_and_the_output_of_go_test_are_no_tap() -> None:
    for text in ("ok  \texample.com/shop\t(cached)\n", "okay then\n", "all is ok 1\n"):
        with pytest.raises(NotAReport):
            summary_of(text)
    assert summary_of("ok then\n", name="t/basic.t").tests == 1, "a name can be a hint"


# go test -json


def events(*each: dict[str, object]) -> str:
    return "".join(json.dumps(event) + "\n" for event in each)


def test_go_subtests_and_their_parents_are_counted_and_only_the_child_is_quoted() -> None:
    told = summary_of(
        events(
            {"Action": "run", "Package": "shop", "Test": "TestSum"},
            {"Action": "output", "Package": "shop", "Test": "TestSum", "Output": "=== RUN   TestSum\n"},
            {
                "Action": "output",
                "Package": "shop",
                "Test": "TestSum/two",
                "Output": "    sum_test.go:9: got 3, want 4\n",
            },
            {
                "Action": "output",
                "Package": "shop",
                "Test": "TestSum/two",
                "Output": "    --- FAIL: TestSum/two (0.00s)\n",
            },
            {"Action": "fail", "Package": "shop", "Test": "TestSum/two"},
            {"Action": "output", "Package": "shop", "Test": "TestSum", "Output": "--- FAIL: TestSum (0.00s)\n"},
            {"Action": "fail", "Package": "shop", "Test": "TestSum"},
            {"Action": "output", "Package": "shop", "Output": "FAIL\tshop\t0.01s\n"},
            {"Action": "fail", "Package": "shop"},
        )
    )
    assert message_of(told) == (
        "2 of 2 tests failed\n\nFAIL: shop.TestSum/two\nsum_test.go:9: got 3, want 4\n\nalso failed:\n- shop.TestSum"
    )


def test_go_build_failures_are_told_with_what_the_compiler_said() -> None:
    output = [{"ImportPath": "shop [shop.test]", "Action": "build-output", "Output": line} for line in
              ("# shop\n", "./cart.go:3:1: undefined: total\n")]  # fmt: skip
    told = summary_of(
        events(
            *output,
            {"ImportPath": "shop [shop.test]", "Action": "build-fail"},
            {"Action": "output", "Package": "shop", "Output": "FAIL\tshop [build failed]\n"},
            {"Action": "fail", "Package": "shop", "FailedBuild": "shop [shop.test]"},
        )
    )
    assert message_of(told) == (
        "1 error outside of the tests\n\nERROR: shop [build failed]\n# shop\n./cart.go:3:1: undefined: total"
    )


def test_go_build_failures_of_older_versions_are_lines_between_the_events() -> None:
    told = summary_of(
        "# shop\ncart.go:3:1: undefined: total\n"
        + events(
            {"Action": "output", "Package": "shop", "Output": "FAIL\tshop [build failed]\n"},
            {"Action": "fail", "Package": "shop"},
        )
    )
    assert (told.errors, told.failed) == (1, 0)
    assert "cart.go:3:1: undefined: total" in message_of(told)


def test_a_go_panic_fails_the_test_that_ran_or_else_the_package() -> None:
    ran = {"Package": "shop", "Test": "TestPay"}
    panic = [{"Action": "output", "Output": line} for line in
             ("panic: runtime error: index out of range [1] with length 1\n", "\n", "goroutine 7 [running]:\n",
              "shop.pay(0x1)\n", "\t/src/shop/pay.go:12 +0x9f\n", "goroutine 8 [select]:\n",
              "shop.other()\n")]  # fmt: skip
    end = {"Action": "fail", "Package": "shop"}
    told = summary_of(events(ran | {"Action": "run"}, *(ran | line for line in panic), end))
    assert message_of(told) == (
        "1 of 1 test failed\n\nFAIL: shop.TestPay\npanic: runtime error: index out of range [1] with length 1\n"
        "goroutine 7 [running]:\nshop.pay(0x1)\n    /src/shop/pay.go:12 +0x9f"
    )
    passed = events(ran | {"Action": "run"}, *(ran | line for line in panic), ran | {"Action": "pass"}, end)
    told = summary_of(passed)
    assert (told.tests, told.failed, told.errors, told.outside[0].name) == (1, 0, 1, "shop")
    assert "panic: runtime error" in message_of(told)


def test_go_reruns_of_a_count_show_flaky_tests() -> None:
    told = summary_of(MAKERS["go"]([Made("A", "flaky", "late"), Made("B")]))
    assert (told.tests, told.failed, told.flaky, told.flaky_hint) == (2, 0, 1, True)
    assert told.errors == 0, "the package failed with its test"


def test_a_go_stream_that_breaks_off_tells_what_still_ran() -> None:
    cut = events({"Action": "run", "Package": "shop", "Test": "A"}, {"Action": "run", "Package": "shop", "Test": "B"})
    assert summary_of(cut).warnings == ("report: it ends while 2 tests are running",)


# mocha and dart


def test_a_mocha_hook_that_failed_is_an_error_outside_of_the_tests() -> None:
    hook = {"title": '"before all" hook', "fullTitle": 'cart "before all" hook', "err": {"message": "no database"}}
    told = summary_of(json.dumps({"stats": {"failures": 1}, "tests": [], "failures": [hook], "passes": []}))
    assert (told.errors, told.failed, told.outside[0].message) == (1, 0, "no database")


def test_a_mocha_report_that_breaks_off_is_read_up_to_the_break() -> None:
    whole = MAKERS["mocha"](CASES)
    told = summary_of(whole[: whole.index('"passes"') - 5])
    assert told.failed == 2
    assert told.warnings == ("report: it ends in the middle; what came before was read",)
    torn = summary_of(whole[: whole.index('"passes"') - 20])
    assert "report: it is broken or ends in the middle; what came before was read" in torn.warnings
    early = summary_of(whole[: whole.index('"pending"')])
    assert early.failed == 2, "its list of all tests holds errors too"


def test_a_dart_file_that_does_not_load_is_an_error_outside_of_the_tests() -> None:
    loading = {"id": 1, "name": "loading test/cart_test.dart", "suiteID": 0}
    told = summary_of(
        events(
            {"type": "suite", "suite": {"id": 0, "path": "test/cart_test.dart"}, "time": 0},
            {"type": "testStart", "test": loading, "time": 0},
            {"type": "error", "testID": 1, "error": "Failed to load: Error: expected ;", "stackTrace": "", "time": 1},
            {"type": "testDone", "testID": 1, "result": "error", "hidden": False, "skipped": False, "time": 2},
            {"type": "done", "success": False, "time": 3},
        )
    )
    assert (told.errors, told.failed, told.tests) == (1, 0, 0)
    assert told.outside[0].name == "loading test/cart_test.dart"


# What is no report, or only in part


@pytest.mark.parametrize("content", [b"", b" \n\t", b"\0" * 100])
def test_an_empty_file_is_a_warning(content: bytes) -> None:
    assert summary_of(content).warnings == ("report: it is empty",)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("<project><name>x</name></project>", "XML whose root is <project>"),
        ('{"name": "x"}', "neither XML nor JSON nor TAP"),
        ("Hello, world", "neither XML nor JSON nor TAP"),
        (b"\x7fELF\x02\x01" + bytes(range(256)), "neither XML nor JSON nor TAP"),
        ("[1, 2, 3]", "neither XML nor JSON nor TAP"),
        ("{" * 100_000, "neither XML nor JSON nor TAP"),
    ],
)
def test_what_is_no_report_is_said_to_be_none(content: bytes | str, what: str) -> None:
    with pytest.raises(NotAReport, match=what):
        summary_of(content)


REAL = Path(os.environ.get("HEALD_EVAL") or Path(__file__).parents[3] / "shared" / "eval") / "reports"


@pytest.mark.skipif(not REAL.is_dir(), reason="there is no folder of real reports; HEALD_EVAL names one")
def test_every_real_report_is_read() -> None:
    paths = sorted(path for path in REAL.rglob("*") if path.is_file())
    told = read_reports(paths)
    assert told.files > 70
    assert told.failed > 0
    for path in paths:
        alone = read_reports([path])
        assert alone.files + len(alone.notes) + len(alone.warnings) >= 1
        assert len(message_of(alone)) <= 4_000
