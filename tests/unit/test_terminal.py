"""`heald run` on a terminal: the command sees one too, and the real one is as before in the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shlex
import signal
import struct
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.command import AWAY, clean_environment
from support.processes import pid_in
from support.verbs import HEALD
from support.wait import until

ROWS, COLUMNS = 33, 111


class Terminal:
    """A process on a terminal of its own, as a person's shell would start it."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self.seen = b""
        self.status: int | None = None
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            try:
                set_size(0, ROWS, COLUMNS)
                os.execve(argv[0], argv, environment)
            finally:
                os._exit(99)

    def read(self) -> bytes:
        """What has been shown so far."""
        while select.select([self.master], [], [], 0)[0]:
            try:
                data = os.read(self.master, 65536)
            except OSError:
                break
            if not data:
                break
            self.seen += data
        return self.seen

    def shows(self, text: bytes) -> None:
        until(lambda: text in self.read(), f"the terminal shows {text!r}, beyond {self.seen[-300:]!r}")

    def type(self, text: bytes) -> None:
        os.write(self.master, text)

    def ends(self) -> int:
        """Wait for the process's end and return its exit code."""
        until(self._ended, f"it ends; shown: {self.seen[-300:]!r}")
        self.read()
        assert self.status is not None
        return os.waitstatus_to_exitcode(self.status)

    def _ended(self) -> bool:
        self.read()
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = status if pid else None
        return self.status is not None

    def close(self) -> None:
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.master)


OnTerminal = Callable[[str], Terminal]
"""Runs a shell script on a terminal of its own; the word `heald` in it stands for `heald run -q`."""


def set_size(descriptor: int, rows: int, columns: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


@pytest.fixture
def on_terminal(tmp_path: Path) -> Iterator[OnTerminal]:
    opened: list[Terminal] = []

    def open_one(script: str) -> Terminal:
        environment = clean_environment(TERM="xterm", HEALD_SPOOL=str(tmp_path / "spool"), REDIS_URL=AWAY)
        prelude = f'heald() {{ {shlex.join(HEALD)} run -q "$@"; }}; PY="{sys.executable}"; '
        opened.append(Terminal(["/bin/sh", "-c", prelude + script], environment))
        return opened[-1]

    yield open_one
    for terminal in opened:
        terminal.close()


def spooled(tmp_path: Path) -> bool:
    return (tmp_path / "spool").exists()


def test_a_terminal_stays_a_terminal_of_the_same_size(on_terminal: OnTerminal) -> None:
    terminal = on_terminal("heald -- sh -c 'test -t 0 && test -t 1 && test -t 2 && stty size; tty'; echo code $?")
    terminal.shows(b"code 0")
    assert f"{ROWS} {COLUMNS}\r\n/dev/".encode() in terminal.seen
    assert terminal.ends() == 0


def test_the_command_gets_a_controlling_terminal_and_its_exit_code_passes(on_terminal: OnTerminal) -> None:
    terminal = on_terminal("heald -- sh -c 'echo to the tty > /dev/tty; exit 7'; echo code $?")
    terminal.shows(b"code 7")
    assert b"to the tty" in terminal.seen


def test_what_is_typed_reaches_the_command(on_terminal: OnTerminal) -> None:
    terminal = on_terminal("heald -- sh -c 'echo ask; read answer; echo got $answer'; echo code $?")
    terminal.shows(b"ask")
    terminal.type(b"forty-two\r")
    terminal.shows(b"got forty-two")
    terminal.shows(b"code 0")


def test_output_is_shown_byte_by_byte_as_without_heald(on_terminal: OnTerminal) -> None:
    script = "printf 'a\\nb\\r\\n\\033[31mred\\033[0m\\t\\303\\251\\n'"
    with_heald = on_terminal(f'heald -- sh -c "{script}"; echo end')
    without = on_terminal(f'sh -c "{script}"; echo end')
    with_heald.shows(b"end\r\n")
    without.shows(b"end\r\n")
    assert with_heald.seen == without.seen


def test_a_new_size_is_passed_on(on_terminal: OnTerminal) -> None:
    code = ("import os, signal\n"
            "def show(): print('size', os.get_terminal_size(1).columns, flush=True)\n"
            "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])\nshow()\n"
            "signal.sigwait([signal.SIGWINCH])\nshow()")  # fmt: skip
    terminal = on_terminal(f'heald -- "$PY" -c "{code}"')
    terminal.shows(b"size 111")
    set_size(terminal.master, 40, 77)
    terminal.shows(b"size 77")
    assert terminal.ends() == 0


def test_ctrl_c_ends_the_command_and_nothing_is_reported(on_terminal: OnTerminal, tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(2, signal.SIG_DFL); print('ready', flush=True); time.sleep(600)"
    terminal = on_terminal(f'heald -- "$PY" -c "{code}"; echo code $?')
    terminal.shows(b"ready")
    terminal.type(b"\x03")
    terminal.shows(b"code 130")
    assert not spooled(tmp_path)


def test_a_command_on_a_terminal_that_is_out_of_time_is_ended_and_reported(
    on_terminal: OnTerminal, tmp_path: Path
) -> None:
    terminal = on_terminal("heald --timeout 0.3 -- sh -c 'echo up; sleep 600'; echo code $?")
    terminal.shows(b"code 124")
    assert spooled(tmp_path)


def test_sigterm_is_a_cis_also_where_the_ci_gives_its_jobs_a_terminal(on_terminal: OnTerminal, tmp_path: Path) -> None:
    terminal = on_terminal(f"heald -- sh -c 'echo $PPID > {tmp_path}/heald; echo up; sleep 600'; echo code $?")
    terminal.shows(b"up")
    os.kill(pid_in(tmp_path / "heald"), signal.SIGTERM)
    terminal.shows(b"code 143")
    assert spooled(tmp_path)


def test_a_command_that_reads_every_key_itself_gets_ctrl_c_as_a_key(on_terminal: OnTerminal, tmp_path: Path) -> None:
    code = ("import os, sys, tty\ntty.setraw(0)\nos.write(1, b'ready')\n"
            "key = os.read(0, 1)\nos.write(1, b'key %d' % key[0])\nsys.exit(5)")  # fmt: skip
    terminal = on_terminal(f'heald -- "$PY" -c "{code}"; echo code $?')
    terminal.shows(b"ready")
    terminal.type(b"\x03")
    terminal.shows(b"key 3")
    terminal.shows(b"code 5")
    assert spooled(tmp_path)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("sh -c 'exit 3'", 3),
        ("sh -c 'kill -KILL $$'", 137),
        ("sh -c 'stty raw -echo; exit 0'", 0),
        ("no-such-command", 127),
        ("sh -c 'kill -TERM $PPID; sleep 600'", 143),
    ],
)
def test_the_real_terminal_is_as_before_whatever_happens(on_terminal: OnTerminal, command: str, code: int) -> None:
    terminal = on_terminal(f"stty -g; heald -- {command}; echo code $?; stty -g; echo end")
    terminal.shows(b"end\r\n")
    assert f"code {code}".encode() in terminal.seen
    settings = re.findall(rb"[0-9a-f]+(?::[0-9a-f]+){10,}", terminal.seen)
    assert len(settings) == 2
    assert settings[0] == settings[1]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="sees a stopped process through /proc")
def test_ctrl_z_stops_the_command_and_heald_and_both_go_on(on_terminal: OnTerminal, tmp_path: Path) -> None:
    job = f"echo $$ > {tmp_path}/pid; echo ready; read x; echo got $x"
    terminal = on_terminal(f"set -m; heald -- sh -c '{job}'; stty -a; echo back; read y; fg; echo code $?")
    terminal.shows(b"ready")
    terminal.type(b"\x1a")
    terminal.shows(b"back")
    assert b" icanon" in terminal.seen
    state = Path(f"/proc/{pid_in(tmp_path / 'pid')}/stat")
    until(lambda: state.read_text().rpartition(")")[2].split()[0] == "T", "the command is stopped")
    terminal.type(b"\n")
    terminal.type(b"later\r")
    terminal.shows(b"got later")
    terminal.shows(b"code 0")


@pytest.mark.parametrize(
    ("redirection", "terminals_seen"),
    [
        ("", "0 1 2"),
        ("</dev/null", "1 2"),
        (">out", "0 2"),
        ("2>err", "0 1"),
        (">out 2>&1", "0"),
        ("</dev/null >out", "2"),
        ("| cat", "0 2"),
    ],
)
def test_each_stream_is_a_terminal_where_it_was_one(
    on_terminal: OnTerminal, redirection: str, terminals_seen: str, tmp_path: Path
) -> None:
    test = 'for n in 0 1 2; do test -t $n && seen="$seen $n"; done; echo seen$seen > result; echo text'
    terminal = on_terminal(f"cd {tmp_path}; heald -- sh -c '{test}' {redirection}; echo end")
    terminal.shows(b"end")
    assert (tmp_path / "result").read_text() == f"seen {terminals_seen}\n"
    shown = (tmp_path / "out").read_bytes() if ">out" in redirection else terminal.seen
    assert b"text" in shown


def test_output_to_a_terminal_without_input_from_it_is_not_changed(on_terminal: OnTerminal) -> None:
    terminal = on_terminal("printf 'a\\nb\\n'; heald -- printf 'a\\nb\\n' </dev/null; echo end")
    terminal.shows(b"end")
    assert terminal.seen.startswith(b"a\r\nb\r\n" * 2 + b"end")


def test_a_background_job_leaves_the_terminal_alone(on_terminal: OnTerminal) -> None:
    terminal = on_terminal("set -m; heald -- sh -c 'echo from behind; exit 0' & wait $!; echo code $?")
    terminal.shows(b"from behind")
    terminal.shows(b"code 0")


def test_a_burst_of_typing_and_output_at_once_does_not_lock_up(on_terminal: OnTerminal) -> None:
    job = 'stty -echo; echo ready; head -c 3000000 /dev/zero | tr "\\\\0" x; echo; echo over'
    terminal = on_terminal(f"heald -- sh -c '{job}'; echo code $?")
    terminal.shows(b"ready")
    deadline = time.monotonic() + 60
    for _ in range(200):
        if select.select([], [terminal.master], [], 0)[1]:
            terminal.type(b"some words\r")
        terminal.read()
        assert time.monotonic() < deadline
    terminal.shows(b"over")
    terminal.shows(b"code 0")
