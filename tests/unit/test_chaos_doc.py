"""`docs/chaos.md` names the faults and the points that there are, and each point is somewhere in the product."""

from __future__ import annotations

import functools
import importlib
import re
from pathlib import Path

import pytest

import heald_worker
from chaos.faults import FAULTS
from chaos.points import BY_ROLE, Point
from chaos.run import TOGETHER

PAGE = (Path(__file__).parents[2] / "docs" / "chaos.md").read_text("utf-8")
LUA = Path(heald_worker.__file__).parent / "lua"
POINTS = [pytest.param(point, id=name) for points in BY_ROLE.values() for name, point in points.items()]


def test_the_page_describes_every_fault() -> None:
    described = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert set(re.findall(r"`(\w+)`", described.pop("together"))) == set(TOGETHER)
    assert described == {name: fault.about for name, fault in FAULTS.items()}


def test_the_page_names_every_point() -> None:
    named = set(re.findall(r"^\| (control|repairs) \| (.*) \|$", PAGE, re.MULTILINE))
    assert named == {(role, name) for role, points in BY_ROLE.items() for name in points}


@pytest.mark.parametrize("point", POINTS)
def test_a_point_is_somewhere(point: Point) -> None:
    kind, _, script = point.what.partition(" ")
    if kind == "script":
        assert (LUA / f"{script}.lua").exists()
    else:
        module, _, attribute = point.what.partition(":")
        assert callable(functools.reduce(getattr, attribute.split("."), importlib.import_module(module)))
