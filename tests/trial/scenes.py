"""The day: which jobs run in which repository, what breaks them, and when people restart what failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from trial.clock import at

Cause = Callable[[float, int], str | None]
"""What a job prints that ends at this second of the day, as this attempt; None when it is green."""

REPOSITORIES = ("acme/shop", "acme/api", "acme/docs")
SYSTEMS = ("ubuntu-22.04", "ubuntu-24.04", "macos-14", "macos-15", "windows-2022", "windows-2025")


class Job(NamedTuple):
    """One job of the CI on one commit.

    Attributes:
        scene: the row of the table that it belongs to.
        minutes: how long it takes.
        first: when it starts for the first time.
        restarts: when impatient people start it again, green or red.
        cause: see `Cause`.
        flaky: the CI says that the same may pass when repeated.
        pull_request: its number; the job runs on the default branch otherwise.
    """

    scene: str
    repository: str
    name: str
    stage: str
    minutes: float
    first: float
    cause: Cause
    restarts: tuple[float, ...] = ()
    flaky: bool = False
    pull_request: str | None = None


def always(message: str) -> Cause:
    """It never passes."""
    return lambda now, attempt: message


def until(moment: str, message: str) -> Cause:
    """It passes from then on."""
    return lambda now, attempt: message if now < at(moment) else None


def once(message: str) -> Cause:
    """It passes when it is repeated."""
    return lambda now, attempt: message if attempt == 1 else None


AWAY = "npm ERR! code E503\nnpm ERR! 503 Service Unavailable - GET https://registry.acme.example/left-pad"
GONE = "curl: (6) Could not resolve host: mirror.acme.example"
FULL = "OSError: [Errno 28] No space left on device: '/var/lib/build/out.bin'"
EXPIRED = (
    "remote: HTTP Basic: Access denied. The token {token} has expired.\n"
    "fatal: Authentication failed for 'https://ci:{token}@git.acme.example/docs.git/'"
)
FLAKY = "FAILED tests/test_cart.py::test_two_at_once - AssertionError: assert 3 == 4"
TYPO = "main.c:1:14: error: 'retrun' undeclared (first use in this function)\nmake: *** [Makefile:2: main.o] Error 1"
RESET = "error: RPC failed; curl 56 Recv failure: Connection reset by peer"
LINT = "pages/index.py:3:1: F401 [*] `os` imported but unused"

OUTAGE, PERMANENT, DISK, TOKEN = "outage", "permanent", "disk", "token"
ON_MAIN, ON_PULL_REQUEST, MATRIX, RESTART, TRACEBACK = "flaky", "flaky-pr", "matrix", "restart", "traceback"
TITLES = {
    OUTAGE: "a registry is away for 40 minutes (three repositories)",
    PERMANENT: "a job always fails; its retry, and people, restart it all day",
    DISK: "a full disk; somebody tries again",
    TOKEN: "an expired token; somebody tries again",
    ON_MAIN: "a flaky test on the default branch",
    ON_PULL_REQUEST: "the same hint on a pull request",
    MATRIX: "a commit that does not compile, in a matrix of six",
    RESTART: "connections reset while heald's server is killed and started again",
    TRACEBACK: "a patch script breaks down with a traceback",
}
"""Rows of the table, in their order."""

DAY = (
    Job(OUTAGE, "acme/shop", "install", "install", 3, at("01:58"), until("02:40", AWAY)),
    Job(OUTAGE, "acme/docs", "install", "install", 4, at("02:01"), until("02:40", AWAY)),
    Job(OUTAGE, "acme/api", "install", "install", 16, at("01:54"), until("02:40", AWAY)),
    Job(
        PERMANENT,
        "acme/shop",
        "mirror",
        "fetch",
        4,
        at("05:25"),
        always(GONE),
        tuple(at(moment) for moment in ("06:25", "10:05", "13:05", "17:05", "23:30")),
    ),
    Job(DISK, "acme/api", "package", "package", 5, at("06:00"), always(FULL), (at("06:15"),)),
    Job(TOKEN, "acme/docs", "publish", "publish", 2, at("06:02"), always(EXPIRED), (at("06:14"),)),
    Job(ON_MAIN, "acme/api", "unit", "unit", 4, at("10:00"), once(FLAKY), flaky=True),
    Job(ON_PULL_REQUEST, "acme/docs", "unit", "unit", 4, at("10:02"), always(FLAKY), flaky=True, pull_request="17"),
    *(
        Job(MATRIX, "acme/shop", f"build ({system})", f"build ({system})", 3 + 0.4 * late, at("13:00"), always(TYPO))
        for late, system in enumerate(SYSTEMS)
    ),
    Job(RESTART, "acme/docs", "fetch", "fetch", 3, at("15:00"), once(RESET)),
    Job(RESTART, "acme/shop", "fetch", "fetch", 3, at("15:00"), once(RESET)),
    Job(RESTART, "acme/api", "fetch", "fetch", 40, at("15:00"), once(RESET)),
    Job(TRACEBACK, "acme/docs", "lint", "lint", 2, at("17:00"), always(LINT)),
)
