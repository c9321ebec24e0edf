"""Reports of .NET: TRX, NUnit 2 and 3, xUnit v1 and v2."""

from __future__ import annotations

from collections.abc import Mapping

from heald_producer.reports.results import NO_FAILURE, Failure, Results, Verdict
from heald_producer.reports.snippet import Snippet, bounded, one_line

_UNNAMED = "(a test without a name)"
_BAD = {"aborted", "error", "fail", "failed", "failure", "timeout"}
_GOOD = {"pass", "passed", "passedbutrunaborted", "completed", "success", "warning", "inconclusive"}
_MAX_WAITING = 1_000


class _Case:
    """An open test, with the texts that it may hold."""

    def __init__(self, name: str, outcome: str) -> None:
        self.name, self.outcome = name, outcome.lower()
        self.message, self.trace, self.output = Snippet(), Snippet(), Snippet(0)
        self.is_group = self.waits = False

    @property
    def verdict(self) -> Verdict:
        if self.outcome in _BAD:
            return Verdict.FAILED
        return Verdict.PASSED if self.outcome in _GOOD else Verdict.SKIPPED

    def failure(self, *, early: bool = False) -> Failure:
        message, trace = self.message.text().strip("\r\n"), self.trace.text().strip("\r\n")
        details = trace if message or trace else self.output.text().strip("\r\n")
        said = message or ("" if details else f"the outcome is {self.outcome}")
        return Failure(self.name or _UNNAMED, "", bounded(said), details, early)

    def tell(self, results: Results) -> None:
        verdict = self.verdict
        is_told = verdict is Verdict.FAILED and results.keeps(verdict)
        results.case(verdict, self.failure() if is_told else NO_FAILURE)


class Trx:
    """Reads the `<TestRun>` of Visual Studio and `dotnet test`."""

    form = "TRX"

    def __init__(self, results: Results) -> None:
        self._results = results
        self._open: list[_Case] = []
        self._waiting: dict[str, list[_Case]] = {}
        self._number_waiting = 0
        self._defined = ""
        self._problem: Snippet | None = None

    def start(self, name: str, attributes: Mapping[str, str]) -> Snippet | None:
        """An element begins."""
        if name == "UnitTestResult":
            if self._open:
                self._open[-1].is_group = True
            case = _Case(one_line(attributes.get("testName", "")), attributes.get("outcome", "Passed"))
            self._open.append(case)
            self._expect(case, attributes.get("testId", ""))
        elif name == "UnitTest":
            self._defined = attributes.get("id", "")
        elif name == "TestMethod":
            self._name_class(one_line(attributes.get("className", "").partition(",")[0]))
        elif name == "RunInfo" and attributes.get("outcome", "").lower() in _BAD:
            self._problem = Snippet()
            return self._problem
        elif self._open:
            case = self._open[-1]
            return {"Message": case.message, "StackTrace": case.trace, "StdOut": case.output}.get(name)
        return None

    def end(self, name: str) -> None:
        """An element ends. A result that holds others, one per row of its data, is told by these."""
        if name == "UnitTestResult" and self._open:
            case = self._open.pop()
            if not case.is_group and not case.waits:
                case.tell(self._results)
        elif name == "RunInfo" and self._problem is not None:
            self._results.error(Failure("the test run", details=self._problem.text().strip()))
            self._problem = None

    def close(self) -> None:
        """The document has ended; classes that were not told by now never will be."""
        for cases in self._waiting.values():
            for case in cases:
                if not case.is_group:
                    case.tell(self._results)
        self._waiting.clear()

    def _expect(self, case: _Case, test: str) -> None:
        """Names may be bare, and their classes come after all results: failed cases wait for them."""
        if case.verdict is Verdict.FAILED and self._number_waiting < _MAX_WAITING:
            self._waiting.setdefault(bounded(test, 100), []).append(case)
            self._number_waiting += 1
            case.waits = True

    def _name_class(self, group: str) -> None:
        for case in self._waiting.get(bounded(self._defined, 100), ()):
            if group and "." not in case.name.partition("(")[0]:
                case.name = f"{group}.{case.name}"


class NUnit3:
    """Reads the `<test-run>` of NUnit 3 and 4."""

    form = "NUnit 3"

    def __init__(self, results: Results) -> None:
        self._results = results
        self._open: list[_Case] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> Snippet | None:
        """An element begins. A suite that failed by itself, not by its tests, has failed before or after them."""
        if name in ("test-case", "test-suite"):
            outcome = attributes.get("result", "")
            if name == "test-suite" and attributes.get("site", "").lower() in ("child", "parent"):
                outcome = ""
            self._open.append(_Case(one_line(attributes.get("fullname") or attributes.get("name", "")), outcome))
        elif self._open:
            case = self._open[-1]
            return {"message": case.message, "stack-trace": case.trace, "output": case.output}.get(name)
        return None

    def end(self, name: str) -> None:
        """An element ends."""
        if name == "test-case" and self._open:
            self._open.pop().tell(self._results)
        elif name == "test-suite" and self._open:
            suite = self._open.pop()
            message = suite.message.text().strip()
            if suite.verdict is Verdict.FAILED and message and not message.startswith("One or more child tests had"):
                self._results.error(suite.failure())

    def close(self) -> None:
        """The document has ended, maybe too early."""
        while self._open:
            case = self._open.pop()
            if case.verdict is Verdict.FAILED and case.message.text().strip():
                case.tell(self._results)


class NUnit2:
    """Reads the `<test-results>` of NUnit 2."""

    form = "NUnit 2"

    def __init__(self, results: Results) -> None:
        self._results = results
        self._open: list[_Case] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> Snippet | None:
        """An element begins."""
        if name in ("test-case", "test-suite"):
            outcome = attributes.get("result") or {"true": "success", "false": "failure"}.get(
                attributes.get("success", "").lower(), ""
            )
            self._open.append(_Case(one_line(attributes.get("name", "")), outcome))
        elif self._open:
            return {"message": self._open[-1].message, "stack-trace": self._open[-1].trace}.get(name)
        return None

    def end(self, name: str) -> None:
        """An element ends. Suites fail with their tests; one that says where it failed has failed by itself."""
        if name == "test-case" and self._open:
            self._open.pop().tell(self._results)
        elif name == "test-suite" and self._open:
            suite = self._open.pop()
            if suite.verdict is Verdict.FAILED and suite.trace.text().strip():
                self._results.error(suite.failure())

    def close(self) -> None:
        """The document has ended, maybe too early."""
        while self._open:
            case = self._open.pop()
            if case.verdict is Verdict.FAILED and case.message.text().strip():
                case.tell(self._results)


class XUnit:
    """Reads the `<assemblies>` or `<assembly>` of xUnit.net v1, v2 and v3."""

    form = "xUnit.net"

    def __init__(self, results: Results) -> None:
        self._results = results
        self._case: _Case | None = None
        self._error: _Case | None = None

    def start(self, name: str, attributes: Mapping[str, str]) -> Snippet | None:
        """An element begins."""
        if name == "test":
            self._case = _Case(one_line(attributes.get("name", "")), attributes.get("result", ""))
        elif name == "error":
            kind = attributes.get("type", "error")
            self._error = _Case(one_line(f"{attributes.get('name', '')} ({kind})"), "error")
        case = self._error or self._case
        if case is None:
            return None
        return {"message": case.message, "stack-trace": case.trace, "output": case.output}.get(name)

    def end(self, name: str) -> None:
        """An element ends."""
        if name == "test" and self._case is not None:
            self._case.tell(self._results)
            self._case = None
        elif name == "error" and self._error is not None:
            self._results.error(self._error.failure())
            self._error = None

    def close(self) -> None:
        """The document has ended, maybe too early."""
        case, self._case = self._case, None
        if case is not None and case.verdict is Verdict.FAILED:
            case.tell(self._results)
