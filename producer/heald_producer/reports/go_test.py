"""`go test -json`: events of tests and packages, build failures, panics, and tests that ran more than once.

Output is kept while a test runs and dropped when it has passed. A package that failed without a failed test has failed
outside of its tests: it was not built, it panicked, or its TestMain ended it. Lines that are no events, as the
compiler's of older versions, belong to the next package that was not built.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from heald_producer.reports.results import NO_FAILURE, Failure, Results, Verdict
from heald_producer.reports.snippet import Snippet, one_line

form = "go test -json"

_MAX_OPEN = 10_000
_PANIC = re.compile(r"(?:panic:|fatal error:|signal: |exit status |unexpected fault address|WARNING: DATA RACE)")
_OUTPUT = '"Output":"'
_VERDICTS = {"pass": Verdict.PASSED, "fail": Verdict.FAILED, "skip": Verdict.SKIPPED, "bench": Verdict.PASSED}


class Event(msgspec.Struct):
    """One line; the names are Go's."""

    action: str = msgspec.field(name="Action")
    package: str = msgspec.field(name="Package", default="")
    test: str = msgspec.field(name="Test", default="")
    output: str = msgspec.field(name="Output", default="")
    import_path: str = msgspec.field(name="ImportPath", default="")
    failed_build: str = msgspec.field(name="FailedBuild", default="")


_decode = msgspec.json.Decoder(Event).decode


def event_of(line: str) -> Event | None:
    """The event of a line, if it holds one."""
    if not line.startswith("{"):
        return None
    try:
        event = _decode(line)
    except (ValueError, RecursionError):  # msgspec's errors, and that of lone surrogates, are ValueErrors
        return None
    return event if event.package or event.test or event.import_path or event.action == "fail" else None


class _Package:
    """What is known of one package while it runs."""

    def __init__(self) -> None:
        self.own = Snippet()
        self.panic = Snippet()
        self.running: dict[str, Snippet | None] = {}
        self.failed = self.panicked = False

    def output_of(self, test: str) -> Snippet:
        """Where to keep what a test prints; the package's own where too many of them run."""
        snippet = self.running.get(test, self.own)
        if snippet is None:
            snippet = self.running[test] = Snippet()
        return snippet


class GoTest:
    """Reads the lines of one stream."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._packages: dict[str, _Package] = {}
        self._builds: dict[str, Snippet] = {}
        self._told_builds: set[str] = set()
        self._stray = Snippet()

    def read(self, lines: Iterable[str]) -> None:
        """Take all lines."""
        keeps = True
        for line in lines:
            keeps = keeps and self._results.keeps(Verdict.FAILED)
            if not keeps and _is_chatter(line):
                continue
            event = event_of(line)
            if event is None:
                if line.strip():
                    self._stray.add(line + "\n")
            elif event.action.startswith("build-"):
                self._build(event)
            elif event.test:
                self._test(event, self._package(event.package))
            else:
                self._of_package(event, self._package(event.package))
        self._end()

    def _package(self, name: str) -> _Package:
        package = self._packages.get(name)
        if package is None:
            package = _Package()
            if len(self._packages) < _MAX_OPEN:
                self._packages[name] = package
        return package

    def _build(self, event: Event) -> None:
        if event.action == "build-output" and len(self._builds) < _MAX_OPEN:
            self._builds.setdefault(event.import_path, Snippet()).add(event.output)
        elif event.action == "build-fail":
            self._tell_build(event.import_path, self._builds.pop(event.import_path, Snippet()).text())

    def _tell_build(self, path: str, output: str) -> None:
        if len(self._told_builds) < _MAX_OPEN:
            self._told_builds.add(path)
        name = one_line(path.partition(" ")[0])
        self._results.error(Failure(f"{name} [build failed]", details=output.strip("\n")))

    def _test(self, event: Event, package: _Package) -> None:
        verdict = _VERDICTS.get(event.action)
        if verdict is not None:
            self._tell(event, package, verdict)
        elif event.action in ("run", "output"):
            if event.test not in package.running and len(package.running) < _MAX_OPEN:
                package.running[event.test] = None
            if event.output:
                self._output(event.output, package.output_of(event.test), package)

    def _output(self, text: str, snippet: Snippet, package: _Package) -> None:
        """A panic ends the package; what it prints is attributed to a test that may have passed already."""
        package.panicked = package.panicked or bool(_PANIC.match(text))
        if package.panicked:
            package.panic.add(text)
        snippet.add(text)

    def _tell(self, event: Event, package: _Package, verdict: Verdict) -> None:
        snippet = package.running.pop(event.test, None)
        identity = (event.package, event.test)
        if verdict is Verdict.FAILED:
            package.failed = True
            why = _failure(event.package, event.test, snippet) if self._results.keeps(verdict) else NO_FAILURE
            self._results.case(verdict, why, identity)
        else:
            self._results.case(verdict, NO_FAILURE, identity)

    def _of_package(self, event: Event, package: _Package) -> None:
        if event.action == "output":
            self._output(event.output, package.own, package)
        elif event.action in ("pass", "fail", "skip"):
            if event.action == "fail":
                self._tell_package(event, package)
            self._packages.pop(event.package, None)

    def _tell_package(self, event: Event, package: _Package) -> None:
        """A package has failed: by a failed test, by one that a panic has cut off, or by itself."""
        output = package.own.text()
        if event.failed_build:
            if event.failed_build not in self._told_builds:
                self._tell_build(event.failed_build, output)
        elif "[build failed]" in output or "[setup failed]" in output:
            stray, self._stray = self._stray.text(), Snippet()
            self._tell_build(event.package, stray + output)
        elif package.running:
            self._tell_running(event.package, package)
        elif not package.failed or package.panicked:
            details = package.panic.text() if package.panicked else output
            self._results.error(Failure(one_line(event.package or "the package"), details=details.strip("\n")))

    def _tell_running(self, name: str, package: _Package) -> None:
        """Tests without an end: the one that a panic speaks of, or else all of them, have failed."""
        texts = {test: snippet.text() if snippet else "" for test, snippet in package.running.items()}
        guilty = [test for test, text in texts.items() if any(map(_PANIC.match, text.splitlines()))]
        for test in guilty or texts:
            snippet = package.panic if package.panicked else package.running[test]
            self._results.case(Verdict.FAILED, _failure(name, test, snippet), (name, test))

    def _end(self) -> None:
        """The stream has ended; what still runs was cut off."""
        unfinished = sum(len(package.running) for package in self._packages.values())
        for name, package in self._packages.items():
            if package.panicked:
                self._tell_package(Event("fail", name), package)
        if unfinished:
            self._results.warn(f"it ends while {unfinished:,} tests are running")


def _is_chatter(line: str) -> bool:
    """Whether a test only begins or prints here, and no panic: of failures that are not kept, nobody reads it."""
    if '"Test":"' not in line:
        return False
    if '"Action":"output"' in line:
        return _PANIC.match(line, line.find(_OUTPUT) + len(_OUTPUT)) is None
    return '"Action":"run"' in line


def _failure(package: str, test: str, snippet: Snippet | None) -> Failure:
    details = snippet.text() if snippet else ""
    return Failure(one_line(f"{package}.{test}" if package else test), details=details)
