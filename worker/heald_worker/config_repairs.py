"""The repairs of heald.toml: `[repairs.ACTION]`, one for all failures, or `[[repairs]]`, several to choose among."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from heald_worker.config_file import BOTH_FORMS, ConfigFile, check_glob, read_kind, read_notices
from heald_worker.config_values import ConfigError, Kind, check_keys, one_of, suggestion, switch, table, text, wrong
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.taxonomy import FailureClass
from heald_worker.playbook import (
    FOR_ALL,
    CommandRepair,
    Playbook,
    PlaybookEntry,
    PythonRepair,
    RecordRepair,
    Repair,
    RepairMatch,
)

_KINDS: dict[str, type[Repair]] = {"command": CommandRepair, "python": PythonRepair, "record": RecordRepair}
_CLASSES = tuple(each.value for each in FailureClass)
_REPAIRABLE = tuple(action.value for action in RecoveryAction if action is not RecoveryAction.ESCALATE)


def read_playbook(file: ConfigFile) -> Playbook:
    """What the file says about repairs and notices."""
    return Playbook(read_repairs(file), read_notices(file))


def read_repairs(file: ConfigFile) -> tuple[PlaybookEntry, ...]:
    """The repairs, in their order.

    Raises:
        ConfigError: the first thing that is wrong, with its key.
    """
    where, given = file.where("repairs"), file.entries.get("repairs", {})
    if isinstance(given, list):
        entries = tuple(_chosen(entry, f"{where}[{number}]", number, file.folder) for number, entry in enumerate(given))
        _check_names(entries, where)
        return entries
    if not isinstance(given, dict):
        raise wrong(given, where, "tables", "begin each with [repairs.ACTION], or with [[repairs]]")
    return tuple(_for_all(given, where, file.folder))


def _for_all(given: dict[str, object], where: str, folder: Path) -> Iterator[PlaybookEntry]:
    """`[repairs.ACTION]`: the action stands in the heading."""
    if "escalate" in given:
        raise _no_repair(f"{where}.escalate")
    check_keys(given, _REPAIRABLE, f"{where}.")
    for name, entry in given.items():
        at = f"{where}.{name}"
        entries = dict(table(entry, at))
        for key in ("match", "name", "action"):
            if key in entries:
                raise ConfigError(f"{at}.{key}: [repairs.{name}] is for all failures", "write it as [[repairs]]")
        yield _entry(RecoveryAction(name), entries, at, folder, name=name)


def _chosen(given: object, where: str, number: int, folder: Path) -> PlaybookEntry:
    """One of `[[repairs]]`: which action it is for, and which failures."""
    entries = dict(table(given, where))
    if other := next((key for key in entries if key in _REPAIRABLE), ""):  # so TOML reads [repairs.ACTION] behind it
        raise ConfigError(f"{where} is followed by [repairs.{other}]", BOTH_FORMS)
    action = entries.pop("action", None)
    if action is None:
        raise ConfigError(f"{where}.action is missing", f"possible: {', '.join(_REPAIRABLE)}")
    if action == "escalate":
        raise _no_repair(f"{where}.action")
    checked = RecoveryAction(str(one_of(*_REPAIRABLE).check(action, f"{where}.action")))
    name = text(entries.pop("name"), f"{where}.name") if "name" in entries else f"repairs[{number}]"
    match = _match(entries.pop("match"), f"{where}.match") if "match" in entries else FOR_ALL
    return _entry(checked, entries, where, folder, name=name, match=match)


def _entry(
    action: RecoveryAction,
    entries: dict[str, object],
    where: str,
    folder: Path,
    *,
    name: str,
    match: RepairMatch = FOR_ALL,
) -> PlaybookEntry:
    reverts = switch.check(entries.pop("reverts", False), f"{where}.reverts") is True
    if reverts and action is not RecoveryAction.ROLLBACK:
        raise ConfigError(
            f"{where}.reverts is for rollback, and this is a repair for {action}", "leave it out, or change the action"
        )
    return PlaybookEntry(action, read_kind(_KINDS, entries, where, folder), match, name, reverts)


def _no_repair(where: str) -> ConfigError:
    return ConfigError(f"{where} cannot be: escalating repairs nothing", "tell somebody with [notices.on_escalated]")


def _match(given: object, where: str) -> RepairMatch:
    entries = table(given, where)
    check_keys(entries, _MATCH, f"{where}.")
    globs = {key: str(_MATCH[key].check(value, f"{where}.{key}")) for key, value in entries.items()}
    if "class" in globs:
        globs["failure_class"] = globs.pop("class")
    return RepairMatch(**globs)


def _class_glob(value: object, where: str) -> str:
    """A glob on the class; one that names a class must name one that there is."""
    glob = check_glob(value, where)
    if glob and not any(char in glob for char in "*?[") and glob not in _CLASSES:
        raise ConfigError(f"{where} names {glob!r}, which is no class of failures", suggestion(glob, _CLASSES))
    return glob


_MATCH = {
    **dict.fromkeys(("repository", "ref", "job", "stage", "subclass", "rule", "tool"), Kind(check_glob)),
    "class": Kind(_class_glob),
}


def _check_names(entries: tuple[PlaybookEntry, ...], where: str) -> None:
    seen: set[str] = set()
    for number, entry in enumerate(entries):
        if entry.name in seen:
            raise ConfigError(f"{where}[{number}].name: {entry.name!r} is the name of another repair", "change one")
        seen.add(entry.name)
