"""A pattern finds what `glob` finds, and never takes longer than a look at every name."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heald_producer.reports import files, reading
from heald_producer.reports.files import Found, find
from heald_producer.reports.search import Search

PARTS = ["*", "**", "a", "b", "a*", "?", "[ab]", "*.xml", "b.xml"]


def never() -> float:
    return 0.0


def found(pattern: str) -> list[str]:
    return sorted(Search(never).files(pattern))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders and files of few names, so that patterns meet many of them; with links, one of them into a loop."""
    root = tmp_path_factory.mktemp("tree")
    for folder in ("a", "a/a", "a/b", "b", "b/ab", "b/ab/a", ".hidden"):
        (root / folder).mkdir()
        for name in ("a.xml", "b.xml", ".c.xml", "bb"):
            if not (root / folder / name).exists():
                (root / folder / name).touch()
    (root / "b.xml").mkdir()
    (root / "b.xml" / "a.xml").touch()
    (root / "a" / "loop").symlink_to(root)
    (root / "linked").symlink_to(root / "b")
    (root / "dangling.xml").symlink_to(root / "nowhere")
    return root


@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=4).filter(lambda parts: parts[-1] != "**"))
@settings(deadline=None)
def test_a_pattern_finds_what_glob_finds(tree: Path, parts: list[str]) -> None:
    pattern = "/".join(parts)
    expected = {str(path) for path in tree.glob(pattern) if not path.is_dir()}
    assert found(f"{tree}/{pattern}") == sorted(expected)


def test_a_pattern_may_be_relative_and_go_up(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree / "a")
    assert found("../b/a*.xml") == ["../b/a.xml"]
    assert found("*/a.xml") == sorted(["a/a.xml", "b/a.xml"])
    assert found("b/**") == sorted(["b/a.xml", "b/b.xml", "b/.c.xml", "b/bb"])
    assert found("") == []


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every folder that is looked into."""
    seen: list[object] = []
    scandir = os.scandir

    def noted(path: str) -> Iterator[os.DirEntry[str]]:
        seen.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noted)
    return seen


@pytest.mark.parametrize("pattern", ["**/*.xml", "**/**/*.xml", "**/d/**/d/**/*.xml", "**/*/**/*/**/*.xml"])
def test_a_deep_tree_is_looked_through_once_whatever_the_pattern(
    pattern: str, tmp_path: Path, looks: list[object]
) -> None:
    deep = tmp_path.joinpath(*["d"] * 400)
    deep.mkdir(parents=True)
    (deep / "a.xml").touch()
    assert found(f"{tmp_path}/{pattern}") == [str(deep / "a.xml")]
    assert len(looks) == len(set(looks)) == 401


def test_a_search_ends_after_so_many_names(tmp_path: Path) -> None:
    for number in range(50):
        (tmp_path / f"{number}.xml").touch()
    search = Search(never, entries=20)
    assert len(list(search.files(f"{tmp_path}/*.xml"))) == 20
    assert search.ended
    assert list(search.files(f"{tmp_path}/*.xml")) == []
    assert not Search(never, entries=50).ended


def test_a_search_ends_after_so_long(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / str(number) / "deeper").mkdir(parents=True)
        (tmp_path / str(number) / "deeper" / "a.xml").touch()
    now = iter(range(100))
    cut = find([f"{tmp_path}/**/*.xml", f"{tmp_path}/none.*"], clock=lambda: float(next(now)))
    assert cut.cut
    assert 0 < len(cut.paths) < 9
    assert cut.unmatched == (), "what nobody looked for is not missing"


def test_what_a_search_did_not_come_to_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "find", lambda *_: Found((), cut=True))
    [warning] = reading.read_matching(["**"]).warnings
    assert "the search for reports was ended after 1,000,000 names or 10 s" in warning


def test_a_name_that_looks_like_a_pattern_is_meant_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "odd[1]*.xml").touch()
    assert files.find([f"{tmp_path}/odd[1]*.xml"]).paths == (tmp_path / "odd[1]*.xml",)
