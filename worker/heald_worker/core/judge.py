"""The engine: which of many rules decides on a signal.

A rule matches when its conditions on stage, exit code and tool hold and one of its patterns is found in a line of the
message. Rules stand in one order (rank, then confidence, then position) and the first that matches is the verdict:
nothing is added up, so one rule and one line explain it.

Patterns are RE2's and see one line at a time: a message costs time linear in its length, whatever the rules are. Rules
that follow each other form groups with one automaton of all their patterns: most groups are passed over after one look
at the message, and only where one finds something are its rules asked one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import chain
from typing import Protocol

import re2

from heald_producer.signals import FailureSignal
from heald_worker.core.rules import Contender, Explanation, Rule, Tool
from heald_worker.core.taxonomy import MAX_EVIDENCE, Diagnosis, Evidence, FailureClass

ENGINE = 1
"""Counts the changes of this module that can change a verdict; part of every taxonomy's digest."""
MOST_CONTENDERS = 20
GROUP_SIZE = 12_000
"""Instructions of one group's automaton: larger ones meet more states than fit into memory and caches."""
STAMPED_WITHIN = 300
"""A CI's time stamps stand on every line, so the first bytes of a message show whether it has them."""
MEMORY = 32 * 1024 * 1024
"""Bytes that one automaton may take at most; typical ones take a tenth of it."""


class Found(Protocol):
    """A match."""

    def span(self) -> tuple[int, int]:
        """Where it begins and ends, in bytes."""


class Pattern(Protocol):
    """A compiled pattern, as `re2` has it."""

    @property
    def programsize(self) -> int:
        """How many instructions it compiled to."""

    def search(self, text: bytes, pos: int = 0, endpos: int | None = None) -> Found | None:
        """The leftmost match from a position on, up to another."""

    def sub(self, replacement: bytes, text: bytes) -> bytes:
        """The text with every match replaced."""


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
        self._compiled = tuple(map(_Compiled, self.rules))
        self._groups = tuple(_groups(self._compiled))
        self._tools = _ToolFinder(self.tools)

    def diagnose(self, signal: FailureSignal) -> Diagnosis:
        """The verdict; `unknown` with confidence 0 when no rule matches."""
        text = plain(signal.message)
        for compiled, start in chain.from_iterable(group.candidates(text) for group in self._groups):
            if not compiled.objection(signal, text, self._tools):
                evidence = compiled.evidence(text, start)
                if evidence or not compiled.rule.match:
                    return _diagnosis(compiled.rule, evidence, self._tools.find(text, start))
        return Diagnosis(FailureClass.UNKNOWN, tool=self._tools.find(text))

    def explain(self, signal: FailureSignal) -> Explanation:
        """The verdict of `diagnose` with its reason and the rules that came close."""
        text, verdict = plain(signal.message), self.diagnose(signal)
        winner: Rule | None = None
        close: list[Contender] = []
        for compiled in self._compiled:
            rule = compiled.rule
            if rule.name == verdict.rule:
                winner = rule
                continue
            why, evidence = compiled.objection(signal, text, self._tools), compiled.evidence(text)
            if rule.match and not evidence:
                why, evidence = "the line that matches it also matches its `unless`", compiled.excused(text)
            if evidence or not (rule.match or why):
                why = why or _outranked(rule, winner)
                close.append(Contender(rule.name, rule.failure_class, rule.subclass, rule.rank, evidence, why))
        return Explanation(verdict, _reason(verdict, winner), tuple(close[:MOST_CONTENDERS]))


class _Compiled:
    """A rule with its patterns, each list as one."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._match, self._unless = _one_of(rule.match), _one_of(rule.unless)
        self._without, self._stage = _one_of(rule.without), _one_of(rule.stage)
        self.size = self._match.programsize if self._match else 0

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

    def evidence(self, text: bytes, start: int = 0) -> Evidence | None:
        """The first line from `start` on that `match` is found in and `unless` is not."""
        while self._match and start <= len(text) and (found := self._match.search(text, start)):
            first, behind = _line(text, found.span()[0])
            if not (self._unless and self._unless.search(text[first:behind])):
                return _evidence(text, *found.span())
            start = behind + 1
        return None

    def excused(self, text: bytes) -> Evidence | None:
        """The first line that `match` is found in, whatever `unless` says."""
        found = self._match.search(text) if self._match else None
        return _evidence(text, *found.span()) if found else None


class _Group:
    """Rules that follow each other, behind one automaton of all their patterns."""

    def __init__(self, members: Sequence[_Compiled]) -> None:
        self._members = members
        self._any = _one_of([text for each in members for text in each.rule.match])

    def candidates(self, text: bytes) -> Iterator[tuple[_Compiled, int]]:
        """The rules that may match, in order, each with the line from which on it may."""
        found = self._any.search(text) if self._any else None
        start = _line(text, found.span()[0])[0] if found else len(text)
        for each in self._members:
            if found or not each.rule.match:
                yield each, start


def _groups(rules: Sequence[_Compiled]) -> Iterator[_Group]:
    """The rules in groups of at most `GROUP_SIZE` instructions."""
    members: list[_Compiled] = []
    for each in rules:
        if members and sum(one.size for one in members) + each.size > GROUP_SIZE:
            yield _Group(members)
            members = []
        members.append(each)
    yield _Group(members)


class _ToolFinder:
    """Which tools wrote a text."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._names = [tool.name for tool in tools for _ in tool.match]
        self._tools = {tool.name: _one_of(tool.match) for tool in tools}
        self._any = _one_of([text for tool in tools for text in tool.match])
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
        found = self._any and (self._any.search(text, start) or (start and self._any.search(text, 0, start)))
        if not found:
            return ""
        first, behind = _line(text, found.span()[0])
        numbers: list[int] | None = self._each.Match(text[first:behind])
        if numbers is None:  # its automaton has outgrown its memory
            return next((name for name in self._tools if self.spoke(text[first:behind], [name])), "")
        return self._names[min(numbers)]


def plain(message: str) -> bytes:
    """A message as patterns see it: UTF-8 with line feeds, without colours and what a CI puts before every line."""
    text = message.encode("utf-8", "replace")
    if b"\x1b" in text:
        text = _colours().sub(b"", text)
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n")
    if b"##[" in text or b"::error" in text or _prefixes().search(text, 0, STAMPED_WITHIN):
        text = _prefixes().sub(b"", text)
    return text


def _line(text: bytes, position: int) -> tuple[int, int]:
    """The bounds of the line at a position."""
    end = text.find(b"\n", position)
    return text.rfind(b"\n", 0, position) + 1, len(text) if end < 0 else end


def _evidence(text: bytes, start: int, end: int) -> Evidence:
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
    if not texts:
        return None
    for text in texts:
        compile_pattern(text)  # complains about the pattern that is wrong, not about all of them
    try:
        return _compiled("|".join(map(_scoped, texts)))
    except BadPattern as error:
        raise BadPattern(f"{len(texts)} patterns together, {texts[0][:60]!r} and others: {error}") from None


def _scoped(text: str) -> str:
    """A pattern whose leading flags end with it."""
    flags = _flags().search(text.encode("utf-8", "replace"))
    if not flags:
        return f"(?:{text})"
    width = flags.span()[1]
    return f"({text[1 : width - 1]}:{text[width:]})"


@cache
def _flags() -> Pattern:
    compiled: Pattern = re2.compile(rb"\A\(\?[imsU]+\)")
    return compiled


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
