"""What passes between heald and a command: environment variables, a file of facts, a file with the result.

`docs/repairs.md` is the contract in words.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from heald_producer.cutting import readable
from heald_producer.signals import MAX_REPORT_BYTES
from heald_worker.repairs.order import RepairOrder

FACTS_FORMAT = 1
WITHHELD = frozenset({"REDIS_URL", "HEALD_REDIS_URL", "HEALD_SENTINEL_PASSWORD", "HEALD_SUPERVISED"})
"""Variables that open heald's own server, or steer its own processes: no command gets them from the worker."""

_REFERENCE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")
_CONTEXT_VARIABLES = {
    "HEALD_REPOSITORY": "repository",
    "HEALD_COMMIT": "commit",
    "HEALD_REF": "ref",
    "HEALD_JOB": "job",
    "HEALD_URL": "url",
    "HEALD_COMMAND": "command",
    "HEALD_PROVIDER": "provider",
    "HEALD_WORKFLOW": "workflow",
    "HEALD_CI_RUN": "ci_run",
    "HEALD_CI_ATTEMPT": "ci_attempt",
    "HEALD_PULL_REQUEST": "pull_request",
    "HEALD_HEAD_REF": "head_ref",
    "HEALD_HEAD_COMMIT": "head_commit",
    "HEALD_FORK": "fork",
    "HEALD_DEFAULT_BRANCH": "default_branch",
}


class MissingVariable(Exception):
    """The configuration takes a value from an environment variable that the worker does not have."""

    def __init__(self, wanted_by: str, name: str) -> None:
        super().__init__(f"{wanted_by} takes its value from ${name}, which is not set for the worker")


class InvalidResult(Exception):
    """A result file that cannot be used: one line says why."""


class RepairResult(msgspec.Struct, frozen=True):
    """What a repair may write to `HEALD_RESULT`; every field is optional, unknown ones are ignored.

    Attributes:
        stage: the stage that fails now.
        message: why it fails, instead of the output's end.
        exit_code: instead of the command's own; does not decide about success.
        flaky_hint: whether the same may pass when repeated.
        detail: one line for people, kept in the event stream.
        proof: of a success, what showed it and who saw it; without one, it is a claim.
    """

    stage: str | None = None
    message: str | None = None
    exit_code: int | None = None
    flaky_hint: bool | None = None
    detail: str | None = None
    proof: str | None = None


class Desk(NamedTuple):
    """The folder of one command while it runs: where it finds its facts and leaves its result."""

    folder: Path

    @property
    def facts(self) -> Path:
        """The file of facts."""
        return self.folder / "facts.json"

    @property
    def result(self) -> Path:
        """Where a repair may write its result."""
        return self.folder / "result.json"


@contextmanager
def desk(scratch: Path | None, facts: Mapping[str, object]) -> Iterator[Desk]:
    """A fresh private folder with the file of facts in it, gone afterwards.

    Raises:
        OSError: there is no place for it.
    """
    if scratch is not None:
        scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="heald-", dir=scratch, ignore_cleanup_errors=True) as folder:
        made = Desk(Path(folder).resolve())
        made.facts.touch(mode=0o600)
        made.facts.write_bytes(msgspec.json.format(msgspec.json.encode(facts)) + b"\n")
        yield made


def repair_facts(order: RepairOrder) -> dict[str, object]:
    """Everything about an attempt, for the file of facts."""
    return {
        "format": FACTS_FORMAT,
        "run_id": order.run_id,
        "attempt": order.attempt,
        "action": order.action,
        "failure_class": order.failure_class,
        "subclass": order.subclass,
        "rule": order.rule,
        "evidence": order.evidence,
        "confidence": order.confidence,
        "idempotency_key": order.idempotency_key,
        "generation": order.generation,
        "failure": msgspec.structs.asdict(order.failure),
        "context": msgspec.structs.asdict(order.context),
    }


def repair_variables(order: RepairOrder) -> dict[str, str]:
    """The facts that fit into environment variables."""
    return {
        "HEALD_RUN_ID": order.run_id,
        "HEALD_PARENT_RUN": order.run_id,
        "HEALD_ATTEMPT": str(order.attempt),
        "HEALD_ACTION": order.action,
        "HEALD_FAILURE_CLASS": order.failure_class,
        "HEALD_SUBCLASS": order.subclass,
        "HEALD_RULE": order.rule,
        "HEALD_EVIDENCE": order.evidence,
        "HEALD_CONFIDENCE": f"{order.confidence:g}",
        "HEALD_STAGE": order.failure.stage,
        "HEALD_EXIT_CODE": shown(order.failure.exit_code),
        "HEALD_GENERATION": str(order.generation),
        "HEALD_IDEMPOTENCY_KEY": order.idempotency_key,
        **context_variables(msgspec.structs.asdict(order.context)),
    }


def context_variables(context: Mapping[str, object]) -> dict[str, str]:
    """Where it happened; what is not known is empty."""
    return {name: shown(context.get(field)) for name, field in _CONTEXT_VARIABLES.items()}


def shown(value: object) -> str:
    """A fact as a variable's value: `true` or `false` for a switch, empty for what is not known."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def environment(base: Mapping[str, str], variables: Mapping[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a command.

    Args:
        base: the worker's environment; `WITHHELD` is left out.
        variables: the facts; NUL and control characters are removed.
        own: the configuration's `env`, which has the last word; `$NAME` stands for the worker's variable.

    Raises:
        MissingVariable: `own` names a variable that `base` does not have.
    """
    kept = {name: value for name, value in base.items() if name not in WITHHELD}
    return kept | {name: _plain(value) for name, value in variables.items()} | filled(own, base, "env")


def filled(values: Mapping[str, str], environ: Mapping[str, str], where: str) -> dict[str, str]:
    """Configured values with each `$NAME` replaced by that variable; anything else stays as it stands.

    Raises:
        MissingVariable: the variable is not set.
    """
    result = {}
    for key, value in values.items():
        reference = _REFERENCE.fullmatch(value)
        if reference and reference[1] not in environ:
            raise MissingVariable(f"{where}.{key}", reference[1])
        result[key] = environ[reference[1]] if reference else value
    return result


def _plain(value: str) -> str:
    kept = "".join(char for char in value if unicodedata.category(char) != "Cc")
    return os.fsdecode(readable(kept).encode())  # becomes UTF-8, whatever the worker's locale


def read_result(path: Path) -> RepairResult:
    """What a repair wrote, or an empty result when it wrote nothing.

    Raises:
        InvalidResult: it is not a file, too large, not JSON, or has a field of a wrong type.
    """
    try:
        raw = _read_file(path)
    except FileNotFoundError:
        return RepairResult()
    except OSError as error:
        raise InvalidResult(error.strerror or str(error)) from None
    try:
        return msgspec.json.decode(raw, type=RepairResult)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidResult(str(error) or type(error).__name__) from None


def _read_file(path: Path) -> bytes:
    """The bytes of a regular file; a repair may have put anything there, also a pipe that nobody writes to."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise InvalidResult("it is not a regular file")
        raw = file.read(MAX_REPORT_BYTES + 1)
    if len(raw) > MAX_REPORT_BYTES:
        raise InvalidResult(f"it is larger than {MAX_REPORT_BYTES} bytes")
    return raw
