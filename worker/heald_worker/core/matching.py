"""Rules, compiled, in groups: which of them match which lines.

Rules that follow each other form a group with one small automaton of what their patterns cannot do without
(`core.needed`): it passes over most lines, and the group's rules are asked one by one about the others. What came out
is remembered for each line, because jobs fail alike and their lines come again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from heald_worker.core.needed import needed
from heald_worker.core.patterns import Find, Joined, any_part, find_one_of, finder, in_lines, joined, one_of
from heald_worker.core.rules import Rule

GROUP_SIZE = 12_000
"""Characters of one group's patterns: with more, its automaton meets more states than fit into memory and caches."""
REMEMBERED = 8192
"""Lines that are known at most; then all are forgotten."""
LONGEST = 400
"""Bytes of a line that is worth being remembered: longer ones hardly come again."""
MOST_PICKED = 8
"""Lines that a group picks out of new ones: to ask about all that follow takes less time than to pick more."""

Seen = tuple[int, tuple[int, ...]]
"""Of a line: how many groups were asked about it, and the numbers of their rules that it is evidence for."""
UNSEEN: Seen = (0, ())


class Compiled:
    """A rule with its patterns, each list as one.

    Args:
        rule: itself.
        excuses: its `unless`.
    """

    def __init__(self, rule: Rule, excuses: Sequence[Find]) -> None:
        self.rule = rule
        self._match = find_one_of(rule.match)
        self._excuses = excuses
        self.without, self.stage = one_of(rule.without), one_of(rule.stage)
        self.needed = tuple(dict.fromkeys(chain.from_iterable(needed(in_lines(text)) for text in rule.match)))

    def found(self, lines: Joined) -> Iterator[int]:
        """The numbers of the lines that `match` is found in."""
        return lines.places(self._match) if self._match else iter(())

    def span(self, line: bytes) -> tuple[int, int]:
        """Where `match` is found in a line that it is found in."""
        return self._match(line, 0, len(line))[0] if self._match else (0, 0)

    def excused(self, line: bytes) -> bool:
        """Whether `unless` is found in a line."""
        return any(excuse(line, 0, len(line))[0][0] >= 0 for excuse in self._excuses)


class Matching:
    """All rules.

    Attributes:
        members: they, in their order.
    """

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.members = tuple(map(Compiled, rules, _excuses(rules)))
        self._groups = tuple(_groups(self.members))
        self._seen: dict[bytes, Seen] = {}

    def candidates(self, lines: Sequence[bytes]) -> Iterator[tuple[Compiled, int | None]]:
        """The rules that have evidence or need none, in order, each with the number of its first line."""
        look = _Look(lines, [self._seen.get(line, UNSEEN) for line in lines])
        try:
            for group in self._groups:
                look.ask(group)
                for number in group.numbers:
                    if number in look.first or not self.members[number].rule.match:
                        yield self.members[number], look.first.get(number)
        finally:  # wherever the asking ended
            told = look.told()
            if len(self._seen) + len(told) > REMEMBERED:
                self._seen = {}
            self._seen.update(told)


class _Look:
    """What is known about the lines of one message, group by group.

    Attributes:
        first: the number of the first line that is evidence for a rule, by the rule's number.
    """

    def __init__(self, lines: Sequence[bytes], seen: Sequence[Seen]) -> None:
        self._lines, self._seen = lines, seen
        self._by_depth: dict[int, list[int]] = {}
        self.first: dict[int, int] = {}
        for number, (depth, rules) in enumerate(seen):
            self._by_depth.setdefault(depth, []).append(number)
            for rule in rules:
                self.first.setdefault(rule, number)
        self._depth = 0
        self._new: list[int] = []
        self._joined = Joined(())
        self._found: dict[int, tuple[int, ...]] = {}

    def ask(self, group: _Group) -> None:
        """Ask the next group about the lines that it was not asked about before."""
        if more := self._by_depth.get(self._depth):
            self._new = sorted([*self._new, *more])
            self._joined = Joined([self._lines[number] for number in self._new])
        self._depth += 1
        for place, rule in group.matches(self._joined) if self._new else ():
            number = self._new[place]
            self.first[rule] = min(number, self.first.get(rule, number))
            self._found[number] = (*self._found.get(number, ()), rule)

    def told(self) -> dict[bytes, Seen]:
        """What was learned about lines that are worth being remembered."""
        return {
            self._lines[number]: (self._depth, (*self._seen[number][1], *self._found.get(number, ())))
            for number in self._new
            if len(self._lines[number]) <= LONGEST
        }


class _Group:
    """Rules that follow each other."""

    def __init__(self, members: Sequence[Compiled], first: int) -> None:
        self.numbers = range(first, first + len(members))
        self._members = members
        part = any_part(chain.from_iterable(each.needed for each in members))
        self._part = finder(part) if part else None

    def matches(self, lines: Joined) -> Iterator[tuple[int, int]]:
        """Lines and the rules that they are evidence for, by their numbers."""
        picked = self._picked(lines)
        near = Joined([lines.lines[number] for number in picked])
        for rule, each in zip(self.numbers, self._members, strict=True) if picked else ():
            for place in each.found(near):
                if not each.excused(near.lines[place]):
                    yield picked[place], rule

    def _picked(self, lines: Joined) -> list[int]:
        """The lines that a rule may match."""
        picked: list[int] = []
        for number in lines.places(self._part) if self._part else ():
            if len(picked) == MOST_PICKED:
                return [*picked, *range(number, len(lines.lines))]
            picked.append(number)
        return picked


def _groups(rules: Sequence[Compiled]) -> Iterator[_Group]:
    """The rules in groups of about `GROUP_SIZE` characters of pattern."""
    first, size = 0, 0
    for number, each in enumerate(rules):
        own = sum(len(part) for _, part in each.needed)
        if first < number and size + own > GROUP_SIZE:
            yield _Group(rules[first:number], first)
            first, size = number, 0
        size += own
    yield _Group(rules[first:], first)


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
        find = finder(joined(texts))
        for number in together:
            found[number].append(find)
    return found
