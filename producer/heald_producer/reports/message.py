"""One failure signal from all reports: counts, the first failures quoted, the others named; of bounded size."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from heald_producer.reports.quoting import quote
from heald_producer.reports.results import Failure, ReportSummary
from heald_producer.reports.snippet import readable
from heald_producer.signals import FailureSignal

MAX_MESSAGE_CHARS = 4_000
QUOTED_LINES = (16, 10, 6)
"""Lines for the first, the second and every other failure that is quoted."""
MAX_QUOTED = 10
_NAMES_ROOM = 800
"""Characters that the names of other failures get when there are many quotes."""
_NAME_CHARS = 200
_SILENT = "(the report does not say why)"

_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|\d+")

Mask = Callable[[str], str]


def signal_of(
    summary: ReportSummary, stage: str, exit_code: int | None = None, *, flaky: bool = False, mask: Mask = str
) -> FailureSignal:
    """The signal of all failures; `mask` takes secrets out of a text."""
    return FailureSignal(stage, message_of(summary, mask), exit_code, flaky or summary.flaky_hint)


def message_of(summary: ReportSummary, mask: Mask = str) -> str:
    """What a person should read first: what failed, how much of it, and why.

    What failed before the tests comes first, then tests that were not reached, then the others.
    """
    told = _Told(mask)
    for failure in summary.outside:
        told.add("ERROR", failure)
    tests = summary.failures if summary.failed or summary.errors else summary.passed_on_rerun
    for failure in sorted(tests, key=lambda each: not each.early):
        told.add("FAIL", failure)
    total = summary.errors + (summary.failed if summary.failed or summary.errors else summary.flaky)
    head = headline(summary)
    return head + told.text(MAX_MESSAGE_CHARS - len(head), total)


def headline(summary: ReportSummary) -> str:
    """The counts, as one line."""
    words = []
    if summary.errors:
        words.append(f"{summary.errors:,} error{'s' * (summary.errors > 1)} outside of the tests")
    if summary.failed or (summary.tests and not (summary.errors or summary.flaky)):
        words.append(f"{summary.failed:,} of {_tests(summary.tests)} failed")
    elif summary.flaky and not summary.errors:
        words.append(f"{summary.flaky:,} of {_tests(summary.tests)} failed and passed on a rerun")
    elif summary.tests:
        words.append(f"{_tests(summary.tests)} ran, none failed")
    if summary.flaky and (summary.failed or summary.errors):
        words.append(f"{summary.flaky:,} passed on a rerun")
    if summary.skipped:
        words.append(f"{summary.skipped:,} skipped")
    return ", ".join(words) or "no tests"


def _tests(number: int) -> str:
    return "1 test" if number == 1 else f"{number:,} tests"


class _Told:
    """Failures as blocks of text; those that say the same are told once, with all their names."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask
        self._blocks: dict[str, _Block] = {}
        self._silent: dict[str, None] = {}

    def add(self, word: str, failure: Failure) -> None:
        masked = failure._replace(
            name=self._mask(failure.name),
            place=self._mask(failure.place),
            message=self._mask(readable(failure.message)),
            details=self._mask(readable(failure.details)),
        )
        lines = quote(masked, QUOTED_LINES[0])
        name = _short(masked.name)
        if not lines and word == "FAIL":
            self._silent[name] = None
            return
        sameness = f"{word} " + _VARIABLE.sub("0", "\n".join(lines))
        block = self._blocks.setdefault(sameness, _Block(word, name, masked))
        block.names[name] = None

    def text(self, room: int, total: int) -> str:
        """The blocks, as far as there is room, then names, then how many more there are."""
        parts: list[str] = []
        blocks = list(self._blocks.values())
        names_room = min(_NAMES_ROOM, room // 4)
        told: set[str] = set()
        for number, block in enumerate(blocks[:MAX_QUOTED]):
            text = block.text(QUOTED_LINES[min(number, len(QUOTED_LINES) - 1)])
            if len(text) > room - names_room and parts:
                break
            text = text[: room - names_room]
            parts.append(text)
            told.add(block.name)
            room -= len(text)
        names = {name: None for block in blocks for name in block.names} | self._silent
        return "".join(parts) + _listed([name for name in names if name not in told], room, total - len(told))


class _Block:
    """One quoted failure, and the names of others that say the same."""

    def __init__(self, word: str, name: str, failure: Failure) -> None:
        self.word, self.name, self._failure = word, name, failure
        self.place = f" ({_short(failure.place)})" if failure.place and failure.place not in name else ""
        self.names: dict[str, None] = {}

    def text(self, count: int) -> str:
        return "\n".join((f"\n\n{self.word}: {self.name}{self.place}", *(quote(self._failure, count) or [_SILENT])))


def _listed(names: Sequence[str], room: int, total: int) -> str:
    """Names, one per line, as far as there is room, and how many are left."""
    if total <= 0:
        return ""
    lines = ["\n\nalso failed:" if len(names) < total or names else "\n"]
    room -= len(lines[0]) + 32
    shown = 0
    for name in names:
        room -= len(name) + 3
        if room < 0:
            break
        lines.append(f"- {name}")
        shown += 1
    if total > shown:
        lines.append(f"- {total - shown:,} more" if shown else f"- {total:,} more")
    return "\n".join(lines)


def _short(name: str) -> str:
    return name if len(name) <= _NAME_CHARS else name[: _NAME_CHARS - 1] + "…"
