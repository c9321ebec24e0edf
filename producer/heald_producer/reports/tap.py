"""TAP 12 to 14: test points, plans, subtests, diagnostics in YAML or comments, directives, and bailing out."""

from __future__ import annotations

import re
from collections.abc import Iterable

from heald_producer.reports.results import NO_FAILURE, Failure, Results, Verdict
from heald_producer.reports.snippet import Snippet, one_line

form = "TAP"

_POINT = re.compile(r"(?P<not>not )?ok\b(?:[ \t]*(?P<number>\d{1,9})(?!\d))?[ \t]*(?:-[ \t]*)?(?P<rest>.*)", re.DOTALL)
_DIRECTIVE = re.compile(r"(?:^|(?<!\\))#[ \t]*(?P<kind>skip|todo)", re.IGNORECASE)
_PLAN = re.compile(r"1\.\.(\d{1,9})[ \t]*(?:#.*)?$")
_MESSAGE = re.compile(r"""\s{0,99}(?:message|error|failureMessage)\s{0,9}:\s{0,9}(?![|>]-?\s*$)["']?(.+?)["']?\s*$""")
_MESSAGE_CHARS = 2_000
_SUBTEST = 4
_MAX_DEPTH = 50
_MAX_FAILED = 1_000


class _Level:
    """One level of subtests: its points, and the failed ones that wait for the name of what holds them."""

    def __init__(self) -> None:
        self.points = 0
        self.planned: int | None = None
        self.failed: list[Failure] = []

    @property
    def shortage(self) -> str:
        """What is wrong when fewer points came than were planned."""
        if self.planned is None or self.points >= self.planned:
            return ""
        return f"{self.planned:,} tests were planned and {self.points:,} ran: the program ended before its time"


class Tap:
    """Reads the lines of one stream of TAP."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._levels = [_Level()]
        self._name, self._depth = "", 0
        self._open: Snippet | None = None
        self._message = ""
        self._yaml: int | None = None
        self._bailed_out = False

    def read(self, lines: Iterable[str]) -> None:
        """Take all lines."""
        for line in lines:
            if self._yaml is None or not self._diagnostic(line):
                self._line(line)
        self._end()

    def _line(self, line: str) -> None:
        text = line.lstrip(" ")
        depth = min((len(line) - len(text)) // _SUBTEST, _MAX_DEPTH)
        if text.startswith(("ok", "not ok")) and (point := _POINT.match(text)):
            self._point(depth, point)
        elif text.startswith("---") and len(line) > len(text):
            self._yaml = len(line) - len(text)
        elif text.lower().startswith("bail out!"):
            self._close_point()
            self._bailed_out = True
            self._results.error(Failure("Bail out!", message=one_line(text[9:])))
        elif plan := _PLAN.match(text):
            self._level(depth).planned = int(plan[1])
        elif text.startswith("#") and self._open is not None:
            self._open.add(text.lstrip("#").removeprefix(" ") + "\n")

    def _diagnostic(self, line: str) -> bool:
        """Take a line of a YAML block; answer whether it was one."""
        text = line.strip()
        if self._open is None and text != "..." and line[: self._yaml].isspace():
            return True
        is_outside = bool(text) and len(line) - len(line.lstrip(" ")) < (self._yaml or 0)
        if text == "..." or (is_outside and (_POINT.match(text) or _PLAN.match(text))):
            self._yaml = None
            return text == "..."
        if self._open is not None:
            if not self._message and (found := _MESSAGE.match(line[:_MESSAGE_CHARS])):
                self._message = found[1]
            else:
                self._open.add(line[self._yaml :] + "\n")
        return True

    def _level(self, depth: int) -> _Level:
        while len(self._levels) <= depth:
            self._levels.append(_Level())
        return self._levels[depth]

    def _point(self, depth: int, point: re.Match[str]) -> None:
        """A point. When the level below it has points, they were its subtests, and it only sums them up."""
        self._close_point()
        rest = point["rest"].strip()
        is_plain = point["not"] and depth == 0 and len(self._levels) == 1 and "#" not in rest
        if is_plain and not self._results.keeps(Verdict.FAILED):
            self._levels[0].points += 1
            self._results.count(tests=1, failed=1, flaky=0, skipped=0)
            return
        directive = _DIRECTIVE.search(rest)
        title = one_line((rest[: directive.start()] if directive else rest).strip().replace("\\#", "#"))
        inner = self._take_above(depth, title)
        self._level(depth).points += 1
        if directive:
            self._results.case(Verdict.SKIPPED, NO_FAILURE)
        elif inner is not None and (inner.failed or not point["not"]):
            for failure in inner.failed:
                self._fail(depth, failure._replace(name=f"{title} > {failure.name}" if title else failure.name))
        elif point["not"]:
            number = point["number"] or str(self._level(depth).points)
            self._name, self._depth = title or f"test {number}", depth
            self._open, self._message = Snippet(), ""
        else:
            self._results.case(Verdict.PASSED, NO_FAILURE)

    def _take_above(self, depth: int, title: str) -> _Level | None:
        """The level of the subtests that this point sums up, if it has any."""
        while len(self._levels) > depth + 2:
            self._merge_last()
        if len(self._levels) <= depth + 1:
            return None
        level = self._levels.pop()
        if level.shortage:
            level.failed.append(Failure(title or "a subtest", message=level.shortage))
        return level if level.points or level.failed else None

    def _merge_last(self) -> None:
        """Subtests that no point sums up."""
        level = self._levels.pop()
        self._levels[-1].failed.extend(level.failed)
        self._levels[-1].points += bool(level.points)

    def _fail(self, depth: int, failure: Failure) -> None:
        """A failed test: told now, or when the points that hold it have told their names."""
        level = self._level(depth)
        if depth == 0 or len(level.failed) >= _MAX_FAILED:
            self._results.case(Verdict.FAILED, failure)
        else:
            level.failed.append(failure)

    def _close_point(self) -> None:
        """What belongs to the last point that failed is complete."""
        if self._open is None:
            return
        failure = Failure(self._name, "", self._message, self._open.text().strip("\n"))
        self._open = None
        self._fail(self._depth, failure)

    def _end(self) -> None:
        self._close_point()
        while len(self._levels) > 1:
            self._merge_last()
        level = self._levels[0]
        for failure in level.failed:
            self._results.case(Verdict.FAILED, failure)
        if level.planned is not None and level.points > level.planned:
            self._results.warn(f"{level.planned:,} tests were planned and {level.points:,} ran; all of them count")
        elif level.shortage and not self._bailed_out:
            self._results.error(Failure("the plan", message=level.shortage))
