"""The engine: which of many rules decides on a signal.

A rule matches when its conditions on stage, exit code and tool hold and one of its patterns is found in a line of the
message. Rules stand in one order (rank, then confidence, then position) and the first that matches is the verdict:
nothing is added up, so one rule and one line explain it.

Patterns are RE2's and see one line at a time: a message costs time linear in its length, whatever the rules are. Rules
that follow each other form groups with one small automaton of what their patterns cannot do without (`core.needed`):
most groups are passed over after one look at the message, and the rules of the others are asked one by one about the
few lines that it found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from itertools import chain
from typing import Any, NamedTuple, Protocol

import re2

from heald_producer.signals import FailureSignal
from heald_worker.core.needed import needed, split_flags
from heald_worker.core.rules import Contender, Explanation, Rule, Tool
from heald_worker.core.taxonomy import MAX_EVIDENCE, Diagnosis, Evidence, FailureClass

ENGINE = 2
"""Counts the changes of this module that can change a verdict; part of every taxonomy's digest."""
MOST_CONTENDERS = 20
GROUP_SIZE = 16_000
"""Characters of one group's patterns: with more, its automaton meets more states than fit into memory and caches."""
STAMPED_WITHIN = 300
"""A CI's time stamps stand on every line, so the first bytes of a message show whether it has them."""
MOST_LINES = 8
"""Lines that a group picks out of a message one by one."""
MEMORY = 32 * 1024 * 1024
"""Bytes that one automaton may take at most; typical ones take a tenth of it."""


class Found(Protocol):
    """A match."""

    def span(self) -> tuple[int, int]:
        """Where it begins and ends, in bytes."""


class Pattern(Protocol):
    """A compiled pattern, as `re2` has it."""

    _regexp: Any

    def search(self, text: bytes, pos: int = 0, endpos: int | None = None) -> Found | None:
        """The leftmost match from a position on, up to another."""

    def sub(self, replacement: bytes, text: bytes) -> bytes:
        """The text with every match replaced."""


Find = Callable[[bytes, int, int], list[tuple[int, int]]]
"""Where a pattern is found between two positions of a text: one span, from -1 on if it is not."""


class BadPattern(ValueError):
    """A text that is not a pattern; the message says what is wrong with it."""


def compile_pattern(text: str) -> Pattern:
    """An RE2 pattern that sees single lines: `^` and `$` are a line's ends, nothing matches a line feed.

    Raises:
        BadPattern: RE2 does not take it (it knows no back-references and no look-around), or it asks for bytes.
    """
    if _BYTE.search(text):
        raise BadPattern(r"\C is a byte: it can be a part of a character, or a line feed")
    compiled = _compiled(text)
    if r"\Q" in text:  # one that is not ended would swallow whatever follows where patterns are joined
        _compiled(f"(?:{text})")
    return compiled


_BYTE = re.compile(r"(?<!\\)(?:\\\\)*\\C")


def _compiled(text: str) -> Pattern:
    try:
        compiled: Pattern = re2.compile(f"(?m){text}", _options())
    except re2.error as error:
        reason = error.args[0]
        raise BadPattern(reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)) from None
    return compiled


class Judge:
    """Rules in their order, compiled once. Immutable.

    Raises:
        BadPattern: a pattern does not compile.
    """

    def __init__(self, rules: Sequence[Rule], tools: Sequence[Tool] = ()) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: (-rule.rank, -rule.confidence)))
        self.tools = tuple(tools)
        excuses = _excuses(self.rules)
        self._compiled = tuple(map(_Compiled, self.rules, excuses))
        self._groups = tuple(_groups(self._compiled))
        self._tools = _ToolFinder(self.tools)

    def diagnose(self, signal: FailureSignal) -> Diagnosis:
        """The verdict; `unknown` with confidence 0 when no rule matches."""
        text = plain(signal.message)
        for compiled, lines in chain.from_iterable(group.candidates(text) for group in self._groups):
            if not compiled.objection(signal, text, self._tools):
                evidence = compiled.evidence(lines) if lines else None
                if evidence or not compiled.rule.match:
                    start = evidence.start if evidence else len(text)
                    shown = _evidence(text, evidence) if evidence else None
                    return _diagnosis(compiled.rule, shown, self._tools.find(text, start))
        return Diagnosis(FailureClass.UNKNOWN, tool=self._tools.find(text))

    def explain(self, signal: FailureSignal) -> Explanation:
        """The verdict of `diagnose` with its reason and the rules that came close."""
        text, verdict = plain(signal.message), self.diagnose(signal)
        lines = _Lines([text], [0])
        winner: Rule | None = None
        close: list[Contender] = []
        for compiled in self._compiled:
            rule = compiled.rule
            if rule.name == verdict.rule:
                winner = rule
                continue
            why, found = compiled.objection(signal, text, self._tools), compiled.evidence(lines)
            if rule.match and not found:
                why, found = "the line that matches it also matches its `unless`", compiled.excused(text)
            if found or not (rule.match or why):
                why = why or _outranked(rule, winner)
                evidence = _evidence(text, found) if found else None
                close.append(Contender(rule.name, rule.failure_class, rule.subclass, rule.rank, evidence, why))
        return Explanation(verdict, _reason(verdict, winner), tuple(close[:MOST_CONTENDERS]))


class _Span(NamedTuple):
    """A match, in bytes of a text."""

    start: int
    end: int


class _Lines:
    """Some lines of a text: joined, as patterns see them, and each with its place in the text."""

    def __init__(self, lines: Sequence[bytes], starts: Sequence[int]) -> None:
        self.joined = b"\n".join(lines)
        self._lines, self._starts = lines, starts

    def span(self, start: int, end: int) -> _Span:
        """A match in what is joined, in the whole text."""
        number, place = 0, 0
        while start > place + len(self._lines[number]):
            place += len(self._lines[number]) + 1
            number += 1
        moved = self._starts[number] - place
        return _Span(start + moved, end + moved)


class _Compiled:
    """A rule with its patterns, each list as one."""

    def __init__(self, rule: Rule, excuses: Sequence[Find]) -> None:
        self.rule = rule
        self.match = _find_one_of(rule.match)
        self._excuses = excuses
        self._without, self._stage = _one_of(rule.without), _one_of(rule.stage)
        self.needed = tuple(dict.fromkeys(chain.from_iterable(map(needed, rule.match))))

    def objection(self, signal: FailureSignal, text: bytes, tools: _ToolFinder) -> str:
        """Why the rule does not apply to this signal whatever its evidence; empty when it does."""
        rule = self.rule
        if rule.exit_codes and signal.exit_code not in rule.exit_codes:
            return f"the exit code is {signal.exit_code}, not one of its own"
        if rule.tools and not tools.spoke(text, rule.tools):
            return f"{' or '.join(rule.tools)} did not write it"
        if self._stage and not self._stage.search(plain(signal.stage)):
            return "the stage is none of its own"
        if self._without and self._without.search(text):
            return "a line matches its `without`"
        return ""

    def evidence(self, lines: _Lines) -> _Span | None:
        """The match in the first line that `match` is found in and `unless` is not."""
        text, position = lines.joined, 0
        while self.match and position <= len(text):
            start, end = self.match(text, position, len(text))[0]
            if start < 0:
                return None
            first, behind = _line(text, start)
            line = text[first:behind]
            if all(excuse(line, 0, len(line))[0][0] < 0 for excuse in self._excuses):
                return lines.span(start, end)
            position = behind + 1
        return None

    def excused(self, text: bytes) -> _Span | None:
        """The match in the first line that `match` is found in, whatever `unless` says."""
        start, end = self.match(text, 0, len(text))[0] if self.match else (-1, -1)
        return None if start < 0 else _Span(start, end)


class _Group:
    """Rules that follow each other, behind one automaton of what their patterns cannot do without."""

    def __init__(self, members: Sequence[_Compiled]) -> None:
        self._members = members
        part = _any_part(chain.from_iterable(each.needed for each in members))
        self._any = _finder(part) if part else None

    def candidates(self, text: bytes) -> Iterator[tuple[_Compiled, _Lines | None]]:
        """The rules that may match, in order, each with the lines that it may match."""
        lines = self._lines(text)
        joined = lines.joined if lines else b""
        size = len(joined)
        for each in self._members:
            if not each.match or (joined and each.match(joined, 0, size)[0][0] >= 0):
                yield each, lines

    def _lines(self, text: bytes) -> _Lines | None:
        lines: list[bytes] = []
        starts: list[int] = []
        position, size = 0, len(text)
        while self._any and position < size:
            start = self._any(text, position, size)[0][0]
            if start < 0:
                break
            first, behind = _line(text, start)
            if len(lines) == MOST_LINES:  # to ask about the rest takes less time than to take it apart
                behind = size
            lines.append(text[first:behind])
            starts.append(first)
            position = behind + 1
        if not lines:
            return None
        if starts[0]:  # `\A` means the message's first line, and `\z` its last one
            lines.insert(0, b"")
            starts.insert(0, 0)
        if position < size:
            lines.append(b"")
            starts.append(size)
        return _Lines(lines, starts)


def _groups(rules: Sequence[_Compiled]) -> Iterator[_Group]:
    """The rules in groups of about `GROUP_SIZE` characters of pattern."""
    members: list[_Compiled] = []
    size = 0
    for each in rules:
        own = sum(len(part) for _, part in each.needed)
        if members and size + own > GROUP_SIZE:
            yield _Group(members)
            members, size = [], 0
        members.append(each)
        size += own
    yield _Group(members)


def _excuses(rules: Sequence[Rule]) -> list[list[Find]]:
    """The `unless` of each rule. What several rules share is one automaton, however many there are."""
    users: dict[str, list[int]] = {}
    for number, rule in enumerate(rules):
        for text in dict.fromkeys(rule.unless):
            users.setdefault(text, []).append(number)
    shared: dict[tuple[int, ...], list[str]] = {}
    for text, numbers in users.items():
        shared.setdefault(tuple(numbers), []).append(text)
    found: list[list[Find]] = [[] for _ in rules]
    for together, texts in shared.items():
        find = _finder(_joined(texts))
        for number in together:
            found[number].append(find)
    return found


class _ToolFinder:
    """Which tools wrote a text."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._names = [tool.name for tool in tools for _ in tool.match]
        self._tools = {tool.name: _one_of(tool.match) for tool in tools}
        self._any = _find_one_of([text for tool in tools for text in tool.match])
        self._each = re2.Set.SearchSet(_options())
        for text in (text for tool in tools for text in tool.match):
            self._each.Add(f"(?m){text}")
        try:
            self._each.Compile()
        except re2.error as error:
            raise BadPattern(f"the tools' patterns together: {error}") from None

    def spoke(self, text: bytes, names: Sequence[str]) -> bool:
        """Whether one of the named tools wrote a line of it."""
        return any(pattern.search(text) for name in names if (pattern := self._tools.get(name)))

    def find(self, text: bytes, start: int = 0) -> str:
        """The tool that wrote the first known line from `start` on, else of the text; empty when none is known."""
        found = self._found(text, start, len(text))
        if found < 0 and start:
            found = self._found(text, 0, start)
        if found < 0:
            return ""
        first, behind = _line(text, found)
        numbers: list[int] | None = self._each.Match(text[first:behind])
        if numbers is None:  # its automaton has outgrown its memory
            return next((name for name in self._tools if self.spoke(text[first:behind], [name])), "")
        return self._names[min(numbers)]

    def _found(self, text: bytes, start: int, end: int) -> int:
        return self._any(text, start, end)[0][0] if self._any else -1


def plain(message: str) -> bytes:
    """A message as patterns see it: UTF-8 with line feeds, without colours and what a CI puts before every line."""
    text = message.encode("utf-8", "replace")
    if b"\x1b" in text:
        text = _colours().sub(b"", text)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    if b"##[error]" in text or b"::error" in text or _stamped(text):
        text = _prefixes().sub(b"", text)
    return text


def _line(text: bytes, position: int) -> tuple[int, int]:
    """The bounds of the line at a position."""
    end = text.find(b"\n", position)
    return text.rfind(b"\n", 0, position) + 1, len(text) if end < 0 else end


def _evidence(text: bytes, span: _Span) -> Evidence:
    start, end = span
    first, behind = _line(text, start)
    line = text[first:behind].decode()
    column = start - first if line.isascii() else len(text[first:start].decode())
    width = end - start if line.isascii() else len(text[start:end].decode())
    shown = line if len(line) <= MAX_EVIDENCE else line[max(0, column - MAX_EVIDENCE // 4) :][:MAX_EVIDENCE]
    return Evidence(text.count(b"\n", 0, first) + 1, column, column + width, shown.strip())


def _diagnosis(rule: Rule, evidence: Evidence | None, tool: str) -> Diagnosis:
    return Diagnosis(rule.failure_class, rule.subclass, rule.transient, rule.confidence, rule.name, evidence, tool)


def _outranked(rule: Rule, winner: Rule | None) -> str:
    if winner and rule.rank < winner.rank:
        return f"its rank {rule.rank} is below the {winner.rank} of {winner.name}"
    return f"{winner.name if winner else 'another rule'} has the same rank and goes first"


def _reason(verdict: Diagnosis, winner: Rule | None) -> str:
    """One sentence."""
    if winner is None:
        return "No rule matches."
    what = f"{verdict.failure_class}/{verdict.subclass}" if verdict.subclass else str(verdict.failure_class)
    if verdict.evidence:
        return f"Line {verdict.evidence.line} matches {winner.name} (rank {winner.rank}), which means {what}."
    return f"The exit code or the stage matches {winner.name} (rank {winner.rank}), which means {what}."


def _one_of(texts: Sequence[str]) -> Pattern | None:
    """One pattern that is found where one of these is."""
    return _joined(texts) if texts else None


def _joined(texts: Sequence[str]) -> Pattern:
    for text in texts:
        compile_pattern(text)  # complains about the pattern that is wrong, not about all of them
    try:
        return _compiled("|".join(map(_scoped, texts)))
    except BadPattern as error:
        raise BadPattern(f"{len(texts)} patterns together, {texts[0][:60]!r} and others: {error}") from None


def _scoped(text: str) -> str:
    """A pattern whose leading flags end with it."""
    flags, body = split_flags(text)
    return f"(?{flags}:{body})"


def _any_part(parts: Iterable[tuple[str, str]]) -> Pattern | None:
    """One pattern that is found where one of these is; sorted, those that begin alike share their beginning."""
    by_flags: dict[str, list[str]] = {}
    for flags, part in sorted(set(parts)):
        by_flags.setdefault(flags, []).append(part)
    whole = "|".join(f"(?{flags}:{'|'.join(parts)})" for flags, parts in by_flags.items())
    return _compiled(whole) if whole else None


def _finder(pattern: Pattern) -> Find:
    """How to ask a pattern without the match object that re2 makes: that takes longer than a search in a short text."""
    return partial(pattern._regexp.Match, re2._Anchor.UNANCHORED)


def _find_one_of(texts: Sequence[str]) -> Find | None:
    return _finder(_joined(texts)) if texts else None


@cache
def _options() -> re2.Options:
    made = re2.Options()
    made.never_nl, made.never_capture, made.longest_match, made.log_errors = True, True, True, False
    made.max_mem = MEMORY
    return made


@cache
def _colours() -> Pattern:
    compiled: Pattern = re2.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
    return compiled


_CLOCK = rb"\d\d:\d\d:\d\d[.\d]*"
_STAMP = (
    rb"\[?\d{4}-\d\d-\d\dT" + _CLOCK + rb"(?:Z|[+-]\d\d:?\d\d)\]?(?: \d\d[OE]\+?)?[ \t]{1,2}|" + _CLOCK + rb"[ \t]{1,2}"
)
_MARK = rb"##\[error\]|::error[^:\n]*::"


@cache
def _prefixes() -> Pattern:
    """A CI's time stamps and error marks at the start of lines."""
    compiled: Pattern = re2.compile(b"(?m)^(?:(?:" + _STAMP + b")+(?:" + _MARK + b")?|" + _MARK + b")")
    return compiled


def _stamped(text: bytes) -> bool:
    return _find_prefix()(text, 0, min(len(text), STAMPED_WITHIN))[0][0] >= 0


@cache
def _find_prefix() -> Find:
    return _finder(_prefixes())
