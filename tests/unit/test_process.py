"""Whatever a command does, its end is known, its output is bounded and nothing of it is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from heald_worker.repairs.process import Fate, ProcessEnd, run
from support.processes import lives, pid_in
from support.wait import until

GRACE = 0.3
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="only Linux finds processes that left their group")

HANG = "while :; do sleep 0.1; done"
DEAF = f"trap '' TERM INT HUP; {HANG}"
FORK_AWAY = """
import os, sys, time
if os.fork():
    os.wait()
    sys.exit()
os.setsid()
if os.fork():
    os._exit(0)
with open(sys.argv[1] + ".part", "w") as file:
    print(os.getpid(), file=file)
os.rename(sys.argv[1] + ".part", sys.argv[1])
while True:
    time.sleep(0.1)
"""
FORK_ON_AND_ON = """
import os, time
end = time.monotonic() + 60  # so that a test that is killed leaves nothing behind for ever
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
"""


def shell(script: str, *arguments: object, time_limit: float = 60.0, **options: object) -> ProcessEnd:
    return run(["sh", "-c", script, "sh", *map(str, arguments)], time_limit=time_limit, grace=GRACE, **options)  # type: ignore[arg-type]


def test_a_commands_exit_code_and_output_come_back() -> None:
    end = shell("echo out; echo err >&2; exit 3")
    assert (end.fate, end.exit_code, end.output, end.printed, end.left) == (Fate.EXITED, 3, b"out\nerr\n", 8, 0)


def test_a_command_that_a_signal_ended_has_the_exit_code_a_shell_would_say() -> None:
    assert shell("kill -KILL $$").exit_code == 137


def test_arguments_and_environment_pass_through_byte_for_byte() -> None:
    odd = os.fsdecode(b"caf\xe9 \xff") + ' $(x) "'
    end = run(["sh", "-c", 'printf %s "$1$ODD"', "sh", odd], time_limit=60, env={**os.environ, "ODD": odd})
    assert end.output == os.fsencode(odd) * 2


def test_a_command_reads_nothing() -> None:
    assert shell("cat; echo done").output == b"done\n"


def test_a_command_runs_in_its_working_folder(tmp_path: Path) -> None:
    assert shell("pwd -P", cwd=str(tmp_path)).output.decode().strip() == str(tmp_path.resolve())


def test_the_working_folder_has_no_say_in_what_watches_the_command(tmp_path: Path) -> None:
    for name in ("subprocess.py", "ctypes.py", "sitecustomize.py"):
        (tmp_path / name).write_text("raise SystemExit('taken over')")
    end = shell("echo safe", cwd=str(tmp_path), env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert (end.exit_code, end.output) == (0, b"safe\n")


@pytest.mark.parametrize(
    ("argv", "cwd", "problem"),
    [
        (["no-such-program-here"], None, "no-such-program-here cannot be run: No such file or directory"),
        (["./there.txt"], "here", "./there.txt cannot be run: Permission denied"),
        (["./no-format"], "here", "./no-format cannot be run: Exec format error"),
        (["true"], "gone", "its working folder gone cannot be used: No such file or directory"),
        (["true"], "here/there.txt", "its working folder here/there.txt cannot be used: Not a directory"),
        (["true", "a\0b"], None, "embedded null byte"),
        (["true", "x" * 4_000_000], None, "Argument list too long"),
    ],
)
def test_what_cannot_be_started_says_why(
    argv: list[str], cwd: str | None, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "there.txt").write_text("text")
    (folder / "no-format").write_bytes(b"\x00\x01")
    (folder / "no-format").chmod(0o755)
    end = run(argv, time_limit=60, cwd=cwd)
    assert (end.fate, end.exit_code, end.problem) == (Fate.NOT_STARTED, None, problem)


def test_a_command_that_hangs_is_ended_at_its_time_limit_with_its_children(tmp_path: Path) -> None:
    end = shell(f"({HANG}) & echo $! > $1; {HANG}", tmp_path / "child", time_limit=1.5)
    assert (end.fate, end.exit_code) == (Fate.TIME_LIMIT, None)
    assert not lives(pid_in(tmp_path / "child"))


def test_a_command_may_end_in_order_at_its_time_limit() -> None:
    end = shell(f"trap 'echo tidied up; exit 0' TERM; {HANG}", time_limit=1.5)
    assert end.fate is Fate.TIME_LIMIT
    assert end.output.endswith(b"tidied up\n")


def test_a_command_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    end = shell(f"echo $$ > $1; {DEAF}", tmp_path / "pid", time_limit=1.5)
    assert end.fate is Fate.TIME_LIMIT
    assert not lives(pid_in(tmp_path / "pid"))


def test_what_a_command_leaves_running_is_ended_with_it(tmp_path: Path) -> None:
    end = shell(f"({DEAF}) & echo $! > $1; echo fine", tmp_path / "child")
    assert (end.fate, end.exit_code, end.output, end.left) == (Fate.EXITED, 0, b"fine\n", 0)
    assert not lives(pid_in(tmp_path / "child"))


@linux_only
@pytest.mark.parametrize("rest", ["", HANG], ids=["and ends", "and hangs"])
def test_a_process_that_forks_away_is_ended_too(rest: str, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f'"$1" -c "$2" "$3"; while [ ! -e "$3" ]; do sleep 0.02; done; {rest}'
    end = shell(script, sys.executable, FORK_AWAY, pid, stopping=lambda: bool(rest) and pid.exists())
    assert end.fate is (Fate.STOPPED if rest else Fate.EXITED)
    assert not lives(pid_in(pid))


@linux_only
def test_a_process_that_forks_on_and_on_does_not_get_away() -> None:
    end = run([sys.executable, "-c", FORK_ON_AND_ON], time_limit=60)
    assert (end.fate, end.exit_code, end.left) == (Fate.EXITED, 0, 0)


def test_a_gigabyte_of_output_is_read_in_bounded_memory_and_its_end_is_kept() -> None:
    tracemalloc.start()
    try:
        end = shell("yes 0123456789 | head -c 1000000000; echo the end", tail_bytes=1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (end.exit_code, end.printed, len(end.output)) == (0, 1_000_000_008, 1000)
    assert end.output.endswith(b"0123456789\n0123456789the end\n")
    assert peak < 4 * 1024 * 1024


def test_a_command_that_prints_without_end_is_ended_at_its_time_limit() -> None:
    end = run(["yes"], time_limit=0.5)
    assert end.fate is Fate.TIME_LIMIT
    assert len(end.output) == 64 * 1024


def test_a_stopping_worker_ends_its_command(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    end = shell(f"echo $$ > $1; {HANG}", pid, stopping=lambda: pid.exists() and pid.read_text() != "")
    assert end.stopped
    assert not lives(pid_in(pid))


def test_an_exception_on_the_way_ends_the_command(tmp_path: Path) -> None:
    def stopping() -> bool:
        if (tmp_path / "pid").exists():
            raise InterruptedError("the job's time is over")
        return False

    with pytest.raises(InterruptedError):
        shell(f"echo $$ > $1; {HANG}", tmp_path / "pid", stopping=stopping)
    assert not lives(pid_in(tmp_path / "pid"))


def test_a_killed_worker_takes_its_command_and_all_its_processes_along(tmp_path: Path) -> None:
    script = f"({DEAF}) & echo $! > {tmp_path}/child; echo $$ > {tmp_path}/pid; {DEAF}"
    program = f"from heald_worker.repairs.process import run; run(['sh', '-c', {script!r}], time_limit=600, grace=0.2)"
    worker = subprocess.Popen([sys.executable, "-c", program])
    pids = [pid_in(tmp_path / "pid"), pid_in(tmp_path / "child")]
    worker.kill()
    worker.wait()
    until(lambda: not any(map(lives, pids)), "the command and its child have ended")


@linux_only
def test_a_command_whose_keeper_is_killed_is_lost_and_dies_with_it(tmp_path: Path) -> None:
    end = shell("echo $$ > $1; echo before; kill -KILL $PPID; exec sleep 1000", tmp_path / "pid")
    assert (end.fate, end.exit_code, end.output) == (Fate.LOST, None, b"before\n")
    until(lambda: not lives(pid_in(tmp_path / "pid")), "the command has ended")


def test_signals_that_the_worker_ignores_work_in_the_command() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert shell("kill -INT $$; echo survived").exit_code == 130
    finally:
        signal.signal(signal.SIGINT, before)


def test_commands_run_side_by_side_in_threads_and_each_ends_only_its_own() -> None:
    with ThreadPoolExecutor(4) as pool:
        slow = pool.submit(shell, "sleep 1; echo slow")
        quick = [pool.submit(shell, f"sleep 0.{number} & exit {number}") for number in range(3)]
        assert [end.result().exit_code for end in quick] == [0, 1, 2]
        assert slow.result().output == b"slow\n"
