"""The JSON lines of `dart test --reporter json` and `flutter test --machine`."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from heald_producer.reports.results import NO_FAILURE, Failure, Results, Verdict
from heald_producer.reports.snippet import Snippet, bounded, one_line

form = "dart test JSON"

_MAX_OPEN = 10_000
_TYPES = {"start", "suite", "group", "testStart", "testDone", "error", "print", "done", "allSuites", "debug"}


class _Test(msgspec.Struct):
    id: int = 0
    name: str = ""
    suiteID: int | None = None
    line: int | None = None


class _Suite(msgspec.Struct):
    id: int = 0
    path: str | None = None


class Event(msgspec.Struct):
    """One line; the names are the reporter's."""

    type: str
    time: int | None = None
    test: _Test | None = None
    suite: _Suite | None = None
    testID: int | None = None
    error: str = ""
    stackTrace: str = ""
    result: str = ""
    skipped: bool = False
    hidden: bool = False
    success: bool | None = None


_decode = msgspec.json.Decoder(Event).decode


def event_of(line: str) -> Event | None:
    """The event of a line, if it holds one."""
    if not line.startswith("{"):
        return None
    try:
        event = _decode(line.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return None
    return event if event.type in _TYPES and event.time is not None else None


class _Open:
    """A test that runs, with the errors it had so far."""

    def __init__(self, test: _Test, path: str) -> None:
        title = one_line(test.name)
        self.is_loading = title.startswith(("loading ", "compiling "))
        self.name = title if self.is_loading or not path else f"{one_line(path)}: {title}"
        self.place = f"{one_line(path)}:{test.line}" if path and test.line else ""
        self.message = ""
        self.details = Snippet()

    def failure(self) -> Failure:
        return Failure(self.name, self.place, bounded(self.message), self.details.text().strip("\n"))


class Dart:
    """Reads the lines of one stream."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._paths: dict[int, str] = {}
        self._open: dict[int, _Open] = {}
        self._done = False

    def read(self, lines: Iterable[str]) -> None:
        """Take all lines."""
        for line in lines:
            event = event_of(line)
            if event is not None:
                self._take(event)
        for test in self._open.values():
            if test.message:
                self._tell(test, Verdict.FAILED)
        if not self._done:
            self._results.warn("it ends before the tests have")

    def _take(self, event: Event) -> None:
        if event.type == "suite" and event.suite and len(self._paths) < _MAX_OPEN:
            self._paths[event.suite.id] = event.suite.path or ""
        elif event.type == "testStart" and event.test and len(self._open) < _MAX_OPEN:
            path = self._paths.get(event.test.suiteID, "") if event.test.suiteID is not None else ""
            self._open[event.test.id] = _Open(event.test, path)
        elif event.type == "error" and event.testID in self._open:
            self._error(self._open[event.testID], event)
        elif event.type == "testDone" and event.testID is not None:
            self._end(event, self._open.pop(event.testID, None))
        elif event.type == "done":
            self._done = True

    def _error(self, test: _Open, event: Event) -> None:
        if test.message:
            test.details.add(event.error + "\n")
        else:
            test.message = event.error or "(an error without a message)"
        test.details.add(event.stackTrace + "\n")

    def _end(self, event: Event, test: _Open | None) -> None:
        """A test that had an error and ended well was tried again."""
        test = test or _Open(_Test(), "")
        if event.result in ("failure", "error"):
            self._tell(test, Verdict.FAILED)
        elif event.skipped:
            self._results.case(Verdict.SKIPPED, NO_FAILURE)
        elif test.message and event.result == "success":
            self._tell(test, Verdict.FLAKY)
        elif not event.hidden:
            self._results.case(Verdict.PASSED, NO_FAILURE)

    def _tell(self, test: _Open, verdict: Verdict) -> None:
        """A file of tests that cannot be loaded is no test."""
        self._results.case(Verdict.OUTSIDE if test.is_loading else verdict, test.failure())
