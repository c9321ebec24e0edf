"""Rulebooks: rule packs put together, tried on their examples, and made into a taxonomy.

The shipped pack lies in `heald_worker/rules/`. A user's rules are added to it: one of the same name replaces the
shipped one, one with `enabled = false` removes it. `rulepack` reads the TOML; `docs/diagnosis.md` describes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib import resources
from typing import NamedTuple

import msgspec

from heald_producer import __version__
from heald_producer.signals import FailureSignal
from heald_worker.core.judge import ENGINE, Judge
from heald_worker.core.patterns import BadPattern
from heald_worker.core.remedies import Remedies, RemedyTable
from heald_worker.core.rules import Example, Explanation, Rule, Tool
from heald_worker.core.taxonomy import Diagnosis, FailureClass, Taxonomy, TaxonomyRef
from heald_worker.rulepack import SET_MARK, Pack, RuleError, RuleText, read_pack

__all__ = [
    "NAME",
    "RuleError",
    "Rulebook",
    "Trial",
    "load",
    "shipped",
    "shipped_rulebook",
    "taxonomy_with",
    "with_user",
]

NAME = "heald"
"""The taxonomy's name, as the setting `taxonomy` and every stream entry have it."""
REMEMBERED = 64
"""Verdicts that a taxonomy keeps; messages are at most 64 KiB."""


class Trial(NamedTuple):
    """One example of a rule, tried: whether the rule should decide it, and what was decided."""

    rule: str
    example: Example
    expected: bool
    diagnosis: Diagnosis

    @property
    def passed(self) -> bool:
        """The rule decides its examples and none of its counterexamples."""
        return (self.diagnosis.rule == self.rule) is self.expected


class Rulebook:
    """Rules and tools that are used together.

    Attributes:
        rules: in the order in which they are asked.
        digest: lower-case hex SHA-256 of everything that a verdict depends on.
        remedies: what can help; no verdict depends on it.
    """

    def __init__(
        self, rules: Sequence[Rule], tools: Sequence[Tool] = (), remedies: Mapping[str, Remedies] | None = None
    ) -> None:
        self.remedies = RemedyTable(remedies or {}, {rule.name: rule.remedies for rule in rules if rule.remedies})
        self._judge = Judge(rules, tools)
        self.rules, self.tools = self._judge.rules, self._judge.tools
        content = [ENGINE, [rule.decides_by() for rule in self.rules], [(each.name, each.match) for each in self.tools]]
        self.digest = hashlib.sha256(msgspec.json.encode(content)).hexdigest()
        remembered = lru_cache(maxsize=REMEMBERED)(self.diagnose)  # a recovery asks more than once about its signal
        self._taxonomy = Taxonomy(TaxonomyRef(NAME, __version__, self.digest), remembered)

    def diagnose(self, signal: FailureSignal) -> Diagnosis:
        """The verdict on a signal."""
        return self._judge.diagnose(signal)

    def explain(self, signal: FailureSignal) -> Explanation:
        """The verdict, why, and what came close."""
        return self._judge.explain(signal)

    def remedies_of(self, rule: Rule) -> Remedies:
        """What can help what this rule finds, best first."""
        found = Diagnosis(rule.failure_class, rule.subclass, rule.transient, rule=rule.name)
        return self.remedies.remedies_for(found)

    def trials(self, names: Iterable[str] = ()) -> Iterator[Trial]:
        """Every example and counterexample, of all rules or of those named, diagnosed."""
        wanted = set(names)
        for rule in self.rules:
            if wanted and rule.name not in wanted:
                continue
            for expected, examples in ((True, rule.examples), (False, rule.counterexamples)):
                for example in examples:
                    yield Trial(rule.name, example, expected, self.diagnose(example.signal()))

    def taxonomy(self) -> Taxonomy:
        """These rules as a taxonomy; other rules have another digest."""
        return self._taxonomy


def load(texts: Sequence[RuleText]) -> Rulebook:
    """A rulebook of these packs alone; in later ones, rules replace those of the same name in earlier ones.

    Raises:
        RuleError: the first thing that is wrong.
    """
    return _rulebook([read_pack(name, text) for name, text in texts])


@cache
def shipped_rulebook() -> Rulebook:
    """heald's own rules."""
    return _rulebook(_shipped_packs())


def shipped() -> Taxonomy:
    """heald's own rules as a taxonomy."""
    return shipped_rulebook().taxonomy()


def with_user(texts: Sequence[RuleText]) -> Rulebook:
    """heald's own rules with a user's rules added.

    Raises:
        RuleError: the first thing that is wrong in the user's rules.
    """
    return with_packs([read_pack(name, text) for name, text in texts])


def with_packs(packs: Sequence[Pack]) -> Rulebook:
    """`with_user` for packs that are read already.

    Raises:
        RuleError: a pack disables a rule or names a tool that does not exist.
    """
    return _with_packs(tuple(packs)) if packs else shipped_rulebook()


def lint(book: Rulebook) -> list[str]:
    """What is allowed but looks wrong, one sentence each."""
    found = []
    for rule in book.rules:
        where = f"{rule.source}: rule {rule.name!r}"
        if not rule.examples:
            found.append(f"{where} has no example; write one, so that `heald rules test` can try it")
        if not rule.counterexamples:
            found.append(f"{where} has no counterexample; write a line that looks alike and means something else")
        if not rule.subclass:
            found.append(f"{where} has no subclass; {rule.failure_class} alone says little")
    return found


def lint_remedies(book: Rulebook, packs: Iterable[Pack]) -> Iterator[str]:
    """The remedies of these packs that no failure ever has, as no rule of the book finds their cause."""
    known = {rule.subclass for rule in book.rules} | set(FailureClass)
    for pack in packs:
        for cause, _ in pack.remedies:
            if cause not in known:
                where = f"{pack.name}: [remedies.{cause}]"
                yield f"{where}: no rule finds this cause; name a subclass of `heald rules list`"


def taxonomy_with(texts: Sequence[RuleText]) -> Taxonomy:
    """`with_user` as a taxonomy."""
    return with_user(texts).taxonomy()


@lru_cache(maxsize=8)
def _with_packs(packs: tuple[Pack, ...]) -> Rulebook:
    return _rulebook([*_shipped_packs(), *packs])


@cache
def _shipped_packs() -> tuple[Pack, ...]:
    folder = resources.files("heald_worker") / "rules"
    files = sorted((each for each in folder.iterdir() if each.name.endswith(".toml")), key=lambda each: each.name)
    return tuple(read_pack(each.name, each.read_text("utf-8")) for each in files)


def _rulebook(packs: Sequence[Pack]) -> Rulebook:
    rules: dict[str, Rule] = {}
    tools: dict[str, Tool] = {}
    sets: dict[str, tuple[str, ...]] = {}
    remedies: dict[str, Remedies] = {}
    for pack in packs:
        for name in pack.disabled:
            if rules.pop(name, None) is None:
                raise RuleError(f"there is no rule {name!r} to disable", "see `heald rules list`", pack.name)
        for cause in dict(pack.remedies).keys() & remedies.keys():
            rules = {name: _without_own_remedies(rule, cause) for name, rule in rules.items()}
        rules.update({rule.name: rule for rule in pack.rules})
        tools.update({tool.name: tool for tool in pack.tools})
        sets.update(pack.sets)
        remedies.update(pack.remedies)
    resolved = [_resolved(rule, tools, sets) for rule in rules.values()]
    try:
        return Rulebook(resolved, tuple(tools.values()), remedies)
    except BadPattern as error:  # each of them was tried; it is all of a rule's together that RE2 does not take
        raise RuleError(f"RE2 does not take {error}", "make them shorter, or make two rules of one") from None


def _without_own_remedies(rule: Rule, cause: str) -> Rule:
    """The rule as it is when somebody has said anew what helps this cause: then that counts for all who find it."""
    return msgspec.structs.replace(rule, remedies=()) if cause == (rule.subclass or rule.failure_class) else rule


def _resolved(rule: Rule, tools: Mapping[str, Tool], sets: Mapping[str, tuple[str, ...]]) -> Rule:
    """The rule with the patterns of the sets that it names."""
    where = f"{rule.source}: rule {rule.name!r}"
    for tool in rule.tools:
        if tool not in tools:
            raise RuleError(f"there is no tool {tool!r}", "name one that has a [[tool]] entry", where)

    def patterns(given: tuple[str, ...]) -> tuple[str, ...]:
        found: list[str] = []
        for text in given:
            if text.startswith(SET_MARK) and text[1:] not in sets:
                raise RuleError(f"there is no set {text[1:]!r}", "name one that stands in [sets]", where)
            found += sets[text[1:]] if text.startswith(SET_MARK) else (text,)
        return tuple(found)

    expanded = {field: patterns(getattr(rule, field)) for field in ("match", "unless", "without", "stage")}
    return msgspec.structs.replace(rule, **expanded)
