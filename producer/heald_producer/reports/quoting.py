"""The lines of one failure that say why, of a message and a long text such as a stack trace."""

from __future__ import annotations

import re

from heald_producer.extract import Extractor
from heald_producer.reports.results import Failure
from heald_producer.reports.snippet import GAP

LINE_CHARS = 300
MESSAGE_LINES = 6
_LOG_LINES = 40
"""A text with more lines is read as a log is."""
FRAMES = 2
"""Frames of a stack trace in a row that are quoted."""

_EMPTY_WORDS = re.compile(
    r"(?:(?:test|assertion)? ?(?:fail(?:ed|ure)?|error)|exited with error code \d+|exit(?:ed)? code \d+"
    r"|completed|none|null|undefined)[.!]?",
    re.IGNORECASE,
)
_NOISE = re.compile(
    r"^\s*(?:=== (?:RUN|PAUSE|CONT|NAME)\b|--- (?:PASS|FAIL|SKIP): |PASS$|FAIL$|FAIL +[^\[]*$|coverage: )"
)
"""What a test runner says about every test."""
_PYTEST = re.compile(r"^E(?:   |$)")
_PYTEST_PLACE = re.compile(r"^\S+:\d+: ")
_FRAME = re.compile(
    r"^\s*(?:at |File \"|\.\.\. \d+ more|#\d+ |from \S+:\d+|/\S+:\d+ \+0x|created by |\d+: 0x"
    r"|[\w./*()-]+\((?:0x|\{|\.\.\.|\)$))"
)
_FOREIGN_FRAME = re.compile(
    r"^\s*at (?:java\.|javax\.|jdk\.|sun\.|com\.sun\.|org\.junit|junit\.|org\.testng|org\.gradle|org\.apache\.maven"
    r"|kotlin|scala\.|System\.|Xunit\.|NUnit\.|Microsoft\.)"
    r"|node:internal|node_modules|/site-packages/|/src/(?:testing|runtime|time)/|_testmain\.go:"
    r"|^\s*(?:created by )?(?:testing|runtime|time)\."
)
_TELLING = re.compile(
    r"\b(?:error|exception|assert\w*|expected|actual|panic(?:ked)?|fatal|fail(?:ed|ure)|caused by|undefined|cannot"
    r"|can't|could not|unable|refused|reset|time[d -]*out|not found|no such|segmentation|signal|killed|abort(?:ed)?"
    r"|denied|unresolved|unexpected|got|want|left|right)\b|\w(?:Error|Exception)\b",
    re.IGNORECASE,
)


def quote(failure: Failure, count: int) -> list[str]:
    """At most so many lines: the message, and of the details what adds to it. Both are `readable`."""
    message = _lines(failure.message)[:MESSAGE_LINES]
    details = _lines(failure.details)
    if details and len(message) == 1 and _EMPTY_WORDS.fullmatch(message[0].strip()):
        message = []
    asserted = [line for line in details if _PYTEST.match(line) and line != "E"]
    if asserted:
        return _pytest(asserted, details, count)
    if message and any(message[0].strip() in line for line in details):
        message = []  # the details say it, with the error's type
    known = {line.strip() for line in message}
    rest = [line for line in details if line.strip() not in known and not _NOISE.match(line)]
    return message + _telling(_flush(_without_frames(rest)), max(count - len(message), 0))


def _pytest(asserted: list[str], details: list[str], count: int) -> list[str]:
    """What pytest marks, and where it was."""
    place = [line for line in details if _PYTEST_PLACE.match(line)][-1:]
    return asserted[: count - len(place)] + place


def _lines(text: str) -> list[str]:
    kept = [line for line in text.expandtabs(4).split("\n") if line.strip()]
    return [_cut(line) for line in _flush(kept)]


def _flush(lines: list[str]) -> list[str]:
    """The lines without the indentation that all of them have."""
    margin = min((len(line) - len(line.lstrip()) for line in lines), default=0)
    return [line[margin:] for line in lines]


def _cut(line: str) -> str:
    return line if len(line) <= LINE_CHARS else line[: LINE_CHARS - 1] + "…"


def _without_frames(lines: list[str]) -> list[str]:
    """Of each run of a stack's frames the first few that are not a library's; of Go's stacks the first."""
    kept: list[str] = []
    frames = stacks = 0
    for line in lines:
        stacks += line.startswith("goroutine ")
        if stacks > 1:
            continue
        if not _FRAME.match(line):
            frames = 0
        elif _FOREIGN_FRAME.search(line) or frames == FRAMES:
            continue
        else:
            frames += 1
        kept.append(line)
    return kept


def _telling(lines: list[str], count: int) -> list[str]:
    """The lines, or, when they are too many, those that look like a reason, what follows these, and then the first."""
    if len(lines) <= count:
        return lines
    if len(lines) > _LOG_LINES:
        extractor = Extractor()
        extractor.feed("\n".join(lines).encode(errors="replace"))
        return [line for line in extractor.finish().text.splitlines() if line.strip()][:count]
    telling = [number for number, line in enumerate(lines) if _TELLING.search(line)]
    around = [number + 1 for number in telling if number + 1 < len(lines)]
    wanted = dict.fromkeys((*telling[: count * 2 // 3], *around[: count // 3], *range(len(lines))))
    chosen = sorted(list(wanted)[: max(count - 2, 1)])
    quoted: list[str] = []
    previous = -1
    for number in chosen:
        if number != previous + 1 and GAP not in (lines[number], *quoted[-1:]):
            quoted.append(GAP)
        quoted.append(lines[number])
        previous = number
    return quoted[:count]
