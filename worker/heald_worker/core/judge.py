"""The engine: which of many rules decides on a signal.

A rule matches when its conditions on stage, exit code and tool hold and one of its patterns is found in a line of the
message. Rules stand in one order (rank, then confidence, then position) and the first that matches is the verdict:
nothing is added up, so one rule and one line explain it.

Patterns are RE2's and see one line at a time: a message costs time linear in its length, whatever the rules are.
`core.matching` tells which rules match which lines, `core.speakers` which tools wrote them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import re2

from heald_producer.signals import FailureSignal
from heald_worker.core.matching import Compiled, Matching
from heald_worker.core.patterns import Find, Joined, Pattern, finder
from heald_worker.core.rules import Contender, Explanation, Rule, Tool
from heald_worker.core.speakers import Speakers
from heald_worker.core.taxonomy import MAX_EVIDENCE, Diagnosis, Evidence, FailureClass

ENGINE = 2
"""Counts the changes of this module that can change a verdict; part of every taxonomy's digest."""
MOST_CONTENDERS = 20
STAMPED_WITHIN = 300
"""A CI's time stamps stand on every line, so the first bytes of a message show whether it has them."""


class Judge:
    """Rules in their order, compiled once.

    Raises:
        BadPattern: a pattern does not compile.
    """

    def __init__(self, rules: Sequence[Rule], tools: Sequence[Tool] = ()) -> None:
        self.rules = tuple(sorted(rules, key=lambda rule: (-rule.rank, -rule.confidence)))
        self.tools = tuple(tools)
        self._matching = Matching(self.rules)
        self._speakers = Speakers(self.tools)

    def diagnose(self, signal: FailureSignal) -> Diagnosis:
        """The verdict; `unknown` with confidence 0 when no rule matches."""
        text = plain(signal.message)
        lines = text.split(b"\n")
        for each, number in self._matching.candidates(lines):
            if not self._objection(each, signal, text):
                evidence = None if number is None else _evidence(each, lines, number)
                return _diagnosis(each.rule, evidence, self._speakers.first(lines, number or 0))
        return Diagnosis(FailureClass.UNKNOWN, tool=self._speakers.first(lines))

    def explain(self, signal: FailureSignal) -> Explanation:
        """The verdict of `diagnose` with its reason and the rules that came close."""
        text, verdict = plain(signal.message), self.diagnose(signal)
        lines = text.split(b"\n")
        joined = Joined(lines)
        winner: Rule | None = None
        close: list[Contender] = []
        for each in self._matching.members:
            rule = each.rule
            if rule.name == verdict.rule:
                winner = rule
                continue
            found = list(each.found(joined))
            good = [number for number in found if not each.excused(lines[number])]
            why = self._objection(each, signal, text)
            if found and not good:
                why = "the line that matches it also matches its `unless`"
            if found or not (rule.match or why):
                why = why or _outranked(rule, winner)
                evidence = _evidence(each, lines, (good or found)[0]) if found else None
                close.append(Contender(rule.name, rule.failure_class, rule.subclass, rule.rank, evidence, why))
        return Explanation(verdict, _reason(verdict, winner), tuple(close[:MOST_CONTENDERS]))

    def _objection(self, each: Compiled, signal: FailureSignal, text: bytes) -> str:
        """Why a rule does not apply to this signal whatever its evidence; empty when it does."""
        rule = each.rule
        if rule.exit_codes and signal.exit_code not in rule.exit_codes:
            return f"the exit code is {signal.exit_code}, not one of its own"
        if rule.tools and not self._speakers.spoke(text, rule.tools):
            return f"{' or '.join(rule.tools)} did not write it"
        if each.stage and not each.stage.search(plain(signal.stage)):
            return "the stage is none of its own"
        if each.without and each.without.search(text):
            return "a line matches its `without`"
        return ""


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


def _evidence(each: Compiled, lines: Sequence[bytes], number: int) -> Evidence:
    raw = lines[number]
    line, (start, end) = raw.decode(), each.span(raw)
    column, behind = len(raw[:start].decode()), len(raw[:end].decode())
    shown = line if len(line) <= MAX_EVIDENCE else line[max(0, column - MAX_EVIDENCE // 4) :][:MAX_EVIDENCE]
    return Evidence(number + 1, column, behind, shown.strip())


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


@cache
def _colours() -> Pattern:
    compiled: Pattern = re2.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
    return compiled


_CLOCK = rb"\d\d:\d\d:\d\d[.\d]*"
_STAMP = (
    rb"(?:[^\t\n]{1,80}\t[^\t\n]{1,80}\t)?"  # GitHub's job and step, in a downloaded log
    rb"\[?\d{4}-\d\d-\d\dT" + _CLOCK + rb"(?:Z|[+-]\d\d:?\d\d)\]?(?: \d\d[OE]\+?)?[ \t]{1,2}|" + _CLOCK + rb"[ \t]{1,2}"
    rb"|#\d{1,5} \d{1,6}\.\d{1,4} |\d{1,6}\.\d{2,4} |\[ {0,6}\d{1,7}s\] |BUILDSTDERR: ?"  # BuildKit, OBS, mock
    rb"|\d{1,2}:\d\d:\d\d [AP]M: | *(?:ERROR|INFO|WARNING|FATAL) - {1,2}"  # Netlify, mozharness
    rb"|Step #\d{1,4}(?: - \"[^\"\n]{1,80}\")?: "  # Cloud Build
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
    return finder(_prefixes())
