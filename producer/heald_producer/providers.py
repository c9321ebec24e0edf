"""What each CI tells of itself in its environment variables, as one `Job`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from heald_producer.event import read_event
from heald_producer.git import repository_of


class Job(NamedTuple):
    """One CI job as its provider tells it.

    Attributes:
        run: names the build or pipeline within its provider; with `attempt`, `name` and `shard` the job's run.
        attempt: how often the run, or the job, was started again.
        name: the job.
        shard: which of several alike: matrix, parallelism, or whatever tells them apart.
        stage: the pipeline's stage, where the CI has them.
        realm: which server, where run numbers repeat between servers or projects.
        workflow: and all below it: as in `signals.Context`.
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
    pull_request: str | None = None
    head_ref: str | None = None
    head_commit: str | None = None
    fork: bool | None = None
    default_branch: str | None = None


def job_of(environ: Mapping[str, str]) -> tuple[str, Job]:
    """The CI's name, `local` outside of any, and its job."""

    def tell(*names: str) -> str | None:
        return next((environ[name] for name in names if environ.get(name)), None)

    for provider, sign, read in _PROVIDERS:
        if environ.get(sign, "").lower() not in ("", "0", "false"):
            job = read(tell)
            extra = tell("HEALD_JOB_SHARD")
            return provider, job._replace(shard="-".join(part for part in (job.shard, extra) if part) or None)
    return "local", Job()


Tell = Callable[..., str | None]
"""The first of these variables that is set and not empty."""


def _github(tell: Tell) -> Job:
    server, repository, run = tell("GITHUB_SERVER_URL"), tell("GITHUB_REPOSITORY"), tell("GITHUB_RUN_ID")
    attempt = tell("GITHUB_RUN_ATTEMPT")
    page = f"{server}/{repository}/actions/runs/{run}" if server and repository and run else None
    event = read_event(tell("GITHUB_EVENT_PATH"))
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
        ci_run=run,
        ci_attempt=attempt,
        pull_request=event.number,
        head_ref=_branch(event.head_ref or tell("GITHUB_HEAD_REF")),
        head_commit=event.head_commit,
        fork=event.fork,
        default_branch=event.default_branch,
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
        ci_run=tell("CI_PIPELINE_ID"),
        ci_attempt=tell("CI_JOB_ID"),
        pull_request=tell("CI_MERGE_REQUEST_IID"),
        head_ref=_branch(tell("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME")),
        head_commit=_of_pull_request(
            tell("CI_MERGE_REQUEST_IID"), tell("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "CI_COMMIT_SHA")
        ),
        fork=_differ(tell("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH"), tell("CI_MERGE_REQUEST_PROJECT_PATH")),
        default_branch=tell("CI_DEFAULT_BRANCH"),
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
        ci_run=tell("JOB_NAME"),  # a build that runs again is another build of the same job
        ci_attempt=tell("BUILD_NUMBER"),
        pull_request=tell("CHANGE_ID"),
        head_ref=_branch(tell("CHANGE_BRANCH")),
        fork=_of_pull_request(tell("CHANGE_ID"), tell("CHANGE_FORK") is not None),
        default_branch=tell("BRANCH_NAME") if tell("BRANCH_IS_PRIMARY") == "true" else None,
    )


def _buildkite(tell: Tell) -> Job:
    page, job = tell("BUILDKITE_BUILD_URL"), tell("BUILDKITE_JOB_ID")
    number = _number(tell("BUILDKITE_PULL_REQUEST"))
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
        workflow=tell("BUILDKITE_PIPELINE_SLUG"),
        ci_run=tell("BUILDKITE_BUILD_ID", "BUILDKITE_BUILD_NUMBER"),
        ci_attempt=tell("BUILDKITE_RETRY_COUNT"),
        pull_request=number,
        head_ref=_of_pull_request(number, _branch(tell("BUILDKITE_BRANCH"))),
        head_commit=_of_pull_request(number, tell("BUILDKITE_COMMIT")),
        fork=_differ(_remote(tell("BUILDKITE_PULL_REQUEST_REPO")), _remote(tell("BUILDKITE_REPO"))),
        default_branch=tell("BUILDKITE_PIPELINE_DEFAULT_BRANCH"),
    )


def _circleci(tell: Tell) -> Job:
    owner, name = tell("CIRCLE_PROJECT_USERNAME"), tell("CIRCLE_PROJECT_REPONAME")
    number = _number(tell("CIRCLE_PR_NUMBER") or (tell("CIRCLE_PULL_REQUEST") or "").rpartition("/")[2])
    return Job(
        run=tell("CIRCLE_WORKFLOW_ID", "CIRCLE_BUILD_NUM"),
        attempt=tell("CIRCLE_BUILD_NUM"),  # a job that runs again has a new one
        name=tell("CIRCLE_JOB"),
        shard=tell("CIRCLE_NODE_INDEX"),
        repository=f"{owner}/{name}" if owner and name else _remote(tell("CIRCLE_REPOSITORY_URL")),
        commit=tell("CIRCLE_SHA1"),
        ref=_tag(tell("CIRCLE_TAG")) or _branch(tell("CIRCLE_BRANCH")),
        url=tell("CIRCLE_BUILD_URL"),
        ci_run=tell("CIRCLE_WORKFLOW_WORKSPACE_ID", "CIRCLE_WORKFLOW_ID"),
        ci_attempt=tell("CIRCLE_BUILD_NUM"),
        pull_request=number,
        head_ref=_of_pull_request(number, _branch(tell("CIRCLE_BRANCH"))),
        head_commit=_of_pull_request(number, tell("CIRCLE_SHA1")),
        fork=_of_pull_request(number, tell("CIRCLE_PR_NUMBER") is not None),  # set for forks alone
    )


def _azure(tell: Tell) -> Job:
    collection, project = tell("SYSTEM_COLLECTIONURI"), tell("SYSTEM_TEAMPROJECT")
    run = tell("BUILD_BUILDID")
    attempts = (tell("SYSTEM_STAGEATTEMPT"), tell("SYSTEM_JOBATTEMPT"))
    page = f"{collection.rstrip('/')}/{project}/_build/results?buildId={run}" if collection and project else None
    return Job(
        run=run,
        attempt=".".join(attempt for attempt in attempts if attempt) or None,
        name=tell("SYSTEM_JOBNAME", "AGENT_JOBNAME"),
        shard=tell("SYSTEM_JOBPOSITIONINPHASE"),
        stage=tell("SYSTEM_STAGENAME"),
        realm="/".join(part for part in (collection, tell("SYSTEM_JOBID")) if part),
        repository=tell("BUILD_REPOSITORY_NAME"),
        commit=tell("BUILD_SOURCEVERSION"),
        ref=tell("BUILD_SOURCEBRANCH"),
        url=page,
        workflow=tell("BUILD_DEFINITIONNAME"),
        ci_run=run,
        ci_attempt=".".join(attempt for attempt in attempts if attempt) or None,
        pull_request=tell("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER", "SYSTEM_PULLREQUEST_PULLREQUESTID"),
        head_ref=_branch(tell("SYSTEM_PULLREQUEST_SOURCEBRANCH")),
        head_commit=tell("SYSTEM_PULLREQUEST_SOURCECOMMITID"),
        fork=_FLAGS.get((tell("SYSTEM_PULLREQUEST_ISFORK") or "").lower()),
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
        ci_run=tell("TRAVIS_BUILD_ID"),  # a job that runs again keeps its id: later attempts cannot be told
        pull_request=_number(tell("TRAVIS_PULL_REQUEST")),
        head_ref=_branch(tell("TRAVIS_PULL_REQUEST_BRANCH")),
        head_commit=tell("TRAVIS_PULL_REQUEST_SHA"),
        fork=_differ(tell("TRAVIS_PULL_REQUEST_SLUG"), tell("TRAVIS_REPO_SLUG")),
    )


_PROVIDERS: tuple[tuple[str, str, Callable[[Tell], Job]], ...] = (
    ("github", "GITHUB_ACTIONS", _github),
    ("gitlab", "GITLAB_CI", _gitlab),
    ("buildkite", "BUILDKITE", _buildkite),
    ("circleci", "CIRCLECI", _circleci),
    ("azure", "TF_BUILD", _azure),
    ("travis", "TRAVIS", _travis),
    ("jenkins", "JENKINS_URL", _jenkins),
)
"""Provider, the variable that gives it away, and how to read it; agents that run inside a Jenkins come first."""


_FLAGS = {"true": True, "false": False}
Told = TypeVar("Told")


def _of_pull_request(number: str | None, told: Told) -> Told | None:
    """What holds for pull requests alone."""
    return told if number else None


def _number(text: str | None) -> str | None:
    """A pull request's number; CIs say `false` where there is none."""
    return text if text and text.isascii() and text.isdigit() else None


def _differ(one: str | None, other: str | None) -> bool | None:
    """Whether two repositories differ; None where one is not told."""
    return None if one is None or other is None else one != other


def _branch(name: str | None) -> str | None:
    return None if name is None else name if name.startswith("refs/") else f"refs/heads/{name}"


def _tag(name: str | None) -> str | None:
    return None if name is None else f"refs/tags/{name}"


def _remote(url: str | None) -> str | None:
    return None if url is None else repository_of(url)
