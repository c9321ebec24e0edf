"""heald.toml: where it is, and the sections that only a file holds: policies, rules, notices, Sentinel."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from heald_producer.signals import MAX_POLICY_BYTES
from heald_worker.config_values import (
    ConfigError,
    Kind,
    arguments,
    call_reference,
    check_keys,
    duration,
    environment,
    headers,
    one_of,
    share,
    suggestion,
    switch,
    table,
    text,
    web_url,
    whole,
    wrong,
)
from heald_worker.core.policy import U32_MAX, Bounds, RecoveryPolicy, RetryTestsOn
from heald_worker.core.recovery import Ending
from heald_worker.playbook import CommandNotice, Notice, Reach, WebhookNotice
from heald_worker.policies import DEFAULT_POLICY, MatchRule

if TYPE_CHECKING:
    from heald_producer.connection import Sentinel
    from heald_worker.rulepack import Pack

Spec = TypeVar("Spec", bound=msgspec.Struct)

DEFAULT_FILE = "heald.toml"
MAX_FILE_BYTES = 1024 * 1024
BOTH_FORMS = "a file has [repairs.ACTION] or [[repairs]], not both; [[repairs]] without `match` is for all failures"
_ONE_FOR_ALL = re.compile(rb"^[ \t]*\[[ \t]*repairs[ \t]*\.", re.MULTILINE)
_SEVERAL = re.compile(rb"^[ \t]*\[\[[ \t]*repairs[ \t]*\]\]", re.MULTILINE)
MOST_ATTEMPTS = 1000
"""All decisions of a run stand in one record, so the service bounds what the reference leaves at 32 bits."""


class ConfigFile(NamedTuple):
    """A configuration file: its path as errors show it, its folder, and what it says."""

    shown: str
    folder: Path
    entries: dict[str, object]

    def where(self, *keys: str) -> str:
        """How errors name a key of this file."""
        return f"{self.shown}: {'.'.join(keys)}"


def find_config_file(flag: object, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The file to read: `--config`, else `HEALD_CONFIG`, else `heald.toml` in the current folder if any."""
    named = flag or environ.get("HEALD_CONFIG")
    if named:
        return cwd / str(named)
    usual = cwd / DEFAULT_FILE
    return usual if usual.exists() else None


def read_config_file(path: Path, cwd: Path) -> ConfigFile:
    """Read and parse one file.

    Raises:
        ConfigError: it cannot be read, or is not TOML; the message tells the line.
    """
    shown = str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"{shown} cannot be read: {reason}", "name another file with --config or HEALD_CONFIG"
        ) from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{shown} is larger than 1 MiB", "is it a heald configuration?")
    try:
        return ConfigFile(shown, path.parent, tomllib.loads(data.decode("utf-8")))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{shown} is not UTF-8 (at line {line})", "save it as UTF-8") from None
    except ValueError as error:  # TOMLDecodeError, and Python's own for a number of thousands of digits
        hint = BOTH_FORMS if _ONE_FOR_ALL.search(data) and _SEVERAL.search(data) else ""
        raise ConfigError(f"{shown} is not valid TOML: {error}", hint) from None
    except RecursionError:
        raise ConfigError(f"{shown} is nested too deep") from None


def read_policies(file: ConfigFile) -> dict[str, RecoveryPolicy]:
    """`[policies.NAME]`: the reference's four fields; what is left out has the reference's default."""
    where = file.where("policies")
    policies = {DEFAULT_POLICY: RecoveryPolicy()}
    for name, entry in table(file.entries.get("policies", {}), where).items():
        if not name or len(name.encode()) > MAX_POLICY_BYTES:
            raise ConfigError(f"{where}: a policy's name has 1 to {MAX_POLICY_BYTES} bytes")
        entries = table(entry, f"{where}.{name}")
        check_keys(entries, [*_POLICY, *_BOUNDS], f"{where}.{name}.")
        own = {key: value for key, value in entries.items() if key in _POLICY}
        policies[name] = _read_struct(RecoveryPolicy, own, f"{where}.{name}", _POLICY)
    return policies


def read_bounds(file: ConfigFile) -> dict[str, Bounds]:
    """heald's own bounds of each `[policies.NAME]`, beside the reference's four."""
    found = {}
    for name, entry in table(file.entries.get("policies", {}), file.where("policies")).items():
        where = file.where("policies", name)
        own = {key: value for key, value in table(entry, where).items() if key in _BOUNDS}
        found[name] = _read_struct(Bounds, own, where, _BOUNDS)
    return found


def _check_globs(value: object, where: str) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise wrong(value, where, "a list of globs", 'for example ["deploy*", "release-*"]')
    return tuple(text(glob, f"{where}[{number}]").lower() for number, glob in enumerate(value))


def _check_retry_tests_on(value: object, where: str) -> RetryTestsOn:
    return RetryTestsOn(str(one_of(*RetryTestsOn).check(value, where)))


_BOUNDS = {
    "max_transient_retries": whole(0, U32_MAX),
    "min_confidence": share,
    "retry_tests_on": Kind(_check_retry_tests_on),
    "deploy_stages": Kind(_check_globs),
}
_POLICY = {
    "max_attempts": whole(0, MOST_ATTEMPTS),
    "max_flaky_retries": whole(0, U32_MAX),
    "allow_patch_forward": switch,
    "allow_rollback": switch,
}


def read_rules(file: ConfigFile, policies: Mapping[str, RecoveryPolicy]) -> tuple[MatchRule, ...]:
    """`[[rules]]` in their order; each names a policy that exists."""
    entries = file.entries.get("rules", [])
    if not isinstance(entries, list):
        raise wrong(entries, file.where("rules"), "a list of tables", "begin each rule with [[rules]]")
    rules = []
    for number, entry in enumerate(entries):
        where = file.where(f"rules[{number}]")
        rule = _read_struct(MatchRule, table(entry, where), where, _RULE)
        if rule.policy not in policies:
            raise ConfigError(
                f"{where}.policy names {rule.policy!r}, which is not configured",
                suggestion(rule.policy, policies),
            )
        rules.append(rule)
    return tuple(rules)


def check_glob(value: object, where: str) -> str:
    """A glob; the empty one fits what is not known."""
    return "" if value == "" else text(value, where)


_RULE = {
    "policy": Kind(text),
    "repository": Kind(check_glob),
    "ref": Kind(check_glob),
    "job": Kind(check_glob),
    "stage": Kind(check_glob),
}

_NOTICED = {"on_escalated": Ending.ESCALATED, "on_exhausted": Ending.EXHAUSTED}
_NOTICE_KINDS: dict[str, type[Notice]] = {"command": CommandNotice, "webhook": WebhookNotice}


def read_notices(file: ConfigFile) -> dict[Ending, Notice]:
    """`[notices.on_escalated]` and `[notices.on_exhausted]`."""
    notices = table(file.entries.get("notices", {}), file.where("notices"))
    check_keys(notices, _NOTICED, file.where("notices", ""))
    return {
        _NOTICED[name]: read_kind(_NOTICE_KINDS, entry, file.where("notices", name), file.folder)
        for name, entry in notices.items()
    }


def read_kind(kinds: Mapping[str, type[Spec]], entry: object, where: str, folder: Path) -> Spec:
    """One repair or notice: its `kind` says which struct, and so which keys.

    Args:
        folder: where relative paths start, and where a command runs that names no other place.
    """
    entries = dict(table(entry, where))
    kind = entries.pop("kind", None)
    if kind is None:
        raise ConfigError(f"{where}.kind is missing", f"possible: {', '.join(kinds)}")
    spec = kinds[str(one_of(*kinds).check(kind, f"{where}.kind"))]
    if "cwd" in spec.__struct_fields__:
        entries.setdefault("cwd", ".")
    fields = _spec_fields(folder)
    return _read_struct(spec, entries, where, {name: fields[name] for name in spec.__struct_fields__})


def _spec_fields(folder: Path) -> dict[str, Kind]:
    return {
        "command": Kind(arguments),
        "cwd": Kind(lambda value, where: str(folder / text(value, where))),
        "env": Kind(environment),
        "time_limit": duration(),
        "output_is_failure": switch,
        "call": Kind(call_reference),
        "succeed": switch,
        "succeed_from": whole(1, MOST_ATTEMPTS),
        "url": Kind(web_url),
        "headers": Kind(headers),
        "forbid": Kind(_check_reaches),
    }


def _check_reaches(value: object, where: str) -> tuple[Reach, ...]:
    words = one_of(*Reach)
    if not isinstance(value, list):
        raise wrong(value, where, "a list", f"possible: {', '.join(Reach)}")
    return tuple(Reach(str(words.check(word, f"{where}[{number}]"))) for number, word in enumerate(value))


def read_diagnosis(file: ConfigFile) -> tuple[Pack, ...]:
    """`[diagnosis]` and `[remedies.CAUSE]`: a user's own rules and remedies, those of `files` first."""
    where = file.where("diagnosis")
    entries = table(file.entries.get("diagnosis", {}), where)
    check_keys(entries, ("files", "rule", "tool", "sets"), f"{where}.")
    remedies = file.entries.get("remedies")
    if not entries and not isinstance(remedies, dict):
        return ()
    from heald_worker.config_rules import read_rule_entries, read_rule_files

    packs = read_rule_files(entries.get("files", []), file.folder, f"{where}.files")
    inline = {key: entry for key, entry in entries.items() if key != "files"}
    if isinstance(remedies, dict):
        inline["remedies"] = remedies
    return (*packs, *([read_rule_entries(inline, file.shown)] if inline else []))


def read_sentinel(file: ConfigFile, environ: Mapping[str, str]) -> Sentinel | None:
    """`[sentinel]`: RQ's SENTINEL setting, keys in lower case; HEALD_SENTINEL_PASSWORD beats `password`."""
    if "sentinel" not in file.entries:
        return None
    from heald_producer.connection import Sentinel

    where = file.where("sentinel")
    entries = dict(table(file.entries["sentinel"], where))
    if "redis_url" in file.entries:
        raise ConfigError(f"{file.shown} has both redis_url and [sentinel]", "keep the one that is meant")
    if environ.get("HEALD_SENTINEL_PASSWORD"):
        entries["password"] = environ["HEALD_SENTINEL_PASSWORD"]
    return _read_struct(Sentinel, entries, where, _SENTINEL)


def _check_instances(value: object, where: str) -> tuple[tuple[str, int], ...]:
    example = 'for example [["sentinel-1", 26379], ["sentinel-2", 26379]]'
    if not isinstance(value, list) or not value:
        raise wrong(value, where, "a list of [host, port] pairs", example)
    instances = []
    for number, pair in enumerate(value):
        at = f"{where}[{number}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise wrong(pair, at, "a [host, port] pair", example)
        host, port = pair
        instances.append((text(host, at), int(str(whole(1, 65_535).check(port, at)))))
    return tuple(instances)


_SENTINEL = {
    "instances": Kind(_check_instances),
    "master_name": Kind(text),
    "db": whole(0, 2**31 - 1),
    "username": Kind(text),
    "password": Kind(text),
    "socket_timeout": duration(),
    "ssl": switch,
    "connection_kwargs": Kind(table),
    "sentinel_kwargs": Kind(table),
}


def _read_struct(struct: type[Spec], entries: Mapping[str, object], where: str, kinds: Mapping[str, Kind]) -> Spec:
    """A struct from a table: no unknown keys, no required one missing, every value checked."""
    check_keys(entries, kinds, f"{where}.")
    for field in msgspec.structs.fields(struct):
        if field.required and field.name not in entries:
            raise ConfigError(f"{where}.{field.name} is missing")
    return struct(**{name: kinds[name].check(value, f"{where}.{name}") for name, value in entries.items()})
