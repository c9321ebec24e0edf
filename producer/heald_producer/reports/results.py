"""What reports tell, added up while they are read, in memory that does not grow with them.

A case is one result of one test. Cases of one file with the same identity are runs of one test: a test that failed
and passed has failed for no good reason, and is counted as flaky, not as failed.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

MAX_QUOTABLE = 50
"""Failures of each kind that are kept with their text."""
MAX_NAMED = 2_000
"""Failures of each kind whose names are kept; beyond that they are only counted."""
MAX_IDENTITIES = 200_000
"""Tests of one file that are remembered, to see that one of them ran again."""
MAX_WARNINGS = 50


class Verdict(Enum):
    """How a case ended. `FLAKY`: it failed, and passed when it was repeated. `OUTSIDE`: no test failed, but something
    that tests need, such as the build or the collection of tests."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    FLAKY = "flaky"
    OUTSIDE = "outside"


class Failure(NamedTuple):
    """Why a test, or something outside of the tests, failed.

    Attributes:
        name: the test, as a person would name it.
        place: file and line, where the report tells them.
        message: the report's short message; may be empty.
        details: the report's long text, bounded; may be empty.
        early: the test was not reached: its preparation failed.
    """

    name: str
    place: str = ""
    message: str = ""
    details: str = ""
    early: bool = False


NO_FAILURE = Failure("")
"""For cases that did not fail."""


class ReportSummary(NamedTuple):
    """Everything that was read, from all files.

    Attributes:
        files: how many files were read as reports.
        formats: which formats they had, in the order of their first file.
        tests: how many tests they tell of.
        failed, flaky, skipped: how many of these failed for good, passed on a rerun, were left out.
        errors: how many things outside of the tests went wrong, such as builds.
        outside, failures, passed_on_rerun: the first of each, in the reports' order.
        warnings: what could not be read, or contradicts itself, one sentence each: a failure may be overlooked.
        notes: what was left out for a good reason, one sentence each.
    """

    files: int = 0
    formats: tuple[str, ...] = ()
    tests: int = 0
    failed: int = 0
    flaky: int = 0
    skipped: int = 0
    errors: int = 0
    outside: tuple[Failure, ...] = ()
    failures: tuple[Failure, ...] = ()
    passed_on_rerun: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_failures(self) -> bool:
        """Whether anything went wrong, a test that passed on a rerun included."""
        return bool(self.failed or self.errors or self.flaky)

    @property
    def flaky_hint(self) -> bool:
        """Whether everything that failed has passed on a rerun, as the reports show."""
        return bool(self.flaky and not self.failed and not self.errors)


Key = tuple[int, int]


class Results:
    """Adds up cases. Parsers call `case`, `error` and `warn`; whoever opens files calls `begin_file`."""

    def __init__(self) -> None:
        self._files = self._tests = self._failed = self._flaky = self._skipped = self._errors = 0
        self._formats: dict[str, None] = {}
        self._file = ""
        self._runs: dict[int, Verdict] = {}
        self._unnamed = 0
        self._kept: dict[Verdict, dict[Key, Failure]] = {
            Verdict.FAILED: {},
            Verdict.FLAKY: {},
            Verdict.OUTSIDE: {},
        }
        self._warnings: dict[str, None] = {}
        self._warnings_lost = 0
        self._notes: list[str] = []

    def begin_file(self, name: str) -> None:
        """What comes next stands in another file."""
        self._file = name
        self._runs.clear()

    def keeps(self, verdict: Verdict) -> bool:
        """Whether one more failure of this kind would be kept; its text need not be collected otherwise."""
        return len(self._kept[verdict]) < MAX_NAMED

    def count_file(self, form: str) -> None:
        """The file is a report of this format."""
        self._files += 1
        self._formats[form] = None

    def warn(self, problem: str) -> None:
        """Something about the current file that a person should know."""
        self.warn_of_all(f"{self._file}: {problem}")

    def note(self, fact: str) -> None:
        """What was left out for a good reason."""
        self._notes.append(fact)

    def warn_of_all(self, problem: str) -> None:
        """Something about the reports as a whole that a person should know."""
        if len(self._warnings) < MAX_WARNINGS:
            self._warnings[problem] = None
        elif problem not in self._warnings:
            self._warnings_lost += 1

    def error(self, failure: Failure) -> None:
        """Something outside of the tests went wrong; what has the same name and message is the same thing."""
        key = (0, hash((failure.name, failure.message)))
        if key not in self._kept[Verdict.OUTSIDE]:
            self._errors += 1
            self._keep(Verdict.OUTSIDE, key, failure)

    def case(self, verdict: Verdict, failure: Failure, identity: object = None) -> None:
        """One case; `identity` tells which test it is of, None that no other case can be of it."""
        if verdict is Verdict.OUTSIDE:
            self.error(failure)
            return
        if identity is None:
            self._unnamed += 1
            key, before = (-1, self._unnamed), None
        else:
            key = (self._files, hash(identity))
            before = self._runs.get(key[1])
        if before and verdict is not Verdict.SKIPPED and not (before is verdict is Verdict.PASSED):
            self._again(key, before, verdict, failure)
            return
        self._tests += 1
        if verdict is Verdict.FAILED:
            self._failed += 1
            self._keep(verdict, key, failure)
        elif verdict is Verdict.FLAKY:
            self._flaky += 1
            self._keep(verdict, key, failure)
        elif verdict is Verdict.SKIPPED:
            self._skipped += 1
        if identity is not None and verdict is not Verdict.SKIPPED and len(self._runs) < MAX_IDENTITIES:
            self._runs[key[1]] = verdict

    def count(self, tests: int, failed: int, flaky: int, skipped: int) -> None:
        """Cases without names, as each of them were another test; `tests` is how many there are in all."""
        self._tests += tests
        self._failed += failed
        self._flaky += flaky
        self._skipped += skipped

    def summary(self) -> ReportSummary:
        """What was read so far."""
        lost = (f"{self._warnings_lost:,} more warnings are not shown",) if self._warnings_lost else ()
        return ReportSummary(
            self._files,
            tuple(self._formats),
            self._tests,
            self._failed,
            self._flaky,
            self._skipped,
            self._errors,
            tuple(self._kept[Verdict.OUTSIDE].values()),
            tuple(self._kept[Verdict.FAILED].values()),
            tuple(self._kept[Verdict.FLAKY].values()),
            (*self._warnings, *lost),
            tuple(self._notes),
        )

    def _again(self, key: Key, before: Verdict, verdict: Verdict, failure: Failure) -> None:
        """Another run of a test: what failed once and passed once is flaky, whatever came first."""
        if before is verdict or before is Verdict.FLAKY:
            return
        self._runs[key[1]] = Verdict.FLAKY
        self._flaky += 1
        if before is Verdict.FAILED:
            self._failed -= 1
            failure = self._kept[Verdict.FAILED].pop(key, failure)
        self._keep(Verdict.FLAKY, key, failure)

    def _keep(self, verdict: Verdict, key: Key, failure: Failure) -> None:
        kept = self._kept[verdict]
        if len(kept) >= MAX_NAMED:
            return
        if len(kept) >= MAX_QUOTABLE:
            failure = failure._replace(message="", details="")
        kept[key] = failure
