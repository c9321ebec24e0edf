"""`heald push --report` and `heald run --report`: files by pattern become one signal, or a clear word why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heald_producer.capture import UsageError, parse
from heald_producer.reports import Failure, ReportSummary, message_of, read_matching
from heald_producer.reports import files as files_module
from heald_producer.reports import reading as reading_module
from heald_producer.reports.files import find, is_older
from heald_producer.signals import FailureReport
from heald_producer.wire import decode_report
from support.command import AWAY, clean_environment, heald
from support.reports import MAKERS, Made, junit, write

RED = [Made("adds"), Made("divides", "failed", "expected 2 but was 3")]
GREEN = [Made("adds"), Made("waits", "skipped")]
FLAKY = [Made("adds"), Made("divides", "flaky", "late")]


def the_report(spool: Path) -> FailureReport:
    [file] = [name for name in spool.iterdir() if name.suffix == ".json"]
    return decode_report(file.read_bytes())


def push(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`heald push` with a server that is away, so that a report is kept."""
    environment |= {"HEALD_REDIS_URL": AWAY, "HEALD_SPOOL": str(folder / "spool")}
    return heald("push", *arguments, cwd=folder, **environment)


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`heald run` with a server that is away, so that a report is kept."""
    return heald("run", "--redis-url", AWAY, "--spool", folder / "spool", *arguments, cwd=folder, **environment)


def writing(path: str, cases: list[Made], code: int = 1, says: str = "make: *** Error 1") -> list[str]:
    """A command that writes a report, says something and fails."""
    script = (
        f"import pathlib, sys; pathlib.Path({path!r}).write_text({junit(cases)!r}); print({says!r}); sys.exit({code})"
    )
    return ["--", sys.executable, "-c", script]


# Files


def test_patterns_go_to_any_depth_and_names_are_taken_as_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("build/a/b/x.xml", "build/y.xml", "build/z.txt", "odd[1].xml", "other/w.xml"):
        write(tmp_path, name, "x")
    found = find(["build/**/*.xml", "odd[1].xml", f"{tmp_path}/build/*.xml", "no/*.xml"])
    assert [str(path) for path in found.paths] == sorted(
        ["build/a/b/x.xml", "build/y.xml", f"{tmp_path}/build/y.xml", "odd[1].xml"]
    )
    assert found.unmatched == ("no/*.xml",)


@pytest.mark.parametrize("pattern", ["", "**x", "\0", "/", "..", "[", "a" * 5_000, "/nowhere/**/*"])
def test_an_odd_pattern_finds_nothing_and_breaks_nothing(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_matching([pattern]).files == 0


def test_a_file_with_several_names_is_read_once(tmp_path: Path) -> None:
    write(tmp_path, "a.xml", junit(RED))
    (tmp_path / "b.xml").symlink_to("a.xml")
    os.link(tmp_path / "a.xml", tmp_path / "c.xml")
    told = read_matching([f"{tmp_path}/*.xml", f"{tmp_path}/a.xml"])
    assert (told.files, told.failed) == (1, 1)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.xml")
    (tmp_path / "gone.xml").symlink_to("nowhere")
    (tmp_path / "zero.xml").symlink_to("/dev/zero")
    (tmp_path / "folder.xml").mkdir()
    (tmp_path / "loop.xml").symlink_to("loop.xml")
    write(tmp_path, "red.xml", junit(RED))
    told = read_matching([f"{tmp_path}/*.xml"])
    assert told.failed == 1
    text = "\n".join(told.warnings)
    assert "pipe.xml: it cannot be read: it is a pipe, not a file" in text
    assert "zero.xml: it cannot be read: it is a device, not a file" in text
    assert "gone.xml: it cannot be read: no such file or directory" in text
    assert "folder.xml" not in text
    assert "it cannot be read: it is a folder" in "".join(read_matching([f"{tmp_path}/folder.xml"]).warnings)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_a_warning(tmp_path: Path) -> None:
    write(tmp_path, "a.xml", junit(RED)).chmod(0)
    assert read_matching([f"{tmp_path}/a.xml"]).warnings == (f"{tmp_path}/a.xml: it cannot be read: permission denied",)


def test_links_to_folders_do_not_lead_in_circles(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        for other in "abc":
            (tmp_path / name / other).symlink_to(tmp_path / other)
    write(tmp_path, "a/red.xml", junit(RED))
    assert read_matching([f"{tmp_path}/**/*.xml"]).files == 1


def test_the_number_of_files_and_bytes_is_bounded_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        write(tmp_path, f"{number}.xml", junit(RED))
    monkeypatch.setattr(files_module, "MAX_FILES", 3)
    monkeypatch.setattr(reading_module, "MAX_FILES", 3)
    told = read_matching([f"{tmp_path}/*.xml"])
    assert (told.files, told.warnings) == (3, ("there are more than 3 files; the others are not read",))
    monkeypatch.setattr(reading_module, "MAX_BYTES", len(junit(RED)) + 50)
    told = read_matching([f"{tmp_path}/*.xml"])
    assert (told.files, told.failed) == (2, 1)
    text = "\n".join(told.warnings)
    assert ".xml: it is not read to its end, as all reports together are too large" in text
    assert ".xml and what follows is not read" in text


def test_other_xml_files_are_a_note_and_no_warning(tmp_path: Path) -> None:
    for name in ("pom.xml", "a.xml", "b.xml", "c.xml", "d.xml"):
        write(tmp_path, name, "<project/>")
    told = read_matching([f"{tmp_path}/*.xml"])
    assert told.warnings == ()
    listed = ", ".join(f"{tmp_path}/{name}.xml" for name in "abc")
    assert told.notes == (f"not a test report that heald reads (XML whose root is <project>): {listed} and 2 more",)


@pytest.mark.parametrize(
    ("modified", "since", "older"),
    [(99.5, 100.25, True), (100.5, 100.25, False), (100.0, 100.25, False), (98.0, 100.25, True), (97.5, 99.9, True)],
)
def test_a_disk_that_keeps_whole_seconds_makes_nothing_older(
    modified: float, since: float, older: bool, tmp_path: Path
) -> None:
    path = write(tmp_path, "a", "x")
    os.utime(path, (modified, modified))
    assert is_older(path, int(since * 10**9)) is older


def test_a_report_of_the_very_nanosecond_in_which_the_command_began_is_its_own(tmp_path: Path) -> None:
    path, now = write(tmp_path, "a", "x"), 1_795_906_449_123_456_789  # as a float it would be a little later
    os.utime(path, ns=(now, now))
    assert not is_older(path, now)
    assert is_older(path, now + 1)


def test_reports_of_several_files_and_formats_are_one_summary(tmp_path: Path) -> None:
    for form, make in MAKERS.items():
        write(tmp_path, f"{form}.report", make(RED))
    told = read_matching([f"{tmp_path}/*.report"])
    assert (told.files, told.tests, told.failed) == (len(MAKERS), 2 * len(MAKERS), len(MAKERS))
    assert told.formats[:2] == ("dart test JSON", "go test -json")


def test_a_rerun_in_another_file_is_no_rerun(tmp_path: Path) -> None:
    write(tmp_path, "linux.xml", junit(RED))
    write(tmp_path, "macos.xml", junit([Made("adds"), Made("divides")]))
    assert read_matching([f"{tmp_path}/*.xml"]).flaky_hint is False


# The message


def test_failures_that_say_the_same_are_quoted_once() -> None:
    failures = tuple(Failure(f"t{n}", message=f"connect ECONNREFUSED 127.0.0.1:{5000 + n}") for n in range(30))
    text = message_of(ReportSummary(files=1, tests=40, failed=30, failures=failures))
    assert text.count("ECONNREFUSED") == 1
    assert text.startswith(
        "30 of 40 tests failed\n\nFAIL: t0\nconnect ECONNREFUSED 127.0.0.1:5000\n\nalso failed:\n- t1\n"
    )
    assert text.count("\n- ") == 29


def test_a_failure_without_a_word_is_named() -> None:
    text = message_of(ReportSummary(files=1, tests=2, failed=1, failures=(Failure("a"),)))
    assert text == "1 of 2 tests failed\n\nalso failed:\n- a"
    error = message_of(ReportSummary(files=1, errors=1, outside=(Failure("the build"),)))
    assert error == "1 error outside of the tests\n\nERROR: the build\n(the report does not say why)"


def test_a_long_trace_is_quoted_by_its_causes() -> None:
    frames = "".join(f"\tat org.junit.Runner.run{n}(Runner.java:{n})\n" for n in range(40))
    details = (
        f"java.lang.RuntimeException: no basket\n{frames}\tat shop.Cart.add(Cart.java:7)\n{frames}"
        f"Caused by: java.net.ConnectException: Connection refused\n{frames}"
    )
    text = message_of(ReportSummary(files=1, tests=1, failed=1, failures=(Failure("a", details=details),)))
    assert text.endswith(
        "FAIL: a\njava.lang.RuntimeException: no basket\n    at shop.Cart.add(Cart.java:7)\n"
        "Caused by: java.net.ConnectException: Connection refused"
    )


def test_secrets_are_masked_before_anything_is_cut() -> None:
    secret = "s3cr3t-value-of-the-token"
    for padding in range(0, 330, 7):
        failure = Failure("a", message="x" * padding + " " + secret, details=f"y {secret}\n" * 3)
        text = message_of(
            ReportSummary(files=1, tests=1, failed=1, failures=(failure,)), lambda t: t.replace(secret, "***")
        )
        assert "s3cr3t" not in text


# heald push --report


def test_a_red_report_is_one_signal(tmp_path: Path) -> None:
    write(tmp_path, "out/a.xml", junit(RED))
    write(tmp_path, "out/b.json", MAKERS["go"](RED))
    done = push(tmp_path, "--report", "out/*.xml", "--report", "out/*.json", "--exit-code", "1", "--run-id", "r1")
    assert done.returncode == 0, done.stderr
    signal = the_report(tmp_path / "spool").signal
    assert (signal.stage, signal.exit_code, signal.flaky_hint) == ("test", 1, False)
    assert signal.message.startswith("2 of 4 tests failed\n\nFAIL: group.divides\nexpected 2 but was 3")


def test_a_pass_on_a_rerun_sets_the_hint(tmp_path: Path) -> None:
    write(tmp_path, "a.xml", junit(FLAKY))
    push(tmp_path, "--report", "a.xml", "--stage", "unit")
    signal = the_report(tmp_path / "spool").signal
    assert (signal.stage, signal.flaky_hint) == ("unit", True)


def test_green_reports_are_nothing_to_push(tmp_path: Path) -> None:
    write(tmp_path, "a.xml", junit(GREEN))
    write(tmp_path, "pom.xml", "<project/>")
    done = push(tmp_path, "--report", "*.xml")
    assert (done.returncode, done.stdout) == (0, b"nothing to push: 0 of 2 tests failed, 1 skipped\n")
    assert not (tmp_path / "spool").exists()
    [record] = push(tmp_path, "--report", "*.xml", "--json").stdout.splitlines()
    told = json.loads(record)
    assert (told["sent"], told["files"], told["tests"], told["failed"], told["skipped"]) == (0, 1, 2, 0, 1)


def test_green_as_far_as_it_can_be_read_is_not_green(tmp_path: Path) -> None:
    write(tmp_path, "a.xml", junit(GREEN)[:-30])
    done = push(tmp_path, "--report", "a.xml")
    assert done.returncode == 1
    assert b"nothing to push: 0 of 1 test failed, but see the warnings" in done.stdout
    assert b"heald: warning: a.xml: it ends in the middle, in line 1; what came before was read" in done.stderr


def test_no_report_at_all_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    done = push(tmp_path, "--report", "build/**/*.xml")
    assert done.returncode == 1
    assert b"no file matches 'build/**/*.xml'" in done.stderr
    assert b"there is no test report to push" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_dry_run_shows_the_report_and_sends_nothing(tmp_path: Path) -> None:
    write(tmp_path, "a.xml", junit(FLAKY))
    done = push(tmp_path, "--report", "a.xml", "--dry-run", "--run-id", "r1")
    assert done.returncode == 0
    assert done.stdout.decode().splitlines()[:4] == ["run    r1", "stage  test", "flaky  yes", ""]
    assert b"1 of 2 tests failed and passed on a rerun" in done.stdout
    shown = json.loads(push(tmp_path, "--report", "a.xml", "--dry-run", "--json").stdout)
    assert shown["signal"]["flaky_hint"] is True
    assert not (tmp_path / "spool").exists()
    assert push(tmp_path, "-", "--dry-run").returncode == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--report", "a.xml", "--message", "x"], b"one of --message, --log and --report is needed"),
        (["--report", "a.xml", "b.xml"], b"quote the pattern of --report"),
        (["--report", "a.xml", "--spool"], b"exclude each other"),
    ],
)
def test_what_does_not_go_together_is_said(arguments: list[str], problem: bytes, tmp_path: Path) -> None:
    write(tmp_path, "a.xml", junit(RED))
    done = push(tmp_path, *arguments)
    assert (done.returncode, problem in done.stderr) == (2, True), done.stderr


def test_secrets_of_the_environment_do_not_leave_with_a_report(tmp_path: Path) -> None:
    write(tmp_path, "a.xml", junit([Made("t", "failed", "login with hunter2-hunter2 failed")]))
    push(tmp_path, "--report", "a.xml", DEPLOY_PASSWORD="hunter2-hunter2")
    assert "login with [masked] failed" in the_report(tmp_path / "spool").signal.message


# heald run --report


def test_reports_that_the_command_wrote_are_the_message(tmp_path: Path) -> None:
    done = run(tmp_path, "--report", "*.xml", *writing("a.xml", RED, code=3))
    assert done.returncode == 3
    signal = the_report(tmp_path / "spool").signal
    assert signal.message == "1 of 2 tests failed\n\nFAIL: group.divides\nexpected 2 but was 3\nat some.place"
    assert (signal.exit_code, signal.flaky_hint) == (3, False)


def test_a_command_that_failed_though_all_passed_on_a_rerun_gets_the_hint(tmp_path: Path) -> None:
    run(tmp_path, "--report", "*.xml", *writing("a.xml", FLAKY))
    assert the_report(tmp_path / "spool").signal.flaky_hint is True


def test_a_crash_is_told_beside_what_the_report_says(tmp_path: Path) -> None:
    script = f"cat > a.xml <<'E'\n{junit(FLAKY)}\nE\nkill -SEGV $$"
    run(tmp_path, "--report", "a.xml", "--", "sh", "-c", script)
    signal = the_report(tmp_path / "spool").signal
    assert signal.message.endswith("Segmentation fault (signal 11)")
    assert signal.flaky_hint is False


@pytest.mark.parametrize("cases", [GREEN, []])
def test_reports_without_a_failure_leave_it_to_the_output(cases: list[Made], tmp_path: Path) -> None:
    done = run(tmp_path, "--report", "*.xml", *writing("a.xml", cases, says="error: the linker has failed"))
    assert done.returncode == 1
    assert b"the test reports tell of no failure" in done.stderr
    assert "error: the linker has failed" in the_report(tmp_path / "spool").signal.message


def test_reports_of_an_earlier_run_are_left_out(tmp_path: Path) -> None:
    old = write(tmp_path, "old.xml", junit(RED))
    os.utime(old, (1_700_000_000, 1_700_000_000))
    done = run(tmp_path, "--report", "*.xml", "--", "sh", "-c", "echo error: no space left; exit 4")
    assert done.returncode == 4
    assert b"1 report is older than the command and left out, as an earlier run wrote them" in done.stderr
    assert b"there is no test report; the failure is reported from the output" in done.stderr
    assert "no space left" in the_report(tmp_path / "spool").signal.message


def test_a_pattern_without_a_file_is_a_warning_only(tmp_path: Path) -> None:
    done = run(tmp_path, "--report", "none/**/*.xml", "--", "sh", "-c", "echo boom; exit 5")
    assert done.returncode == 5
    assert b"warning: no file matches 'none/**/*.xml'" in done.stderr
    assert "boom" in the_report(tmp_path / "spool").signal.message


def test_a_green_command_reads_no_report(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.xml")
    done = run(tmp_path, "--report", "*.xml", "--", "true")
    assert (done.returncode, done.stderr) == (0, b"")


def test_hostile_reports_do_not_change_the_exit_code(tmp_path: Path) -> None:
    write(tmp_path, "pipe", "")
    script = (
        "mkfifo a.xml; printf '<testsuite>' > b.xml; : > c.xml; ln -s /dev/zero d.xml; "
        "head -c 9999 /dev/urandom > e.xml; exit 6"
    )
    done = run(tmp_path, "--report", "*.xml", "--", "sh", "-c", script)
    assert done.returncode == 6
    assert b"Traceback" not in done.stderr
    assert the_report(tmp_path / "spool").signal.exit_code == 6


def test_nothing_of_it_is_imported_before_the_command_has_ended(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom heald_producer import capture\n"
        "capture._report = lambda *a: print(*sys.modules) or True\n"
        "capture.main(['--report', '*.xml', '--', 'false'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=clean_environment()
    )
    loaded = set(done.stdout.split())
    assert "heald_producer.capture" in loaded
    assert not [module for module in loaded if module.startswith("heald_producer.reports")]
    assert not loaded & {"pyexpat", "json", "msgspec", "pathlib", "typing", "re2"}


def test_the_command_line_takes_patterns_repeatedly_and_knows_an_expanded_one(tmp_path: Path) -> None:
    assert parse(["--report", "a", "--report=b", "--", "x"]).reports == ["a", "b"]
    path = str(write(tmp_path, "b.xml", "x"))
    with pytest.raises(UsageError, match="quote the pattern"):
        parse(["--report", "a.xml", path, "--", "make"])
    with pytest.raises(UsageError, match="--report needs a value"):
        parse(["--report"])
    assert parse(["--report", "a.xml", "npm", "test", "--", "x"]).command == ["npm", "test", "--", "x"]
