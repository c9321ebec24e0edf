"""`heald completion`: shells complete verbs, options and values; nothing is imported for it that is not asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heald_producer import capture
from heald_worker.cli import main
from heald_worker.cli.verbs import VERBS
from support.verbs import HEALD

BASH = shutil.which("bash")


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which `heald` is this one."""
    program = tmp_path / "bin" / "heald"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {" ".join(HEALD)} "$@"\n')
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


def ask(words: str, *, shell: str = "zsh", **more: str) -> list[str]:
    """What follows the words, of which the last is not complete: pairs of a type and a value, and what is said."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), "_HEALD_COMPLETE": f"{shell}_complete"}
    env |= {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    done = subprocess.run(HEALD, env=env | more, capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout.splitlines()


def values(words: str) -> list[str]:
    return ask(words)[1::3]


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("heald", [*VERBS]),
        ("heald ru", ["run", "runs", "rules"]),
        ("heald runs --st", ["--state"]),
        ("heald runs --state re", ["repairing", "recovered"]),
        ("heald dead ", ["list", "purge", "replay", "show"]),
        ("heald completion f", ["fish"]),
        ("heald run --st", ["--stage", "--strict"]),
        ("heald nonsense --st", []),
    ],
)
def test_bash_completes_with_the_script(path: str, tmp_path: Path, words: str, expected: list[str]) -> None:
    assert BASH is not None
    typed = words.split(" ") if " " in words else [words, ""]
    script = (
        'set -eu; eval "$(heald completion bash)"; complete -p heald >&2; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); '
        '_heald_completion heald; printf "%s\\n" ${COMPREPLY[@]+"${COMPREPLY[@]}"}'
    )
    done = subprocess.run(
        [BASH, "--norc", "-c", script, "bash", *typed],
        env={"PATH": path, "HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "_heald_completion" in done.stderr
    assert sorted(done.stdout.split()) == sorted(expected)


@pytest.mark.parametrize(("shell", "words"), [("bash", "complete "), ("zsh", "compdef "), ("fish", "complete ")])
def test_each_shell_gets_a_script_of_its_own(shell: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert words in script
    assert f"_HEALD_COMPLETE={shell}_complete" in script


def test_another_shell_is_refused_with_those_that_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "tcsh"]) == 2
    assert "'bash', 'zsh', 'fish'" in capsys.readouterr().err


def test_verbs_are_completed_with_their_line_of_help() -> None:
    assert ask("heald sho") == ["plain", "show", VERBS["show"][2]]


def test_all_options_of_heald_run_are_completed_then_files() -> None:
    known = {*capture._WITH_VALUE, *capture._SWITCHES}
    assert set(values("heald run --")) == known
    assert ask("heald run --stage unit -- pyt")[0] == "file"


def test_no_verb_is_imported_to_complete_verbs() -> None:
    code = (
        "import sys; from heald_worker.cli import main; main([]); "
        "print(*(name for name in sys.modules if name.startswith('heald_worker.cli.')), file=sys.stderr)"
    )
    env = {"PYTHONPATH": os.pathsep.join(sys.path), "_HEALD_COMPLETE": "bash_complete", "COMP_WORDS": "heald s"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env | {"COMP_CWORD": "1"}, capture_output=True, text=True, check=True
    )
    assert "show" in done.stdout
    loaded = {name.rpartition(".")[2] for name in done.stderr.split()}
    assert loaded <= {"verbs", "common", "completion"}


def test_what_cannot_be_completed_says_nothing(tmp_path: Path) -> None:
    assert ask("heald nonsense --") == []
    assert ask("heald runs --state ", HEALD_CONFIG=str(tmp_path / "away.toml"))[1] == "parked"
    assert ask("heald ", COMP_CWORD="x") == []


def test_a_command_line_with_words_is_no_question_of_a_shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_HEALD_COMPLETE", "bash_complete")
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("heald ")
