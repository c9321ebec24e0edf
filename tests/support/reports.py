"""Test reports in every format, made of plain cases: what a reader has to find in them again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from hypothesis import strategies as st

from heald_producer.reports.detect import read_report
from heald_producer.reports.results import ReportSummary, Results


class Made(NamedTuple):
    """One case as a report is to tell it."""

    name: str
    verdict: str = "passed"
    message: str = ""


def summary_of(content: bytes | str, name: str = "report", piece: int = 65_536) -> ReportSummary:
    """What one report tells, read in pieces of so many bytes."""
    data = content.encode() if isinstance(content, str) else content
    results = Results()
    results.begin_file(name)
    pieces = (data[start : start + piece] for start in range(0, len(data), piece))
    read_report(pieces, data[:65_536], name, results)
    return results.summary()


def write(folder: Path, name: str, content: bytes | str) -> Path:
    """A report as a file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def junit(cases: Iterable[Made]) -> str:
    """As pytest and most others write it."""
    body = "".join(_junit_case(case) for case in cases)
    return f'<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="suite">{body}</testsuite></testsuites>'


def _junit_case(case: Made) -> str:
    inner = {
        "passed": "",
        "skipped": "<skipped/>",
        "failed": f"<failure message={quoteattr(case.message)}>at some.place</failure>",
        "flaky": f"<flakyFailure message={quoteattr(case.message)}><stackTrace>at x</stackTrace></flakyFailure>",
    }[case.verdict]
    return f'<testcase classname="group" name={quoteattr(case.name)}>{inner}</testcase>'


def trx(cases: Iterable[Made]) -> str:
    """As `dotnet test --logger trx` writes it: classes come after all results."""
    outcomes = {"passed": "Passed", "failed": "Failed", "skipped": "NotExecuted"}
    results, definitions = [], []
    for number, case in enumerate(cases):
        error = f"<Output><ErrorInfo><Message>{escape(case.message)}</Message></ErrorInfo></Output>"
        results.append(
            f'<UnitTestResult testId="{number}" testName={quoteattr(case.name)} outcome="{outcomes[case.verdict]}">'
            f"{error if case.verdict == 'failed' else ''}</UnitTestResult>"
        )
        definitions.append(f'<UnitTest id="{number}"><TestMethod className="group, assembly"/></UnitTest>')
    return (
        '<TestRun xmlns="urn:trx"><Results>' + "".join(results) + "</Results><TestDefinitions>"
        f"{''.join(definitions)}</TestDefinitions></TestRun>"
    )


def nunit3(cases: Iterable[Made]) -> str:
    """As NUnit 3 and 4 write it."""
    outcomes = {"passed": "Passed", "failed": "Failed", "skipped": "Skipped"}
    body = "".join(
        f"<test-case name={quoteattr(case.name)} fullname={quoteattr('group.' + case.name)} "
        f'result="{outcomes[case.verdict]}">'
        + (f"<failure><message>{escape(case.message)}</message></failure>" if case.verdict == "failed" else "")
        + "</test-case>"
        for case in cases
    )
    return f'<test-run><test-suite name="group" result="Failed" site="Child">{body}</test-suite></test-run>'


def nunit2(cases: Iterable[Made]) -> str:
    """As NUnit 2 writes it."""
    outcomes = {"passed": "Success", "failed": "Failure", "skipped": "Ignored"}
    body = "".join(
        f'<test-case name={quoteattr("group." + case.name)} result="{outcomes[case.verdict]}">'
        + (f"<failure><message>{escape(case.message)}</message></failure>" if case.verdict == "failed" else "")
        + "</test-case>"
        for case in cases
    )
    return f'<test-results><test-suite result="Failure"><results>{body}</results></test-suite></test-results>'


def xunit(cases: Iterable[Made]) -> str:
    """As xUnit.net v2 writes it."""
    outcomes = {"passed": "Pass", "failed": "Fail", "skipped": "Skip"}
    body = "".join(
        f'<test name={quoteattr("group." + case.name)} result="{outcomes[case.verdict]}">'
        + (f"<failure><message>{escape(case.message)}</message></failure>" if case.verdict == "failed" else "")
        + "</test>"
        for case in cases
    )
    return f"<assemblies><assembly><collection>{body}</collection></assembly></assemblies>"


def tap(cases: Sequence[Made]) -> str:
    """TAP 13 with diagnostics in YAML."""
    lines = ["TAP version 13", f"1..{len(cases)}"]
    for number, case in enumerate(cases, start=1):
        directive = " # SKIP" if case.verdict == "skipped" else ""
        lines.append(f"{'not ' if case.verdict == 'failed' else ''}ok {number} - group.{case.name}{directive}")
        if case.verdict == "failed":
            lines += ["  ---", f"  message: {json.dumps(case.message, ensure_ascii=False)}", "  ..."]
    return "\n".join(lines) + "\n"


def go(cases: Iterable[Made]) -> str:
    """As `go test -json` writes it."""
    events: list[dict[str, Any]] = [{"Action": "start", "Package": "group"}]
    failed = False
    for case in cases:
        test = {"Package": "group", "Test": case.name}
        runs = {"flaky": ["failed", "passed"]}.get(case.verdict, [case.verdict])
        for verdict in runs:
            failed |= verdict == "failed"
            word = {"passed": "pass", "failed": "fail", "skipped": "skip"}[verdict]
            events.append(test | {"Action": "run"})
            if verdict == "failed":
                events.append(test | {"Action": "output", "Output": f"    x_test.go:7: {case.message}\n"})
                events.append(test | {"Action": "output", "Output": f"--- FAIL: {case.name} (0.00s)\n"})
            events.append(test | {"Action": word, "Elapsed": 0.1})
    events.append({"Action": "fail" if failed else "pass", "Package": "group"})
    return "".join(json.dumps(event) + "\n" for event in events)


def mocha(cases: Sequence[Made]) -> str:
    """As mocha's reporter `json` writes it."""
    lists: dict[str, list[dict[str, Any]]] = {"tests": [], "pending": [], "failures": [], "passes": []}
    keys = {"passed": "passes", "flaky": "passes", "failed": "failures", "skipped": "pending"}
    for case in cases:
        test: dict[str, Any] = {"title": case.name, "fullTitle": f"group.{case.name}", "currentRetry": 0, "err": {}}
        if case.verdict == "flaky":
            test["currentRetry"] = 1
        if case.verdict == "failed":
            test["err"] = {"message": case.message, "stack": f"Error: {case.message}\n    at x (test.js:1:2)"}
        lists[keys[case.verdict]].append(test)
        lists["tests"].append(test)
    stats = {"tests": len(cases), "failures": len(lists["failures"])}
    return json.dumps({"stats": stats} | lists, indent=2)


def dart(cases: Iterable[Made]) -> str:
    """As `dart test --reporter json` writes it."""
    events: list[dict[str, Any]] = [{"protocolVersion": "0.1.1", "type": "start"}]
    for number, case in enumerate(cases, start=1):
        events.append({"type": "testStart", "test": {"id": number, "name": f"group.{case.name}"}})
        if case.verdict in ("failed", "flaky"):
            events.append({"type": "error", "testID": number, "error": case.message, "stackTrace": "x.dart 1:2"})
        result = "failure" if case.verdict == "failed" else "success"
        skipped = case.verdict == "skipped"
        events.append({"type": "testDone", "testID": number, "result": result, "skipped": skipped, "hidden": False})
    events.append({"type": "done", "success": False})
    return "".join(json.dumps(event | {"time": 1}) + "\n" for event in events)


MAKERS: dict[str, Callable[[Sequence[Made]], str]] = {
    "junit": junit,
    "trx": trx,
    "nunit3": nunit3,
    "nunit2": nunit2,
    "xunit": xunit,
    "tap": tap,
    "go": go,
    "mocha": mocha,
    "dart": dart,
}
CAN_BE_FLAKY = {"junit", "go", "mocha", "dart"}

_WORDS = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=12)


@st.composite
def made_cases(draw: st.DrawFn, *, flaky: bool) -> list[Made]:
    """Cases with names of their own; messages with what XML and JSON have to escape."""
    names = draw(st.lists(_WORDS, unique=True, max_size=12))
    verdicts = st.sampled_from(["passed", "failed", "skipped", *(["flaky"] if flaky else [])])
    marks = st.sampled_from(["<", "&", "]]>", '"', "'", "é", "→", " "])
    cases = []
    for name in names:
        message = "".join(draw(st.lists(_WORDS | marks, min_size=1, max_size=5)))
        cases.append(Made(name, draw(verdicts), f"expected {message.strip()} at last"))
    return cases
