"""Whatever dies on the way: every accepted signal ends in exactly one log."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from chaos.storm import storm

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="walks /proc"),
    pytest.mark.timeout(240),
]


def test_killed_workers_horses_repairs_and_servers_lose_nothing_and_double_nothing(tmp_path: Path) -> None:
    wrong, killed = storm(tmp_path, "valkey", runs=60, seed=11, strikes=25, seconds=120)
    assert wrong == []
    assert sum(killed.values()) == 25
