"""Which CI is this: repository, commit, ref, job and page, and a run id that names this job's run and no other.

Everything comes from the environment and from files; nothing is run and nothing is asked over the network.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from heald_producer.git import read_git
from heald_producer.providers import Job, job_of
from heald_producer.signals import MAX_RUN_ID_CHARS, Context, InvalidReport, check_run_id

_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")
_HASH_CHARS = 8


class Surroundings(NamedTuple):
    """Where this process runs: the CI's name (`local` outside of any), its job, and the report's context."""

    provider: str
    job: Job
    context: Context


def detect(environ: Mapping[str, str], cwd: Path) -> Surroundings:
    """Read the surroundings from the environment, and from the working copy what the CI does not tell."""
    provider, job = job_of(environ)
    git = read_git(cwd)
    context = Context(
        repository=job.repository or git.repository or None,
        commit=job.commit or git.commit,
        ref=job.ref or git.ref,
        job=job.name,
        url=job.url,
        host=os.uname().nodename or None,
        parent_run=_parent_run(environ),
        provider=provider,
        workflow=job.workflow,
        ci_run=job.ci_run,
        ci_attempt=job.ci_attempt,
        pull_request=job.pull_request,
        head_ref=job.head_ref,
        head_commit=job.head_commit,
        fork=job.fork,
        default_branch=job.default_branch or git.default_branch,
    )
    return Surroundings(provider, job, context)


def default_run_id(environ: Mapping[str, str], stage: str, random: str, command: str = "") -> str:
    """The run id of a report about this command in this stage of this job: the same each time within one job's run.

    It reads `provider-run-attempt-job-shard-stage-hash`; the hash covers the exact values, as the readable
    part replaces characters and is cut, and the command. Outside of any CI, `random` makes it unique.
    """
    provider, job = job_of(environ)
    if job.run is None:
        shown, exact = [provider, stage, random], [provider, stage, random]
    else:
        shown = [provider, job.run, job.attempt or "", job.name or "", job.shard or "", stage]
        exact = [*shown, job.realm or "", job.repository or "", job.stage or ""]
    exact += [command] if command else []
    exact += [environ.get("HEALD_PARENT_RUN", ""), environ.get("HEALD_IDEMPOTENCY_KEY", "")]
    digest = hashlib.sha256("\0".join(exact).encode("utf-8", "surrogatepass")).hexdigest()[:_HASH_CHARS]
    words = [_UNSAFE.sub("-", part).strip("-._") for part in shown]
    readable = "-".join(word for word in words if word)[: MAX_RUN_ID_CHARS - _HASH_CHARS - 1]
    return check_run_id(f"{readable.rstrip('-._')}-{digest}")


def _parent_run(environ: Mapping[str, str]) -> str | None:
    """The run whose repair started this process; what is no run id came from somewhere else."""
    try:
        return check_run_id(environ.get("HEALD_PARENT_RUN", ""))
    except InvalidReport:
        return None
