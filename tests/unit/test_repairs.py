"""A repair's end becomes one report, whatever the repair did; nothing that it does raises."""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from heald_producer.mask import Masker
from heald_producer.signals import MAX_MESSAGE_BYTES, Context, FailureSignal
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.policy import RecoveryAction
from heald_worker.playbook import CommandRepair, Playbook, PythonRepair, RecordRepair, Repair, one_for_all
from heald_worker.repairs import (
    CallableUnavailable,
    RepairOrder,
    RepairReport,
    perform,
    resolve_callables,
)
from heald_worker.repairs.output import end_of_output
from support.orders import CONTEXT, order

ENVIRON = {"PATH": os.environ["PATH"], "HOME": "/home/worker", "REDIS_URL": "redis://u:hunter2-hunter2@db/0"}


def never() -> bool:
    return False


def attempt(repair: Repair | None, scratch: Path, **options: Any) -> RepairReport:
    made = options.pop("order", None) or order()
    return perform(repair, made, **({"scratch": scratch, "stopping": never, "environ": ENVIRON} | options))


def command(script: str, *arguments: str, **options: Any) -> CommandRepair:
    return CommandRepair(("sh", "-c", script, "sh", *arguments), **options)


UNCHANGED = RecoveryAttemptResult(False)
"""A failed attempt after which the failure is what it was."""


def next_failure(report: RepairReport) -> FailureSignal:
    assert not report.result.success
    assert report.result.next_failure is not None
    return report.result.next_failure


# -- commands -----------------------------------------------------------------------------------------------------


def test_exit_code_0_is_success(tmp_path: Path) -> None:
    report = attempt(command("echo all is well"), tmp_path)
    assert report == RepairReport(RecoveryAttemptResult(True), "exit code 0", "all is well")


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ("echo 'Traceback (most recent call last):'; echo 'ConnectionError: handshake' >&2; exit 1", "exit code 1"),
        ("echo 'remote: HTTP 401, the token has expired'; exit 128", "exit code 128"),
        ("echo '2 tests failed'; kill -KILL $$", "exit code 137 (SIGKILL)"),
        ("exit 9", "exit code 9"),
    ],
)
def test_a_repairs_own_trouble_is_no_failure_of_the_ci(script: str, detail: str, tmp_path: Path) -> None:
    report = attempt(command(script), tmp_path)
    assert report.result == UNCHANGED
    assert report.detail == detail


def test_what_a_failed_repair_printed_is_told_beside_its_result(tmp_path: Path) -> None:
    report = attempt(command("echo tried; echo '2 tests failed' >&2; exit 3"), tmp_path)
    assert report.output == "tried\n2 tests failed"
    assert attempt(command("echo at work; sleep 60", time_limit=0.5), tmp_path).output == "at work"


def again(script: str, **options: Any) -> CommandRepair:
    """A repair that runs again what failed."""
    return command(script, output_is_failure=True, **options)


def test_what_a_repair_prints_that_runs_again_what_failed_is_the_next_failure(tmp_path: Path) -> None:
    report = attempt(again("echo tried; echo '2 tests failed' >&2; exit 3"), tmp_path)
    assert next_failure(report) == FailureSignal("unit tests", "tried\n2 tests failed", 3, True)
    assert (report.detail, report.output) == ("exit code 3", "tried\n2 tests failed")
    assert next_failure(attempt(again("kill -KILL $$"), tmp_path)).exit_code == 137
    assert attempt(again("echo all is well"), tmp_path).result == RecoveryAttemptResult(True)


def test_a_silent_failure_of_a_command_that_was_run_again_names_it_and_its_exit_code(tmp_path: Path) -> None:
    failure = next_failure(attempt(CommandRepair(("sh", "-c", "exit 9"), output_is_failure=True), tmp_path))
    assert failure.message == "heald: the repair sh -c 'exit 9': exit code 9 and printed nothing"
    assert failure.exit_code == 9


def test_a_command_that_was_run_again_and_not_to_its_end_says_nothing(tmp_path: Path) -> None:
    report = attempt(again("echo at work; while :; do sleep 0.1; done", time_limit=0.5), tmp_path)
    assert report.result == UNCHANGED


def test_a_repair_beyond_its_time_limit_has_failed(tmp_path: Path) -> None:
    script = "echo at work; while :; do sleep 0.1; done"
    report = attempt(again(script, time_limit=1.5), tmp_path)
    assert report.detail == "ended after its time limit of 1.5 s"
    assert report.result == UNCHANGED


def test_what_a_repair_wrote_down_before_its_time_was_over_counts(tmp_path: Path) -> None:
    script = """echo '{"message": "still red"}' > "$HEALD_RESULT"; while :; do sleep 0.1; done"""
    assert next_failure(attempt(command(script, time_limit=1.5), tmp_path)).message == "still red"


def test_a_repair_whose_worker_stops_has_not_succeeded(tmp_path: Path) -> None:
    report = attempt(command("while :; do sleep 0.1; done"), tmp_path, stopping=lambda: True)
    assert not report.result.success
    assert report.detail == "ended because its worker stops"


@pytest.mark.parametrize(
    ("repair", "reason"),
    [
        (CommandRepair(("no-such-program",)), "not started: no-such-program cannot be run: No such file or directory"),
        (CommandRepair(("/etc/passwd",)), "not started: /etc/passwd cannot be run: Permission denied"),
        (
            CommandRepair(("true",), cwd="/no/such/folder"),
            "not started: its working folder /no/such/folder cannot be used: No such file or directory",
        ),
    ],
)
def test_a_repair_that_cannot_be_started_is_a_failed_attempt_that_says_why(
    repair: CommandRepair, reason: str, tmp_path: Path
) -> None:
    report = attempt(repair, tmp_path)
    assert report.detail == reason
    assert report.result == UNCHANGED


def test_no_repair_for_an_action_is_a_failed_attempt_that_says_what_to_configure(tmp_path: Path) -> None:
    report = attempt(None, tmp_path / "unused")
    assert report.result == UNCHANGED
    hint = "add [repairs.patch_forward], or a [[repairs]] that fits, to heald.toml"
    assert report.detail == f"no repair is configured for patch_forward of this failure; {hint}"
    assert not (tmp_path / "unused").exists()


def test_a_flood_of_output_keeps_its_last_lines(tmp_path: Path) -> None:
    script = "yes 'one more line of output' | head -c 50000000; echo; echo 'it broke here'; exit 1"
    message = attempt(command(script), tmp_path).output
    assert message.startswith("one more line of output\n")
    assert message.endswith("\nit broke here")
    assert 7000 < len(message) <= 8192


def test_escapes_progress_bars_and_binary_rubbish_do_not_reach_the_message(tmp_path: Path) -> None:
    script = (
        r"printf '\033[1;31mred\033[0m \033]0;title\007plain\n10%%\r55%%\r100%%\r\n"
        r"nul\000bell\007 \377\376 \033]8;;http://x\033\\link\033]8;;\033\\ tab\tend\n\n'; exit 1"
    )
    message = attempt(command(script), tmp_path).output
    assert message == "red plain\n100%\nnulbell \ufffd\ufffd link tab\tend"


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (b"\x1b]0;a title that never ends\nthe error", "0;a title that never ends\nthe error"),
        (b"at 1%\rat 2%\r\n\r\n\n", "at 2%"),
        (b"cut off: caf\xc3", "cut off: caf\ufffd"),
        (b"\x1b\x1b[", ""),
        (b"", ""),
    ],
)
def test_odd_output_is_read_as_a_terminal_would_show_it(output: bytes, message: str) -> None:
    assert end_of_output(output, False, Masker()) == message


@pytest.mark.parametrize("byte", [b"x", b"\r", b"\x1b", b"\x1b]", b"\n", b"\xff", b" "])
def test_a_torn_line_is_left_out_and_one_long_line_keeps_its_end(byte: bytes) -> None:
    masker = Masker(["correct-horse-battery"])
    assert end_of_output(b"-battery\n" + byte * 60_000 + b"\nit broke", True, masker).endswith("it broke")
    assert "battery" not in end_of_output(b"-battery\nit broke", True, masker)
    assert "battery" not in end_of_output(b"-battery" + byte * 60_000, True, masker)


def test_secrets_of_the_worker_and_of_the_repairs_env_are_masked(tmp_path: Path) -> None:
    environ = {**ENVIRON, "DEPLOY_TOKEN": "correct-horse-battery", "PLAIN": "from the worker 42"}
    repair = command(
        'echo "$DEPLOY_TOKEN $OWN_SECRET $BORROWED_PASSWORD hunter2-hunter2 $HEALD_IDEMPOTENCY_KEY"; '
        'printf \'{"detail": "used %s"}\' "$DEPLOY_TOKEN" > "$HEALD_RESULT"; exit 1',
        env={"OWN_SECRET": "staple-staple", "BORROWED_PASSWORD": "$PLAIN"},
    )
    report = attempt(repair, tmp_path, environ=environ)
    assert report.output == "[masked] [masked] [masked] [masked] ci-7:2"
    assert report.detail == "used [masked]"


def test_secrets_in_arguments_are_masked(tmp_path: Path) -> None:
    repair = CommandRepair(("sh", "-c", "exit 1", "--password", "hunter2-hunter2"), output_is_failure=True)
    assert "hunter2" not in next_failure(attempt(repair, tmp_path)).message


# -- what a repair is told -----------------------------------------------------------------------------------------


def environment_of(repair_order: RepairOrder, scratch: Path, environ: dict[str, str], **options: Any) -> dict[str, str]:
    out = scratch / "environment"
    repair = CommandRepair(("sh", "-c", 'env -0 > "$1"', "sh", str(out)), **options)
    assert attempt(repair, scratch, order=repair_order, environ=environ).result.success
    pairs = out.read_bytes().decode().rstrip("\0").split("\0")
    return dict(pair.split("=", 1) for pair in pairs)


def test_the_facts_stand_in_the_environment(tmp_path: Path) -> None:
    seen = environment_of(order(), tmp_path, ENVIRON)
    expected = {
        "HEALD_RUN_ID": "ci-7",
        "HEALD_PARENT_RUN": "ci-7",
        "HEALD_ATTEMPT": "2",
        "HEALD_ACTION": "patch_forward",
        "HEALD_FAILURE_CLASS": "test",
        "HEALD_STAGE": "unit tests",
        "HEALD_EXIT_CODE": "1",
        "HEALD_REPOSITORY": "acme/shop",
        "HEALD_COMMIT": CONTEXT.commit,
        "HEALD_REF": "refs/heads/main",
        "HEALD_JOB": "unit",
        "HEALD_URL": "https://ci.example/runs/7",
        "HEALD_COMMAND": "pytest -q",
        "HEALD_GENERATION": "1",
        "HEALD_IDEMPOTENCY_KEY": "ci-7:2",
        "HEALD_SUBCLASS": "assertion",
        "HEALD_RULE": "pytest-assert",
        "HEALD_EVIDENCE": "E   assert 1 == 2",
        "HEALD_CONFIDENCE": "0.9",
        "HEALD_PROVIDER": "github",
        "HEALD_WORKFLOW": "ci.yml",
        "HEALD_CI_RUN": "4711",
        "HEALD_CI_ATTEMPT": "2",
        "HEALD_PULL_REQUEST": "12",
        "HEALD_HEAD_REF": "refs/heads/fix",
        "HEALD_HEAD_COMMIT": "89abcdef89abcdef89abcdef89abcdef89abcdef",
        "HEALD_FORK": "false",
        "HEALD_DEFAULT_BRANCH": "main",
    }
    assert {name: value for name, value in seen.items() if name in expected} == expected
    assert Path(seen["HEALD_FACTS"]).is_relative_to(tmp_path.resolve())
    assert Path(seen["HEALD_RESULT"]).parent == Path(seen["HEALD_FACTS"]).parent


def test_what_is_not_known_is_empty(tmp_path: Path) -> None:
    unknown: dict[str, Any] = {"subclass": "", "rule": "", "evidence": "", "confidence": 0.0}
    bare = order(context=Context(), failure=FailureSignal("s", "m"), **unknown)
    seen = environment_of(bare, tmp_path, {**ENVIRON, "HEALD_REF": "left over"})
    names = ("EXIT_CODE", "REPOSITORY", "COMMIT", "REF", "JOB", "URL", "SUBCLASS", "RULE", "EVIDENCE", "PROVIDER")
    more = ("WORKFLOW", "CI_RUN", "CI_ATTEMPT", "PULL_REQUEST", "HEAD_REF", "HEAD_COMMIT", "FORK", "DEFAULT_BRANCH")
    assert {name: seen[f"HEALD_{name}"] for name in (*names, *more)} == dict.fromkeys((*names, *more), "")
    assert seen["HEALD_CONFIDENCE"] == "0"


def test_a_change_from_elsewhere_is_told_as_a_fork(tmp_path: Path) -> None:
    seen = environment_of(order(context=Context(fork=True)), tmp_path, ENVIRON)
    assert seen["HEALD_FORK"] == "true"


def test_the_workers_own_server_is_out_of_reach_unless_the_configuration_hands_it_on(tmp_path: Path) -> None:
    environ = {**ENVIRON, "HEALD_REDIS_URL": "redis://b", "HEALD_SENTINEL_PASSWORD": "c", "HEALD_SUPERVISED": "1"}
    seen = environment_of(order(), tmp_path, environ)
    assert not {"REDIS_URL", "HEALD_REDIS_URL", "HEALD_SENTINEL_PASSWORD", "HEALD_SUPERVISED"} & set(seen)
    assert seen["HOME"] == "/home/worker"
    seen = environment_of(order(), tmp_path, environ, env={"REDIS_URL": "redis://producer@db/0", "FROM": "$REDIS_URL"})
    assert seen["REDIS_URL"] == "redis://producer@db/0"
    assert seen["FROM"] == ENVIRON["REDIS_URL"]


def test_a_variable_that_the_worker_lacks_is_a_failed_attempt_that_names_it(tmp_path: Path) -> None:
    report = attempt(command("exit 0", env={"TOKEN": "$NOT_THERE"}), tmp_path)
    assert report.detail == "not started: env.TOKEN takes its value from $NOT_THERE, which is not set for the worker"
    assert report.result == UNCHANGED


def test_only_a_whole_value_is_a_reference_and_nothing_is_expanded(tmp_path: Path) -> None:
    literal = {"A": "$HOME/x", "B": "${HOME}", "C": "`id`", "D": "$", "E": "cost $5"}
    seen = environment_of(order(), tmp_path, ENVIRON, env=literal)
    assert {name: seen[name] for name in literal} == literal


def test_hostile_facts_arrive_as_text_and_change_nothing_else(tmp_path: Path) -> None:
    hostile = "x'; touch pwned; $(touch pwned) `touch pwned` \x1b[31m\x00\n\u202e LD_PRELOAD=/evil.so é"
    nasty = order(failure=FailureSignal(hostile, hostile, 1), context=Context(ref=hostile, command=hostile))
    seen = environment_of(nasty, tmp_path, ENVIRON, cwd=str(tmp_path))
    cleaned = "x'; touch pwned; $(touch pwned) `touch pwned` [31m\u202e LD_PRELOAD=/evil.so é"
    assert (seen["HEALD_STAGE"], seen["HEALD_REF"], seen["HEALD_COMMAND"]) == (cleaned,) * 3
    assert "LD_PRELOAD" not in seen
    assert not list(tmp_path.rglob("pwned"))


def test_the_file_of_facts_holds_everything_also_the_message(tmp_path: Path) -> None:
    message = "line 1\nline 2 \x00 é \U0001f600"
    told = order(failure=FailureSignal("s", message, None, False), context=Context(repository="acme/shop"))
    out = tmp_path / "facts"
    assert attempt(command('cat "$HEALD_FACTS" > "$1"', str(out)), tmp_path, order=told).result.success
    assert json.loads(out.read_bytes()) == {
        "format": 1,
        "run_id": "ci-7",
        "attempt": 2,
        "action": "patch_forward",
        "failure_class": "test",
        "subclass": "assertion",
        "rule": "pytest-assert",
        "evidence": "E   assert 1 == 2",
        "confidence": 0.9,
        "idempotency_key": "ci-7:2",
        "generation": 1,
        "failure": {"stage": "s", "message": message, "exit_code": None, "flaky_hint": False},
        "context": {
            **dict.fromkeys(Context.__struct_fields__),
            "repository": "acme/shop",
        },
    }


def test_a_repairs_folder_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    scratch, out = tmp_path / "scratch", tmp_path / "mode"
    script = (
        'd=$(dirname "$HEALD_FACTS"); mkdir "$d/locked"; touch "$d/locked/f"; chmod 0 "$d/locked"; ls -ld "$d" > "$1"'
    )
    assert attempt(command(script, str(out)), scratch).result.success
    assert out.read_text().startswith("drwx------")
    assert list(scratch.iterdir()) == []
    attempt(command("exit 1"), scratch)
    attempt(command("while :; do sleep 0.1; done"), scratch, stopping=lambda: True)
    assert list(scratch.iterdir()) == []


def test_a_worker_without_a_place_for_files_reports_a_failed_attempt(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    report = attempt(command("exit 0"), tmp_path / "file")
    assert report.result == UNCHANGED
    assert report.detail == f"the worker has no place for the repair's files: File exists: {tmp_path / 'file'}"


# -- the result file -----------------------------------------------------------------------------------------------


def with_result(result: str | bytes, exit_code: int, tmp_path: Path, **options: Any) -> RepairReport:
    source = tmp_path / "prepared"
    source.write_bytes(result if isinstance(result, bytes) else result.encode())
    script = 'cp "$1" "$HEALD_RESULT"; echo printed; exit "$2"'
    return attempt(command(script, str(source), str(exit_code), **options), tmp_path)


def test_a_result_file_says_what_is_broken_now(tmp_path: Path) -> None:
    result = {
        "stage": "deploy",
        "message": "health check refused",
        "exit_code": -7,
        "flaky_hint": False,
        "detail": "rolled back\nto v41",
        "extra": [1],
    }
    report = with_result(json.dumps(result), 1, tmp_path)
    assert next_failure(report) == FailureSignal("deploy", "health check refused", -7, False)
    assert report.detail == "rolled back to v41"


def test_a_result_file_may_say_one_thing_only(tmp_path: Path) -> None:
    report = with_result('{"flaky_hint": false}', 4, tmp_path)
    assert next_failure(report) == FailureSignal("unit tests", "1 test failed", 1, False)
    report = with_result('{"flaky_hint": false}', 4, tmp_path, output_is_failure=True)
    assert next_failure(report) == FailureSignal("unit tests", "printed", 4, False)


@pytest.mark.parametrize("result", ['{"detail": "the patch does not apply"}', '{"message": ""}', "{}"])
def test_a_result_file_that_says_nothing_about_the_failure_makes_no_next_one(result: str, tmp_path: Path) -> None:
    report = with_result(result, 4, tmp_path)
    assert report.result == UNCHANGED
    assert report.output == "printed"


def test_the_exit_code_decides_about_success_and_no_result_file(tmp_path: Path) -> None:
    report = with_result('{"message": "still broken", "exit_code": 1, "detail": "patched"}', 0, tmp_path)
    assert report == RepairReport(RecoveryAttemptResult(True), "patched", "printed")
    assert not with_result('{"exit_code": 0}', 1, tmp_path).result.success


def test_a_long_message_in_a_result_file_is_cut_to_the_wires_limit(tmp_path: Path) -> None:
    message = next_failure(with_result(json.dumps({"message": "x" * 100_000}), 1, tmp_path)).message
    assert "bytes cut by heald" in message
    assert len(message) <= MAX_MESSAGE_BYTES


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ("", "truncated"),
        ("not json", "malformed"),
        ("[]", "Expected `object`"),
        ('{"stage": 3}', "$.stage"),
        ('{"exit_code": "3"}', "$.exit_code"),
        ('{"exit_code": 3.5}', "$.exit_code"),
        ('{"flaky_hint": "yes"}', "$.flaky_hint"),
        ('{"message": "\\ud800"}', ""),
        (b'{"message": "\xff"}', ""),
        ('{"exit_code": 2147483648}', "exit_code"),
        (json.dumps({"stage": "s" * 257}), "stage: 257 bytes"),
        (json.dumps({"stage": "a\0b"}), "stage: holds a NUL"),
        (json.dumps({"message": "m" * 200_000}), "larger than 131072 bytes"),
        ("[" * 100_000, "Expected `object`"),
        ('{"x": ' * 100_000, ""),
    ],
)
def test_an_invalid_result_file_is_noted_and_ignored(result: str | bytes, problem: str, tmp_path: Path) -> None:
    report = with_result(result, 5, tmp_path, output_is_failure=True)
    assert next_failure(report) == FailureSignal("unit tests", "printed", 5, True)
    assert with_result(result, 5, tmp_path).result == UNCHANGED
    assert report.detail.startswith("exit code 5; its result file was ignored: ")
    assert problem in report.detail


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        ('mkdir "$HEALD_RESULT"', "Is a directory"),
        ('mkfifo "$HEALD_RESULT"', "not a regular file"),
        ('ln -s /etc/passwd "$HEALD_RESULT"', "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_file_is_not_read_as_a_result(make: str, problem: str, tmp_path: Path) -> None:
    report = attempt(command(make), tmp_path)
    assert report.result.success
    assert report.detail.startswith("exit code 0; its result file was ignored: ")
    assert problem in report.detail


# -- record --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("repair", "successes"),
    [
        (RecordRepair(), [True, True, True]),
        (RecordRepair(succeed=False), [False, False, False]),
        (RecordRepair(succeed_from=3), [False, False, True]),
    ],
)
def test_a_record_repair_only_records(repair: RecordRepair, successes: list[bool], tmp_path: Path) -> None:
    reports = [attempt(repair, tmp_path / "unused", order=order(attempt=number)) for number in (1, 2, 3)]
    assert [report.result for report in reports] == [RecoveryAttemptResult(success) for success in successes]
    assert not (tmp_path / "unused").exists()


# -- python --------------------------------------------------------------------------------------------------------

MENDING = """
import sys, time
from heald_producer.signals import FailureSignal
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.repairs import RepairReport

NOT_CALLABLE = 3

def yes(order): return True
def nothing(order): return None
def no(order): return False
def result(order): return RecoveryAttemptResult(False, FailureSignal("next", f"after {order.run_id}", 2))
def report(order): return RepairReport(RecoveryAttemptResult(True), "called\\nsomebody")
def tells(order): return RepairReport(RecoveryAttemptResult(True), "called", "a page\\nwith hunter2-hunter2")
def unset(order): return RecoveryAttemptResult(False)
def number(order): return 1
def text(order): return "fine"
def bad_stage(order): return RecoveryAttemptResult(False, FailureSignal(3, "m"))
def long_stage(order): return RecoveryAttemptResult(False, FailureSignal("s" * 300, "m"))
def bad_success(order): return RecoveryAttemptResult("yes")
def bad_detail(order): return RepairReport(RecoveryAttemptResult(True), None)
def odd_message(order): return RecoveryAttemptResult(False, FailureSignal("s", "m\\ud800\\0" + "x" * 100_000))
def raises(order): raise ConnectionError("refused with password hunter2-hunter2")
def leaves(order): sys.exit("gave up")
def hangs(order):
    while True: time.sleep(0.01)
def swallows(order):
    while True:
        try: time.sleep(0.01)
        except Exception: pass
class Nested:
    @staticmethod
    def method(order): return True
"""


@pytest.fixture
def mending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "mending.py").write_text(MENDING)
    (tmp_path / "broken.py").write_text("import not_there_at_all")
    (tmp_path / "leaving.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in ("mending", "broken", "leaving"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("mending")
@pytest.mark.parametrize(
    ("name", "report"),
    [
        ("yes", RepairReport(RecoveryAttemptResult(True), "mending:yes returned True")),
        ("nothing", RepairReport(RecoveryAttemptResult(True), "mending:nothing returned None")),
        ("Nested.method", RepairReport(RecoveryAttemptResult(True), "mending:Nested.method returned True")),
        ("report", RepairReport(RecoveryAttemptResult(True), "called somebody", "called\nsomebody")),
        ("tells", RepairReport(RecoveryAttemptResult(True), "called", "a page\nwith [masked]")),
        ("unset", RepairReport(RecoveryAttemptResult(False), "mending:unset returned a result")),
        (
            "result",
            RepairReport(
                RecoveryAttemptResult(False, FailureSignal("next", "after ci-7", 2)), "mending:result returned a result"
            ),
        ),
    ],
)
def test_a_function_answers_in_several_ways(name: str, report: RepairReport, tmp_path: Path) -> None:
    assert attempt(PythonRepair(f"mending:{name}"), tmp_path) == report


@pytest.mark.usefixtures("mending")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no", "mending:no returned False"),
        ("raises", "ConnectionError: refused with password [masked]"),
        ("leaves", "SystemExit: gave up"),
        ("number", "returned int; it must return a bool, None, RecoveryAttemptResult or RepairReport"),
        ("text", "returned str; it must return"),
        ("bad_stage", "returned a result that cannot be used: Expected `str`, got `int`"),
        ("long_stage", "returned a result that cannot be used: stage: 300 bytes"),
        ("bad_success", "returned a result that cannot be used: Expected `bool`, got `str`"),
        ("bad_detail", "returned a result that cannot be used: Expected `str`, got `null`"),
        ("absent", "the repair function mending:absent cannot be used: there is no 'absent'"),
    ],
)
def test_whatever_a_function_does_wrong_is_a_failed_attempt_that_says_so(
    name: str, message: str, tmp_path: Path
) -> None:
    report = attempt(PythonRepair(f"mending:{name}"), tmp_path)
    assert message in report.detail
    assert "\n" not in report.detail
    assert report.result == UNCHANGED


@pytest.mark.usefixtures("mending")
def test_the_traceback_of_a_function_is_its_output_with_secrets_masked(tmp_path: Path) -> None:
    output = attempt(PythonRepair("mending:raises"), tmp_path).output
    assert output.startswith("Traceback (most recent call last):\n")
    assert output.endswith("\nConnectionError: refused with password [masked]")
    assert "hunter2" not in output


@pytest.mark.usefixtures("mending")
def test_a_functions_message_is_made_to_fit_the_wire(tmp_path: Path) -> None:
    message = next_failure(attempt(PythonRepair("mending:odd_message"), tmp_path)).message
    assert message.startswith("m\ufffd\ufffdxxx")
    assert len(message.encode()) <= MAX_MESSAGE_BYTES


@pytest.mark.usefixtures("mending")
@pytest.mark.parametrize("name", ["hangs", "swallows"])
def test_a_function_beyond_its_time_limit_is_interrupted(name: str, tmp_path: Path) -> None:
    report = attempt(PythonRepair(f"mending:{name}", time_limit=0.2), tmp_path)
    assert report.detail == f"the repair function mending:{name} was interrupted after its time limit of 0.2 s"
    assert report.result == UNCHANGED


@pytest.mark.usefixtures("mending")
def test_a_function_is_interrupted_when_its_worker_stops(tmp_path: Path) -> None:
    report = attempt(PythonRepair("mending:hangs"), tmp_path, stopping=lambda: True)
    assert report.detail.endswith("was interrupted because its worker stops")


@pytest.mark.usefixtures("mending")
def test_an_alarm_that_was_set_before_goes_off_in_its_own_time(tmp_path: Path) -> None:
    rang = []

    def ring(signum: int, frame: FrameType | None) -> None:
        rang.append(signum)

    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 300)
        assert attempt(PythonRepair("mending:yes"), tmp_path).result.success
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        assert 0 < left <= 300
        assert signal.getsignal(signal.SIGALRM) is ring
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        attempt(PythonRepair("mending:hangs", time_limit=0.2), tmp_path)
        deadline = time.monotonic() + 30
        while not rang and time.monotonic() < deadline:
            time.sleep(0.005)
        assert rang == [signal.SIGALRM]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("mending")
def test_a_function_runs_in_any_thread(tmp_path: Path) -> None:
    reports = []
    thread = threading.Thread(target=lambda: reports.append(attempt(PythonRepair("mending:yes"), tmp_path)))
    thread.start()
    thread.join()
    assert reports[0].result.success


@pytest.mark.usefixtures("mending")
def test_functions_are_imported_when_a_worker_starts() -> None:
    repairs = {RecoveryAction.RETRY: PythonRepair("mending:yes"), RecoveryAction.ROLLBACK: RecordRepair()}
    playbook = Playbook(one_for_all(repairs))
    found = resolve_callables(playbook)
    assert list(found) == ["mending:yes"]
    assert found["mending:yes"](order()) is True


@pytest.mark.usefixtures("mending")
@pytest.mark.parametrize(
    ("call", "problem", "hint"),
    [
        ("no_such_module_here:f", "ModuleNotFoundError: No module named 'no_such_module_here'", "PYTHONPATH"),
        ("broken:f", "ModuleNotFoundError: No module named 'not_there_at_all'", "PYTHONPATH"),
        ("leaving:f", "SystemExit: 3", "mend leaving"),
        ("mending:yess", "there is no 'yess'", "correct the name"),
        ("mending:NOT_CALLABLE", "it is of type int, not a function", "something that can be called"),
    ],
)
def test_a_function_that_cannot_be_had_says_why(call: str, problem: str, hint: str) -> None:
    with pytest.raises(CallableUnavailable) as caught:
        resolve_callables(Playbook(one_for_all({RecoveryAction.RETRY: PythonRepair(call)})))
    assert caught.value.problem == f"the repair function {call} cannot be used: {problem}"
    assert hint in caught.value.hint


def test_facts_are_readable_for_the_worker_alone(tmp_path: Path) -> None:
    out = tmp_path / "mode"
    assert attempt(command('ls -l "$HEALD_FACTS" > "$1"', str(out)), tmp_path).result.success
    assert out.read_text().startswith(stat.filemode(stat.S_IFREG | 0o600))
