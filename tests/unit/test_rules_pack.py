"""The shipped rules: each decides its own examples and none of its counterexamples, and every class is reachable."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from heald_producer.signals import FailureSignal
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.taxonomy import FailureClass
from heald_worker.rulebook import Trial, shipped_rulebook
from heald_worker.rulepack import RULE_FIELDS

TRIALS = tuple(shipped_rulebook().trials())
LINES = Path(__file__).parent / "diagnosis_lines.tsv"
"""What tools print, one message per line after its class; `\\n` stands for a line's end."""


@pytest.mark.parametrize("trial", TRIALS, ids=lambda trial: f"{trial.rule}-{trial.expected}")
def test_a_shipped_rule_decides_its_examples_and_not_its_counterexamples(trial: Trial) -> None:
    assert trial.passed, f"{trial.example.message!r} is judged by {trial.diagnosis.rule!r}"


def test_every_shipped_rule_has_examples_of_both_kinds() -> None:
    assert [rule.name for rule in shipped_rulebook().rules if not (rule.examples and rule.counterexamples)] == []


def test_every_class_has_a_rule_and_no_broken_build_passes_by_itself() -> None:
    rules = shipped_rulebook().rules
    assert {rule.failure_class for rule in rules} == set(FailureClass)
    assert FailureClass.BUILD not in {rule.failure_class for rule in rules if rule.transient}


def test_every_cause_has_remedies_that_end_with_whose_it_is() -> None:
    book = shipped_rulebook()
    assert set(book.remedies.causes) == {rule.subclass for rule in book.rules} - {""} | set(FailureClass)
    for remedies in (*book.remedies.causes.values(), *book.remedies.rules.values()):
        actions = [remedy.action for remedy in remedies]
        assert (actions[-1], len(actions)) == (RecoveryAction.ESCALATE, len(set(actions)))


def test_what_passes_by_itself_is_retried_and_code_is_patched_before_it_is_rolled_back() -> None:
    book = shipped_rulebook()
    for rule in book.rules:
        actions = [remedy.action for remedy in book.remedies_of(rule)]
        if rule.transient:
            assert actions[0] is RecoveryAction.RETRY, rule.name
        if RecoveryAction.ROLLBACK in actions and rule.subclass != "rollout":
            assert RecoveryAction.PATCH_FORWARD in actions[: actions.index(RecoveryAction.ROLLBACK)], rule.name


def test_a_new_version_that_does_not_run_is_rolled_back_before_its_code_is_patched() -> None:
    actions = [remedy.action for remedy in shipped_rulebook().remedies.causes["rollout"]]
    assert actions == [RecoveryAction.ROLLBACK, RecoveryAction.PATCH_FORWARD, RecoveryAction.ESCALATE]


PERSONS = ("credentials", "signing", "licence", "quota", "permission", "tls", "disk_full", "heap_limit", "policy")


@pytest.mark.parametrize("cause", PERSONS)
def test_what_only_a_person_can_mend_goes_to_a_person_at_once(cause: str) -> None:
    [remedy] = shipped_rulebook().remedies.causes[cause]
    assert remedy.action is RecoveryAction.ESCALATE


HELPED = {
    "error: unknown type name 'u24'": "patch_forward",
    "cp: error writing 'a': No space left on device": "escalate",
    "curl: (6) Could not resolve host: pypi.example": "retry",
    "HTTP 401 Unauthorized: bad credentials": "escalate",
    "java.lang.OutOfMemoryError: Java heap space": "escalate",
    "The agent lost communication with the server": "retry",
    "urllib.error.HTTPError: HTTP Error 503: Service Unavailable": "retry",
    "x509: certificate has expired or is not yet valid": "escalate",
    "would reformat src/shop/basket.py": "patch_forward",
    "Please rebuild the stylesheet and commit the changes.": "patch_forward",
    "+ git diff --exit-code\nError: Uncommitted changes found after generating": "patch_forward",
    "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 712 (apt-get)": "retry",
    "Error: Error acquiring the state lock": "retry",
    "Error: listen EADDRINUSE: address already in use :::3000": "retry",
    "mkdir: cannot create directory '/opt/x': Permission denied": "escalate",
    'No signing certificate "iOS Distribution" found': "escalate",
    "Error 403: Quota 'CPUS' exceeded. Limit: 24.0 in region eu-west1": "escalate",
    "License checkout failed.": "escalate",
    "remote: Repository not found.": "escalate",
    "error: no devices/emulators found": "retry",
    "Unable to download artifact(s): Artifact not found for name: wheels": "patch_forward",
    "Error: Failed to CreateArtifact: Received non-retryable error": "retry",
    "the server has asked for the client to provide credentials": "escalate",
    "Build timed out (after 120 minutes). Marking the build as aborted.": "retry",
    'error: deployment "till" exceeded its progress deadline': "rollback",
    "memory allocation of 18446744073709551608 bytes failed": "patch_forward",
}


@pytest.mark.parametrize(("message", "action"), HELPED.items())
def test_the_first_remedy_is_what_somebody_on_call_would_do(message: str, action: str) -> None:
    book = shipped_rulebook()
    assert book.remedies.remedies_for(book.diagnose(FailureSignal("", message, 1)))[0].action == action


def test_no_shipped_rule_outranks_a_user_s_rule_without_a_rank() -> None:
    assert max(rule.rank for rule in shipped_rulebook().rules) < 95


def test_the_rules_are_shipped_inside_the_package() -> None:
    names = [each.name for each in (resources.files("heald_worker") / "rules").iterdir()]
    assert "network.toml" in names


def test_what_tools_print_gets_its_class() -> None:
    wrong = []
    for line in LINES.read_text("utf-8").splitlines():
        label, message = line.split("\t", 1)
        found = shipped_rulebook().diagnose(FailureSignal("", message.replace("\\n", "\n").replace("\\t", "\t"), 1))
        if found.failure_class.value != label:
            wrong.append(f"{label} but {found.failure_class} by {found.rule!r}: {message}")
    assert wrong == []


TRAPS = {
    "a dependency that DNS kept away": (
        "Could not resolve dependencies for project a:b:1: Could not transfer c:d: m.io: Name or service not known",
        "integration",
    ),
    "a test whose name has timeout in it": ("FAIL: test_pool_timeout (suite.TestPool)", "test"),
    "an assertion that quotes DNS": ("E       AssertionError: assert 'NXDOMAIN' == 'NOERROR'", "test"),
    "a method named oom": ("src/pool.cc:9:14: error: 'class Pool' has no member named 'oom'", "build"),
    "a compile error in a test stage": ("error[E0425]: cannot find value `N` in this scope", "build"),
    "a crash inside a test": ("--- FAIL: TestWalk (0.01s)\npanic: runtime error: index out of range [3]", "runtime"),
    "a refused connection inside a test": (
        "ERROR: test_ping (t.P)\nConnectionRefusedError: [Errno 111]",
        "integration",
    ),
    "a linter": ("src/a.py:10:80: E501 line too long", "unknown"),
    "a bare wrapper": ("make: *** [all] Error 2", "unknown"),
}


@pytest.mark.parametrize(("message", "label"), TRAPS.values(), ids=TRAPS)
def test_the_cause_beats_the_symptom(message: str, label: str) -> None:
    assert shipped_rulebook().diagnose(FailureSignal("test", message, 1)).failure_class == label


def test_the_documentation_names_every_subclass_and_every_field() -> None:
    page = (Path(__file__).resolve().parent.parent.parent / "docs" / "diagnosis.md").read_text("utf-8")
    for rule in shipped_rulebook().rules:
        [row] = [line for line in page.splitlines() if line.startswith(f"| `{rule.failure_class}` |")]
        assert not rule.subclass or f"`{rule.subclass}`" in row
    for field in RULE_FIELDS:
        assert f"`{field}`" in page


def test_the_documentation_shows_the_shipped_remedies() -> None:
    page = (Path(__file__).resolve().parent.parent.parent / "docs" / "diagnosis.md").read_text("utf-8")
    table = shipped_rulebook().remedies
    shown = {f"{'class ' * (cause in set(FailureClass))}`{cause}`": found for cause, found in table.causes.items()}
    shown |= {f"rule `{name}`": found for name, found in table.rules.items()}
    rows = [f"| {cause} | {', '.join(f'`{each.action}`' for each in found)} |" for cause, found in shown.items()]
    assert "\n".join(["| cause | remedies |", "| --- | --- |", *rows, ""]) in page
