"""A made-up CI: jobs on the clock of the day, reports of what fails, other attempts when somebody asks for them."""

from __future__ import annotations

import heapq
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from heald_producer.signals import Context, FailureReport, FailureSignal
from trial.clock import Clock
from trial.scenes import DAY, REPOSITORIES, Job

Tell = Callable[[Job, FailureReport], None]
"""Hands a report on, as the runner of that job does."""


class Running(NamedTuple):
    """One attempt of a job that ends then, or (with attempt 0) somebody who wants one."""

    ends: float
    number: int
    attempt: int


class MadeUpCi:
    """The CI's state: which attempts run, and how many each job has had."""

    def __init__(self, clock: Clock, checkouts: Path, token: str, tell: Tell) -> None:
        self._clock, self._token, self._tell = clock, token, tell
        self._commits = {name: commit_in(checkouts / name) for name in REPOSITORIES}
        self._attempts = [0] * len(DAY)
        self._green = [False] * len(DAY)
        self._ahead = [Running(start, n, 0) for n, job in enumerate(DAY) for start in (job.first, *job.restarts)]
        heapq.heapify(self._ahead)

    @property
    def next_moment(self) -> float | None:
        """When something happens next, in seconds of the day."""
        return self._ahead[0].ends if self._ahead else None

    @property
    def is_busy(self) -> bool:
        return any(running.attempt for running in self._ahead)

    def green(self, scene: str) -> tuple[int, int]:
        """How many of a scene's jobs were green in their last attempt, and how many there are."""
        last = [green for job, green in zip(DAY, self._green, strict=True) if job.scene == scene]
        return sum(last), len(last)

    def turn(self) -> None:
        """Do all that is due."""
        while self._ahead and self._ahead[0].ends <= self._clock.now():
            due = heapq.heappop(self._ahead)
            if due.attempt:
                self._end(due)
            else:
                self._start(due.number)

    def restart(self, ci_run: str) -> None:
        """Another attempt of a job that has failed."""
        self._start(int(ci_run) - FIRST_CI_RUN)

    def _start(self, number: int) -> None:
        if any(running.number == number and running.attempt for running in self._ahead):
            return  # it runs already
        self._attempts[number] += 1
        ends = self._clock.now() + DAY[number].minutes * 60
        heapq.heappush(self._ahead, Running(ends, number, self._attempts[number]))

    def _end(self, done: Running) -> None:
        job = DAY[done.number]
        message = job.cause(done.ends, done.attempt)
        self._green[done.number] = message is None
        if message is not None:
            text = message.replace("{token}", self._token)
            self._tell(job, report_of(job, done, text, self._commits[job.repository]))


FIRST_CI_RUN = 1000


def report_of(job: Job, done: Running, message: str, commit: str) -> FailureReport:
    """What the job's runner says."""
    ref = f"refs/pull/{job.pull_request}/merge" if job.pull_request else "refs/heads/main"
    context = Context(
        repository=job.repository,
        commit=commit,
        ref=ref,
        job=job.name,
        provider="github",
        workflow="ci",
        ci_run=str(FIRST_CI_RUN + done.number),
        ci_attempt=str(done.attempt),
        pull_request=job.pull_request,
        head_ref="refs/heads/faster" if job.pull_request else None,
        head_commit=commit if job.pull_request else None,
        fork=False if job.pull_request else None,
        default_branch="main",
    )
    signal = FailureSignal(job.stage, message, 1, job.flaky)
    return FailureReport(f"{job.scene}.{FIRST_CI_RUN + done.number}.{done.attempt}", signal, context=context)


def make_repositories(folder: Path, names: Iterable[str] = REPOSITORIES) -> None:
    """Small git repositories, each with one commit on `main` that holds a mistake."""
    for name in names:
        checkout = folder / name
        checkout.mkdir(parents=True)
        (checkout / "main.c").write_text("int main() { retrun 0; }\n" if name == "acme/shop" else "int main() { }\n")
        _git(checkout, "init", "--quiet", "--initial-branch=main")
        _git(checkout, "add", ".")
        _git(checkout, "commit", "--quiet", "--message", "Begin")


def commit_in(checkout: Path, revision: str = "main") -> str:
    """The full hash of a revision."""
    return _git(checkout, "rev-parse", revision).strip()


def _git(checkout: Path, *argv: str) -> str:
    identity = ("-c", "user.name=trial", "-c", "user.email=trial@acme.example", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", "-C", checkout, *identity, *argv], check=True, capture_output=True, text=True).stdout
