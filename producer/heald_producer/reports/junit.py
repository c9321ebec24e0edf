"""JUnit XML in the dialects that tools write: pytest, Surefire and Gradle with their reruns, jest, mocha, nextest,
PHPUnit's nested suites, Bazel, CTest, GoogleTest, go-junit-report and others.

What a case holds decides, not the counters of its suite; where they disagree, that is a warning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from heald_producer.reports.junit_tally import BAD_STATUS, FAILED, FLAKY, LEFT_OUT, Counts, Tally
from heald_producer.reports.results import NO_FAILURE, Failure, Results, Verdict
from heald_producer.reports.snippet import Snippet, bounded, dedented, one_line

COUNT_FROM = 10_000
"""Failed cases of one document after which the others are only counted."""
_RERUN = {"rerunFailure", "rerunError"}
_OUTPUT = {"system-out", "system-err"}
_SUITES = {"testsuites", "testsuite"}
_OUTSIDE = re.compile(
    r"collection failure|test suite failed to run|\[(?:build|setup) failed\]|build error|initializationerror"
    r"|failed to (?:load|import|compile)",
    re.IGNORECASE,
)
_EARLY = re.compile(
    r"failed on setup|\bhook\b|^classmethod$|^(?:before|after)(?:all|each|class)\b|^set_?up(?:class|module)?\b",
    re.IGNORECASE,
)
_UNWANTED = Snippet(0, 1)
"""Where text goes that says nothing about a failure."""
_MAX_WAITING = 100
_MAX_PROBLEMS = 20
_MAX_DIGITS = 9


class JUnit:
    """Reads `<testsuites>` or `<testsuite>`."""

    form = "JUnit XML"

    def __init__(self, results: Results) -> None:
        self._results = results
        self._suites: list[_Suite] = []
        self._case: _Case | None = None
        self._claim: _Claim | None = None
        self._failed = 0
        self._tally: Tally | None = None

    def start(self, name: str, attributes: Mapping[str, str]) -> Snippet | None:
        """An element begins."""
        if name in _SUITES:
            if self._claim is None and "tests" in attributes:
                self._claim = _Claim(len(self._suites), attributes)
            self._suites.append(_Suite(attributes))
            return None
        if name == "testcase":
            self._case = _Case(attributes, self._suites[-1].path(self._suites) if self._suites else "")
            return _UNWANTED
        if self._case is not None:
            return self._case.start(name, attributes)
        return self._suites[-1].start(name, attributes) if self._suites else None

    def end(self, name: str) -> Tally | None:
        """An element ends. The tally takes all that follows, once so much has failed that it need only be counted."""
        if name == "testcase":
            self._end_case()
            if self._failed >= COUNT_FROM:
                self._tally = Tally(self, self._count)
                return self._tally
        elif name in _SUITES and self._suites:
            self._end_suite()
        elif name in FAILED and self._case is None and self._suites:
            suite = self._suites[-1]
            problem = suite.problems.pop() if suite.problems else _Problem(name, {})
            self._results.error(problem.failure(suite.name or "(a suite without a name)", ""))
        return None

    def close(self) -> None:
        """The document has ended, maybe too early: what has failed until here counts."""
        if self._tally is not None:
            self._tally.close()
        if self._case is not None and self._case.problems:
            self._end_case()
        while self._suites:
            self._end_suite(complete=False)

    def _end_case(self) -> None:
        case, self._case = self._case, None
        if case is None:
            return
        self._failed += case.failed
        if self._claim:
            self._claim.count(case)
        suite = self._suites[-1] if self._suites else None
        if suite and case.lacks_words and len(suite.waiting) < _MAX_WAITING:
            suite.waiting.append(case)
        else:
            case.tell(self._results)

    def _count(self, counts: Counts) -> None:
        self._results.count(counts.cases, counts.failed, counts.flaky, counts.skipped)
        if self._claim:
            self._claim.add(counts)

    def _end_suite(self, *, complete: bool = True) -> None:
        """Failures without a word may have it in the output of their suite, as Bazel's have."""
        suite = self._suites.pop()
        words = suite.output.text()
        for case in suite.waiting:
            case.tell(self._results, words)
        if self._claim and self._claim.depth == len(self._suites):
            claim, self._claim = self._claim, None
            if complete and (disagreement := claim.disagreement()):
                of = f"suite {suite.name}: " if suite.name else ""
                self._results.warn(f"{of}{disagreement}; the cases count")


class _Suite:
    """An open suite: its name, its output, and its failed cases that said nothing."""

    def __init__(self, attributes: Mapping[str, str]) -> None:
        self.name = one_line(attributes.get("name", ""))
        self.output = Snippet(0)
        self.problems: list[_Problem] = []
        self.waiting: list[_Case] = []

    def path(self, suites: list[_Suite]) -> str:
        """The names from the outermost suite to this one."""
        return "\n".join(suite.name for suite in suites)

    def start(self, name: str, attributes: Mapping[str, str]) -> Snippet | None:
        if name in FAILED:
            self.problems[:] = [_Problem(name, attributes)]
            return self.problems[0].text
        return self.output if name in _OUTPUT else None


class _Problem:
    """A `<failure>`, an `<error>`, or one of the elements that reruns leave."""

    def __init__(self, element: str, attributes: Mapping[str, str]) -> None:
        self.element = element
        self.message = bounded(attributes.get("message", ""))
        self.kind = one_line(attributes.get("type", ""))
        self.place = _place(attributes)
        self.text = Snippet()

    @property
    def details(self) -> str:
        return dedented(self.text.text())

    def failure(self, name: str, place: str, more: str = "", *, early: bool = False) -> Failure:
        details = self.details
        has_words = bool(self.message.strip() or details)
        message = self.message if has_words else self.kind
        return Failure(name, place or self.place, message, "\n".join(filter(None, (details, more))), early)


class _Case:
    """One `<testcase>`."""

    def __init__(self, attributes: Mapping[str, str], suites: str) -> None:
        self._title = bounded(attributes.get("name") or attributes.get("id", ""))
        self._class = bounded(attributes.get("classname") or attributes.get("class", ""))
        self._suites = suites
        self._place = _place(attributes) if "file" in attributes else ""
        self._states: set[str] = set()
        if "status" in attributes or "result" in attributes:
            self._states = {attributes.get("status", "").lower(), attributes.get("result", "").lower()}
        self._skipped = False
        self._output: dict[str, Snippet] = {}
        self.problems: list[_Problem] = []

    def start(self, name: str, attributes: Mapping[str, str]) -> Snippet | None:
        if name in FAILED or name in FLAKY or name in _RERUN:
            problem = _Problem(name, attributes)
            if len(self.problems) < _MAX_PROBLEMS:
                self.problems.append(problem)
            return problem.text
        if name in _OUTPUT:
            inside = bool(self.problems) and self.problems[-1].element not in FAILED
            return _UNWANTED if inside else self._output.setdefault(name, Snippet(0))
        self._skipped = self._skipped or name in ("skipped", "ignored")
        return _UNWANTED if name in ("skipped", "properties") else None

    @property
    def failed(self) -> bool:
        """Whether it failed, and never passed."""
        if not self.problems:
            return not self._skipped and bool(self._states & BAD_STATUS)
        return any(problem.element in FAILED for problem in self.problems)

    @property
    def lacks_words(self) -> bool:
        """Whether it failed and says nothing of why but for a short message."""
        return self.failed and not self._output and not any(each.text.text().strip() for each in self.problems)

    @property
    def verdict(self) -> Verdict:
        if self.failed:
            first = self.problems[0].message if self.problems else ""
            if _OUTSIDE.search(first) or _OUTSIDE.search(self._title):
                return Verdict.OUTSIDE
            return Verdict.SKIPPED if self._states & LEFT_OUT else Verdict.FAILED
        if any(problem.element in FLAKY for problem in self.problems):
            return Verdict.FLAKY
        return Verdict.SKIPPED if self._skipped or self._states & LEFT_OUT else Verdict.PASSED

    def tell(self, results: Results, words: str = "") -> None:
        """Add the case to the results; `words` are what its suite printed."""
        verdict = self.verdict
        identity = (self._suites, self._class, self._title, self._place) if self._title else None
        if verdict is Verdict.PASSED or verdict is Verdict.SKIPPED:
            results.case(verdict, NO_FAILURE, identity)
        else:
            results.case(verdict, self._failure(words), identity)

    def _failure(self, words: str) -> Failure:
        bad = [each for each in self.problems if each.element in FAILED] or self.problems or [_Problem("failure", {})]
        if not any(each.text.text().strip() for each in bad):
            printed = (snippet.text() for name, snippet in sorted(self._output.items()))
            words = "\n".join(filter(None, (text.strip("\r\n") for text in printed))) or words
        else:
            words = ""
        others = [f"{each.message}\n{each.details}".strip() for each in bad[1:]]
        early = bool(_EARLY.search(bad[0].message[:200]) or _EARLY.search(self._title))
        return bad[0].failure(self._name(), self._place, "\n".join([*others, words]).strip("\n"), early=early)

    def _name(self) -> str:
        suite = self._suites.rpartition("\n")[2]
        return joined_name(one_line(self._class) or suite, one_line(self._title) or "(a test without a name)")


class _Claim:
    """The counters of the outermost suite that has some, to be compared with its cases."""

    def __init__(self, depth: int, attributes: Mapping[str, str]) -> None:
        self.depth = depth
        self._tests = _number(attributes.get("tests"))
        self._failed = (_number(attributes.get("failures")) or 0) + (_number(attributes.get("errors")) or 0)
        self._cases = self._failures = self._elements = 0

    def count(self, case: _Case) -> None:
        self._cases += 1
        self._failures += case.failed
        self._elements += sum(problem.element in FAILED for problem in case.problems)

    def add(self, counts: Counts) -> None:
        self._cases += counts.cases
        self._failures += counts.failed
        self._elements += counts.elements

    def disagreement(self) -> str:
        """What the counters say and the cases do not; empty when they agree."""
        if self._failed not in (self._failures, self._elements):
            return f"counters tell of {self._failed:,} failures, cases of {self._failures:,}"
        if self._tests is not None and self._tests != self._cases:
            return f"counters tell of {self._tests:,} tests, {self._cases:,} are there"
        return ""


def joined_name(group: str, title: str) -> str:
    """A test's name with what it belongs to in front, where that says more."""
    if not group or title == group or title.endswith(f" {group}") or (title.startswith(group) and len(group) > 1):
        return title
    return f"{group} > {title}" if " " in title or " " in group else f"{group}.{title}"


def _place(attributes: Mapping[str, str]) -> str:
    file, line = one_line(attributes.get("file", "")), attributes.get("line", "")[:_MAX_DIGITS]
    return f"{file}:{line}" if file and line else file


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS else None
