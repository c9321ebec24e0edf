"""What `heald doctor` looks at on this machine: configuration, playbook, artifact folder, spool."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

import msgspec

from heald_producer.connection import safe_url
from heald_producer.spool import Spool
from heald_worker.cli.common import server_name
from heald_worker.cli.describe import entry_words, named_specs, notice_words, policy_bounds, span
from heald_worker.config import OWN_TAXONOMY, ConfigError, Loaded, Settings
from heald_worker.core.policy import RecoveryAction
from heald_worker.playbook import (
    CommandNotice,
    CommandRepair,
    Notice,
    PythonRepair,
    Repair,
    WebhookNotice,
)
from heald_worker.repairs.facts import MissingVariable, filled

SHORTEST_SOUND_LEASE = 10.0
LITTLE_SPACE = 256 * 1024 * 1024


class Level(StrEnum):
    """How a finding is meant; `bad` makes the doctor's exit code 1."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


class Finding(msgspec.Struct, frozen=True):
    """One line of the doctor's: what was looked at, what is so, and what to do about it."""

    level: Level
    check: str
    detail: str
    advice: str = ""


def ok(check: str, detail: str) -> Finding:
    """Nothing to do."""
    return Finding(Level.OK, check, detail)


def warn(check: str, detail: str, advice: str) -> Finding:
    """Works, but somebody should know."""
    return Finding(Level.WARN, check, detail, advice)


def bad(check: str, detail: str, advice: str) -> Finding:
    """Does not work, or loses something."""
    return Finding(Level.BAD, check, detail, advice)


def check_configuration(loaded: Loaded) -> Iterator[Finding]:
    """Where the settings come from, what was set, and what is unwise."""
    settings = loaded.settings
    if loaded.file is None:
        yield ok("configuration", "no heald.toml here and no HEALD_CONFIG: the defaults hold, and what is below")
    else:
        yield ok("configuration", str(loaded.file))
    for key, origin in sorted(loaded.origins.items()):
        yield ok("setting", f"{key} = {shown_value(settings, key)} ({origin})")
    yield from _check_rules(settings)
    if settings.dry_run:
        yield warn("configuration", "dry_run is set: nothing is repaired", "unset it when the trial is over")
    if settings.timing.lease < SHORTEST_SOUND_LEASE:
        yield warn(
            "configuration",
            f"timing.lease is {span(settings.timing.lease)}: a busy machine may lose repairs that are alive",
            "use 10s or more",
        )


def _check_rules(settings: Settings) -> Iterator[Finding]:
    if settings.diagnosis:
        from heald_worker.taxonomies import rulebook_of

        try:
            rulebook_of(settings)
        except ConfigError as error:
            yield bad("rules", error.problem, error.hint)
        if settings.taxonomy != OWN_TAXONOMY:
            advice = f'set taxonomy = "{OWN_TAXONOMY}", or take [diagnosis] out'
            yield warn("rules", f"taxonomy is {settings.taxonomy}: your own rules are not used", advice)


def shown_value(settings: Settings, key: str) -> str:
    """A setting as text for reading, with secrets hidden. `key` is as in `Loaded.origins`."""
    match key.split("."):
        case ["redis_url"]:
            return safe_url(settings.redis_url)
        case ["sentinel"]:
            above = "set aside, as a URL from a flag or a variable stands above it"
            return above if settings.sentinel is None else server_name(settings)
        case ["policies"]:
            return "; ".join(
                f"{name}: {policy_bounds(policy, settings.bounds_of(name))}"
                for name, policy in settings.policies.items()
            )
        case ["rules"]:
            return "; ".join(f"{rule.describe()} -> {rule.policy}" for rule in settings.rules)
        case ["diagnosis"]:
            count = sum(len(pack.rules) for pack in settings.diagnosis)
            return f"{count} rules of your own in {', '.join(pack.name for pack in settings.diagnosis)}"
        case ["repairs"]:
            return "; ".join(entry_words(entry) for entry in settings.playbook.repairs)
        case ["notices"]:
            return "; ".join(f"{ending}: {notice_words(spec)}" for ending, spec in settings.playbook.notices.items())
        case ["timing" | "retention" as group, name]:
            return span(getattr(getattr(settings, group), name))
        case [group, name]:
            return f"{getattr(getattr(settings, group), name):,}"
        case _:
            value = getattr(settings, key)
            return str(value).lower() if isinstance(value, bool) else str(value)


def check_playbook(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether what the playbook names is on this machine. Nothing of it is run or imported."""
    playbook = settings.playbook
    for action in RecoveryAction:
        if action is not RecoveryAction.ESCALATE and action not in playbook.actions:
            yield warn(
                "playbook",
                f"no repair for {action}: that is never decided on, unless another worker has one",
                f"configure [repairs.{action}], or forbid the action in the policies",
            )
    for name, spec in named_specs(playbook):
        problem = missing_of(spec, environ)
        if problem:
            yield warn("playbook", f"{name}: {problem}", "fine if the workers that run it are other machines")
        else:
            yield ok("playbook", name)


def missing_of(spec: Repair | Notice, environ: Mapping[str, str]) -> str:
    """What a repair or notice needs and this machine does not have; empty if nothing."""
    try:
        match spec:
            case CommandRepair(command, cwd, env) | CommandNotice(command, cwd, env):
                path = filled(env, environ, "env").get("PATH", environ.get("PATH"))
                return _missing_program(command[0], cwd, path)
            case PythonRepair(call):
                package = call.partition(":")[0].partition(".")[0]
                return "" if find_spec(package) else f"the module {package} is not found"
            case WebhookNotice(headers=headers):
                filled(headers, environ, "headers")
    except MissingVariable as missing:
        return str(missing)
    return ""


def _missing_program(program: str, cwd: str | None, path: str | None) -> str:
    if cwd is not None and not Path(cwd).is_dir():
        return f"the folder {cwd} is not there"
    place = str(Path(cwd or ".") / program) if "/" in program else program
    return "" if shutil.which(place, path=path) else f"the program {program} is not found, or may not be run"


def check_artifacts(folder: Path) -> Finding:
    """Whether artifacts can be written; a folder that is not there yet is made by the first recovery."""
    place = next(path for path in (folder, *folder.parents) if path.exists())
    if not place.is_dir():
        return bad("artifacts", f"{place} is not a folder", "set `artifacts` to a folder")
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".heald-doctor-") as probe:
            probe.write(b"\0" * 4096)
            os.fsync(probe.fileno())
        free = shutil.disk_usage(place).free
    except OSError as error:
        return bad(
            "artifacts", f"{place} cannot be written: {error.strerror}", "free its disk, or mend its permissions"
        )
    if free < LITTLE_SPACE:
        return warn(
            "artifacts", f"{place} has {free // 2**20} MiB left", "free its disk; `heald artifacts prune` helps"
        )
    return ok("artifacts", f"{folder}" if place == folder else f"{folder} (the first recovery makes it)")


def check_spool(folder: Path) -> Finding:
    """Whether this machine keeps reports that it could not deliver."""
    try:
        waiting = len(Spool(folder).waiting())
    except OSError as error:
        return bad("spool", f"{folder} cannot be read: {error.strerror}", "mend its permissions, or set HEALD_SPOOL")
    if waiting:
        return warn("spool", f"{waiting:,} reports wait in {folder}", "`heald push --spool` sends them")
    return ok("spool", f"nothing waits in {folder}")
