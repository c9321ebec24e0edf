"""The command line: what it imports, what its exit codes mean, what it never shows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import click
import pytest
import redis

from heald_producer.connection import ServerTrouble
from heald_producer.signals import InvalidReport
from heald_worker import cli
from heald_worker.cli import main, unsuited
from heald_worker.cli.common import Output, Problem, clean, server_options, settings_options
from heald_worker.cli.describe import span
from heald_worker.cli.verbs import VERBS
from heald_worker.config import ConfigError

HEALD = [sys.executable, "-c", "import sys; from heald_worker.cli import main; sys.exit(main())"]
BARE = {"PATH": os.environ["PATH"]}


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration file, no variables of heald."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("HEALD_") or name in ("REDIS_URL", "NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name)


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., object]], None]:
    """Make a function the verb `trial`."""

    def install(function: Callable[..., object]) -> None:
        module = types.ModuleType("heald_worker.cli.trial")
        command = function if isinstance(function, click.Command) else click.command()(function)
        module.trial = command  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "heald_worker.cli.trial", module)
        monkeypatch.setitem(VERBS, "trial", ("trial", "trial", "A verb of the tests."))

    return install


def raising(error: BaseException) -> Callable[[], None]:
    def trial() -> None:
        raise error

    return trial


def imports_after(argv: list[str], prelude: str = "") -> set[str]:
    """The modules that are loaded after `heald ARGV`, in a fresh interpreter."""
    code = f"import sys\n{prelude}\nfrom heald_worker.cli import main\nmain({argv!r})\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=BARE)
    return set(done.stdout.splitlines()[-1].split())


def test_help_imports_no_verb_and_nothing_heavy() -> None:
    loaded = imports_after(["--help"])
    assert not loaded & {"redis", "rq", "rich", "msgspec", "heald_worker.config"}
    assert not {f"heald_worker.cli.{module}" for module, _, _ in VERBS.values() if module} & loaded


def test_a_spelling_mistake_imports_no_verb() -> None:
    assert not {"redis", "rich", "msgspec"} & imports_after(["dcotor"])


def test_run_goes_straight_to_the_producer() -> None:
    stub = "import types; m = types.ModuleType('heald_producer.capture'); m.main = lambda argv: print(argv)\n"
    loaded = imports_after(["run", "--", "x"], stub + "sys.modules['heald_producer.capture'] = m")
    assert not loaded & {"click", "redis", "rq", "rich", "msgspec", "subprocess", "heald_worker.cli.verbs"}


def test_run_passes_its_arguments_on_and_its_exit_code_back(monkeypatch: pytest.MonkeyPatch) -> None:
    capture = types.ModuleType("heald_producer.capture")
    seen: list[list[str]] = []
    capture.main = lambda argv: seen.append(argv) or 42  # type: ignore[attr-defined,func-returns-value]
    monkeypatch.setitem(sys.modules, "heald_producer.capture", capture)
    assert main(["run", "--stage", "unit", "--", "make", "--help"]) == 42
    assert seen == [["--stage", "unit", "--", "make", "--help"]]


def test_the_console_script_takes_its_arguments_from_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["heald", "--version"])
    assert main() == 0


def test_help_lists_every_verb_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, (_, _, line) in VERBS.items():
        assert f"  {name} " in shown
        assert line.split()[0] in shown


def test_every_verb_of_the_table_is_a_command() -> None:
    with click.Context(click.Command("heald")) as context:
        from heald_worker.cli.verbs import heald

        for name, (module, _, _) in VERBS.items():
            if module:
                assert isinstance(heald.get_command(context, name), click.Command), name


@pytest.mark.parametrize(
    ("word", "hint"), [("tial", "did you mean `heald tail`?"), ("expalin", "`heald explain`"), ("zz", "`heald --help`")]
)
def test_an_unknown_verb_gets_the_near_one(word: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 2
    shown = capsys.readouterr().err
    assert f"there is no verb '{word}'" in shown
    assert hint in shown


def test_without_a_verb_the_help_is_shown_and_the_exit_code_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Verbs:" in capsys.readouterr().err


def test_an_unsuited_python_or_platform_is_refused_with_what_to_do() -> None:
    assert unsuited((3, 11), "linux") == unsuited((3, 14), "darwin") == ""
    assert "Python 3.11 or newer, this is 3.10" in unsuited((3, 10), "linux")
    assert "WSL" in unsuited((3, 12), "win32")


def test_an_unsuited_machine_runs_no_verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(cli, "unsuited", lambda _version, _platform: "does not run here")
    assert main(["run", "--", "true"]) == 69
    assert capsys.readouterr().err == "heald: does not run here\n"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ConfigError("x is wrong", "mend x"), 2, "heald: x is wrong\n  mend x\n"),
        (InvalidReport("stage", "too long", "cut it"), 2, "heald: stage: too long\n  cut it\n"),
        (ServerTrouble("away", "start it"), 69, "heald: away\n  start it\n"),
        (Problem("no such run"), 1, "heald: no such run\n"),
        (Problem("no", exit_code=5), 5, "heald: no\n"),
        (PermissionError(13, "Permission denied", "/x"), 74, "heald: /x: Permission denied\n"),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (BrokenPipeError(), 141, ""),
        (ValueError("odd\x1b[2J"), 70, "HEALD_DEBUG=1"),
        (RecursionError(), 70, "unexpected RecursionError"),
    ],
)
def test_every_error_ends_in_an_exit_code_and_a_sentence_without_a_traceback(
    verb: Callable[[Callable[..., object]], None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    code: int,
    said: str,
) -> None:
    verb(raising(error))
    assert main(["trial"]) == code
    shown = capsys.readouterr().err
    assert said in shown
    assert "Traceback" not in shown
    assert "\x1b" not in shown


def test_an_error_shows_its_traceback_when_asked(
    verb: Callable[[Callable[..., object]], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEALD_DEBUG", "1")
    verb(raising(ValueError("odd")))
    assert main(["trial"]) == 70
    assert "Traceback" in capsys.readouterr().err


def test_a_verb_returns_its_exit_code(verb: Callable[[Callable[..., object]], None]) -> None:
    verb(lambda: 1)
    assert main(["trial"]) == 1
    verb(lambda: None)
    assert main(["trial"]) == 0


def test_a_server_error_names_the_server_without_its_password(
    verb: Callable[[Callable[..., object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    @server_options
    def trial(settings: object, output: Output) -> None:
        raise redis.ConnectionError("refused")

    verb(trial)
    assert main(["trial", "--redis-url", "redis://me:hunter2@host:1/0"]) == 69
    shown = capsys.readouterr().err
    assert "host:1" in shown
    assert "hunter2" not in shown


def test_options_named_as_settings_override_them(
    verb: Callable[[Callable[..., object]], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen = {}

    @click.command()
    @click.option("--dir", "artifacts")
    @click.option("--dry-run", is_flag=True, default=None)
    @click.option("--own")
    @settings_options
    def trial(settings: object, output: Output, own: str) -> None:
        seen.update(settings=settings, own=own, json=output.as_json)

    verb(trial)
    monkeypatch.setenv("HEALD_DRY_RUN", "yes")
    assert main(["trial", "--dir", "books", "--own", "x", "--json"]) == 0
    assert (seen["own"], seen["json"]) == ("x", True)
    assert seen["settings"].artifacts == tmp_path / "books"  # type: ignore[attr-defined]
    assert seen["settings"].dry_run is True  # type: ignore[attr-defined]


def test_a_mistake_in_the_configuration_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "heald.toml").write_text("[limits]\nintake_report = 1\n")
    assert main(["explain", "--stage", "s", "--message", "m"]) == 2
    assert "heald.toml: limits.intake_report is not a known key" in capsys.readouterr().err


def test_a_removed_current_folder_is_a_clear_error(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    code = f"import os; os.chdir({str(gone)!r}); os.rmdir({str(gone)!r}); {HEALD[2]}"
    argv = [sys.executable, "-P", "-c", code, "explain", "--stage", "s", "--message", "m"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=BARE)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the current folder does not exist any more" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "<&- >&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("verb", [["explain", "--stage", "s", "--message", "m"], ["rules", "list"], ["--help"]])
def test_streams_that_are_closed_from_the_start_lead_nowhere(closed: str, verb: list[str]) -> None:
    argv = ["sh", "-c", f'exec "$@" {closed}', "sh", *HEALD, *verb]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, env=BARE)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_closed_pipe_ends_a_verb_quietly_as_sigpipe_would(extra: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    argv = [*HEALD, "explain", "--stage", "s", "--message", "m", *extra]
    done = subprocess.run(argv, stdout=writer, stderr=subprocess.PIPE, check=False, env=BARE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_a_full_disk_behind_stdout_is_a_clear_error(extra: list[str]) -> None:
    with open("/dev/full", "wb") as full:
        argv = [*HEALD, "explain", "--stage", "s", "--message", "m", *extra]
        done = subprocess.run(argv, stdout=full, stderr=subprocess.PIPE, check=False, env=BARE)
    assert (done.returncode, done.stderr) == (74, b"heald: No space left on device\n")


def test_a_terminal_of_few_characters_shows_the_others_as_escapes() -> None:
    argv = [*HEALD, "explain", "--stage", "żółć", "--message", "m"]
    environ = {**BARE, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert "stage '\\u017c\\xf3\\u0142\\u0107'" in done.stdout


def test_an_interrupt_ends_with_130_and_says_nothing() -> None:
    code = "import os, sys; from heald_worker.cli import verbs; verbs._invoke = lambda _: os.kill(os.getpid(), 2)"
    argv = [sys.executable, "-c", f"{code}; sys.exit(verbs.call([]))"]
    done = subprocess.run(argv, capture_output=True, check=False, env=BARE)
    assert (done.returncode, done.stderr) == (130, b"")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("żółć 漢字 🙂 \u00a0 нет", "żółć 漢字 🙂 \u00a0 нет"),
        ("👩\u200d🔧 می\u200cخواهم", "👩\u200d🔧 می\u200cخواهم"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("abc\u202edcba", "abc\\u202edcba"),
        ("\u2066x\u2069\ufeff\u00ad\u200b", "\\u2066x\\u2069\\ufeff\\xad\\u200b"),
        ("\ud800", "\\ud800"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_clean_shows_what_a_terminal_would_obey_and_keeps_what_people_read(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_clean_keeps_lines_and_tabs_on_request() -> None:
    assert clean("a\n\tb\x07", multiline=True) == "a\n\tb\\x07"


def test_json_output_is_ascii_lines_whatever_text_holds(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=True)
    output.record({"text": "\x1b\u202e\ud800 é\n", "path": Path("/x"), "none": None})
    output.print("not for machines")
    shown = capsys.readouterr().out
    assert shown.isascii()
    assert shown.count("\n") == 1
    assert json.loads(shown) == {"text": "\x1b\u202e\ud800 é\n", "path": "/x", "none": None}


def test_output_for_people_takes_text_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.print("[bold]no markup[/] :smile: " + "long " * 60)
    output.record({"not": "for people"})
    assert capsys.readouterr().out == "[bold]no markup[/] :smile: " + "long " * 60 + "\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "0.25s"), (59.6, "60s"), (90, "1.5m"), (900, "15m"), (7200, "2h"), (864_000, "10d")],
)
def test_spans_read_as_the_configuration_writes_them(seconds: float, text: str) -> None:
    assert span(seconds) == text
