"""`heald rules`: what decides, what looks wrong, what its examples say. `heald explain` shows it at work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heald_worker.cli import main
from heald_worker.cli.checkup import Level, check_configuration
from heald_worker.config import load

SOUND = """
[[rule]]
name = "acme-licence"
class = "integration"
subclass = "connection"
transient = true
confidence = 0.9
match = "licence server .* is away"
unless = "was away"
examples = ["licence server lic-3 is away"]
counterexamples = ["licence server lic-3 is well"]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heald.toml").write_text('[diagnosis]\nfiles = ["mine.toml"]\n')
    (tmp_path / "mine.toml").write_text(SOUND)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(list(argv)) == code
    out, err = capsys.readouterr()
    return out + err


def records(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said(capsys, *argv, "--json", code=code).splitlines()]


def test_the_list_holds_heald_s_rules_and_one_s_own_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    listed = records(capsys, "rules", "list")
    [mine] = [each for each in listed if each["rule"] == "acme-licence"]
    assert (mine["class"], mine["subclass"], mine["transient"]) == ("integration", "connection", True)
    assert mine["source"].endswith("mine.toml")
    assert len(listed) > 10
    assert [each["rank"] for each in listed] == sorted((each["rank"] for each in listed), reverse=True)
    shown = said(capsys, "rules", "list", "--own")
    assert "acme-licence" in shown
    assert len(shown.splitlines()) == 2


def test_rules_that_are_not_used_say_so(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "heald.toml").write_text("taxonomy = 'aivcs'\n[diagnosis]\nfiles = ['mine.toml']\n")
    assert "these rules are not used: taxonomy is aivcs" in said(capsys, "rules", "list")
    found = {each.check: each for each in check_configuration(load({}, {}, folder))}
    assert found["rules"].level is Level.WARN


def test_sound_rules_pass_lint_and_test(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nothing to say about 1 rule" in said(capsys, "rules", "lint")
    assert "nothing to say about 1 rule" in said(capsys, "rules", "lint", "mine.toml")
    assert "2 examples tried, 0 failed" in said(capsys, "rules", "test", "mine.toml")


def test_lint_says_all_that_is_wrong_in_all_files(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "shadowed.toml").write_text(SOUND.replace("acme-licence", "later").replace("match", "rank = 1\nmatch"))
    (folder / "bare.toml").write_text('[[rule]]\nname = "bare"\nclass = "test"\nmatch = "acme is red"\n')
    (folder / "bad.toml").write_text('[[rule]]\nname = "bad"\nclass = "test"\nmatch = "(a"\n')
    files = ("mine.toml", "shadowed.toml", "bare.toml", "bad.toml", "gone.toml")
    shown = said(capsys, "rules", "lint", *files, code=1)
    assert "rule 'later' is shadowed: acme-licence decides its examples" in shown
    assert "rule 'bare' has no example" in shown
    assert "bad.toml: rule 'bad': `match` pattern '(a' is no RE2 pattern" in shown
    assert "gone.toml cannot be read" in shown
    again = said(capsys, "rules", "lint", "mine.toml", "shadowed.toml", "mine.toml", code=1)
    assert "rule 'acme-licence' takes the place of the one in" in again


def test_lint_names_what_does_not_fit_together(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "mine.toml").write_text('[[rule]]\nname = "never-there"\nenabled = false\n')
    assert "there is no rule 'never-there' to disable" in said(capsys, "rules", "lint", code=1)
    assert "there is no rule 'never-there' to disable" in said(capsys, "rules", "list", code=2)
    assert "there is no rule 'never-there' to disable" in said(capsys, "rules", "test", "mine.toml", code=2)
    [bad] = [each for each in check_configuration(load({}, {}, folder)) if each.level is Level.BAD]
    assert "never-there" in bad.detail


def test_without_rules_of_one_s_own_lint_says_what_it_can_do(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "heald.toml").unlink()
    assert "`heald rules lint FILE` looks at a file" in said(capsys, "rules", "lint")


def test_an_example_that_fails_is_told_with_what_decided_instead(
    capsys: pytest.CaptureFixture[str], folder: Path
) -> None:
    wrong = SOUND.replace('"licence server lic-3 is well"', '"licence server lic-4 is away"')
    (folder / "mine.toml").write_text(wrong.replace('"licence server lic-3 is away"', '"nothing\\u001b is wrong"'))
    shown = said(capsys, "rules", "test", "mine.toml", code=1)
    assert "acme-licence should decide, and no rule does: nothing\\x1b is wrong" in shown
    assert "acme-licence should not decide, and acme-licence (integration) does" in shown
    *failed, total = records(capsys, "rules", "test", "mine.toml", code=1)
    assert [each["expected"] for each in failed] == [True, False]
    assert total == {"tried": 2, "failed": 2}


def test_explain_shows_the_line_that_decided_with_what_matched_marked(capsys: pytest.CaptureFixture[str]) -> None:
    message = "building\n  ünit: licence server lic-3 is away\x1b[0m, giving up"
    lines = said(capsys, "explain", "--stage", "unit", "--message", message).splitlines()
    assert "integration (connection, transient) in stage 'unit'" in lines[0]
    [row] = [number for number, line in enumerate(lines) if line.startswith("line 2")]
    matched = "licence server lic-3 is away"
    assert lines[row + 1].strip() == "^" * len(matched)
    assert lines[row + 1].index("^") == lines[row].index(matched)
    shown = "\n".join(lines)
    assert "acme-licence, confidence 0.9" in shown
    assert "\x1b" not in shown
    assert "retry: connections and agents usually come back within minutes" in shown
    assert "connection: connections and agents usually come back within minutes" in shown
    assert "attempts 1-2   retry" in shown


def test_explain_shows_what_came_close_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    [answer] = records(
        capsys, "explain", "--stage", "unit", "--message", "licence server lic-3 is away, No space left on device"
    )
    assert answer["diagnosed"]["diagnosis"]["rule"] == "acme-licence"
    assert "disk-full" in [each["rule"] for each in answer["diagnosed"]["close"]]
    shown = said(capsys, "explain", "--stage", "unit", "--message", "licence server lic-3 was away, is away")
    assert "came close" in shown
    assert "`unless`" in shown


def test_explain_shows_only_a_part_of_a_very_long_line(capsys: pytest.CaptureFixture[str]) -> None:
    message = f"{'x' * 5000} licence server lic-3 is away {'y' * 5000}"
    shown = said(capsys, "explain", "--stage", "unit", "--message", message)
    assert max(map(len, shown.splitlines())) < 300
    assert "licence server lic-3 is away" in shown
