"""The wire contract: what a runner says about one failure, and what may stand in it.

A `FailureReport` is data, never code. It is checked where it is made (one `InvalidReport` that names
the field) and again, on raw bytes, where it is taken in; both use the limits of this module.
"""

from __future__ import annotations

import re

import msgspec

INBOX = "heald:signals"
"""List: encoded failure reports, oldest first. The only key that producers may touch, and only by RPUSH."""

WIRE_VERSION = 1

KIB = 1024
MAX_REPORT_BYTES = 128 * KIB
"""A whole report, encoded."""
MAX_MESSAGE_BYTES = 64 * KIB
"""The signal's message, encoded as a JSON string without its quotes."""
MAX_STAGE_BYTES = 256
"""The signal's stage, as UTF-8."""
MAX_CONTEXT_BYTES = 8 * KIB
"""The whole context, encoded."""
MAX_POLICY_BYTES = 128
"""A policy's name, as UTF-8."""
MAX_RUN_ID_CHARS = 128

I32_MIN, I32_MAX = -(2**31), 2**31 - 1

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
RUN_ID_RULE = "1 to 128 characters of A-Z a-z 0-9 . _ - that start with a letter or digit"

RunId = str
"""One path component: see `check_run_id`. It names the CI run that is being healed."""


class InvalidReport(ValueError):
    """A report that cannot be accepted: which field, what is wrong with it, what to do."""

    def __init__(self, field: str, problem: str, hint: str = "") -> None:
        self.field, self.problem, self.hint = field, problem, hint
        super().__init__(f"{field}: {problem}" + (f"; {hint}" if hint else ""))


def check_run_id(run_id: str) -> RunId:
    """Return `run_id` when it is safe as a file name, a key and a job id.

    Raises:
        InvalidReport: for anything but `RUN_ID_RULE` (the reference accepts and joins anything).
    """
    if isinstance(run_id, str) and _RUN_ID.fullmatch(run_id):
        return run_id
    shown = ascii(run_id[:40]) + ("..." if len(run_id) > 40 else "") if isinstance(run_id, str) else repr(run_id)[:40]
    raise InvalidReport("run_id", f"{shown} is not allowed", f"use {RUN_ID_RULE}")


class FailureSignal(msgspec.Struct, frozen=True):
    """One reported stage failure. Field order and spelling are the reference's (aivcs-core 0.3.0).

    Attributes:
        stage: the pipeline stage that failed, as the runner calls it.
        message: the lines that say why.
        exit_code: the command's exit code (signed 32 bits), when there was one.
        flaky_hint: the runner has reason to believe that the same command may pass when repeated.
    """

    stage: str
    message: str
    exit_code: int | None = None
    flaky_hint: bool = False


class Context(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the failure happened; every field is optional, all of them together are bounded.

    Attributes:
        repository: as `owner/name`, a URL, or whatever the CI calls it.
        commit: the revision's full hash.
        ref: branch or tag, as `refs/heads/main` where the CI tells it so.
        job: the CI job's name.
        url: a page a person can open.
        command: the command that failed, as one line for reading.
        host: the machine's name.
        parent_run: the run whose repair caused this run (from `HEALD_PARENT_RUN`).
        provider: which CI: `github`, `gitlab`, `buildkite`, `circleci`, `azure`, `travis`, `jenkins` or `local`.
        workflow: the workflow or pipeline that the job belongs to, where the CI has several.
        ci_run: the CI's own id of the run, without its attempt.
        ci_attempt: which attempt of the job that was, as the CI counts: a later attempt of one run has a larger one.
        pull_request: the pull or merge request's number.
        head_ref: the branch that the pull request wants merged, as `refs/heads/fix`.
        head_commit: the revision at the head of that branch; `commit` may be a merge that only the CI has made.
        fork: whether that branch belongs to another repository; None where the CI does not say.
        default_branch: the repository's default branch, as `main`.
    """

    repository: str | None = None
    commit: str | None = None
    ref: str | None = None
    job: str | None = None
    url: str | None = None
    command: str | None = None
    host: str | None = None
    parent_run: str | None = None
    provider: str | None = None
    workflow: str | None = None
    ci_run: str | None = None
    ci_attempt: str | None = None
    pull_request: str | None = None
    head_ref: str | None = None
    head_commit: str | None = None
    fork: bool | None = None
    default_branch: str | None = None


class FailureReport(msgspec.Struct, frozen=True, omit_defaults=True):
    """One failure as it travels: `v` is the wire version, `reported_at` the runner's clock (RFC 3339, UTC).

    `policy` asks for a policy by name; the server's rules decide whether it is granted.
    """

    run_id: RunId
    signal: FailureSignal
    policy: str | None = None
    context: Context = Context()
    reported_at: str | None = None
    v: int = msgspec.field(default=WIRE_VERSION)
