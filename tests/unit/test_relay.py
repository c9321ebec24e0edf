"""`heald run` in a CI, without a terminal: what signals and closed descriptors do to the command, as without heald."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import AWAY, clean_environment
from support.processes import lives, pid_in
from support.verbs import HEALD
from support.wait import until

PROC = Path("/proc/self/status").exists()
WATCHED = [*HEALD, "run", "--redis-url", AWAY, "--spool", "/dev/null/nowhere", "--"]
ANSWERS = """
import os, signal, sys
folder, *words = sys.argv[1:]
got = []
def note(number, frame):
    got.append(number)
    with open(folder + "/got", "a") as file:
        print(number, file=file)
for word in words:
    signal.signal(int(word), note)
signal.signal(signal.SIGUSR2, lambda number, frame: sys.exit(len(got)))
with open(folder + "/pid", "w") as file:
    print(os.getpid(), file=file)
while True:
    signal.pause()
"""
"""Notes the signals that it was told of, and ends with their number when it gets SIGUSR2."""


STARTED: list[subprocess.Popen[bytes]] = []


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    while STARTED:
        process = STARTED.pop()
        for pid in session_of(process):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait(60)


def start(*command: str | Path, inner: bool = False) -> subprocess.Popen[bytes]:
    """`heald run` of a command in a session of its own, away from any terminal.

    With `inner`, heald's group is not the session leader's, so that signals such as SIGTSTP can stop it.
    """
    starter = "import subprocess, sys; sys.exit(subprocess.Popen(sys.argv[1:], process_group=0).wait())"
    outer = [sys.executable, "-c", starter] if inner else []
    STARTED.append(
        subprocess.Popen(
            [*outer, *WATCHED, *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=clean_environment(),
            start_new_session=True,
        )
    )
    return STARTED[-1]


def session_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes of its session that have not ended."""
    table = subprocess.run(
        ["ps", "-s", str(process.pid), "-o", "pid=,stat="], capture_output=True, text=True, check=False
    )
    return [int(line.split()[0]) for line in table.stdout.splitlines() if not line.split()[1].startswith("Z")]


def counting(tmp_path: Path, *signals: int, inner: bool = False) -> tuple[subprocess.Popen[bytes], int]:
    """heald and the id of a command that counts these signals."""
    words = [str(int(each)) for each in signals]
    process = start(sys.executable, "-c", ANSWERS, tmp_path, *words, inner=inner)
    return process, pid_in(tmp_path / "pid")


def parent_of(pid: int) -> int:
    return int(subprocess.check_output(["ps", "-o", "ppid=", "-p", str(pid)]))


def is_stopped(pid: int) -> bool:
    return subprocess.check_output(["ps", "-o", "stat=", "-p", str(pid)]).startswith(b"T")


# The end of heald is the end of its command


@pytest.mark.parametrize("whole_group", [False, True])
def test_the_command_and_its_children_die_when_heald_is_killed(whole_group: bool, tmp_path: Path) -> None:
    script = f"sleep 1000 & echo $! >{tmp_path}/child; echo $$ >{tmp_path}/command; wait"
    process = start("sh", "-c", script)
    command, child = pid_in(tmp_path / "command"), pid_in(tmp_path / "child")
    (os.killpg if whole_group else os.kill)(process.pid, signal.SIGKILL)
    process.wait(60)
    until(lambda: not lives(command) and not lives(child), "the command and its child are gone")


def test_what_a_command_leaves_behind_outlives_heald_that_ends_by_itself(tmp_path: Path) -> None:
    process = start("sh", "-c", f"sleep 1000 & echo $! >{tmp_path}/child")
    assert process.wait(60) == 0
    child = pid_in(tmp_path / "child")
    assert lives(child)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_is_left_however_heald_ends(number: int, tmp_path: Path) -> None:
    process = start("sh", "-c", f"echo $$ >{tmp_path}/pid; exec sleep 1000")
    pid_in(tmp_path / "pid")
    process.send_signal(number)
    process.wait(60)
    until(lambda: session_of(process) == [], "its session is empty")


# Signals that heald gets


@pytest.mark.parametrize("name", ["SIGALRM", "SIGVTALRM", "SIGPROF", "SIGIO", "SIGPIPE", "SIGCONT", "SIGRTMIN"])
@pytest.mark.parametrize("whole_group", [False, True])
def test_a_signal_that_heald_gets_reaches_the_command_once(name: str, whole_group: bool, tmp_path: Path) -> None:
    number = getattr(signal, name)
    process, command = counting(tmp_path, number)
    (os.killpg if whole_group else os.kill)(process.pid, number)
    until((tmp_path / "got").exists, "the command has got the signal")
    os.kill(process.pid, signal.SIGUSR2)
    assert process.wait(60) == 1
    assert not lives(command)


@pytest.mark.parametrize("name", ["SIGALRM", "SIGVTALRM", "SIGIO", "SIGPIPE"])
def test_a_command_that_does_not_expect_the_signal_dies_of_it(name: str, tmp_path: Path) -> None:
    number = getattr(signal, name)
    process, _ = counting(tmp_path)
    if name == "SIGPIPE":  # Python ignores it; a shell does not
        os.kill(process.pid, signal.SIGUSR2)
        process.wait(60)
        process = start("sh", "-c", f"echo $$ >{tmp_path}/other; exec sleep 1000")
        pid_in(tmp_path / "other")
    process.send_signal(number)
    assert process.wait(60) == 128 + number


def test_a_reader_that_leaves_is_met_by_those_who_write_only(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*WATCHED, "sh", "-c", f"yes; echo $? >{tmp_path}/code"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=clean_environment(),
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 0
    assert (tmp_path / "code").read_text() == f"{128 + signal.SIGPIPE}\n"


@pytest.mark.parametrize("number", [signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU])
def test_what_stops_heald_stops_the_command_and_both_go_on(number: int, tmp_path: Path) -> None:
    process, command = counting(tmp_path, signal.SIGCONT, inner=True)
    heald = parent_of(command)
    os.kill(heald, number)
    until(lambda: is_stopped(heald) and is_stopped(command), "both are stopped")
    os.kill(heald, signal.SIGCONT)
    until(lambda: not is_stopped(heald) and not is_stopped(command), "both go on")
    until((tmp_path / "got").exists, "the command has been told so")
    os.kill(heald, signal.SIGUSR2)
    assert process.wait(60) == 1  # it was continued once


def test_what_nobody_could_continue_is_not_stopped(tmp_path: Path) -> None:
    process, _ = counting(tmp_path)  # a session leader, whose group the system does not stop
    process.send_signal(signal.SIGTSTP)
    process.send_signal(signal.SIGUSR2)
    assert process.wait(60) == 0


# What the command finds


LIKE_THIS = """
import os, signal, sys
for name in ("SIGALRM", "SIGVTALRM", "SIGIO", "SIGCONT", "SIGTTIN", "SIGTTOU", "SIGTSTP", "SIGUSR1"):
    signal.signal(getattr(signal, name), getattr(signal, sys.argv[1]))
signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGALRM, signal.SIGIO, signal.SIGTTIN} if sys.argv[2] else ())
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
os.execv(sys.argv[3], sys.argv[3:])
"""


@pytest.mark.skipif(not PROC, reason="tells dispositions through /proc")
@pytest.mark.parametrize("disposition", ["SIG_IGN", "SIG_DFL"])
@pytest.mark.parametrize("blocked", ["", "blocked"])
def test_the_command_inherits_the_dispositions_and_the_mask(disposition: str, blocked: str) -> None:
    before = [sys.executable, "-c", LIKE_THIS, disposition, blocked]
    command = ["/bin/grep", "^Sig[BIC]", "/proc/self/status"]
    plain = subprocess.check_output([*before, *command])
    assert plain == subprocess.check_output([*before, *WATCHED, *command], env=clean_environment())


OPEN = """
import os, sys
def is_open(number):
    try:
        return bool(os.fstat(number))
    except OSError:
        return False
sys.exit(sum(is_open(number) << number for number in range(3)))
"""


@pytest.mark.parametrize("closed", ["", ">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&-", "<&- >&- 2>&-"])
def test_what_is_closed_stays_closed(closed: str) -> None:
    command = [sys.executable, "-c", OPEN]
    plain, watched = (
        subprocess.run(["sh", "-c", f'"$@" {closed}', "sh", *before, *command], env=clean_environment(), check=False,
                       capture_output=True, timeout=60)
        for before in ([], WATCHED)
    )  # fmt: skip
    assert plain.returncode == 7 - sum(1 << "<>2".index(word[0]) for word in closed.split())
    assert (watched.returncode, watched.stdout) == (plain.returncode, plain.stdout)


@pytest.mark.parametrize(("closed", "out", "err"), [(">&-", b"", b"err\n"), ("2>&-", b"out\n", b"")])
def test_the_other_output_passes_when_one_is_closed(closed: str, out: bytes, err: bytes) -> None:
    command = ["sh", "-c", "echo out; echo err >&2; exit 0"]
    done = subprocess.run(
        ["sh", "-c", f'"$@" {closed}', "sh", *WATCHED, *command],
        env=clean_environment(),
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert done.stdout == out
    assert done.stderr.endswith(err)
