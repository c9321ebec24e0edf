"""`heald run`: the command behaves as without heald, and a failure is reported once it has failed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heald_producer import wire
from heald_producer.alarms import Alarms
from heald_producer.capture import HELP, UsageError, _is_run_id, parse, seconds
from heald_producer.failure import default_stage, report_failure, why
from heald_producer.kept import HEAD_BYTES, TAIL_BYTES, Kept
from heald_producer.mask import Masker
from heald_producer.relay import Ended
from heald_producer.signals import FailureReport, InvalidReport, check_run_id
from heald_producer.wire import decode_report
from heald_worker.config_values import duration
from support.command import AWAY, clean_environment, heald
from support.processes import lives
from support.verbs import HEALD
from support.wait import until

HEAVY = {"redis", "rq", "rich", "click", "msgspec", "subprocess", "json", "typing", "pathlib", "logging", "threading",
         "hashlib", "socket", "datetime", "tempfile", "dataclasses", "inspect", "heald_producer.signals"}  # fmt: skip


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


def run(*command: str | bytes, spool: Path | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`heald run` with a server that is away."""
    folder = ["--spool", spool] if spool else ["--spool", "/dev/null/nowhere"]
    return heald("run", "--redis-url", AWAY, *folder, *command, **environment)


def python(code: str) -> list[str]:
    return ["--", sys.executable, "-c", code]


def shell(script: str) -> list[str]:
    return ["--", "sh", "-c", script]


def the_report(spool: Path) -> FailureReport:
    [file] = [name for name in spool.iterdir() if name.suffix == ".json"]
    return decode_report(file.read_bytes())


# The command line


def test_the_command_line_is_read_up_to_the_command() -> None:
    options = parse(["--stage", "unit", "--run-id=r1", "-q", "--flaky", "pytest", "-q", "--stage", "x"])
    assert (options.stage, options.run_id, options.quiet, options.flaky) == ("unit", "r1", True, True)
    assert options.command == ["pytest", "-q", "--stage", "x"]
    assert parse(["--", "--odd"]).command == ["--odd"]
    assert parse(["--strict", "--", "a", "--", "b"]).command == ["a", "--", "b"]
    assert parse(["-", "x"]).command == ["-", "x"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "no command"),
        (["--"], "no command"),
        (["--stage"], "--stage needs a value"),
        (["--stage", "--", "x"], "--stage needs a value"),
        (["--stag", "x"], "did you mean --stage"),
        (["--flaky=yes", "x"], "no option"),
        (["--unknown", "x"], "no option"),
        (["-x"], "no option"),
        (["--run-id", "a/b", "x"], "--run-id 'a/b' is not allowed"),
        (["--run-id", "", "x"], "--run-id is empty"),
        (["--stage", "s" * 257, "x"], "--stage is longer than 256 bytes"),
        (["--stage", "é" * 129, "x"], "--stage is longer"),
        (["--policy", "p" * 129, "x"], "--policy is longer"),
        (["--timeout", "soon", "x"], "--timeout 'soon' is no time: use 90s, 15m, 2h"),
        (["--timeout", "0", "x"], "is no time"),
        (["--timeout", "-1", "x"], "is no time"),
        (["--timeout", "m", "x"], "is no time"),
        (["--timeout", "1e3", "x"], "is no time"),
        (["--timeout", "1.2.3", "x"], "is no time"),
        (["--timeout", "inf", "x"], "is no time"),
        (["--timeout", "3651d", "x"], "is no time"),
        (["--stage", "\udcff", "x"], "not valid UTF-8"),
    ],
)
def test_a_wrong_command_line_is_one_sentence(arguments: list[str], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        parse(arguments)


def test_wrong_usage_exits_with_2_and_a_hint_before_anything_runs(tmp_path: Path) -> None:
    done = run("--stagee", "x", "--", "touch", str(tmp_path / "made"))
    assert done.returncode == 2
    assert b"did you mean --stage?" in done.stderr
    assert b"heald run --help" in done.stderr
    assert b"Traceback" not in done.stderr
    assert not (tmp_path / "made").exists()


def test_help_is_on_stdout_and_fits_a_terminal() -> None:
    done = heald("run", "--help")
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, HELP, b"")
    assert max(map(len, HELP.splitlines())) <= 80


@given(st.text(max_size=140) | st.from_regex(r"[A-Za-z0-9._-]{1,130}", fullmatch=True))
def test_the_early_check_of_a_run_id_agrees_with_the_wires(text: str) -> None:
    def on_the_wire() -> bool:
        try:
            check_run_id(text)
        except InvalidReport:
            return False
        return True

    assert (text != "" and _is_run_id(text)) == on_the_wire()


# As without heald


@pytest.mark.parametrize("code", [0, 1, 2, 77, 255])
def test_the_exit_code_is_the_commands(code: int) -> None:
    assert run(*shell(f"exit {code}")).returncode == code


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGPIPE])
def test_a_killed_command_is_128_and_the_signal(number: int) -> None:
    assert run(*shell(f"kill -{number} $$")).returncode == 128 + number


def test_what_is_not_there_is_127_and_what_cannot_run_is_126(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no program")
    (tmp_path / "broken").write_bytes(b"\x7fELF")
    (tmp_path / "broken").chmod(0o755)
    for name, code, reason in (
        ("no-such-command", 127, b"no-such-command: command not found"),
        ("", 127, b"command not found"),
        (str(tmp_path / "none"), 127, b"command not found"),
        (str(tmp_path / "plain"), 126, b"Permission denied"),
        (str(tmp_path), 126, b"Permission denied"),
        (str(tmp_path / "broken"), 126, b"Exec format error"),
    ):
        done = run("--", name)
        assert (done.returncode, reason in done.stderr) == (code, True), done.stderr


def test_both_outputs_pass_byte_by_byte_and_stay_apart() -> None:
    code = "import os\nfor n in range(256): os.write(1, bytes([n]) * 999); os.write(2, bytes([255 - n]) * 998)"
    done = run(*python(code))
    assert done.stdout == b"".join(bytes([n]) * 999 for n in range(256))
    assert done.stderr == b"".join(bytes([255 - n]) * 998 for n in range(256))


def test_the_order_of_the_outputs_stays_where_both_are_the_same_file(tmp_path: Path) -> None:
    code = "import os\nfor n in range(2000): os.write(1 + n % 2, b'%d\\n' % n)"
    with (tmp_path / "log").open("wb") as log:
        subprocess.run([*HEALD, "run", *python(code)], stdout=log, stderr=log, check=True, timeout=60)
    assert (tmp_path / "log").read_bytes() == b"".join(b"%d\n" % n for n in range(2000))


def test_input_folder_environment_and_open_files_reach_the_command(tmp_path: Path) -> None:
    readable, writable = os.pipe()
    deep = f"import os; os.write({writable}, b'deep\\n')"
    done = subprocess.run(
        [*HEALD, "run", *shell('cat; pwd; echo $ANSWER; exec "$@"'), "sh", *python(deep)[1:]],
        input=b"typed \xff\n",
        capture_output=True,
        cwd=tmp_path,
        env=clean_environment(ANSWER="42"),
        pass_fds=[writable],
        check=True,
        timeout=60,
    )
    assert done.stdout == b"typed \xff\n" + bytes(tmp_path) + b"\n42\n"
    os.close(writable)
    assert os.read(readable, 100) == b"deep\n"
    os.close(readable)


def test_signals_that_python_ignores_have_their_default_again() -> None:
    done = run("--", "sh", "-c", "grep -E '^Sig(Ign|Blk)' /proc/self/status")
    ignored, blocked = (int(line.split()[1], 16) for line in sorted(done.stdout.splitlines(), reverse=True))
    assert (ignored & (1 << signal.SIGPIPE - 1), blocked) == (0, 0)


def test_what_nohup_ignores_stays_ignored() -> None:
    script = "trap '' HUP; exec \"$@\""
    command = [*HEALD, "run", *python("import signal; print(repr(signal.getsignal(signal.SIGHUP)))")]
    done = subprocess.run(["sh", "-c", script, "sh", *command], capture_output=True, check=True, timeout=60)
    assert b"SIG_IGN" in done.stdout


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_do_no_harm(closed: str, tmp_path: Path) -> None:
    script = f'"$@" {closed}; echo $? > {tmp_path}/code'
    command = [*HEALD, "run", *shell(f"echo out; echo err >&2; echo done > {tmp_path}/done; exit 3")]
    subprocess.run(
        ["sh", "-c", script, "sh", *command],
        capture_output=True,
        check=True,
        timeout=60,
        env=clean_environment(HEALD_SPOOL=str(tmp_path / "spool"), REDIS_URL=AWAY),
    )
    assert (tmp_path / "done").read_text() == "done\n"
    assert (tmp_path / "code").read_text() == "3\n"
    assert the_report(tmp_path / "spool").signal.exit_code == 3


def test_what_a_command_leaves_behind_does_not_hold_heald(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    done = run(*shell(f"cat {tmp_path}/fifo & echo $!; exit 0"))
    assert done.returncode == 0
    os.kill(int(done.stdout), signal.SIGKILL)


def test_all_that_the_command_wrote_arrives_even_when_something_else_holds_its_output(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    done = run(*shell(f"cat {tmp_path}/fifo & echo $! >&2; head -c 900000 /dev/zero"))
    assert done.stdout == bytes(900_000)
    os.kill(int(done.stderr), signal.SIGKILL)


def test_a_reader_that_leaves_ends_the_command_as_without_heald(spool: Path) -> None:
    process = subprocess.Popen(
        [*HEALD, "run", "--spool", spool, "--", "yes"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=clean_environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(4) == b"y\ny\n"
    process.stdout.close()
    assert process.wait(60) == 128 + signal.SIGPIPE
    assert b"not reported" in process.stderr.read()
    process.stderr.close()
    assert not spool.exists()


def test_a_full_disk_under_the_output_is_said_and_the_command_goes_on() -> None:
    with open("/dev/full", "wb") as full:
        command = [*HEALD, "run", *shell("echo lost; echo kept >&2; exit 0")]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert done.returncode == 0
    assert b"kept" in done.stderr
    assert b"warning: the command's output cannot be written: No space left on device" in done.stderr


# Signals in a CI: no terminal


class Running:
    """`heald run` of a Python program that answers to signals; no terminal is near."""

    def __init__(self, code: str, spool: Path, *arguments: str, url: str = AWAY) -> None:
        program = [sys.executable, "-u", "-c", code, *arguments]
        self.process = subprocess.Popen(
            [*HEALD, "run", "--spool", spool, "--redis-url", url, "--", *program],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment(),
            start_new_session=True,
        )
        assert self.line() == b"ready\n"

    def line(self) -> bytes:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ends(self) -> tuple[int, bytes, bytes]:
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


COUNT = """
import signal, sys, time
got = []
def note(number, frame):
    got.append(number)
    print("got", number)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
    signal.signal(number, note)
print("ready")
while not got:
    time.sleep(0.01)
until = time.monotonic() + 0.3
while time.monotonic() < until:
    time.sleep(0.05)
sys.exit(40 + len(got))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
@pytest.mark.parametrize("whole_group", [False, True])
def test_a_signal_reaches_the_command_once(number: int, whole_group: bool, spool: Path) -> None:
    running = Running(COUNT, spool)
    (os.killpg if whole_group else os.kill)(running.process.pid, number)
    code, out, err = running.ends()
    assert (code, out) == (41, b"got %d\n" % number)
    if number in (signal.SIGUSR1, signal.SIGTERM):
        assert the_report(spool).signal.exit_code in (41, 143)  # 143: it was slow to end, and told of before
    else:
        assert b"not reported" in err
        assert not spool.exists()


PAUSE = "import signal; signal.signal(2, signal.SIG_DFL); print('ready'); signal.pause()"


def test_a_command_that_the_ci_ends_is_reported_with_what_ended_it(spool: Path) -> None:
    running = Running(PAUSE, spool)
    running.process.send_signal(signal.SIGTERM)
    code, _, err = running.ends()
    assert code == 128 + signal.SIGTERM
    assert f"it is kept in {spool}".encode() in err
    report = the_report(spool)
    assert report.signal.exit_code == 143
    assert (
        "heald was stopped by signal SIGTERM: the CI's time limit, or a job that was cancelled" in report.signal.message
    )


def test_an_interrupted_command_is_not_reported(spool: Path) -> None:
    running = Running(PAUSE, spool)
    running.process.send_signal(signal.SIGINT)
    code, _, err = running.ends()
    assert code == 128 + signal.SIGINT
    assert b"not reported" in err
    assert not spool.exists()


STUBBORN = """
import os, pathlib, signal, sys, time
got = []
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, frame: (got.append(number), print("got", number)))
print("ready")
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.01)
print("bye")
sys.exit(int(sys.argv[2]))
"""
"""Ends with this code once this file is there, whatever signals come."""


def test_what_a_ci_interrupts_first_and_then_ends_was_interrupted(spool: Path, tmp_path: Path) -> None:
    """As GitHub stops a job whose commit is superseded: SIGINT, and SIGTERM after 7.5 seconds."""
    running = Running(STUBBORN, spool, str(tmp_path / "end"), "3")
    for number in (signal.SIGINT, signal.SIGTERM):
        running.process.send_signal(number)
        assert running.line() == b"got %d\n" % number
    (tmp_path / "end").touch()
    code, _, err = running.ends()
    assert (code, b"not reported, as the command was stopped by signal 2" in err) == (3, True)
    assert not spool.exists()


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_that_outlives_the_cis_signal_is_reported_before_it_ends(
    code: int, spool: Path, tmp_path: Path
) -> None:
    running = Running(STUBBORN, spool, str(tmp_path / "end"), str(code))
    running.process.send_signal(signal.SIGTERM)
    until(lambda: spool.exists() and list(spool.glob("*.json")), "the report is kept while the command runs")
    assert running.process.poll() is None
    report = the_report(spool)
    assert "the command had not ended yet" in report.signal.message
    (tmp_path / "end").touch()
    ended, out, err = running.ends()
    assert (ended, out) == (code, b"got 15\nbye\n")
    assert err.count(b"it is kept in") == 1
    assert the_report(spool) == report


def test_a_report_in_haste_is_on_the_disk_before_the_server_is_asked(spool: Path, tmp_path: Path) -> None:
    """The CI kills heald while a server that never answers is asked."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        running = Running(PAUSE, spool, url=url)
        running.process.send_signal(signal.SIGTERM)
        accepted, _ = silent.accept()
        with accepted:
            running.process.kill()
            assert running.ends()[0] == -signal.SIGKILL
    assert the_report(spool).signal.exit_code == 143


# The time limit


def test_a_command_out_of_time_is_ended_and_reported(spool: Path) -> None:
    done = run("--timeout", "0.2", *shell("echo started; sleep 600"), spool=spool)
    assert (done.returncode, done.stdout) == (124, b"started\n")
    assert b"heald: the command timed out after 0.2 (--timeout) and was ended\n" in done.stderr
    report = the_report(spool)
    assert report.signal.exit_code == 124
    assert report.signal.message == "started\nthe command timed out after 0.2 (--timeout) and was ended"


@pytest.mark.parametrize(
    ("ended", "subclass"),
    [
        (Ended(124, problem="the command timed out after 50m (--timeout) and was ended", timed_out=True), "timeout"),
        (Ended(1, stopped_by=signal.SIGTERM), "killed"),
    ],
)
def test_what_a_time_limit_ended_is_diagnosed_as_that(ended: Ended, subclass: str) -> None:
    message = why(ended, kept_of(b"running 41 tests\n"), Masker.of({}))
    told = heald("explain", "--json", "--stage", "ci", "--message", message)
    assert json.loads(told.stdout)["diagnosed"]["diagnosis"]["subclass"] == subclass


def test_a_command_that_ends_itself_when_its_time_is_over_has_failed_all_the_same(spool: Path) -> None:
    code = "import signal, sys\nsignal.signal(15, lambda *_: sys.exit(0))\nprint('up', flush=True)\nsignal.pause()"
    assert run("--timeout", "1s", *python(code), spool=spool).returncode == 124
    assert the_report(spool).signal.exit_code == 124


def test_a_command_within_its_time_is_left_alone(spool: Path) -> None:
    assert run("--timeout", "1h", *shell("exit 0"), spool=spool).returncode == 0
    assert run("--timeout", "1h", *shell("exit 3"), spool=spool).returncode == 3
    assert the_report(spool).signal.exit_code == 3


def test_the_whole_process_group_ends_and_what_does_not_listen_is_killed(spool: Path, tmp_path: Path) -> None:
    """The command is gone with SIGTERM; a process that it started ignores that, and its outputs are elsewhere."""
    os.mkfifo(tmp_path / "alive")
    deaf = f"import signal, time; signal.signal(15, signal.SIG_IGN); open({str(tmp_path / 'alive')!r}, 'w').write('x')"
    script = f'"{sys.executable}" -c "{deaf}; time.sleep(600)" >/dev/null 2>&1 & echo $!; cat {tmp_path}/alive; wait'
    code = (
        "import sys, heald_producer.stopping as stopping\n"
        "stopping.GRACE = 0.3\n"
        "from heald_producer.capture import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    options = ["--spool", str(spool), "--redis-url", AWAY, "--timeout", "2"]
    done = subprocess.run(
        [sys.executable, "-c", code, *options, *shell(script)], capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 124
    pid = int(done.stdout.split()[0])
    until(lambda: not lives(pid), "the deaf process is gone")


@pytest.mark.parametrize(
    ("text", "found"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("7d", 604_800), (".5", 0.5)]
)
def test_a_timeout_is_a_duration_as_in_the_configuration(text: str, found: float) -> None:
    in_a_file = text if text[-1].isalpha() else float(text)
    assert seconds(text) == duration().check(in_a_file, "timeout") == found


def test_alarms_ring_once_in_their_time() -> None:
    now, rung = [0.0], list[str]()
    alarms = Alarms(lambda: now[0])
    assert alarms.wait() is None
    alarms.set(5, lambda: rung.append("five"))
    alarms.set(2, lambda: alarms.set(1, lambda: rung.append("three")))
    assert alarms.wait() == 2
    for now[0], told, wait in ((1.0, [], 1), (2.0, [], 1), (4.0, ["three"], 1), (5.0, ["three", "five"], None)):
        alarms.ring()
        assert (rung, alarms.wait()) == (told, wait)
    alarms.set(1e9, list)
    assert alarms.wait() == 3600


def test_a_signal_reaches_the_command_while_nobody_reads_its_output(spool: Path) -> None:
    code = "import os, sys\nprint('ready')\nwhile True: os.write(1, b'x' * 65536)"
    running = Running(code, spool)
    running.process.send_signal(signal.SIGTERM)
    assert running.ends()[0] == 128 + signal.SIGTERM


# What is reported


def test_a_failure_waits_in_the_spool_while_the_server_is_away(spool: Path) -> None:
    script = "printf 'one\\n\\033[31mtwo\\033[0m\\n10%%\\r100%%\\r\\nlast\\n'; exit 3"
    done = run("--stage", "unit", "--policy", "careful", "--flaky", *shell(script), spool=spool)
    assert done.returncode == 3
    report = the_report(spool)
    assert report.signal.message == "one\ntwo\n100%\nlast"
    assert (report.signal.stage, report.signal.exit_code, report.signal.flaky_hint) == ("unit", 3, True)
    assert report.policy == "careful"
    assert report.run_id.startswith("local-unit-")
    assert report.context.command is not None
    assert report.context.command.startswith("sh -c 'printf")
    assert report.reported_at is not None
    assert b"cannot be reached" in done.stderr
    assert f"heald push --spool {spool}".encode() in done.stderr
    assert b"Traceback" not in done.stderr


def test_strict_makes_an_undelivered_failure_75_and_nothing_else(spool: Path) -> None:
    assert run("--strict", *shell("exit 3"), spool=spool).returncode == 75
    assert run("--strict", *shell("exit 0"), spool=spool).returncode == 0


def test_a_run_id_can_be_given_and_else_follows_from_the_ci(spool: Path, tmp_path: Path) -> None:
    run("--run-id", "my-run.1", *shell("exit 1"), spool=spool)
    assert the_report(spool).run_id == "my-run.1"
    ci = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "4711", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "test"}
    run(*shell("exit 1"), spool=tmp_path / "ci", **ci)
    assert the_report(tmp_path / "ci").run_id.startswith("github-4711-1-test-")


@pytest.mark.parametrize(
    ("environment", "stage"),
    [
        ({"GITLAB_CI": "1", "CI_JOB_STAGE": "verify", "CI_JOB_NAME": "lint"}, "verify"),
        ({"GITHUB_ACTIONS": "1", "GITHUB_JOB": "lint"}, "lint"),
        ({"GITHUB_ACTIONS": "1"}, "sh"),
        ({"GITLAB_CI": "1", "CI_JOB_NAME": os.fsdecode(b"lint \xff")}, "lint \ufffd"),
    ],
)
def test_the_stage_is_the_cis_own_else_the_commands(environment: dict[str, str], stage: str, spool: Path) -> None:
    run(*shell("exit 1"), spool=spool, **environment)
    assert the_report(spool).signal.stage == stage


def test_two_failing_commands_of_one_job_and_stage_are_two_runs(spool: Path, tmp_path: Path) -> None:
    ci = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "4711", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_JOB": "test"}
    for number, script in enumerate(("exit 1", "exit 2", "exit 1")):
        run(*shell(script), spool=tmp_path / str(number), **ci)
    first, second, again = (the_report(tmp_path / str(number)).run_id for number in range(3))
    assert first == again
    assert first != second


def test_a_secret_in_a_command_is_not_in_its_digest(tmp_path: Path) -> None:
    ci = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "4711"}
    for password in ("correct-horse", "battery-staple"):
        run("--", "sh", "-c", "exit 1", "sh", "--password", password, spool=tmp_path / password, **ci)
    assert len({the_report(folder).run_id for folder in tmp_path.iterdir()}) == 1


def test_a_report_that_is_too_large_is_said_to_be(monkeypatch: pytest.MonkeyPatch, spool: Path) -> None:
    monkeypatch.setattr(wire, "MAX_REPORT_BYTES", 100)
    monkeypatch.setattr(wire, "MAX_MESSAGE_BYTES", 100)
    options, warnings = parse(["--redis-url", AWAY, "--spool", str(spool), "--", "x"]), list[str]()
    assert not report_failure(options, Ended(1), kept_of(b"boom\n"), warnings.append, warnings.append)
    [warning] = warnings
    assert "not reported, as no server would take its report: report: " in warning
    assert "bytes; at most 100 are allowed" in warning
    assert not spool.exists()


def test_no_secret_leaves_the_runner(spool: Path) -> None:
    secret, token = "hunter2" + "hunter2", "gh" + "p_" + "aB3dE6" * 6
    script = f"echo key=$MY_API_KEY; echo {token}; echo https://u:{secret}x@host/; exit 1"
    run("--stage", f"s {secret}", *shell(script), spool=spool, MY_API_KEY=secret, GITLAB_CI="1", CI_JOB_NAME=secret)
    [file] = spool.iterdir()
    assert secret.encode() not in file.read_bytes()
    assert token.encode() not in file.read_bytes()
    assert the_report(spool).signal.message.startswith("key=[masked]\n[masked]\n")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exit 7", "(no output; exit code 7)"),
        ("echo out; kill -SEGV $$", "out\nSegmentation fault (signal 11)"),
        ("printf 'caf\\351 \\000'; exit 1", "caf\ufffd"),
    ],
)
def test_the_message_tells_how_it_ended(script: str, message: str, spool: Path) -> None:
    run(*shell(script), spool=spool)
    assert the_report(spool).signal.message == message


def test_a_command_that_cannot_start_is_a_failure_too(spool: Path) -> None:
    assert run("--", "no-such-command", spool=spool).returncode == 127
    assert the_report(spool).signal.message.strip() == "no-such-command: command not found"


def test_quiet_keeps_warnings(spool: Path) -> None:
    assert b"warning" in run("--quiet", *shell("exit 1"), spool=spool).stderr
    assert run("--quiet", *shell("exit 0"), spool=spool).stderr == b""


def test_healds_own_troubles_are_said_and_change_no_exit_code(tmp_path: Path) -> None:
    nowhere = run(*shell("exit 4"))
    assert (nowhere.returncode, b"not kept" in nowhere.stderr) == (4, True)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "msgspec.py").write_text("raise RuntimeError('broken installation')")
    path = os.pathsep.join([str(tmp_path / "lib"), *sys.path])
    broken = run(*shell("exit 4"), PYTHONPATH=path)
    assert broken.returncode == 4
    assert b"warning: the failure is not reported: RuntimeError: broken installation" in broken.stderr
    assert run(*shell("exit 0"), PYTHONPATH=path).stderr == b""
    (tmp_path / "heald.toml").write_text("redis_url = 5")
    command = [*HEALD, "run", "--spool", "spool", *shell("exit 4")]
    done = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, check=False, timeout=60)
    assert done.returncode == 4
    assert b"heald.toml cannot be used" in done.stderr
    assert the_report(tmp_path / "spool").signal.exit_code == 4


def test_a_command_may_remove_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    command = [
        *HEALD,
        "run",
        "--spool",
        tmp_path / "spool",
        "--redis-url",
        AWAY,
        *shell(f"rmdir {tmp_path}/gone; exit 5"),
    ]
    done = subprocess.run(
        command, cwd=tmp_path / "gone", env=clean_environment(), capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 5
    assert the_report(tmp_path / "spool").signal.exit_code == 5


@pytest.mark.parametrize(
    ("command", "stage"),
    [
        ("pytest -q", "pytest"),
        ("/usr/bin/cargo test --all", "cargo test"),
        ("npm run build", "npm run build"),
        ("python -m pytest tests/unit", "python pytest"),
        ("./gradlew build", "gradlew build"),
        ("bash build.sh", "bash build.sh"),
        ("go test ./...", "go test"),
        ("make", "make"),
        ("/", "/"),
    ],
)
def test_a_stage_is_called_after_its_command(command: str, stage: str) -> None:
    assert default_stage(command.split()) == stage


def test_a_machine_without_descriptors_still_runs_the_command() -> None:
    script = 'ulimit -n 7; exec "$@"'
    command = [*HEALD, "run", *shell("echo out; exit 4")]
    done = subprocess.run(["sh", "-c", script, "sh", *command], capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (4, b"out\n")
    assert b"cannot watch the command" in done.stderr
    assert b"not reported" in done.stderr


def test_a_bug_in_the_relay_costs_the_output_but_never_the_exit_code(spool: Path) -> None:
    code = (
        "import sys, heald_producer.relay as relay\n"
        "class select:\n    select = lambda *_: 1 / 0\n"
        "relay.select = select\n"
        "from heald_producer.capture import main\n"
        f"sys.exit(main(['--spool', {str(spool)!r}, '--redis-url', {AWAY!r}, '--', 'sh', '-c', 'exit 6']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, timeout=60)
    assert done.returncode == 6
    assert b"output is not passed on any more: ZeroDivisionError" in done.stderr
    assert the_report(spool).signal.exit_code == 6


# What it costs


def test_a_green_build_imports_next_to_nothing() -> None:
    code = (
        "import sys; from heald_worker.cli import main; code = main(['run', '--', 'true']); print(code, *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, check=True, timeout=60,
                          env=clean_environment())  # fmt: skip
    code_, *modules = done.stdout.decode().split()
    assert code_ == "0"
    assert "heald_producer.relay" in modules
    assert HEAVY & set(modules) == set()
    assert "re" not in modules


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells memory through /proc")
def test_memory_does_not_grow_with_the_output() -> None:
    done = run(*shell("head -c 300000000 /dev/zero | tr '\\0' x; grep VmHWM /proc/$PPID/status >&2"))
    assert len(done.stdout) == 300_000_000
    assert int(done.stderr.split()[1]) < 20 * 1024


# What is kept of an output, and what is made of it


def kept_of(*parts: bytes) -> Kept:
    kept = Kept()
    for part in parts:
        while part:
            size = min(len(part), TAIL_BYTES)
            first, second = kept.room()
            first[:size], second[: max(0, size - len(first))] = part[: min(size, len(first))], part[len(first) : size]
            assert b"".join(kept.take(size)) == part[:size]
            part = part[size:]
    return kept


@given(st.lists(st.binary(max_size=3000), max_size=8), st.integers(1, 400))
def test_the_head_and_the_tail_are_kept_however_the_bytes_come(parts: list[bytes], times: int) -> None:
    pieces = [piece * times for piece in parts]
    kept, whole = kept_of(*pieces), b"".join(pieces)
    assert kept.head == whole[:HEAD_BYTES]
    assert kept.tail == whole[HEAD_BYTES:][-TAIL_BYTES:]
    assert kept.lost == max(0, len(whole) - HEAD_BYTES - TAIL_BYTES)
    assert kept.total == len(whole)


def message_of(*parts: bytes) -> str:
    return why(Ended(1), kept_of(*parts), Masker())


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07", "red link"),
        (b"\x1b]0;title\x1b\\x\x1b(B\x1b=y\x1b7", "xy"),
        (b"a\x1b]unterminated\nb", "aunterminated\nb"),
        (b"10%\r50%\r100%\r\nnext\r\n", "100%\nnext"),
        (b"_\x08bo_\x08ld", "bold"),
        (b"tab\tand\x07bell \x00nul\x7f  \n", "tab\tandbell nul"),
        ("é漢😀".encode(), "é漢😀"),
        (b"\xff\xfe\xfd", "\ufffd\ufffd\ufffd"),
        (b"half an escape \x1b[3", "half an escape 3"),
    ],
)
def test_a_short_message_is_what_a_person_would_have_read(data: bytes, text: str) -> None:
    assert message_of(b"-\n" + data).removeprefix("-\n") == text


def test_what_the_gap_tears_is_not_quoted() -> None:
    secret = b"PASSWORD=" + b"hunter2" * 300
    noise = b"all is well\n" * (HEAD_BYTES // 12)
    text = message_of(noise, secret, b"\n" * TAIL_BYTES, secret, b"x" * TAIL_BYTES, b"\nerror: the end\n")
    assert text.splitlines()[-1] == "error: the end"
    assert "hunter2" not in text


@pytest.mark.parametrize(
    "unit", [b"a", b"\r", b"a\r", b"\x1b]", b"\x1b[", b"\x1b[1", b"a\x08", b"\x1bP", b"\x1b ", b" ", b"/", b"a/", b"1:"]
)
def test_no_output_takes_more_than_linear_time_to_read(unit: bytes) -> None:
    message_of(unit * 300_000)
