"""What the README says is so: verbs, flags, configuration, Python and links."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from heald_worker.cli.verbs import VERBS
from heald_worker.config import load_settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def quoted_commands() -> list[str]:
    """Every `heald ...` in backticks, and every line of the shell blocks that begins with it."""
    spans = re.findall(r"`(heald [^`]+)`", README)
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return spans + [line.split("#")[0].strip() for line in lines if line.startswith("heald ")]


def flags_of(verb: str) -> set[str]:
    module, name, _ = VERBS[verb]
    if not module:
        helped = subprocess.run(
            [sys.executable, "-m", "heald_worker", verb, "--help"], capture_output=True, text=True, check=True
        )
        return set(re.findall(r"--?[a-z][a-z-]*", helped.stdout))
    command = getattr(importlib.import_module(f"heald_worker.cli.{module}"), name)
    assert isinstance(command, click.Command)
    return {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}


def test_the_readme_quotes_commands() -> None:
    assert len(quoted_commands()) > 10


@pytest.mark.parametrize("command", sorted(set(quoted_commands())))
def test_every_quoted_verb_and_flag_exists(command: str) -> None:
    _, verb, *words = command.partition(" -- ")[0].split()
    assert verb in VERBS
    flags = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
    assert flags <= flags_of(verb)


@pytest.mark.parametrize("line", [line for line in README.splitlines() if re.search("`--[a-z]", line)])
def test_a_flag_named_alone_belongs_to_a_verb_of_its_line(line: str) -> None:
    verbs = re.findall(r"`heald ([a-z]+)", line)
    assert set(re.findall(r"`(--[a-z-]+)", line)) <= set().union(*map(flags_of, verbs))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_in_the_readme(verb: str) -> None:
    assert f"heald {verb}" in README


@pytest.mark.parametrize("number", range(len(blocks("python"))))
def test_the_python_runs_and_its_assertions_hold(number: int) -> None:
    exec(compile(blocks("python")[number], "README.md", "exec"), {"__name__": "readme"})


@pytest.mark.parametrize("number", range(len(blocks("toml"))))
def test_the_configuration_can_be_used(number: int, tmp_path: Path) -> None:
    (tmp_path / "heald.toml").write_text(blocks("toml")[number])
    load_settings({}, {}, tmp_path)


def test_the_defaults_it_shows_are_the_defaults(tmp_path: Path) -> None:
    (tmp_path / "heald.toml").write_text(blocks("toml")[0])
    shown = load_settings({}, {}, tmp_path).policies["default"]
    assert shown == load_settings({}, {}, tmp_path / "elsewhere").policies["default"]


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).is_file()
