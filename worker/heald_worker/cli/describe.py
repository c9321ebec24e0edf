"""Configured things in a few words, without their secrets."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from urllib.parse import urlsplit

from heald_producer.mask import Masker
from heald_worker.core.policy import Bounds, RecoveryPolicy
from heald_worker.playbook import (
    CommandNotice,
    CommandRepair,
    Notice,
    Playbook,
    PlaybookEntry,
    PythonRepair,
    RecordRepair,
    Repair,
)

_UNITS = ((86_400.0, "d"), (3600.0, "h"), (60.0, "m"))


def span(seconds: float) -> str:
    """A duration as heald.toml writes it, to about three digits: `15m`, `1.5h`, `40s`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{round(seconds / size, 1):g}{unit}"
    return f"{seconds:.3g}s" if seconds < 10 else f"{seconds:.0f}s"


def policy_bounds(policy: RecoveryPolicy, bounds: Bounds) -> str:
    """What a policy allows."""
    allowed = [
        name
        for name, permitted in (("patch forward", policy.allow_patch_forward), ("roll back", policy.allow_rollback))
        if permitted
    ]
    attempts = _count(policy.max_attempts, "attempt")
    retries = _count(policy.max_flaky_retries, "flaky retry", "flaky retries")
    transient = _count(bounds.max_transient_retries, "transient retry", "transient retries")
    return f"{attempts}, {retries}, {transient}, may {' and '.join(allowed) or 'neither patch forward nor roll back'}"


def _count(number: int, one: str, more: str = "") -> str:
    return f"{number} {one if number == 1 else more or one + 's'}"


def repair_words(repair: Repair | None) -> str:
    """What a repair does."""
    match repair:
        case None:
            return "no repair is configured: the attempt fails"
        case CommandRepair(command, cwd, _, time_limit):
            place = f" in {cwd}" if cwd else ""
            return f"command {_shown(command)}{place}, at most {span(time_limit)}"
        case PythonRepair(call, time_limit):
            return f"python {call}, at most {span(time_limit)}"
        case RecordRepair(succeed, succeed_from):
            return f"only records success from attempt {succeed_from} on" if succeed else "only records a failure"


def entry_words(entry: PlaybookEntry) -> str:
    """What a repair is for, and what it does."""
    of = entry.match.describe()
    head = f"{entry.action}" + (f" of {of}" if of else "") + (" (reverts)" if entry.reverts else "")
    return f"{head}: {repair_words(entry.repair)}"


def repair_name(entry: PlaybookEntry) -> str:
    """How findings name a repair: `repairs.retry`, `repairs[2]`, or by its own name."""
    return f"repairs.{entry.name}" if entry.name == entry.action else entry.name


def named_specs(playbook: Playbook) -> Iterator[tuple[str, Repair | Notice]]:
    """Every repair and notice with its name."""
    for entry in playbook.repairs:
        yield repair_name(entry), entry.repair
    for ending, notice in playbook.notices.items():
        yield f"notices.on_{ending}", notice


def _shown(command: tuple[str, ...]) -> str:
    return Masker().text(shlex.join(command))


def notice_words(notice: Notice | None) -> str:
    """Who is told. Of a web address only scheme and host are shown: the rest is often a secret."""
    match notice:
        case None:
            return "nobody is told"
        case CommandNotice(command):
            return f"command {_shown(command)} is run"
        case _:
            parts = urlsplit(notice.url)
            return f"webhook {parts.scheme}://{parts.netloc.rpartition('@')[2]}/... is told"
