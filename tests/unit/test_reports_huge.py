"""A report of a million failures is not worth minutes: what nobody will read is not collected, and still counted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heald_producer.reports import junit, results
from heald_producer.reports.results import ReportSummary
from heald_producer.reports.snippet import Snippet
from support.reports import summary_of

BAD = '<testcase classname="c" name="n{0}"><failure message="m{0}">text {0}</failure></testcase>\n'


def of_junit(number: int) -> str:
    return "<testsuite>" + "".join(BAD.format(n) for n in range(number)) + "</testsuite>"


def of_tap(number: int) -> str:
    return "TAP version 13\n" + "".join(f"not ok {n} - n{n}\n  ---\n  more: text {n}\n  ...\n" for n in range(number))


def of_go(number: int) -> str:
    lines = []
    for n in range(number):
        test = f'"Package":"p","Test":"T{n}"'
        lines.append(f'{{"Action":"run",{test}}}\n{{"Action":"output",{test},"Output":"text {n}\\n"}}\n')
        lines.append(f'{{"Action":"fail",{test}}}\n')
    return "".join(lines)


MAKERS: dict[str, Callable[[int], str]] = {"junit": of_junit, "tap": of_tap, "go": of_go}


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every text that is collected, with bounds that a test reaches quickly."""
    monkeypatch.setattr(results, "MAX_NAMED", 20)
    monkeypatch.setattr(junit, "COUNT_FROM", 20)
    texts: list[str] = []
    add = Snippet.add

    def noted(self: Snippet, text: str) -> None:
        texts.append(text)
        add(self, text)

    monkeypatch.setattr(Snippet, "add", noted)
    return texts


@pytest.mark.parametrize("form", MAKERS)
def test_the_text_of_failures_that_nobody_will_see_is_not_collected(form: str, collected: list[str]) -> None:
    few = summary_of(MAKERS[form](20))
    texts = len(collected)
    many = summary_of(MAKERS[form](2_000))
    assert (many.failed, many.tests, many.warnings) == (2_000, 2_000, ())
    assert many.failures == few.failures
    assert len(collected) <= 2 * texts + 10, "it grows with the report"


@pytest.mark.usefixtures("collected")
def test_a_panic_among_what_is_not_collected_fails_the_test_that_ran() -> None:
    panic = '{"Action":"output","Package":"p","Test":"T99","Output":"panic: nil map\\n"}\n'
    assert summary_of(of_go(30) + panic + '{"Action":"fail","Package":"p"}\n').failed == 31


CASES = {
    "passed": "",
    "failed": "<failure/>",
    "twice": "<failure/><error/>",
    "skipped": "<skipped/>",
    "flaky": "<flakyFailure/>",
    "rerun": "<failure/><rerunFailure/>",
}
SUITES = st.recursive(
    st.lists(st.sampled_from([*CASES, "bad status", "left out", "suite problem"]), max_size=8),
    lambda inner: st.lists(inner, min_size=1, max_size=3),
    max_leaves=6,
)


def document(suites: object, number: list[int], lie: int) -> str:
    """Suites and cases, each case with a name of its own; `lie` spoils the counters."""
    if isinstance(suites, str):
        number[0] += 1
        name = f'name="n{number[0]}"'
        if suites == "suite problem":
            return f'<failure message="m{number[0]}"/>'
        if suites in ("bad status", "left out"):
            status = 'status="failed"' if suites == "bad status" else 'result="suppressed"'
            return f"<testcase {name} {status}/>"
        return f"<testcase {name}>{CASES[suites]}<system-out>said</system-out></testcase>"
    assert isinstance(suites, list)
    inner = "".join(document(each, number, lie) for each in suites)
    count = inner.count("<testcase") + lie
    return f'<testsuite name="s{number[0]}" tests="{count}" failures="{inner.count("<failure")}">{inner}</testsuite>'


def counts(told: ReportSummary) -> tuple[object, ...]:
    return told.tests, told.failed, told.flaky, told.skipped, told.errors, told.warnings


@given(SUITES, st.integers(0, 1), st.integers(0, 30))
def test_cases_that_are_only_counted_count_as_before(suites: object, lie: int, cut: int) -> None:
    text = document(["failed", suites], [0], lie)
    text = text[: len(text) - cut]
    whole = summary_of(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(junit, "COUNT_FROM", 1)
        assert counts(summary_of(text)) == counts(whole)


@pytest.mark.usefixtures("collected")
def test_nesting_is_bounded_where_cases_are_only_counted() -> None:
    deep = of_junit(30).removesuffix("</testsuite>")
    for inside in ("", "<testcase>"):
        told = summary_of(deep + inside + "<properties>" * 300)
        assert (told.failed, "nested deeper than 200" in told.warnings[0]) == (30, True)
