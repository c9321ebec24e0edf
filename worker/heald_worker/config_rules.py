"""A user's own rules for the taxonomy `heald`: rule files that heald.toml names, and rules that stand in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from heald_worker.config_values import ConfigError, text, wrong
from heald_worker.rulepack import Pack, RuleError, read_entries, read_pack

MAX_RULE_FILE_BYTES = 1024 * 1024
MOST_RULE_FILES = 100


def read_rule_files(globs: object, folder: Path, where: str) -> list[Pack]:
    """The packs of the files that these globs name, in the globs' order and sorted by name within each.

    Raises:
        ConfigError: a glob that names no file, a file that cannot be read, or a rule that cannot be used.
    """
    if not isinstance(globs, list):
        raise wrong(globs, where, "a list of files", 'for example ["rules/*.toml"]')
    found: dict[Path, None] = {}
    for number, glob in enumerate(globs):
        at = f"{where}[{number}]"
        found |= dict.fromkeys(_files(folder, text(glob, at), at))
    if len(found) > MOST_RULE_FILES:
        raise ConfigError(f"{where} names {len(found)} files, at most {MOST_RULE_FILES} are read", "join some of them")
    return [read_rule_file(path) for path in found]


def _files(folder: Path, glob: str, where: str) -> list[Path]:
    if not any(char in glob for char in "*?["):
        return [folder / glob]
    base = Path(glob).anchor
    try:
        files = sorted(
            path for path in (Path(base) if base else folder).glob(glob.removeprefix(base)) if path.is_file()
        )
    except (ValueError, NotImplementedError, IndexError) as error:
        raise ConfigError(f"{where}: {glob!r} is no glob: {error}", "`*` is any text, `**/` any folders") from None
    if not files:
        raise ConfigError(f"{where}: no file fits {glob!r}", f"relative globs start at {folder}")
    return files


def read_rule_file(path: Path) -> Pack:
    """The rules of one file.

    Raises:
        ConfigError: it cannot be read, or a rule in it cannot be used.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_RULE_FILE_BYTES + 1)
        content = data.decode("utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or ("it is not UTF-8" if isinstance(error, ValueError) else error)
        raise ConfigError(f"the rule file {path} cannot be read: {reason}", "see `files` in [diagnosis]") from None
    if len(data) > MAX_RULE_FILE_BYTES:
        raise ConfigError(f"the rule file {path} is larger than 1 MiB", "is it a rule file?")
    try:
        return read_pack(str(path), content)
    except RuleError as error:
        raise of_rules(error) from None


def read_rule_entries(entries: Mapping[str, object], shown: str) -> Pack:
    """The rules that stand in heald.toml itself.

    Raises:
        ConfigError: a rule cannot be used.
    """
    try:
        return read_entries(shown, entries)
    except RuleError as error:
        raise of_rules(error) from None


def of_rules(error: RuleError) -> ConfigError:
    """A complaint about rules as one about the configuration, which names file and rule."""
    return ConfigError((f"{error.where}: " if error.where else "") + error.problem, error.hint)
