"""Which CI is this: repository, commit, ref, job and page, and a run id that names this job's run and no other.

Everything comes from the environment and from files; nothing is run and nothing is asked over the network.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from heald_producer import pull_request
from heald_producer.git import read_git, repository_of
from heald_producer.pull_request import Change, Tell
from heald_producer.signals import MAX_RUN_ID_CHARS, Context, InvalidReport, check_run_id

_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")
_HASH_CHARS = 8


class Job(NamedTuple):
    """One CI job as its provider tells it.

    Attributes:
        run: names the build or pipeline within its provider; with `attempt`, `name` and `shard` the job's run.
        attempt: how often the run, or the job, was started again.
        name: the job.
        shard: which of several alike: matrix, parallelism, or whatever tells them apart.
        stage: the pipeline's stage, where the CI has them.
        realm: which server, where run numbers repeat between servers or projects.
        workflow: the workflow or pipeline that the job belongs to.
        ci_run: what stays when the CI runs the job again, where that is not `run`.
        ci_attempt: a number that is larger each time it does.
    """

    run: str | None = None
    attempt: str | None = None
    name: str | None = None
    shard: str | None = None
    stage: str | None = None
    realm: str | None = None
    repository: str | None = None
    commit: str | None = None
    ref: str | None = None
    url: str | None = None
    workflow: str | None = None
    ci_run: str | None = None
    ci_attempt: str | None = None


class Surroundings(NamedTuple):
    """Where this process runs: the CI's name (`local` outside of any), its job, and the report's context."""

    provider: str
    job: Job
    context: Context


def detect(environ: Mapping[str, str], cwd: Path) -> Surroundings:
    """Read the surroundings from the environment, and from the working copy what the CI does not tell."""
    provider, job, change = _job(environ)
    pull, git = change(), read_git(cwd)
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
        ci_run=job.ci_run or job.run,
        ci_attempt=job.ci_attempt,
        pull_request=pull.number,
        head_ref=_branch(pull.branch),
        head_commit=pull.commit,
        fork=pull.fork,
        default_branch=pull.default_branch or git.default_branch,
    )
    return Surroundings(provider, job, context)


def default_run_id(environ: Mapping[str, str], stage: str, random: str, command: str | None = None) -> str:
    """The run id of a report about this stage of this job: the same each time within one job's run.

    It reads `provider-run-attempt-job-shard-stage-hash`; the hash covers the exact values, as the readable
    part replaces characters and is cut, and the command (pass it masked): two commands that fail in one stage are
    two failures. Outside of any CI, `random` makes it unique.
    """
    provider, job, _ = _job(environ)
    if job.run is None:
        shown, exact = [provider, stage, random], [provider, stage, random]
    else:
        shown = [provider, job.run, job.attempt or "", job.name or "", job.shard or "", stage]
        exact = [*shown, job.realm or "", job.repository or "", job.stage or ""]
    exact += [environ.get("HEALD_PARENT_RUN", ""), environ.get("HEALD_IDEMPOTENCY_KEY", "")]
    exact += [] if command is None else [command]
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


def _job(environ: Mapping[str, str]) -> tuple[str, Job, Callable[[], Change]]:
    """The CI's name, its job, and what reads the change that it works on, which may be a file."""

    def tell(*names: str) -> str | None:
        return next((environ[name] for name in names if environ.get(name)), None)

    for provider, sign, read, change in _PROVIDERS:
        if environ.get(sign, "").lower() not in ("", "0", "false"):
            job = read(tell)
            extra = tell("HEALD_JOB_SHARD")
            job = job._replace(shard="-".join(part for part in (job.shard, extra) if part) or None)
            return provider, job, partial(change, tell)
    return "local", Job(), Change


def _github(tell: Tell) -> Job:
    server, repository, run = tell("GITHUB_SERVER_URL"), tell("GITHUB_REPOSITORY"), tell("GITHUB_RUN_ID")
    attempt = tell("GITHUB_RUN_ATTEMPT")
    page = f"{server}/{repository}/actions/runs/{run}" if server and repository and run else None
    # Jobs of one matrix share every GITHUB_ variable; what the runner calls itself tells them apart.
    runner = tell("RUNNER_TRACKING_ID", "RUNNER_NAME")
    return Job(
        run=run,
        attempt=attempt,
        name=tell("GITHUB_JOB"),
        shard=hashlib.sha256(runner.encode("utf-8", "surrogatepass")).hexdigest()[:6] if runner else None,
        realm=server,
        repository=repository,
        commit=tell("GITHUB_SHA"),
        ref=tell("GITHUB_REF"),
        url=f"{page}/attempts/{attempt}" if page and attempt else page,
        workflow=tell("GITHUB_WORKFLOW"),
        ci_attempt=attempt,
    )


def _gitlab(tell: Tell) -> Job:
    return Job(
        run=tell("CI_PIPELINE_ID"),
        attempt=tell("CI_JOB_ID"),  # a retried job has a new one
        name=tell("CI_JOB_NAME"),
        shard=tell("CI_NODE_INDEX"),
        stage=tell("CI_JOB_STAGE"),
        realm=tell("CI_SERVER_URL"),
        repository=tell("CI_PROJECT_PATH"),
        commit=tell("CI_COMMIT_SHA"),
        ref=_tag(tell("CI_COMMIT_TAG"))
        or tell("CI_MERGE_REQUEST_REF_PATH")
        or _branch(tell("CI_COMMIT_BRANCH", "CI_COMMIT_REF_NAME")),
        url=tell("CI_JOB_URL", "CI_PIPELINE_URL"),
        workflow=tell("CI_PIPELINE_NAME"),
        ci_attempt=tell("CI_JOB_ID"),
    )


def _jenkins(tell: Tell) -> Job:
    branch = tell("BRANCH_NAME", "GIT_LOCAL_BRANCH", "GIT_BRANCH")
    return Job(
        run=tell("BUILD_NUMBER"),
        name=tell("JOB_NAME"),
        shard=tell("EXECUTOR_NUMBER"),
        stage=tell("STAGE_NAME"),
        realm=tell("JENKINS_URL"),
        repository=_remote(tell("GIT_URL", "GIT_URL_1")),
        commit=tell("GIT_COMMIT"),
        ref=_tag(tell("TAG_NAME")) or _branch(branch.removeprefix("origin/") if branch else None),
        url=tell("RUN_DISPLAY_URL", "BUILD_URL"),
        ci_run=tell("JOB_NAME"),  # who runs a build again gets one more build of the job
        ci_attempt=tell("BUILD_NUMBER"),
    )


def _buildkite(tell: Tell) -> Job:
    page, job = tell("BUILDKITE_BUILD_URL"), tell("BUILDKITE_JOB_ID")
    return Job(
        run=tell("BUILDKITE_BUILD_NUMBER", "BUILDKITE_BUILD_ID"),
        attempt=tell("BUILDKITE_RETRY_COUNT"),
        name=tell("BUILDKITE_STEP_KEY", "BUILDKITE_LABEL"),
        shard=tell("BUILDKITE_PARALLEL_JOB"),
        realm="/".join(part for part in (tell("BUILDKITE_BUILD_ID"), job) if part),
        repository=_remote(tell("BUILDKITE_REPO")),
        commit=tell("BUILDKITE_COMMIT"),
        ref=_tag(tell("BUILDKITE_TAG")) or _branch(tell("BUILDKITE_BRANCH")),
        url=f"{page}#{job}" if page and job else page,
        workflow=tell("BUILDKITE_PIPELINE_SLUG", "BUILDKITE_PIPELINE_NAME"),
        ci_attempt=tell("BUILDKITE_RETRY_COUNT"),
    )


def _circleci(tell: Tell) -> Job:
    owner, name = tell("CIRCLE_PROJECT_USERNAME"), tell("CIRCLE_PROJECT_REPONAME")
    return Job(
        run=tell("CIRCLE_WORKFLOW_ID", "CIRCLE_BUILD_NUM"),
        attempt=tell("CIRCLE_BUILD_NUM"),  # a job that runs again has a new one
        name=tell("CIRCLE_JOB"),
        shard=tell("CIRCLE_NODE_INDEX"),
        repository=f"{owner}/{name}" if owner and name else _remote(tell("CIRCLE_REPOSITORY_URL")),
        commit=tell("CIRCLE_SHA1"),
        ref=_tag(tell("CIRCLE_TAG")) or _branch(tell("CIRCLE_BRANCH")),
        url=tell("CIRCLE_BUILD_URL"),
        # A workflow that runs again is another one, in the same pipeline.
        ci_run=tell("CIRCLE_PIPELINE_ID", "CIRCLE_WORKFLOW_WORKSPACE_ID", "CIRCLE_WORKFLOW_ID"),
        ci_attempt=tell("CIRCLE_BUILD_NUM"),
    )


def _azure(tell: Tell) -> Job:
    collection, project = tell("SYSTEM_COLLECTIONURI"), tell("SYSTEM_TEAMPROJECT")
    run = tell("BUILD_BUILDID")
    attempts = (tell("SYSTEM_STAGEATTEMPT"), tell("SYSTEM_JOBATTEMPT"))
    attempt = ".".join(attempt for attempt in attempts if attempt) or None
    page = f"{collection.rstrip('/')}/{project}/_build/results?buildId={run}" if collection and project else None
    return Job(
        run=run,
        attempt=attempt,
        name=tell("SYSTEM_JOBNAME", "AGENT_JOBNAME"),
        shard=tell("SYSTEM_JOBPOSITIONINPHASE"),
        stage=tell("SYSTEM_STAGENAME"),
        realm="/".join(part for part in (collection, tell("SYSTEM_JOBID")) if part),
        repository=tell("BUILD_REPOSITORY_NAME"),
        commit=tell("BUILD_SOURCEVERSION"),
        ref=tell("BUILD_SOURCEBRANCH"),
        url=page,
        workflow=tell("BUILD_DEFINITIONNAME"),
        ci_attempt=attempt,
    )


def _travis(tell: Tell) -> Job:
    return Job(
        run=tell("TRAVIS_BUILD_ID", "TRAVIS_BUILD_NUMBER"),
        attempt=tell("TRAVIS_JOB_ID"),
        name=tell("TRAVIS_JOB_NAME", "TRAVIS_JOB_NUMBER"),
        stage=tell("TRAVIS_BUILD_STAGE_NAME"),
        repository=tell("TRAVIS_REPO_SLUG"),
        commit=tell("TRAVIS_PULL_REQUEST_SHA", "TRAVIS_COMMIT"),
        ref=_tag(tell("TRAVIS_TAG")) or _branch(tell("TRAVIS_PULL_REQUEST_BRANCH", "TRAVIS_BRANCH")),
        url=tell("TRAVIS_JOB_WEB_URL", "TRAVIS_BUILD_WEB_URL"),
        # A job that is restarted keeps its id and every other variable: its attempts cannot be told apart.
    )


_PROVIDERS: tuple[tuple[str, str, Callable[[Tell], Job], Callable[[Tell], Change]], ...] = (
    ("github", "GITHUB_ACTIONS", _github, pull_request.github),
    ("gitlab", "GITLAB_CI", _gitlab, pull_request.gitlab),
    ("buildkite", "BUILDKITE", _buildkite, pull_request.buildkite),
    ("circleci", "CIRCLECI", _circleci, pull_request.circleci),
    ("azure", "TF_BUILD", _azure, pull_request.azure),
    ("travis", "TRAVIS", _travis, pull_request.travis),
    ("jenkins", "JENKINS_URL", _jenkins, pull_request.jenkins),
)
"""Provider, the variable that gives it away, and how to read its job and its change.

Agents that run inside a Jenkins come first.
"""


def _branch(name: str | None) -> str | None:
    return None if name is None else name if name.startswith("refs/") else f"refs/heads/{name}"


def _tag(name: str | None) -> str | None:
    return None if name is None else f"refs/tags/{name}"


def _remote(url: str | None) -> str | None:
    return None if url is None else repository_of(url)
