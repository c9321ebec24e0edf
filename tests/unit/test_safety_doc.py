"""`docs/safety.md` names tests that exist, and its table of the trial is one that the trial may give."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from trial.bounds import DETERMINED, NUMBERS
from trial.scenes import TITLES
from trial.table import COLUMNS

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "safety.md").read_text("utf-8")
DEFINED = {
    name for path in TESTS.rglob("test_*.py") for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.M)
}
PROMISES = re.findall(r"^\| .* \| .* \| (`test_.*) \|$", PAGE.partition("## What it does by default")[0], re.M)


def table() -> list[list[str]]:
    """The cells of the trial's table, its header first."""
    lines = PAGE.partition("## A day")[2].partition("## How to switch it on")[0].splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
    return [cells[0], *cells[2:]]


def test_the_page_makes_promises() -> None:
    assert len(PROMISES) > 15


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", PAGE))))
def test_every_named_test_exists(name: str) -> None:
    assert name in DEFINED


def test_every_promise_names_the_tests_that_hold_it() -> None:
    rows = PAGE.partition("| heald never |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(rows) == len(PROMISES)


def test_the_table_has_the_trial_s_columns_and_rows() -> None:
    header, *rows = table()
    assert header == list(COLUMNS)
    assert [row[0] for row in rows] == list(TITLES.values())


def test_the_table_s_numbers_are_the_trial_s_where_they_are_determined() -> None:
    for scene, row in zip(TITLES, table()[1:], strict=True):
        told = dict(zip(NUMBERS, map(int, row[1 : 1 + len(NUMBERS)]), strict=True))
        assert {name: told[name] for name in DETERMINED[scene]} == dict(DETERMINED[scene]), row[0]
        assert told["reports"] == told["runs"] + told["joined"], row[0]


def test_the_table_is_of_a_day_on_which_nothing_was_reverted() -> None:
    assert {row[1 + NUMBERS.index("reverts")] for row in table()[1:]} == {"0"}
