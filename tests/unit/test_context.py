"""Which CI this is, and a run id that names this job's run and no other."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heald_producer.context import default_run_id, detect
from heald_producer.event import Event, read_event
from heald_producer.git import GitState, read_git, repository_of
from heald_producer.signals import check_run_id

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


# -- attempts, pull requests and default branches --------------------------------------------------------------------


def github_event(folder: Path, **event: object) -> dict[str, str]:
    (folder / "event.json").write_text(json.dumps(event))
    return GITHUB | {"GITHUB_EVENT_PATH": str(folder / "event.json"), "GITHUB_WORKFLOW": "CI"}


def pull(number: int = 7, *, head: str | None = "acme/app", base: str = "acme/app") -> dict[str, object]:
    repo = None if head is None else {"full_name": head}
    return {
        "pull_request": {
            "number": number,
            "head": {"ref": "fix", "sha": "beef", "repo": repo},
            "base": {"ref": "main", "repo": {"full_name": base}},
        },
        "repository": {"default_branch": "trunk"},
    }


def test_github_s_event_tells_the_pull_request_its_head_and_the_default_branch(tmp_path: Path) -> None:
    context = detect(github_event(tmp_path, **pull()), tmp_path).context
    assert (context.provider, context.workflow, context.ci_run, context.ci_attempt) == ("github", "CI", "4711", "2")
    assert (context.pull_request, context.head_ref, context.head_commit) == ("7", "refs/heads/fix", "beef")
    assert (context.fork, context.default_branch) == (False, "trunk")


@pytest.mark.parametrize("head", ["stranger/app", None])
def test_a_pull_request_from_another_repository_is_from_a_fork(tmp_path: Path, head: str | None) -> None:
    assert detect(github_event(tmp_path, **pull(head=head)), tmp_path).context.fork is True


def test_a_push_tells_the_default_branch_and_no_pull_request(tmp_path: Path) -> None:
    context = detect(github_event(tmp_path, repository={"default_branch": "trunk"}), tmp_path).context
    assert (context.pull_request, context.fork, context.default_branch) == (None, None, "trunk")


@pytest.mark.parametrize(
    "written", [b"", b"no json", b"[1]", b'{"pull_request": {"number": "7"}}', b"[" * 100_000, b" " * (5 * 1024 * 1024)]
)
def test_an_event_that_cannot_be_read_tells_nothing_and_stops_nothing(tmp_path: Path, written: bytes) -> None:
    event = tmp_path / "event.json"
    event.write_bytes(written)
    assert read_event(str(event)) == read_event(str(tmp_path / "none")) == Event()
    assert detect(GITHUB | {"GITHUB_EVENT_PATH": str(event)}, tmp_path).context.repository == "acme/app"


OTHERS: dict[str, tuple[dict[str, str], dict[str, object]]] = {
    "gitlab": (
        GITLAB
        | {
            "CI_MERGE_REQUEST_IID": "7",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "fix",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "",
            "CI_MERGE_REQUEST_SOURCE_PROJECT_PATH": "stranger/app",
            "CI_MERGE_REQUEST_PROJECT_PATH": "acme/app",
            "CI_DEFAULT_BRANCH": "main",
        },
        {"ci_run": "4711", "ci_attempt": "99", "head_commit": COMMIT, "fork": True, "default_branch": "main"},
    ),
    "jenkins": (
        JENKINS | {"CHANGE_ID": "7", "CHANGE_BRANCH": "fix"},
        {"ci_run": "app/main", "ci_attempt": "4711", "head_commit": None, "fork": False, "default_branch": None},
    ),
    "buildkite": (
        BUILDKITE
        | {
            "BUILDKITE_PULL_REQUEST": "7",
            "BUILDKITE_BRANCH": "fix",
            "BUILDKITE_PULL_REQUEST_REPO": "https://github.com/stranger/app.git",
            "BUILDKITE_PIPELINE_DEFAULT_BRANCH": "main",
        },
        {"ci_run": "0189-build", "ci_attempt": "0", "head_commit": COMMIT, "fork": True, "default_branch": "main"},
    ),
    "circleci": (
        CIRCLECI
        | {
            "CIRCLE_BRANCH": "fix",
            "CIRCLE_PULL_REQUEST": "https://github.com/acme/app/pull/7",
            "CIRCLE_WORKFLOW_WORKSPACE_ID": "first",
        },
        {"ci_run": "first", "ci_attempt": "77", "head_commit": COMMIT, "fork": False, "default_branch": None},
    ),
    "azure": (
        AZURE
        | {
            "SYSTEM_PULLREQUEST_PULLREQUESTNUMBER": "7",
            "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/fix",
            "SYSTEM_PULLREQUEST_SOURCECOMMITID": "beef",
            "SYSTEM_PULLREQUEST_ISFORK": "False",
        },
        {"head_commit": "beef", "fork": False, "default_branch": None},
    ),
    "travis": (
        TRAVIS
        | {
            "TRAVIS_PULL_REQUEST": "7",
            "TRAVIS_PULL_REQUEST_BRANCH": "fix",
            "TRAVIS_PULL_REQUEST_SHA": "beef",
            "TRAVIS_PULL_REQUEST_SLUG": "stranger/app",
        },
        {"head_commit": "beef", "fork": True, "default_branch": None},
    ),
}


@pytest.mark.parametrize("provider", OTHERS)
def test_other_cis_tell_pull_requests_and_attempts_in_their_own_words(tmp_path: Path, provider: str) -> None:
    environ, told = OTHERS[provider]
    context = detect(environ, tmp_path).context
    assert (context.provider, context.pull_request, context.head_ref) == (provider, "7", "refs/heads/fix")
    assert {field: getattr(context, field) for field in told} == told


@pytest.mark.parametrize(
    "environ", [BUILDKITE | {"BUILDKITE_PULL_REQUEST": "false"}, GITLAB, JENKINS, CIRCLECI, TRAVIS]
)
def test_a_branch_s_build_is_about_no_pull_request(tmp_path: Path, environ: dict[str, str]) -> None:
    context = detect(environ, tmp_path).context
    assert (context.pull_request, context.head_ref, context.head_commit) == (None, None, None)


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
