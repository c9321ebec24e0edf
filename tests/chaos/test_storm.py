"""Whatever goes wrong on the way: every accepted signal ends in exactly one log, and the books balance.

The short form of `make chaos`: every family of faults once.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from chaos.faults import FAULTS
from chaos.run import SCENES, TOGETHER
from chaos.storm import Site, behind_sentinel, one_server, play

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="walks /proc"),
    pytest.mark.timeout(240),
]


def the_books(tmp_path: Path, faults: str, runs: int, strikes: int, site: Site = one_server) -> dict[str, int]:
    """Play a scene and insist that its books balance. Returns how often each fault struck."""
    outcome = play(tmp_path, site, 11, runs, [FAULTS[name]() for name in faults.split()], strikes, seconds=100)
    assert outcome.wrong == []
    return outcome.struck


@pytest.mark.xdist_group("storm 1")
@pytest.mark.parametrize(
    ("faults", "runs", "strikes"),
    [("points clock upgrade", 20, 6), ("second disk kill", 30, 12)],
)
def test_processes_die_and_disks_and_servers_forget(tmp_path: Path, faults: str, runs: int, strikes: int) -> None:
    struck = the_books(tmp_path, faults, runs, strikes)
    assert all(struck[name] for name in faults.split())


@pytest.mark.xdist_group("storm 2")
@pytest.mark.parametrize(
    ("faults", "runs", "strikes"),
    [("redis memory readonly cut double past janitors spool", 40, 24), ("pause freeze", 10, 3)],
)
def test_servers_refuse_and_connections_break(tmp_path: Path, faults: str, runs: int, strikes: int) -> None:
    struck = the_books(tmp_path, faults, runs, strikes)
    assert sum(bool(struck[name]) for name in faults.split()) >= 2


@pytest.mark.xdist_group("storm 1")
def test_a_master_is_replaced_while_everybody_works(tmp_path: Path) -> None:
    assert the_books(tmp_path, "sentinel", 12, 1, behind_sentinel) == {"sentinel": 1}


def test_the_last_scene_of_the_long_form_names_faults_that_there_are() -> None:
    assert set(TOGETHER) < set(SCENES)
