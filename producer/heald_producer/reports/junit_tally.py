"""The rest of a huge JUnit document: cases that nobody will be told by name are counted by the names of their elements.

A report of a million failed cases is not worth minutes of a runner's time: names and texts of its first cases are
kept, and what follows only adds to the counts. Two things are not looked at any more: whether a case is another run of
an earlier one, and whether its message speaks of something outside of the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

from heald_producer.reports.snippet import Snippet
from heald_producer.reports.xml_stream import MAX_DEPTH, Refused

FAILED = {"failure", "error"}
FLAKY = {"flakyFailure", "flakyError"}
LEFT_OUT = {"disabled", "ignored", "notrun", "skipped", "suppressed"}
BAD_STATUS = {"broken", "error", "errored", "fail", "failed", "failure"}


class Counts(NamedTuple):
    """Cases that were counted; `elements`: their `<failure>` and `<error>`, of which a case may have several."""

    cases: int
    failed: int
    flaky: int
    skipped: int
    elements: int


class Outer(Protocol):
    """Who reads what stands outside of the cases."""

    def start(self, name: str, attributes: Mapping[str, str]) -> Snippet | None: ...

    def end(self, name: str) -> object: ...


class Tally:
    """Counts cases; every other element is passed on to `outer`, and `tell` gets what was counted before it ends.

    `start` and `end` take the parser's own names. `depth`: how many elements are open.
    """

    __slots__ = ("_cases", "_elements", "_failed", "_flaky", "_inside", "_outer", "_problems", "_reran", "_skipped",
                 "_states", "_tell", "_was_skipped", "depth")  # fmt: skip

    def __init__(self, outer: Outer, tell: Callable[[Counts], None]) -> None:
        self._outer, self._tell = outer, tell
        self.depth = 0
        self._inside = self._reran = self._was_skipped = False
        self._problems = 0
        self._states: set[str] = set()
        self._cases = self._failed = self._flaky = self._skipped = self._elements = 0

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        """An element begins."""
        self.depth += 1
        if self._inside:
            if name in FAILED:
                self._problems += 1
            elif name in FLAKY:
                self._reran = True
            elif name == "skipped" or name == "ignored":
                self._was_skipped = True
            elif self.depth > MAX_DEPTH:
                raise Refused(f"elements are nested deeper than {MAX_DEPTH}")
        elif name == "testcase":
            self._inside = True
            self._problems = 0
            self._reran = self._was_skipped = False
            if "status" in attributes or "result" in attributes:
                self._states = {attributes.get("status", "").lower(), attributes.get("result", "").lower()}
            elif self._states:
                self._states = set()
        elif self.depth > MAX_DEPTH:
            raise Refused(f"elements are nested deeper than {MAX_DEPTH}")
        else:
            self._outer.start(name, attributes)

    def end(self, name: str) -> None:
        """An element ends."""
        self.depth -= 1
        if name == "testcase":
            self._end_case()
        elif not self._inside:
            self.flush()
            self._outer.end(name)

    def flush(self) -> None:
        """Tell what was counted until here."""
        if self._cases:
            self._tell(Counts(self._cases, self._failed, self._flaky, self._skipped, self._elements))
            self._cases = self._failed = self._flaky = self._skipped = self._elements = 0

    def close(self) -> None:
        """The document has ended, maybe within a case: when that has failed, at once or at first, it counts."""
        if self._inside and (self._problems or self._reran):
            self._end_case()
        self.flush()

    def _end_case(self) -> None:
        self._inside = False
        self._cases += 1
        self._elements += self._problems
        if self._states & LEFT_OUT:
            self._skipped += 1
        elif self._problems or (self._states & BAD_STATUS and not self._was_skipped):
            self._failed += 1
        elif self._reran:
            self._flaky += 1
        elif self._was_skipped:
            self._skipped += 1
