"""The alarm that ends a process when nothing inside it does."""

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kernel timers are Linux's")

LONG = 600


def process(code: str) -> subprocess.Popen[bytes]:
    """A Python process that runs the code, and says so if it comes to its end."""
    code = f"from heald_worker.alarm import set_alarm, clear_alarm\n{code}\nprint('lived')"
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)


def ended(code: str) -> tuple[int, bytes]:
    running = process(code)
    said, _ = running.communicate(timeout=60)
    return running.returncode, said


HANG = "import ctypes; ctypes.PyDLL(None).sleep(60)"
"""Hang in C, with the interpreter's lock held: no other thread of Python runs."""


def test_a_process_that_hangs_in_c_is_ended() -> None:
    assert ended(f"set_alarm(0.1); {HANG}") == (-signal.SIGKILL, b"")


def test_a_process_whose_time_is_over_already_is_ended() -> None:
    assert ended(f"set_alarm(-5); {HANG}") == (-signal.SIGKILL, b"")


def test_a_stopped_process_is_ended_before_it_can_go_on() -> None:
    code, said = ended("import os, signal; set_alarm(0.1); os.kill(os.getpid(), signal.SIGSTOP)")
    assert (code, said) == (-signal.SIGKILL, b"")


def test_an_alarm_that_was_cleared_or_set_anew_does_not_ring() -> None:
    code = (
        "import time; set_alarm(0.05); clear_alarm(); time.sleep(0.2); set_alarm(0.05); set_alarm(600); time.sleep(0.2)"
    )
    assert ended(code) == (0, b"lived\n")


def test_a_fork_does_not_inherit_it_and_can_set_its_own() -> None:
    code = f"""
import os, time
set_alarm({LONG})
calm = os.fork()
if not calm:
    clear_alarm(); os._exit(0)
short = os.fork()
if not short:
    set_alarm(0.05); time.sleep(60)
ended = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in (calm, short)]
assert ended == [0, -{int(signal.SIGKILL)}], ended
"""
    assert ended(code) == (0, b"lived\n")


def test_where_there_are_no_kernel_timers_a_thread_outside_of_python_ends_it() -> None:
    elsewhere = "from heald_worker import alarm; alarm._timer = lambda: None\n"
    assert ended(f"{elsewhere}set_alarm(0.1); {HANG}")[0] not in (0, None)
    cleared = "import time; set_alarm(0.05); clear_alarm(); time.sleep(0.2)"
    assert ended(elsewhere + cleared) == (0, b"lived\n")
