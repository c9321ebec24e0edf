"""A day of made-up failures: what heald did about them, how often, and whom it told.

The long form of this prints its table: `make trial`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from trial.bounds import DETERMINED, NUMBERS
from trial.day import Day
from trial.scenes import OUTAGE, PERMANENT, REPOSITORIES, RESTART, TITLES
from trial.table import COLUMNS, Result

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="one kernel is enough for a day"),
    pytest.mark.skipif(shutil.which("git") is None, reason="the repositories are git's"),
    pytest.mark.server,
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("trial"),
]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day]:
    """The day, when it is over; its server still runs."""
    made = Day(tmp_path_factory.mktemp("trial"))
    with made.begin():
        made.pass_by()
        yield made


@pytest.fixture(scope="module")
def result(day: Day) -> Result:
    return day.result()


@pytest.mark.parametrize("scene", TITLES)
def test_what_was_done_and_told_is_what_a_careful_person_would_allow(result: Result, scene: str) -> None:
    row = result.row(scene)
    assert {name: getattr(row, name) for name in DETERMINED[scene]} == DETERMINED[scene], result.markdown()


def test_every_report_has_one_run_and_every_run_has_one_log(result: Result) -> None:
    assert result.wrong == ()


def test_nothing_was_rolled_back(day: Day, result: Result) -> None:
    assert sum(row.reverts for row in result.rows) == 0
    assert day.rolled_back() == []


def test_an_outage_that_ends_in_time_is_healed_and_a_longer_one_is_told_once_for_each_repository(
    result: Result,
) -> None:
    row = result.row(OUTAGE)
    green, jobs = row.green
    assert jobs == len(REPOSITORIES)
    assert green >= 1
    assert row.pages == jobs - green
    assert row.retries <= 2 * jobs


def test_a_permanent_failure_is_in_the_books_as_often_as_it_was_reported(result: Result) -> None:
    row = result.row(PERMANENT)
    assert row.runs + row.joined == row.reports >= 6
    assert row.green == (0, 1)


def test_a_server_that_was_killed_comes_back_with_everything(day: Day, result: Result) -> None:
    assert day.was_killed
    assert day.lost_by_the_restart == set()
    assert result.row(RESTART).green == (3, 3)


def test_no_token_stands_in_any_key_log_or_file(day: Day) -> None:
    assert any(b"PermissionError" in text for text in day.printed()), "the traceback with the token is kept"
    assert day.leaks() == []


def test_a_patch_stands_on_a_branch_of_its_own(day: Day) -> None:
    shop = day.folder / "checkouts" / "acme/shop"
    branches = subprocess.run(
        ["git", "-C", shop, "branch", "--list", "heald/*", "--format=%(refname:short)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    assert len(branches) == 1
    assert branches[0].startswith("heald/matrix.")


def test_the_table_tells_the_same_as_markdown_and_as_json(result: Result) -> None:
    header, _, *lines = result.markdown().splitlines()
    assert header == f"| {' | '.join(COLUMNS)} |"
    assert [line.split(" | ")[0][2:] for line in lines] == list(TITLES.values())
    numbers = [[str(getattr(row, name)) for name in NUMBERS] for row in result.rows]
    assert [line.split(" | ")[1:-1] for line in lines] == numbers
    told = json.loads(result.json())["rows"]
    assert [[row[name] for name in NUMBERS] for row in told] == [
        [getattr(row, name) for name in NUMBERS] for row in result.rows
    ]
