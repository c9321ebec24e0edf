"""What a heald process is told: one frozen `Settings`, from flags > environment > heald.toml > defaults.

`docs/configuration.md` describes every key. `config_groups.py` holds the numbers, `config_file.py` reads what
only a file can say, `config_values.py` checks single values.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from heald_producer.signals import MAX_REPORT_BYTES
from heald_worker.config_file import (
    DEFAULT_FILE,
    ConfigFile,
    find_config_file,
    read_bounds,
    read_config_file,
    read_diagnosis,
    read_policies,
    read_rules,
    read_sentinel,
)
from heald_worker.config_groups import Limits, Retention, Timing
from heald_worker.config_repairs import read_playbook
from heald_worker.config_values import (
    ConfigError,
    Kind,
    check_keys,
    duration,
    one_of,
    server_url,
    switch,
    table,
    text,
    whole,
)
from heald_worker.core.policy import Bounds, RecoveryPolicy
from heald_worker.core.taxonomy import TAXONOMIES
from heald_worker.playbook import Playbook
from heald_worker.policies import DEFAULT_POLICY, MatchRule

if TYPE_CHECKING:
    from heald_producer.connection import Sentinel
    from heald_worker.rulepack import Pack

__all__ = [
    "ConfigError",
    "Limits",
    "Loaded",
    "MatchRule",
    "Retention",
    "Settings",
    "Timing",
    "load",
    "load_settings",
]


DEFAULT_ARTIFACTS = Path("heald-artifacts")
OWN_TAXONOMY = "heald"
"""The name of heald's own rules, and a user's beside them."""


_BOUNDS = Bounds()


def _default_policies() -> dict[str, RecoveryPolicy]:
    return {DEFAULT_POLICY: RecoveryPolicy()}


class Settings(msgspec.Struct, frozen=True):
    """Everything that can be configured; every field has a default that works.

    Attributes:
        redis_url: the server, as redis-py spells it (`redis://`, `rediss://`, `unix://`).
        sentinel: Sentinel servers to ask for the master, instead of `redis_url`.
        artifacts: the folder of recovery artifacts.
        fsync: artifacts are forced to disk before a run may end.
        taxonomy: the rules that class failures: `heald`, or the reference's `aivcs`.
        remedies: what follows from a cause: `heald`, by its remedies, or the reference's `aivcs`, by its class alone.
        flaky_learning: tests that were seen to fail and pass on one commit count as flaky from then on.
        regression: `off`, `observe` (record what history says) or `enforce` (let it act).
        dry_run: decide and record, repair nothing.
        policies: by name; `default` is always there.
        bounds: heald's own, by a policy's name.
        rules: the first that fits fixes a run's policy.
        diagnosis: a user's own rules for the taxonomy `heald`, one pack per file.
        playbook: which repair belongs to which action, and who is told of which ending.
    """

    redis_url: str = "redis://127.0.0.1:6379/0"
    sentinel: Sentinel | None = None
    artifacts: Path = DEFAULT_ARTIFACTS
    fsync: bool = True
    taxonomy: str = OWN_TAXONOMY
    remedies: str = OWN_TAXONOMY
    flaky_learning: bool = True
    regression: Literal["off", "observe", "enforce"] = "observe"
    dry_run: bool = False
    policies: dict[str, RecoveryPolicy] = msgspec.field(default_factory=_default_policies)
    bounds: dict[str, Bounds] = {}
    rules: tuple[MatchRule, ...] = ()
    diagnosis: tuple[Pack, ...] = ()
    playbook: Playbook = msgspec.field(default_factory=Playbook)
    limits: Limits = Limits()
    timing: Timing = Timing()
    retention: Retention = Retention()

    def bounds_of(self, policy: str) -> Bounds:
        """heald's own bounds of a policy."""
        return self.bounds.get(policy, _BOUNDS)

    @property
    def has_remedies(self) -> bool:
        """Whether actions follow the cause's remedies; else they are the reference's, which knows no causes."""
        return self.remedies == OWN_TAXONOMY and self.taxonomy == OWN_TAXONOMY


class Loaded(NamedTuple):
    """Settings and where they come from.

    Attributes:
        settings: the result.
        file: the configuration file that was read, if there was one.
        origins: key (`limits.lease`) -> what set it: a flag, a variable or the file. Defaults are not listed.
    """

    settings: Settings
    file: Path | None
    origins: dict[str, str]


def load_settings(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> Settings:
    """The settings from flags > environment > heald.toml > defaults; see `load`."""
    return load(flags, environ, cwd).settings


def load(flags: Mapping[str, object], environ: Mapping[str, str], cwd: Path) -> Loaded:
    """The settings and where each comes from.

    Args:
        flags: by key, None for what was not given; `config` names the file to read.
        environ: the environment; empty variables count as not set.
        cwd: what relative paths of flags and variables, and the default artifact folder, start from.

    Raises:
        ConfigError: the first value that cannot be used.
    """
    path = find_config_file(flags.get("config"), environ, cwd)
    file = ConfigFile(DEFAULT_FILE, cwd, {}) if path is None else read_config_file(path, cwd)
    _check_known(file, environ)
    values: dict[str, Any] = {"artifacts": cwd / DEFAULT_ARTIFACTS}
    origins = {section: file.shown for section in _FILE_SECTIONS if section in file.entries}
    for key, kind in _KINDS.items():
        given = _given(key, flags, environ, file, cwd)
        if given is not None:
            value = kind.parse(given.value) if given.is_text and isinstance(given.value, str) else given.value
            checked = kind.check(value, given.where)
            values[key] = given.folder / str(checked) if kind is _FOLDER else checked
            origins[key] = given.origin
    settings = _assemble(values, file, environ)
    _check_together(settings, file)
    return Loaded(settings, path, origins)


def _assemble(values: dict[str, Any], file: ConfigFile, environ: Mapping[str, str]) -> Settings:
    policies = read_policies(file)
    plain = {key: value for key, value in values.items() if "." not in key}
    sentinel = read_sentinel(file, environ)
    if "redis_url" in plain:  # from a flag or a variable, which stand above the file: a file has only one of the two
        sentinel = None
    return Settings(
        **plain,
        sentinel=sentinel,
        policies=policies,
        bounds=read_bounds(file),
        rules=read_rules(file, policies),
        diagnosis=read_diagnosis(file),
        playbook=read_playbook(file),
        limits=Limits(**_under("limits.", values)),
        timing=Timing(**_under("timing.", values)),
        retention=Retention(**_under("retention.", values)),
    )


def _under(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}


_FOLDER = Kind(text)
_GROUPS: dict[str, type[msgspec.Struct]] = {"limits": Limits, "timing": Timing, "retention": Retention}
_FILE_SECTIONS = ("sentinel", "policies", "rules", "diagnosis", "repairs", "notices")
_MOST = 2**31 - 1
_LEAST = {
    "intake_bytes": MAX_REPORT_BYTES,
    "dead_letter_bytes": 2 * MAX_REPORT_BYTES,
    "max_lost_repairs": 0,
    "max_lineage": 0,
}
_KINDS: dict[str, Kind] = {
    "redis_url": Kind(server_url),
    "artifacts": _FOLDER,
    "fsync": switch,
    "taxonomy": one_of(OWN_TAXONOMY, *TAXONOMIES),
    "remedies": one_of(OWN_TAXONOMY, "aivcs"),
    "flaky_learning": switch,
    "regression": one_of("off", "observe", "enforce"),
    "dry_run": switch,
    **{f"limits.{name}": whole(_LEAST.get(name, 1), _MOST) for name in Limits.__struct_fields__},
    **{f"timing.{name}": duration() for name in Timing.__struct_fields__},
    **{f"retention.{name}": duration(1.0) for name in Retention.__struct_fields__},
}
"""Every key that a variable can set, and a flag where a verb has one."""


class _Given(NamedTuple):
    """One key's value: how errors name it, what set it, where relative paths start, whether it is text."""

    value: object
    where: str
    origin: str
    folder: Path
    is_text: bool


def _given(
    key: str, flags: Mapping[str, object], environ: Mapping[str, str], file: ConfigFile, cwd: Path
) -> _Given | None:
    """The value of a key from the highest place that has one."""
    if flags.get(key) is not None:
        flag = "--" + key.replace("_", "-")
        return _Given(flags[key], flag, flag, cwd, True)
    for variable in _variables(key):
        if environ.get(variable):
            return _Given(environ[variable], variable, variable, cwd, True)
    group, _, name = key.rpartition(".")
    entries = table(file.entries.get(group, {}), file.where(group)) if group else file.entries
    if name in entries and not (key == "remedies" and isinstance(entries[name], dict)):  # a table: see `[remedies]`
        return _Given(entries[name], file.where(key), file.shown, file.folder, False)
    return None


def _variables(key: str) -> tuple[str, ...]:
    own = "HEALD_" + key.replace(".", "_").upper()
    return (own, "REDIS_URL") if key == "redis_url" else (own,)


def _check_known(file: ConfigFile, environ: Mapping[str, str]) -> None:
    """No key of the file, and no variable of a group, may be one that nobody reads."""
    top = [key for key in _KINDS if "." not in key]
    check_keys(file.entries, [*top, *_GROUPS, *_FILE_SECTIONS], file.where(""))
    for group, struct in _GROUPS.items():
        entries = table(file.entries.get(group, {}), file.where(group))
        check_keys(entries, struct.__struct_fields__, file.where(group, ""))
        prefix = f"HEALD_{group.upper()}_"
        check_keys({name: "" for name in environ if name.startswith(prefix)}, _group_variables(group), "variable ")


def _group_variables(group: str) -> list[str]:
    return [_variables(key)[0] for key in _KINDS if key.startswith(f"{group}.")]


def _check_together(settings: Settings, file: ConfigFile) -> None:
    """What must hold between two values."""
    timing, limits, retention = settings.timing, settings.limits, settings.retention
    ordered = (
        ("timing.resend_first", timing.resend_first, "timing.resend_most", timing.resend_most),
        ("timing.retry_first", timing.retry_first, "timing.retry_most", timing.retry_most),
        ("timing.transient_first", timing.transient_first, "timing.transient_most", timing.transient_most),
        ("timing.notice_first", timing.notice_first, "timing.notice_most", timing.notice_most),
        ("timing.renewal", timing.renewal * 2, "timing.lease", timing.lease),
        ("limits.inbox_warning", limits.inbox_warning, "limits.inbox_refusal", limits.inbox_refusal),
        ("retention.spool", retention.spool, "retention.tombstones", retention.tombstones),
    )
    for low, less, high, more in ordered:
        if less > more:
            bound = "half of " if low == "timing.renewal" else ""
            raise ConfigError(
                f"{low} must be at most {bound}{high} ({more:g})", f"change one of the two in {file.shown}"
            )
