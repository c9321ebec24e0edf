"""Reading one rule pack: rules, tools, pattern sets and remedies; every field is checked, every complaint placed."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import msgspec

from heald_worker.core.patterns import BadPattern, compile_pattern
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.remedies import Remedies, Remedy
from heald_worker.core.rules import Example, Int32, Rule, Tool
from heald_worker.core.taxonomy import FailureClass

RuleText = tuple[str, str]
"""Where rules stand (a file's name, for errors) and their TOML."""

MOST_RANK = 100
OWN_RANK = 95
"""The rank of a rule that gives none: above every shipped rule's, so that a user's rule wins."""
MAX_PATTERN_CHARS = 2000
MAX_REASON_CHARS = 200
REMEDIES_HINT = 'for example [remedies.dns] with retry = "names usually resolve again within minutes"'
SET_MARK = "@"
"""`@name` in a list of patterns stands for the set of that name."""
SIGNAL_BASE = 128
"""A shell's exit code for a command that died of signal n is 128 + n; Python's is -n."""
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class RuleError(Exception):
    """Rules that cannot be used: what is wrong, what to do about it, and where."""

    exit_code = 2

    def __init__(self, problem: str, hint: str = "", where: str = "") -> None:
        self.problem, self.hint, self.where = problem, hint, where
        super().__init__((f"{where}: " if where else "") + problem + (f"; {hint}" if hint else ""))


class Pack(NamedTuple):
    """One file's rules, tools, pattern sets and remedies, and the names of earlier rules that it switches off."""

    name: str
    rules: tuple[Rule, ...]
    tools: tuple[Tool, ...]
    disabled: tuple[str, ...]
    sets: tuple[tuple[str, tuple[str, ...]], ...]
    remedies: tuple[tuple[str, Remedies], ...] = ()


class _RuleEntry(msgspec.Struct, forbid_unknown_fields=True, rename={"class_": "class"}):
    name: str
    class_: FailureClass | None = None
    subclass: str = ""
    transient: bool = False
    confidence: float = 0.8
    rank: Int32 = OWN_RANK
    match: str | list[str] = []
    unless: str | list[str] = []
    without: str | list[str] = []
    stage: str | list[str] = []
    exit: Int32 | list[Int32] = []
    signal: Int32 | list[Int32] = []
    tool: str | list[str] = []
    examples: list[str | Example] = []
    counterexamples: list[str | Example] = []
    remedies: dict[str, Any] | None = None
    enabled: bool = True


RULE_FIELDS = tuple(field.encode_name for field in msgspec.structs.fields(_RuleEntry))
"""What a `[[rule]]` may hold."""


class _ToolEntry(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    match: str | list[str]


def read_pack(name: str, text: str) -> Pack:
    """The rules of one file.

    Args:
        name: what errors call it.
        text: TOML.

    Raises:
        RuleError: the first thing that is wrong.
    """
    try:
        entries = tomllib.loads(text)
    except ValueError as error:  # TOMLDecodeError, and Python's own for a number of thousands of digits
        raise RuleError(
            f"this is not TOML: {error}", "strings with backslashes are simplest in '''...'''", name
        ) from None
    except RecursionError:
        raise RuleError("this is nested too deep", "a rule needs a list of tables at most", name) from None
    return read_entries(name, entries)


def read_entries(name: str, entries: Mapping[str, Any]) -> Pack:
    """`read_pack` for TOML that is parsed already, such as the `rule` and `tool` entries of heald.toml."""
    for key in entries:
        if key not in ("rule", "tool", "sets", "remedies"):
            hint = "a rule file has [[rule]], [[tool]], [sets] and [remedies.CAUSE]"
            raise RuleError(f"there is no entry {key!r}", hint, name)
    rules: dict[str, Rule] = {}
    disabled: list[str] = []
    for number, entry in enumerate(_list(name, entries, "rule"), 1):
        parsed = _parse(_RuleEntry, entry, _where(name, "rule", number, entry))
        where = f"{name}: rule {parsed.name!r}"
        if parsed.name in rules or parsed.name in disabled:
            raise RuleError("a second rule has this name", "rules replace each other across files only", where)
        if parsed.enabled:
            rules[parsed.name] = _rule(parsed, name, where)
        else:
            disabled.append(parsed.name)
    tools = []
    for number, entry in enumerate(_list(name, entries, "tool"), 1):
        where = _where(name, "tool", number, entry)
        tool = _parse(_ToolEntry, entry, where)
        tools.append(Tool(_name(tool.name, where), _patterns(tool.match, "match", where)))
    return Pack(
        name,
        tuple(rules.values()),
        tuple(tools),
        tuple(disabled),
        _sets(name, entries.get("sets", {})),
        read_remedies(entries.get("remedies", {}), name),
    )


def _rule(entry: _RuleEntry, source: str, where: str) -> Rule:
    if entry.class_ is None:
        raise RuleError("it has no `class`", f"give one of {', '.join(FailureClass)}", where)
    if not 0 <= entry.confidence <= 1:
        raise RuleError(f"confidence {entry.confidence} is not between 0 and 1", "0.9 is a usual one", where)
    if not 0 <= entry.rank <= MOST_RANK:
        raise RuleError(
            f"rank {entry.rank} is not between 0 and {MOST_RANK}",
            "a rule without one goes before all shipped rules",
            where,
        )
    codes = [*_many(entry.exit), *(code for n in _many(entry.signal) for code in (SIGNAL_BASE + n, -n))]
    rule = Rule(
        name=_name(entry.name, where),
        failure_class=entry.class_,
        subclass=entry.subclass,
        transient=entry.transient,
        confidence=entry.confidence,
        rank=entry.rank,
        match=_patterns(entry.match, "match", where),
        unless=_patterns(entry.unless, "unless", where),
        without=_patterns(entry.without, "without", where),
        stage=_patterns(entry.stage, "stage", where),
        exit_codes=tuple(codes),
        tools=tuple(_many(entry.tool)),
        examples=_examples(entry.examples),
        counterexamples=_examples(entry.counterexamples),
        remedies=() if entry.remedies is None else _remedies(entry.remedies, where),
        source=source,
    )
    if not (rule.match or rule.exit_codes or rule.stage or rule.tools):
        raise RuleError("it would match everything", "give `match`, `exit`, `signal`, `stage` or `tool`", where)
    return rule


def read_remedies(entries: object, where: str) -> tuple[tuple[str, Remedies], ...]:
    """`[remedies.CAUSE]` tables, by cause: a subclass, or a class for what has no table of its own.

    Raises:
        RuleError: the first thing that is wrong.
    """
    if not isinstance(entries, dict):
        raise RuleError("`remedies` is no table", REMEDIES_HINT, where)
    return tuple(
        (_name(cause, f"{where}: [remedies.{cause}]"), _remedies(entry, f"{where}: [remedies.{cause}]"))
        for cause, entry in entries.items()
    )


def _remedies(entries: object, where: str) -> Remedies:
    """Actions with their sentences, in the order in which they stand there."""
    if not isinstance(entries, dict) or not entries:
        raise RuleError("remedies are a table of actions", REMEDIES_HINT, where)
    return tuple(_remedy(action, reason, where) for action, reason in entries.items())


def _remedy(action: str, reason: object, where: str) -> Remedy:
    if action not in set(RecoveryAction):
        near = difflib.get_close_matches(action, [str(each) for each in RecoveryAction], 1)
        hint = f"did you mean `{near[0]}`?" if near else f"give one of {', '.join(RecoveryAction)}"
        raise RuleError(f"there is no action `{action}`", hint, where)
    if not isinstance(reason, str) or not reason.strip() or len(reason) > MAX_REASON_CHARS:
        problem = f"`{action}` needs a sentence of 1 to {MAX_REASON_CHARS} characters"
        raise RuleError(problem, "say why it helps, or whose it is", where)
    return Remedy(RecoveryAction(action), reason.strip())


def _sets(name: str, entries: object) -> tuple[tuple[str, tuple[str, ...]], ...]:
    try:
        found = msgspec.convert(entries, dict[str, str | list[str]])
    except msgspec.ValidationError as error:
        raise RuleError(f"[sets]: {_lower(error)}", "a set is a list of patterns", name) from None
    return tuple((key, _patterns(patterns, key, f"{name}: [sets]")) for key, patterns in found.items())


def _patterns(given: str | list[str], field: str, where: str) -> tuple[str, ...]:
    for text in (texts := tuple(_many(given))):
        if text.startswith(SET_MARK):
            continue  # whether there is such a set is known when all packs are
        shown = f"`{field}` pattern {text if len(text) <= 60 else text[:57] + '...'!r}"
        if len(text) > MAX_PATTERN_CHARS:
            raise RuleError(f"{shown} is longer than {MAX_PATTERN_CHARS} characters", "split it", where)
        try:
            found = compile_pattern(text).search(b"")
        except BadPattern as error:
            raise RuleError(f"{shown} is no RE2 pattern: {error}", "RE2 has no look-around and no \\1", where) from None
        if found:
            raise RuleError(f"{shown} matches an empty line", "make it ask for some text", where)
    return texts


def _examples(given: Sequence[str | Example]) -> tuple[Example, ...]:
    return tuple(Example(each) if isinstance(each, str) else each for each in given)


def _name(text: str, where: str) -> str:
    if _NAME.fullmatch(text):
        return text
    raise RuleError(f"{text!r} is no name", "use 1 to 64 of a-z 0-9 _ . - that start with a letter or digit", where)


def _many(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _list(name: str, entries: Mapping[str, Any], key: str) -> list[object]:
    found = entries.get(key, [])
    if isinstance(found, list):
        return found
    raise RuleError(f"`{key}` is no list", f"write [[{key}]] with two brackets", name)


def _where(name: str, key: str, number: int, entry: object) -> str:
    called = entry.get("name") if isinstance(entry, dict) else None
    return f"{name}: {key} {called!r}" if isinstance(called, str) else f"{name}: {key} {number}"


def _parse(kind: type[Any], entry: object, where: str) -> Any:
    try:
        return msgspec.convert(entry, kind)
    except msgspec.ValidationError as error:
        _complain(kind, entry, _lower(error), where)


def _complain(kind: type[Any], entry: object, problem: str, where: str) -> NoReturn:
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for key in entry if isinstance(entry, dict) else ():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean `{near[0]}`?" if near else f"a {where.split()[-2]} has {', '.join(known)}"
            raise RuleError(f"there is no field `{key}`", hint, where) from None
    given = entry.get("class") if isinstance(entry, dict) else None
    if isinstance(given, str) and given not in set(FailureClass):
        near = difflib.get_close_matches(given, [str(each) for each in FailureClass], 1)
        hint = f"did you mean `{near[0]}`?" if near else f"give one of {', '.join(FailureClass)}"
        raise RuleError(f"`class`: there is no class `{given}`", hint, where) from None
    raise RuleError(problem, "see docs/diagnosis.md", where) from None


def _lower(error: Exception) -> str:
    return str(error)[:1].lower() + str(error)[1:]
