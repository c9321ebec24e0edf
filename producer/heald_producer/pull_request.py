"""Which pull request a CI job is about, by CI: its number, its head, and whether that is a fork's.

`commit` and `ref` of a context are what the job has checked out, often a merge that only the CI has made. A repair
that changes code needs the branch itself, and must know whose it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from heald_producer.event import Pull, read_event
from heald_producer.git import COMMIT, repository_of

Tell = Callable[..., str | None]
"""The first of these variables that is set and not empty."""

_GITHUB_MERGE = re.compile(r"refs/pull/([0-9]+)/")


class Change(NamedTuple):
    """What a job was started for.

    Attributes:
        number: the pull or merge request's; None outside of one.
        branch: what it wants merged.
        commit: the revision at that branch's head.
        fork: whether the branch belongs to another repository; None when that is not told.
        default_branch: the repository's, which some CIs tell for every job.
    """

    number: str | None = None
    branch: str | None = None
    commit: str | None = None
    fork: bool | None = None
    default_branch: str | None = None


def github(tell: Tell) -> Change:
    """From the event's file; the variables alone tell the number and the branch."""
    event = read_event(tell("GITHUB_EVENT_PATH"))
    default = event.repository.default_branch if event.repository else None
    pull = event.pull_request
    if pull is None:
        merge = _GITHUB_MERGE.match(tell("GITHUB_REF") or "")
        return Change(merge[1] if merge else None, tell("GITHUB_HEAD_REF"), default_branch=default)
    commit = pull.head.sha if COMMIT.fullmatch(pull.head.sha) else None
    return Change(str(pull.number), pull.head.ref, commit, _is_fork(pull), default)


def _is_fork(pull: Pull) -> bool:
    """A head whose repository is gone was a fork's."""
    head, base = pull.head.repo, pull.base.repo
    return head is None or base is None or head.full_name.lower() != base.full_name.lower()


def gitlab(tell: Tell) -> Change:
    """Of merge requests, and of pull requests in a repository elsewhere that GitLab builds."""
    number = tell("CI_MERGE_REQUEST_IID", "CI_EXTERNAL_PULL_REQUEST_IID")
    branch = tell("CI_MERGE_REQUEST_SOURCE_BRANCH_NAME", "CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_NAME")
    # Only a pipeline of merged results builds something else than the head, and tells the head apart.
    commit = tell("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "CI_EXTERNAL_PULL_REQUEST_SOURCE_BRANCH_SHA", "CI_COMMIT_SHA")
    source = tell("CI_MERGE_REQUEST_SOURCE_PROJECT_PATH", "CI_EXTERNAL_PULL_REQUEST_SOURCE_REPOSITORY")
    target = tell("CI_MERGE_REQUEST_PROJECT_PATH", "CI_EXTERNAL_PULL_REQUEST_TARGET_REPOSITORY")
    return _change(number, branch, commit, _differ(source, target), tell("CI_DEFAULT_BRANCH"))


def jenkins(tell: Tell) -> Change:
    """Of multibranch jobs; `CHANGE_FORK` comes with `CHANGE_BRANCH`, and only for forks."""
    branch = tell("CHANGE_BRANCH")
    fork = True if tell("CHANGE_FORK") else False if branch else None
    return _change(tell("CHANGE_ID"), branch, None, fork)


def buildkite(tell: Tell) -> Change:
    """The job builds the pull request's head itself; a fork's branch may be told as `owner:branch`."""
    source, target = tell("BUILDKITE_PULL_REQUEST_REPO"), tell("BUILDKITE_REPO")
    fork = _differ(repository_of(source), repository_of(target)) if source and target else None
    branch = (tell("BUILDKITE_BRANCH") or "").rpartition(":")[2] or None
    number, default = tell("BUILDKITE_PULL_REQUEST"), tell("BUILDKITE_PIPELINE_DEFAULT_BRANCH")
    return _change(number, branch, tell("BUILDKITE_COMMIT"), fork, default)


def circleci(tell: Tell) -> Change:
    """`CIRCLE_PR_NUMBER` is there for forks only, whose branch is told as `pull/7`."""
    page, forked = tell("CIRCLE_PULL_REQUEST"), tell("CIRCLE_PR_NUMBER")
    number = forked or (page or "").rstrip("/").rpartition("/")[2]
    branch = tell("CIRCLE_BRANCH")
    return _change(
        number if number.isdigit() else None,
        None if branch and branch.startswith("pull/") else branch,
        tell("CIRCLE_SHA1"),
        forked is not None,
    )


def azure(tell: Tell) -> Change:
    """The number is GitHub's where the code is there, else the one of Azure Repos."""
    number = tell("SYSTEM_PULLREQUEST_PULLREQUESTNUMBER", "SYSTEM_PULLREQUEST_PULLREQUESTID")
    branch, commit = tell("SYSTEM_PULLREQUEST_SOURCEBRANCH"), tell("SYSTEM_PULLREQUEST_SOURCECOMMITID")
    fork = {"true": True, "false": False}.get((tell("SYSTEM_PULLREQUEST_ISFORK") or "").lower())
    return _change(number, branch, commit, fork)


def travis(tell: Tell) -> Change:
    """Branch and commit of the head have variables of their own."""
    return _change(
        tell("TRAVIS_PULL_REQUEST"),
        tell("TRAVIS_PULL_REQUEST_BRANCH"),
        tell("TRAVIS_PULL_REQUEST_SHA"),
        _differ(tell("TRAVIS_PULL_REQUEST_SLUG"), tell("TRAVIS_REPO_SLUG")),
    )


def _change(
    number: str | None, branch: str | None, commit: str | None, fork: bool | None, default_branch: str | None = None
) -> Change:
    """Outside of a pull request nothing but the default branch is told; some CIs say `false` for its number."""
    if number is None or number.lower() == "false":
        return Change(default_branch=default_branch)
    return Change(number, branch, commit, fork, default_branch)


def _differ(one: str | None, other: str | None) -> bool | None:
    return None if one is None or other is None else one.lower() != other.lower()
