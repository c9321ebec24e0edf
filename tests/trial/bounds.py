"""What must come of the day, whatever the machine's speed: by scene, the table's numbers that are determined."""

from __future__ import annotations

from collections.abc import Mapping

from trial.scenes import DISK, MATRIX, ON_MAIN, ON_PULL_REQUEST, OUTAGE, PERMANENT, RESTART, TOKEN, TRACEBACK

NUMBERS = ("reports", "runs", "joined", "retries", "patches", "reverts", "pages")


def _all(*numbers: int) -> dict[str, int]:
    return dict(zip(NUMBERS, numbers, strict=True))


DETERMINED: Mapping[str, Mapping[str, int]] = {
    OUTAGE: {"patches": 0, "reverts": 0},
    PERMANENT: {"retries": 2, "patches": 0, "reverts": 0, "pages": 1},
    DISK: _all(2, 2, 0, 0, 0, 0, 1),
    TOKEN: _all(2, 2, 0, 0, 0, 0, 1),
    ON_MAIN: _all(1, 1, 0, 1, 0, 0, 0),
    ON_PULL_REQUEST: _all(1, 1, 0, 0, 1, 0, 1),
    MATRIX: {"reports": 6, "retries": 0, "patches": 1, "reverts": 0, "pages": 0},
    RESTART: _all(3, 3, 0, 3, 0, 0, 0),
    TRACEBACK: _all(1, 1, 0, 0, 1, 0, 1),
}
