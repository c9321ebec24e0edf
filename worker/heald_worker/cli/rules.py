"""`heald rules`: the rules that class failures, what looks wrong with them, and whether they decide their examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.text import Text

from heald_worker.cli.accounts import count
from heald_worker.cli.columns import columns
from heald_worker.cli.common import Output, clean, current_folder, settings_options
from heald_worker.config import OWN_TAXONOMY
from heald_worker.config_rules import of_rules, read_rule_file
from heald_worker.config_values import ConfigError
from heald_worker.rulebook import Rulebook, RuleError, Trial, lint, lint_remedies, with_packs
from heald_worker.rulepack import Pack
from heald_worker.taxonomies import rulebook_of

if TYPE_CHECKING:
    from heald_worker.config import Settings
    from heald_worker.core.remedies import Remedies
    from heald_worker.core.rules import Rule

HEADINGS = ("rule", "class", "subclass", "transient", "confidence", "rank", "remedies", "examples", "from")
EXAMPLE_CHARS = 100

files_argument = click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))


@click.group()
def rules() -> None:
    """List the rules that class failures, look for mistakes in them, try them on their examples."""


@rules.command("list")
@click.option("--own", is_flag=True, help="Only rules of your own.")
@settings_options
def list_rules(settings: Settings, output: Output, own: bool) -> None:
    """List the rules in the order in which they are asked: the first that matches decides."""
    yours = {pack.name for pack in settings.diagnosis}
    book = rulebook_of(settings)
    listed = [rule for rule in book.rules if not own or rule.source in yours]
    for rule in listed:
        output.record(_record(rule, book.remedies_of(rule)))
    if output.as_json:
        return
    for line in columns(HEADINGS, [_row(rule, book.remedies_of(rule)) for rule in listed], output.width):
        output.print(line)
    if settings.taxonomy != OWN_TAXONOMY:
        output.note(f"heald: these rules are not used: taxonomy is {settings.taxonomy}")
    if not listed:
        output.note("heald: there are no such rules; [diagnosis] in heald.toml adds rules of your own")


def _record(rule: Rule, remedies: Remedies) -> dict[str, object]:
    return {
        "rule": rule.name,
        "class": rule.failure_class,
        "subclass": rule.subclass,
        "transient": rule.transient,
        "confidence": rule.confidence,
        "rank": rule.rank,
        "match": rule.match,
        "unless": rule.unless,
        "without": rule.without,
        "stage": rule.stage,
        "exit_codes": rule.exit_codes,
        "tools": rule.tools,
        "examples": len(rule.examples),
        "counterexamples": len(rule.counterexamples),
        "remedies": _remedy_records(remedies),
        "source": rule.source,
    }


def _remedy_records(remedies: Remedies) -> list[dict[str, str]]:
    return [{"action": each.action, "reason": each.reason} for each in remedies]


def _row(rule: Rule, remedies: Remedies) -> list[Text | str]:
    examples = f"{len(rule.examples)}+{len(rule.counterexamples)}"
    verdict = [rule.failure_class.value, rule.subclass, "yes" if rule.transient else ""]
    numbers = [f"{rule.confidence:g}", f"{rule.rank}"]
    helps = ", ".join(each.action for each in remedies)
    return [Text(rule.name, "bold"), *verdict, *numbers, helps, examples, Text(clean(rule.source), "dim")]


@rules.command("remedies")
@click.argument("cause", required=False)
@settings_options
def list_remedies(settings: Settings, output: Output, cause: str | None) -> int:
    """List what can help which cause, best first: of all causes, or of CAUSE, a subclass or a class.

    The exit code is 1 when CAUSE has no remedies.
    """
    table = rulebook_of(settings).remedies
    listed = {name: found for name, found in table.causes.items() if cause in (None, name)}
    listed |= {f"rule {name}": found for name, found in table.rules.items() if cause is None}
    for name, found in listed.items():
        output.record({"cause": name, "remedies": _remedy_records(found)})
        output.print(Text(clean(name), "bold"))
        for each in found:
            output.print(f"  {each.action:<14}{clean(each.reason)}")
    if not listed:
        output.note(f"heald: {clean(str(cause))} has no remedies; `heald rules list` shows which causes there are")
    elif not settings.has_remedies:
        output.note("heald: these remedies are not used: see `remedies` and `taxonomy` of the configuration")
    return 0 if listed else 1


@rules.command("lint")
@files_argument
@settings_options
def lint_rules(settings: Settings, output: Output, files: tuple[Path, ...]) -> int:
    """Look for mistakes in rules of your own: those of FILEs, or of the configuration.

    The exit code is 1 when there are some.
    """
    packs, found = _packs(settings, files)
    found += _complaints(packs)
    for each in found:
        output.record({"problem": each})
        output.print(clean(each))
    if not packs and not found:
        output.note("heald: no rules of your own are configured; `heald rules lint FILE` looks at a file")
    elif not found:
        output.print(f"nothing to say about {count(sum(len(pack.rules) for pack in packs), 'rule')}")
    return 1 if found else 0


def _packs(settings: Settings, files: Sequence[Path]) -> tuple[list[Pack], list[str]]:
    """The packs to look at, and what is wrong with those that cannot be read."""
    if not files:
        return list(settings.diagnosis), []
    packs, found = [], []
    for path in files:
        try:
            packs.append(read_rule_file(current_folder() / path))
        except ConfigError as error:
            found.append(str(error))
    return packs, found


def _complaints(packs: list[Pack]) -> list[str]:
    """What is wrong with rules that can be read, or looks so."""
    if not packs:
        return []
    try:
        book = with_packs(packs)
    except RuleError as error:
        return [str(of_rules(error))]
    own = tuple(f"{pack.name}: " for pack in packs)
    names = {rule.name for pack in packs for rule in pack.rules}
    return [
        *(each for each in lint(book) if each.startswith(own)),
        *lint_remedies(book, packs),
        *_replaced(packs),
        *_shadowed(book, names),
    ]


def _replaced(packs: list[Pack]) -> Iterator[str]:
    """Rules that a later file replaces."""
    seen: dict[str, str] = {}
    for pack in packs:
        for rule in pack.rules:
            if rule.name in seen:
                yield f"{pack.name}: rule {rule.name!r} takes the place of the one in {seen[rule.name]}"
            seen[rule.name] = pack.name


def _shadowed(book: Rulebook, names: Iterable[str]) -> Iterator[str]:
    """Rules that decide none of their own examples, because others go before them."""
    winners: dict[str, set[str]] = {}
    for trial in book.trials(names) if names else ():
        if trial.expected:
            winners.setdefault(trial.rule, set()).add(trial.diagnosis.rule)
    for rule in book.rules:
        others = winners.get(rule.name, set()) - {""}
        if others and rule.name not in others:
            yield (
                f"{rule.source}: rule {rule.name!r} is shadowed: {', '.join(sorted(others))} decides its examples; "
                "give it a higher `rank`, or narrow the other one"
            )


@rules.command("test")
@files_argument
@settings_options
def try_rules(settings: Settings, output: Output, files: tuple[Path, ...]) -> int:
    """Try rules on their own examples: all that are used, or those of FILEs beside heald's own.

    The exit code is 1 when an example fails.
    """
    book, names = rulebook_of(settings), set[str]()
    if files:
        packs = [read_rule_file(current_folder() / path) for path in files]
        names = {rule.name for pack in packs for rule in pack.rules}
        try:
            book = with_packs(packs)
        except RuleError as error:
            raise of_rules(error) from None
    tried, failed = 0, 0
    for trial in book.trials(names) if names or not files else ():
        tried += 1
        if not trial.passed:
            failed += 1
            output.record(_trial_record(trial))
            output.print(Text.assemble(("failed  ", "red"), _trial_words(trial)))
    output.record({"tried": tried, "failed": failed})
    output.print(f"{count(tried, 'example')} tried, {failed} failed")
    return 1 if failed else 0


def _trial_record(trial: Trial) -> dict[str, object]:
    return {
        "rule": trial.rule,
        "expected": trial.expected,
        "message": trial.example.message,
        "stage": trial.example.stage,
        "exit_code": trial.example.exit_code,
        "decided_by": trial.diagnosis.rule or None,
        "class": trial.diagnosis.failure_class,
    }


def _trial_words(trial: Trial) -> str:
    message = " ".join(trial.example.message.split())
    shown = message if len(message) <= EXAMPLE_CHARS else f"{message[:EXAMPLE_CHARS]}..."
    by = f"{trial.diagnosis.rule} ({trial.diagnosis.failure_class})" if trial.diagnosis.rule else "no rule"
    wanted = "should decide" if trial.expected else "should not decide"
    return clean(f"{trial.rule} {wanted}, and {by} does: {shown}")
