"""`heald explain` says what the service would do, and does nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heald_producer.signals import FailureReport, FailureSignal
from heald_producer.wire import encode_report
from heald_worker.cli import main
from heald_worker.cli.diagnosis import class_reason
from heald_worker.cli.explain import explain_report
from heald_worker.config import Settings
from heald_worker.core.instant import Instant
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.policy import RecoveryPolicy
from heald_worker.core.recovery import Ending, execute_recovery_loop
from heald_worker.core.taxonomy import AIVCS, RULES, FailureClass

CONFIG = """
taxonomy = "aivcs"
[policies.tight]
max_attempts = 2
max_flaky_retries = 0
[[rules]]
repository = "acme/*"
policy = "tight"
[repairs.retry]
kind = "command"
command = ["make", "again"]
[notices.on_exhausted]
kind = "webhook"
url = "https://hooks.example.com/T0/secret-part"
"""


@pytest.fixture(autouse=True)
def _configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "heald.toml").write_text(CONFIG)


def explained(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    assert main(["explain", "--json", *argv]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_it_tells_the_decision_the_policy_and_what_would_follow(capsys: pytest.CaptureFixture[str]) -> None:
    answer = explained(capsys, "--stage", "unit-test", "--message", "boom", "--flaky")
    assert (answer["failure_class"], answer["diagnosed"]["reason"]) == ("test", "the stage has 'test'")
    assert answer["policy"]["name"] == "default"
    steps = [(each["first"], each["last"], each["action"], each["repair"]) for each in answer["attempts"]]
    assert steps == [
        (1, 1, "retry", f"command make again in {Path.cwd()}, at most 15m"),
        (2, 3, "patch_forward", "no repair is configured: the attempt fails"),
    ]
    assert (answer["ending"], answer["notice"]) == ("exhausted", "webhook https://hooks.example.com/... is told")


def test_rules_and_wishes_choose_the_policy_as_for_a_real_report(capsys: pytest.CaptureFixture[str]) -> None:
    described = ("--stage", "test", "--message", "m", "--flaky", "--repository", "acme/shop", "--policy", "default")
    answer = explained(capsys, *described)
    assert answer["policy"]["name"] == "tight"
    assert answer["policy"]["reason"] == "rule 1 fits (repository 'acme/*')"
    assert [each["action"] for each in answer["attempts"]] == ["patch_forward"]


def test_a_report_brings_everything_along(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = encode_report(FailureReport("ci-7", FailureSignal("deploy", "segmentation fault")))
    (tmp_path / "report.json").write_bytes(raw)
    from_file = explained(capsys, "--report", "report.json")
    assert (from_file["run_id"], from_file["failure_class"]) == ("ci-7", "runtime")
    with (tmp_path / "report.json").open() as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        assert explained(capsys, "--report", "-") == from_file


def test_a_person_reads_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "--stage", "deploy\x1b[2J", "--message", "m"]) == 0
    shown = capsys.readouterr().out
    assert "unknown in stage 'deploy\\x1b[2J'" in shown
    assert "no safe automated action available under policy" in shown
    assert "nobody is told" in shown
    assert "\x1b" not in shown


CHOICES = """
[[repairs]]
action = "patch_forward"
match = { job = "checks*", subclass = "%s" }
kind = "record"
[[repairs]]
action = "patch_forward"
kind = "python"
call = "fixes:patch"
"""
COMPILER = ("--stage", "build", "--message", "main.c:3:1: error: expected ';' before '}' token")


def test_it_tells_the_repair_that_would_be_chosen(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "heald.toml").write_text(CHOICES % "compile")
    found = explained(capsys, *COMPILER, "--job", "checks-3.12")
    assert found["diagnosed"]["diagnosis"]["subclass"] == "compile"
    assert found["attempts"][0]["repair"] == "only records success from attempt 1 on"
    for other in (["--job", "tests"], []):
        assert explained(capsys, *COMPILER, *other)["attempts"][0]["repair"] == "python fixes:patch, at most 15m"


def test_a_policy_without_attempts_decides_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "heald.toml").write_text("taxonomy = 'aivcs'\n[policies.default]\nmax_attempts = 0\n")
    answer = explained(capsys, "--stage", "test", "--message", "m")
    assert (answer["attempts"], answer["ending"]) == ([], "exhausted")
    assert main(["explain", "--stage", "test", "--message", "m"]) == 0
    assert "the policy allows no attempt" in capsys.readouterr().out


def test_a_dry_run_repairs_nothing_and_tells_nobody(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "heald.toml").write_text(f"dry_run = true\n{CONFIG}")
    answer = explained(capsys, "--stage", "test", "--message", "m", "--flaky")
    assert answer["attempts"][0]["repair"] == "none: dry_run is set, the attempt fails"
    assert answer["notice"] == "nobody is told"


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--stage", "s"], 2, "--stage and --message, with --log, or give --report"),
        (["--stage", "s", "--message", "m", "--report", "x"], 2, "leave the other options out"),
        (["--stage", "s", "--message", "m", "--run-id", "../up"], 2, "run_id: '../up' is not allowed"),
        (["--stage", "s", "--message", "m", "--exit-code", str(2**31)], 2, "exit_code"),
        (["--stage", "s" * 300, "--message", "m"], 2, "stage"),
        (["--report", "gone.json"], 74, "gone.json: No such file or directory"),
        (["--report", "heald.toml"], 1, "would become a dead letter (not_json)"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_a_sentence(
    argv: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", *argv]) == code
    assert said in capsys.readouterr().err


SIGNALS = st.builds(
    FailureSignal,
    st.sampled_from(["build", "unit-TEST", "runtime", "integration", "deploy"]),
    st.sampled_from(["", "panic", "handshake", "Assertion"]),
    st.none(),
    st.booleans(),
)
POLICIES = st.builds(
    RecoveryPolicy,
    st.integers(0, 12),
    st.integers(0, 4),
    allow_patch_forward=st.booleans(),
    allow_rollback=st.booleans(),
)


def reference_settings(policy: RecoveryPolicy) -> Settings:
    return Settings(policies={"default": policy}, remedies="aivcs")


@given(SIGNALS, POLICIES)
def test_it_foresees_exactly_the_loop_in_which_every_repair_fails(
    signal: FailureSignal, policy: RecoveryPolicy
) -> None:
    explanation = explain_report(FailureReport("r", signal), reference_settings(policy), AIVCS)
    failed = RecoveryAttemptResult(success=False)
    log = execute_recovery_loop("r", signal, policy, lambda *_: failed, now=Instant(0))
    actions = [each.action for each in explanation.attempts for _ in range(each.first, each.last + 1)]
    assert actions == [decision.action for decision in log.decisions]
    assert (explanation.ending is Ending.ESCALATED) == ("escalate" in actions)


def test_the_reason_for_a_class_agrees_with_the_class_on_every_vector(vectors: Path) -> None:
    words = {failure_class: (*in_stage, *in_message) for failure_class, in_stage, in_message in RULES}
    for line in (vectors / "classify.jsonl").read_bytes().splitlines():
        case = msgspec.json.decode(line)
        reason = class_reason(msgspec.convert(case["in"]["signal"], FailureSignal))
        if case["out"]["class"] == "unknown":
            assert reason == "no rule fits"
        else:
            assert any(repr(word) in reason for word in words[FailureClass(case["out"]["class"])])
