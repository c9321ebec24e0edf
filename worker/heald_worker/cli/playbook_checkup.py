"""What `heald doctor` says about a playbook that is there, but does not do what it seems to do."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from heald_worker.cli.checkup import Finding, warn
from heald_worker.cli.describe import named_specs, repair_name
from heald_worker.config import OWN_TAXONOMY, ConfigError, Loaded, Settings
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.taxonomy import FailureClass
from heald_worker.playbook import FOR_ALL, CommandNotice, CommandRepair, RepairMatch


def check_folders(loaded: Loaded, here: Path) -> Iterator[Finding]:
    """Whether relative paths of commands, which start at heald.toml's folder, lead elsewhere from the worker's own.

    Args:
        here: the folder in which the worker is started.
    """
    if loaded.file is None or (folder := loaded.file.parent.resolve()) == here.resolve():
        return
    for name, spec in named_specs(loaded.settings.playbook):
        if not isinstance(spec, CommandRepair | CommandNotice) or Path(spec.cwd or here).resolve() != folder:
            continue
        program, *arguments = spec.command
        paths = [program, *arguments] if "/" in program else arguments
        if found := next((path for path in paths if _is_another(path, folder, here)), ""):
            detail = f"{name}: {found} is looked for in {folder}; {here}, where heald is started, has another"
            yield warn("playbook", detail, f'relative paths start at heald.toml; cwd = "{here}" means the other one')


def _is_another(path: str, folder: Path, here: Path) -> bool:
    """Whether a relative path leads to something here, and not to the same in the folder."""
    old, new = here / path, folder / path
    try:
        return bool(path) and old.exists() and not (new.exists() and new.samefile(old))
    except (OSError, ValueError):  # no path at all
        return False


def check_choice(settings: Settings) -> Iterator[Finding]:
    """Repairs that stand behind one for all failures, or are for what no rule ever says."""
    for_all: dict[RecoveryAction, str] = {}
    for entry in settings.playbook.repairs:
        name = repair_name(entry)
        if first := for_all.get(entry.action):
            advice = "the first that fits is made: put it before that one"
            yield warn("playbook", f"{name} is never made: {first}, before it, is for all failures", advice)
        elif unsaid := _unsaid(settings, entry.match):
            yield warn("playbook", f"{name} is never made: {unsaid}", "`heald rules list` shows what rules say")
        if entry.match == FOR_ALL:
            for_all.setdefault(entry.action, name)


def _unsaid(settings: Settings, match: RepairMatch) -> str:
    """What a repair asks for and no rule says; empty if nothing."""
    if not match.asks_for_a_diagnosis:
        return ""
    for name, words in _sayable(settings).items():
        glob = getattr(match, name)
        if not any(fnmatchcase(word, glob) for word in ("", *words)):
            return f"the rules know no {name} {glob!r}"
    return ""


def _sayable(settings: Settings) -> dict[str, set[str]]:
    """All that a diagnosis can say; nothing where that cannot be known."""
    if settings.taxonomy != OWN_TAXONOMY:
        return {"subclass": set(), "rule": {f"{settings.taxonomy}:{each}" for each in FailureClass}, "tool": set()}
    from heald_worker.taxonomies import rulebook_of

    try:
        book = rulebook_of(settings)
    except ConfigError:  # told by another check
        return {}
    return {
        "subclass": {rule.subclass for rule in book.rules},
        "rule": {rule.name for rule in book.rules},
        "tool": {tool.name for tool in book.tools},
    }
