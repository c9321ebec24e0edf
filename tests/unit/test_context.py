"""Which CI this is, and a run id that names this job's run and no other."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heald_producer.context import default_run_id, detect
from heald_producer.event import MAX_EVENT_BYTES
from heald_producer.git import GitState, read_git, repository_of
from heald_producer.signals import Context, check_run_id
from heald_worker.considering import attempt_number

COMMIT = "8f14e45fceea167a5a36dedd4bea2543d2a1c0de"

GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/app",
    "GITHUB_SHA": COMMIT,
    "GITHUB_REF": "refs/heads/main",
    "GITHUB_JOB": "build",
    "GITHUB_RUN_ID": "4711",
    "GITHUB_RUN_ATTEMPT": "2",
    "RUNNER_TRACKING_ID": "github_3f2504e0",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_SERVER_URL": "https://gitlab.example.com",
    "CI_PROJECT_PATH": "acme/app",
    "CI_COMMIT_SHA": COMMIT,
    "CI_COMMIT_BRANCH": "main",
    "CI_COMMIT_REF_NAME": "main",
    "CI_JOB_NAME": "build 1/3",
    "CI_NODE_INDEX": "1",
    "CI_JOB_STAGE": "test",
    "CI_JOB_ID": "99",
    "CI_JOB_URL": "https://gitlab.example.com/acme/app/-/jobs/99",
    "CI_PIPELINE_ID": "4711",
}
JENKINS = {
    "JENKINS_URL": "https://jenkins.example.com/",
    "JOB_NAME": "app/main",
    "BUILD_NUMBER": "4711",
    "BUILD_URL": "https://jenkins.example.com/job/app/4711/",
    "GIT_URL": "https://github.com/acme/app.git",
    "GIT_COMMIT": COMMIT,
    "GIT_BRANCH": "origin/main",
    "STAGE_NAME": "Build",
    "EXECUTOR_NUMBER": "0",
}
BUILDKITE = {
    "BUILDKITE": "true",
    "BUILDKITE_REPO": "git@github.com:acme/app.git",
    "BUILDKITE_COMMIT": COMMIT,
    "BUILDKITE_BRANCH": "main",
    "BUILDKITE_LABEL": ":hammer: build",
    "BUILDKITE_BUILD_URL": "https://buildkite.com/acme/app/builds/4711",
    "BUILDKITE_BUILD_NUMBER": "4711",
    "BUILDKITE_BUILD_ID": "0189-build",
    "BUILDKITE_JOB_ID": "0189-job",
    "BUILDKITE_RETRY_COUNT": "0",
    "BUILDKITE_PARALLEL_JOB": "3",
}
CIRCLECI = {
    "CIRCLECI": "true",
    "CIRCLE_PROJECT_USERNAME": "acme",
    "CIRCLE_PROJECT_REPONAME": "app",
    "CIRCLE_SHA1": COMMIT,
    "CIRCLE_BRANCH": "main",
    "CIRCLE_JOB": "build",
    "CIRCLE_BUILD_URL": "https://circleci.com/gh/acme/app/4711",
    "CIRCLE_WORKFLOW_ID": "4711",
    "CIRCLE_BUILD_NUM": "77",
    "CIRCLE_NODE_INDEX": "2",
}
AZURE = {
    "TF_BUILD": "True",
    "SYSTEM_COLLECTIONURI": "https://dev.azure.com/acme/",
    "SYSTEM_TEAMPROJECT": "app",
    "BUILD_REPOSITORY_NAME": "acme/app",
    "BUILD_SOURCEVERSION": COMMIT,
    "BUILD_SOURCEBRANCH": "refs/heads/main",
    "SYSTEM_JOBNAME": "build",
    "SYSTEM_JOBID": "guid",
    "SYSTEM_JOBATTEMPT": "1",
    "SYSTEM_STAGEATTEMPT": "1",
    "SYSTEM_STAGENAME": "verify",
    "SYSTEM_JOBPOSITIONINPHASE": "1",
    "BUILD_BUILDID": "4711",
}
TRAVIS = {
    "TRAVIS": "true",
    "TRAVIS_REPO_SLUG": "acme/app",
    "TRAVIS_COMMIT": COMMIT,
    "TRAVIS_BRANCH": "main",
    "TRAVIS_JOB_NAME": "build",
    "TRAVIS_JOB_ID": "99",
    "TRAVIS_BUILD_ID": "4711",
    "TRAVIS_JOB_WEB_URL": "https://travis-ci.com/acme/app/jobs/99",
}
CIS = {
    "github": GITHUB,
    "gitlab": GITLAB,
    "jenkins": JENKINS,
    "buildkite": BUILDKITE,
    "circleci": CIRCLECI,
    "azure": AZURE,
    "travis": TRAVIS,
}

TELLING = {
    "github": ("GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB", "RUNNER_TRACKING_ID", "GITHUB_SERVER_URL"),
    "gitlab": ("CI_PIPELINE_ID", "CI_JOB_ID", "CI_JOB_NAME", "CI_NODE_INDEX", "CI_SERVER_URL", "CI_PROJECT_PATH"),
    "jenkins": ("JOB_NAME", "BUILD_NUMBER", "JENKINS_URL", "STAGE_NAME", "EXECUTOR_NUMBER"),
    "buildkite": ("BUILDKITE_BUILD_ID", "BUILDKITE_RETRY_COUNT", "BUILDKITE_PARALLEL_JOB", "BUILDKITE_JOB_ID"),
    "circleci": ("CIRCLE_WORKFLOW_ID", "CIRCLE_BUILD_NUM", "CIRCLE_JOB", "CIRCLE_NODE_INDEX"),
    "azure": ("BUILD_BUILDID", "SYSTEM_JOBATTEMPT", "SYSTEM_STAGEATTEMPT", "SYSTEM_JOBNAME", "SYSTEM_COLLECTIONURI"),
    "travis": ("TRAVIS_BUILD_ID", "TRAVIS_JOB_ID", "TRAVIS_JOB_NAME"),
}
"""What differs between two jobs, or two runs of one job."""


@pytest.mark.parametrize("provider", CIS)
def test_every_ci_tells_repository_commit_ref_job_and_page(provider: str, tmp_path: Path) -> None:
    found = detect(CIS[provider], tmp_path)
    assert found.provider == provider
    assert found.context.repository == "acme/app"
    assert found.context.commit == COMMIT
    assert found.context.ref == "refs/heads/main"
    assert found.context.job
    assert found.context.url is not None
    assert found.context.url.startswith("https://")
    assert "4711" in found.context.url or "99" in found.context.url
    assert found.context.host


@pytest.mark.parametrize("provider", CIS)
def test_a_run_id_is_the_same_within_a_job_and_another_for_every_other(provider: str) -> None:
    environ = CIS[provider]
    run_id = default_run_id(environ, "unit", "random")
    assert run_id == default_run_id(environ, "unit", "other")
    assert run_id.startswith(f"{provider}-")
    assert "4711" in run_id
    others = [default_run_id(environ | {name: "other"}, "unit", "random") for name in TELLING[provider]]
    others += [default_run_id(environ | {"HEALD_JOB_SHARD": "linux"}, "unit", "random")]
    others += [default_run_id(environ, "lint", "random")]
    assert len({run_id, *others}) == len(others) + 1


def test_two_commands_of_one_job_and_stage_are_two_runs_and_one_command_is_one() -> None:
    ids = [default_run_id(GITHUB, "unit", "r", command) for command in ("pytest a", "pytest b", "pytest a", None, "")]
    assert ids[0] == ids[2]
    assert len(set(ids)) == 4


def test_an_id_without_a_command_is_the_one_that_older_producers_made() -> None:
    """`heald push` of the same release and of the one before name one run, so that no report is taken twice."""
    assert default_run_id(GITHUB, "unit", "r") == "github-4711-2-build-bc8d16-unit-a699e088"


def test_outside_of_any_ci_a_run_id_is_random(tmp_path: Path) -> None:
    assert detect({}, tmp_path).provider == "local"
    assert default_run_id({}, "unit", "r1") != default_run_id({}, "unit", "r2")
    assert default_run_id({"GITHUB_ACTIONS": "false"}, "unit", "r1") == default_run_id({}, "unit", "r1")
    assert default_run_id({"GITHUB_ACTIONS": "true"}, "unit", "r1") != default_run_id(
        {"GITHUB_ACTIONS": "true"}, "unit", "r2"
    )


@given(st.text(st.characters(exclude_categories=())), st.text(st.characters(exclude_categories=())))
def test_any_stage_and_job_make_a_valid_run_id(stage: str, job: str) -> None:
    check_run_id(default_run_id(GITHUB | {"GITHUB_JOB": job}, stage, "r"))
    check_run_id(default_run_id({}, stage, job))


def test_names_that_read_alike_do_not_collide() -> None:
    def run_id(job: str, stage: str) -> str:
        return default_run_id(GITHUB | {"GITHUB_JOB": job}, stage, "r")

    assert run_id("a-b", "c") != run_id("a", "b-c")
    assert run_id("a/b", "c") != run_id("a b", "c")
    assert run_id("a", "x" * 200 + "1") != run_id("a", "x" * 200 + "2")
    assert run_id("Job", "c").lower() != run_id("job", "c").lower()


def test_a_parent_run_is_passed_on_and_makes_the_child_another_run(tmp_path: Path) -> None:
    child = GITHUB | {"HEALD_PARENT_RUN": "github-1", "HEALD_IDEMPOTENCY_KEY": "github-1:1"}
    assert detect(child, tmp_path).context.parent_run == "github-1"
    assert detect(GITHUB | {"HEALD_PARENT_RUN": "../x"}, tmp_path).context.parent_run is None
    ids = [
        default_run_id(each, "unit", "r") for each in (GITHUB, child, child | {"HEALD_IDEMPOTENCY_KEY": "github-1:2"})
    ]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("environ", "ref"),
    [
        (GITLAB | {"CI_COMMIT_TAG": "v1"}, "refs/tags/v1"),
        (GITLAB | {"CI_COMMIT_BRANCH": "", "CI_MERGE_REQUEST_REF_PATH": "refs/merge-requests/1/head"},
         "refs/merge-requests/1/head"),
        (BUILDKITE | {"BUILDKITE_TAG": "v1"}, "refs/tags/v1"),
        (CIRCLECI | {"CIRCLE_TAG": "v1"}, "refs/tags/v1"),
        (TRAVIS | {"TRAVIS_TAG": "v1"}, "refs/tags/v1"),
        (JENKINS | {"TAG_NAME": "v1"}, "refs/tags/v1"),
        (GITHUB | {"GITHUB_REF": "refs/pull/1/merge"}, "refs/pull/1/merge"),
    ],
)  # fmt: skip
def test_tags_and_merge_requests_are_told_as_refs(environ: dict[str, str], ref: str, tmp_path: Path) -> None:
    assert detect(environ, tmp_path).context.ref == ref


# What a job works on, and which of its attempts it is

HEAD = "0d6d1b4a2b7d1f9d1f7f0a6a3c8f4c2f1e5b9a77"


def pull_event(head_repository: str | None = "acme/app") -> dict[str, Any]:
    """An event as GitHub writes it, without what is of no use here; None: the head's repository is gone."""
    base = {"ref": "main", "sha": COMMIT, "repo": {"full_name": "acme/app", "default_branch": "main", "id": 1}}
    head = {"ref": "fix/it", "sha": HEAD, "repo": {"full_name": head_repository} if head_repository else None}
    return {
        "action": "opened",
        "number": 7,
        "pull_request": {"number": 7, "title": "x", "head": head, "base": base},
        "repository": {"full_name": "acme/app", "default_branch": "trunk", "fork": True},
    }


def github_pull(folder: Path, event: Any) -> dict[str, str]:
    """The variables of a job on a pull request, with this event's file."""
    (folder / "event.json").write_bytes(event if isinstance(event, bytes) else json.dumps(event).encode())
    pull = {"GITHUB_REF": "refs/pull/7/merge", "GITHUB_HEAD_REF": "fix/it", "GITHUB_WORKFLOW": "CI"}
    return GITHUB | pull | {"GITHUB_EVENT_PATH": str(folder / "event.json")}


def change(context: Context) -> tuple[str | None, str | None, str | None, bool | None, str | None]:
    return context.pull_request, context.head_ref, context.head_commit, context.fork, context.default_branch


@pytest.mark.parametrize(("owner", "fork"), [("acme/app", False), ("ACME/App", False), ("eve/app", True), (None, True)])
def test_github_tells_a_pull_requests_head_and_whose_it_is(owner: str | None, fork: bool, tmp_path: Path) -> None:
    context = detect(github_pull(tmp_path, pull_event(owner)), tmp_path).context
    assert change(context) == ("7", "refs/heads/fix/it", HEAD, fork, "trunk")
    assert (context.commit, context.ref, context.workflow) == (COMMIT, "refs/pull/7/merge", "CI")


def test_github_tells_the_default_branch_of_a_push_too(tmp_path: Path) -> None:
    event = {"ref": "refs/heads/main", "repository": {"full_name": "acme/app", "default_branch": "main"}}
    environ = github_pull(tmp_path, event) | {"GITHUB_REF": "refs/heads/main", "GITHUB_HEAD_REF": ""}
    assert change(detect(environ, tmp_path).context) == (None, None, None, None, "main")


@pytest.mark.parametrize(
    "event",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"[" * 100_000,
        b'{"pull_request": ' * 50_000,
        b'{"pull_request": {"number": "7; rm -rf /"}}',
        pull_event() | {"pull_request": {"number": 7, "head": "x", "base": None}},
        pull_event() | {"repository": {"full_name": "acme/app", "default_branch": 1}},
        pull_event() | {"padding": "x" * MAX_EVENT_BYTES},
    ],
)
def test_an_event_that_is_not_githubs_tells_nothing_and_fails_nothing(event: Any, tmp_path: Path) -> None:
    context = detect(github_pull(tmp_path, event), tmp_path).context
    assert change(context) == ("7", "refs/heads/fix/it", None, None, None)


def test_an_event_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, tmp_path / "none", "/dev/zero"):
        environ = github_pull(tmp_path, {}) | {"GITHUB_EVENT_PATH": str(path)}
        assert detect(environ, tmp_path).context.default_branch is None


def test_a_head_that_is_no_commit_is_not_told_as_one(tmp_path: Path) -> None:
    event = pull_event()
    event["pull_request"]["head"]["sha"] = "--upload-pack=x"
    assert detect(github_pull(tmp_path, event), tmp_path).context.head_commit is None


GITLAB_MERGE = GITLAB | {
    "CI_COMMIT_BRANCH": "",
    "CI_DEFAULT_BRANCH": "main",
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "fix/it",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "acme/app",
    "CI_MERGE_REQUEST_PROJECT_PATH": "acme/app",
}
JENKINS_CHANGE = JENKINS | {"CHANGE_ID": "7", "CHANGE_BRANCH": "fix/it", "BRANCH_NAME": "PR-7"}
BUILDKITE_PULL = BUILDKITE | {
    "BUILDKITE_PULL_REQUEST": "7",
    "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/acme/app.git",
    "BUILDKITE_BRANCH": "fix/it",
    "BUILDKITE_COMMIT": HEAD,
    "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "main",
}
CIRCLECI_PULL = CIRCLECI | {
    "CIRCLE_PULL_REQUEST": "https://github.com/acme/app/pull/7",
    "CIRCLE_BRANCH": "fix/it",
    "CIRCLE_SHA1": HEAD,
}
AZURE_PULL = AZURE | {
    "SYSTEM_PULLREQUEST_PULLREQUESTID": "7",
    "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/fix/it",
    "SYSTEM_PULLREQUEST_SOURCECOMMITID": HEAD,
    "SYSTEM_PULLREQUEST_ISFORK": "False",
}
TRAVIS_PULL = TRAVIS | {
    "TRAVIS_PULL_REQUEST": "7",
    "TRAVIS_PULL_REQUEST_BRANCH": "fix/it",
    "TRAVIS_PULL_REQUEST_SHA": HEAD,
    "TRAVIS_PULL_REQUEST_SLUG": "acme/app",
}
FIX = "refs/heads/fix/it"


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        (GITLAB_MERGE, ("7", FIX, COMMIT, False, "main")),
        (GITLAB_MERGE | {"CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": HEAD}, ("7", FIX, HEAD, False, "main")),
        (GITLAB_MERGE | {"CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "eve/app"}, ("7", FIX, COMMIT, True, "main")),
        (GITLAB | {"CI_DEFAULT_BRANCH": "main"}, (None, None, None, None, "main")),
        (JENKINS_CHANGE, ("7", FIX, None, False, None)),
        (JENKINS_CHANGE | {"CHANGE_FORK": "eve"}, ("7", FIX, None, True, None)),
        (JENKINS | {"CHANGE_ID": "7"}, ("7", None, None, None, None)),
        (JENKINS, (None, None, None, None, None)),
        (BUILDKITE_PULL, ("7", FIX, HEAD, False, "main")),
        (BUILDKITE_PULL | {"BUILDKITE_PULL_REQUEST_REPO": "git://github.com/eve/app.git",
                           "BUILDKITE_BRANCH": "eve:fix/it"}, ("7", FIX, HEAD, True, "main")),
        (BUILDKITE_PULL | {"BUILDKITE_PULL_REQUEST_REPO": ""}, ("7", FIX, HEAD, None, "main")),
        (BUILDKITE_PULL | {"BUILDKITE_PULL_REQUEST": "false"}, (None, None, None, None, "main")),
        (CIRCLECI_PULL, ("7", FIX, HEAD, False, None)),
        (CIRCLECI_PULL | {"CIRCLE_PR_NUMBER": "7", "CIRCLE_BRANCH": "pull/7"}, ("7", None, HEAD, True, None)),
        (CIRCLECI, (None, None, None, None, None)),
        (AZURE_PULL, ("7", FIX, HEAD, False, None)),
        (AZURE_PULL | {"SYSTEM_PULLREQUEST_PULLREQUESTNUMBER": "8", "SYSTEM_PULLREQUEST_SOURCEBRANCH": "fix/it",
                       "SYSTEM_PULLREQUEST_ISFORK": "True"}, ("8", FIX, HEAD, True, None)),
        (AZURE, (None, None, None, None, None)),
        (TRAVIS_PULL, ("7", FIX, HEAD, False, None)),
        (TRAVIS_PULL | {"TRAVIS_PULL_REQUEST_SLUG": "eve/app"}, ("7", FIX, HEAD, True, None)),
        (TRAVIS_PULL | {"TRAVIS_PULL_REQUEST": "false"}, (None, None, None, None, None)),
        ({}, (None, None, None, None, None)),
    ],
)  # fmt: skip
def test_every_ci_tells_of_the_pull_request_what_it_knows(
    environ: dict[str, str], told: tuple[object, ...], tmp_path: Path
) -> None:
    assert change(detect(environ, tmp_path).context) == told


@pytest.mark.parametrize(
    ("environ", "again", "told"),
    [
        (GITHUB, {"GITHUB_RUN_ATTEMPT": "3"}, ("github", "4711", "2", "3")),
        (GITLAB, {"CI_JOB_ID": "100"}, ("gitlab", "4711", "99", "100")),
        (JENKINS, {"BUILD_NUMBER": "4712"}, ("jenkins", "app/main", "4711", "4712")),
        (BUILDKITE, {"BUILDKITE_RETRY_COUNT": "1", "BUILDKITE_JOB_ID": "x"}, ("buildkite", "4711", "0", "1")),
        (CIRCLECI | {"CIRCLE_PIPELINE_ID": "p"}, {"CIRCLE_WORKFLOW_ID": "w2", "CIRCLE_BUILD_NUM": "78"},
         ("circleci", "p", "77", "78")),
        (AZURE, {"SYSTEM_JOBATTEMPT": "2"}, ("azure", "4711", "1.1", "1.2")),
        (AZURE, {"SYSTEM_STAGEATTEMPT": "2"}, ("azure", "4711", "1.1", "2.1")),
    ],
)  # fmt: skip
def test_a_job_that_the_ci_runs_again_is_a_later_attempt_of_the_same_run(
    environ: dict[str, str], again: dict[str, str], told: tuple[str, ...], tmp_path: Path
) -> None:
    first, later = detect(environ, tmp_path).context, detect(environ | again, tmp_path).context
    assert (first.provider, first.ci_run, first.ci_attempt, later.ci_attempt) == told
    assert later.ci_run == first.ci_run
    assert int(attempt_number(first.ci_attempt)) < int(attempt_number(later.ci_attempt))


def test_travis_does_not_tell_attempts_apart(tmp_path: Path) -> None:
    context = detect(TRAVIS, tmp_path).context
    assert (context.provider, context.ci_run, context.ci_attempt) == ("travis", "4711", None)


@pytest.mark.parametrize(
    ("environ", "workflow"),
    [
        (GITHUB | {"GITHUB_WORKFLOW": "CI"}, "CI"),
        (GITLAB | {"CI_PIPELINE_NAME": "nightly"}, "nightly"),
        (BUILDKITE | {"BUILDKITE_PIPELINE_SLUG": "app"}, "app"),
        (AZURE | {"BUILD_DEFINITIONNAME": "app CI"}, "app CI"),
        (JENKINS, None),
    ],
)
def test_the_workflow_is_told_where_a_ci_has_several(
    environ: dict[str, str], workflow: str | None, tmp_path: Path
) -> None:
    assert detect(environ, tmp_path).context.workflow == workflow


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "app"
    folder.mkdir()
    git(folder, "init", "-q")
    git(folder, "remote", "add", "origin", "https://user:password@github.com/acme/app.git")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def test_a_working_copy_is_read_without_running_git(checkout: Path) -> None:
    (checkout / "deep" / "er").mkdir(parents=True)
    state = GitState("acme/app", git(checkout, "rev-parse", "HEAD"), "refs/heads/main")
    assert read_git(checkout) == state
    assert read_git(checkout / "deep" / "er") == state
    git(checkout, "pack-refs", "--all")
    assert read_git(checkout) == state
    context = detect({}, checkout).context
    assert (context.repository, context.commit, context.ref, context.default_branch) == state


def test_a_detached_head_a_worktree_and_an_unborn_branch_are_read(checkout: Path, tmp_path: Path) -> None:
    commit = git(checkout, "rev-parse", "HEAD")
    git(checkout, "worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    assert read_git(tmp_path / "side") == GitState("acme/app", commit, "refs/heads/side")
    git(checkout, "checkout", "-q", "--detach")
    assert read_git(checkout) == GitState("acme/app", commit, None)
    (tmp_path / "new").mkdir()
    git(tmp_path / "new", "init", "-q")
    assert read_git(tmp_path / "new") == GitState(None, None, "refs/heads/main")


def test_a_broken_or_missing_working_copy_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: nowhere\n")
    assert read_git(tmp_path) == GitState()
    (tmp_path / ".git").write_bytes(b"\xff\x00")
    assert read_git(tmp_path) == GitState()
    (tmp_path / ".git").unlink()
    (tmp_path / ".git").mkdir()
    assert read_git(tmp_path) == GitState()


@pytest.mark.parametrize(
    ("url", "repository"),
    [
        ("git@github.com:acme/app.git", "acme/app"),
        ("https://token:x@github.com/acme/app.git", "acme/app"),
        ("ssh://git@example.com:2222/acme/app", "acme/app"),
        ("https://example.com/group/sub/app/", "group/sub/app"),
        ("/srv/git/app.git", "/srv/git/app"),
        ("file:///srv/git/app.git", "/srv/git/app"),
        ("../app", "../app"),
    ],
)
def test_a_remote_is_named_without_host_and_credentials(url: str, repository: str) -> None:
    assert repository_of(url) == repository


def test_a_clone_knows_the_default_branch_of_its_remote(tmp_path: Path) -> None:
    head = tmp_path / ".git" / "refs" / "remotes" / "origin" / "HEAD"
    head.parent.mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/fix\n")
    (tmp_path / ".git" / "config").write_text("[core]\n")
    head.write_text("ref: refs/remotes/origin/trunk\n")
    assert detect({}, tmp_path).context.default_branch == "trunk"


def test_two_commands_of_one_job_and_stage_are_two_failures_and_the_same_one_is_one() -> None:
    one, other = (default_run_id(GITHUB, "unit", "r", command) for command in ("pytest\0-q", "pytest\0-x"))
    assert one != other
    assert one == default_run_id(GITHUB, "unit", "another", "pytest\0-q")
    assert one != default_run_id(GITHUB | {"GITHUB_RUN_ATTEMPT": "3"}, "unit", "r", "pytest\0-q")
