"""Remedies in rule packs: what they may hold, what replaces what, and where people see them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from heald_producer.signals import FailureSignal
from heald_worker.cli import main
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.remedies import Remedies, Remedy
from heald_worker.remedy_tables import kept_form
from heald_worker.rulebook import Rulebook, RuleError, load, shipped_rulebook, with_user

RETRY, PATCH, ROLLBACK, ESCALATE = RecoveryAction
RULE = """
[[rule]]
name = "grid-full"
class = "integration"
subclass = "grid"
match = "no free node"
"""
DNS = "curl: (6) Could not resolve host: pypi.example"
HANDSHAKE = "net/http: TLS handshake timeout"


@pytest.mark.parametrize(
    ("text", "problem", "hint"),
    [
        ('[remedies.dns]\nretyr = "x"', "[remedies.dns]: there is no action `retyr`", "did you mean `retry`?"),
        ('[remedies.dns]\npray = "x"', "there is no action `pray`", "give one of retry, patch_forward"),
        ('[remedies.dns]\nretry = " "', "`retry` needs a sentence of 1 to 200 characters", "or whose it is"),
        ("[remedies.dns]\nretry = 3", "`retry` needs a sentence", "say why it helps"),
        (f'[remedies.dns]\nretry = "{"x" * 201}"', "`retry` needs a sentence of 1 to 200 characters", "say why"),
        ("[remedies.dns]", "[remedies.dns]: remedies are a table of actions", "for example [remedies.dns]"),
        ("remedies = 3", "`remedies` is no table", "for example [remedies.dns]"),
        ('[remedies."No Name"]\nretry = "x"', "'No Name' is no name", "use 1 to 64 of"),
        (f"{RULE}remedies = {{}}", "rule 'grid-full': remedies are a table of actions", "for example"),
        (f'{RULE}remedies = {{ pray = "x" }}', "rule 'grid-full': there is no action `pray`", "give one of"),
    ],
)
def test_what_is_wrong_with_remedies_is_told_with_its_place_and_a_way_out(text: str, problem: str, hint: str) -> None:
    with pytest.raises(RuleError) as caught:
        load([("mine.toml", text)])
    assert str(caught.value).startswith("mine.toml: ")
    assert problem in str(caught.value)
    assert hint in caught.value.hint


def helps(book: Rulebook, message: str) -> Remedies:
    return book.remedies.remedies_for(book.diagnose(FailureSignal("", message, 1)))


def test_remedies_stand_in_their_order_and_end_at_the_class_s_for_what_has_none() -> None:
    mine = with_user([("mine.toml", f'{RULE}[remedies.grid]\nescalate = "ask"\nretry = " wait "')])
    assert helps(mine, "no free node") == (Remedy(ESCALATE, "ask"), Remedy(RETRY, "wait"))
    bare = with_user([("mine.toml", RULE)])
    assert helps(bare, "no free node") == shipped_rulebook().remedies.causes["integration"]


def test_a_rule_s_own_remedies_go_before_those_of_its_cause() -> None:
    own = f'{RULE}remedies = {{ escalate = "ask" }}\n[remedies.grid]\nretry = "wait"'
    assert helps(with_user([("mine.toml", own)]), "no free node") == (Remedy(ESCALATE, "ask"),)


def test_a_user_s_table_replaces_the_cause_s_whole_and_what_shipped_rules_have_of_their_own() -> None:
    assert [each.action for each in helps(shipped_rulebook(), HANDSHAKE)] == [RETRY, ESCALATE]
    mine = with_user([("mine.toml", '[remedies.tls]\nescalate = "ask the network team"')])
    assert helps(mine, HANDSHAKE) == (Remedy(ESCALATE, "ask the network team"),)
    assert helps(mine, DNS) == helps(shipped_rulebook(), DNS)


def test_of_two_files_the_later_one_says_what_helps() -> None:
    first, second = ('[remedies.dns]\nretry = "first"', '[remedies.dns]\nescalate = "second"')
    assert helps(with_user([("a.toml", first), ("b.toml", second)]), DNS) == (Remedy(ESCALATE, "second"),)


def test_remedies_change_their_own_digest_and_not_the_rules_which_judge_as_before() -> None:
    mine = with_user([("mine.toml", '[remedies.dns]\nescalate = "ask"')])
    assert mine.digest == shipped_rulebook().digest
    assert kept_form(mine.remedies).digest != kept_form(shipped_rulebook().remedies).digest
    again = with_user([("other.toml", '[remedies.dns]\nescalate = "ask"')])
    assert kept_form(again.remedies) == kept_form(mine.remedies)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> str:
    assert main(list(argv)) == code
    out, err = capsys.readouterr()
    return out + err


def explained(capsys: pytest.CaptureFixture[str], message: str, stage: str = "unit") -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(said(capsys, "explain", "--stage", stage, "--message", message, "--json"))
    return answer


def test_heald_toml_may_hold_remedies_and_its_mistakes_name_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "heald.toml").write_text('[remedies.dns]\nescalate = "the name servers are ours"\n')
    answer = explained(capsys, DNS)
    assert answer["attempts"][0]["rationale"] == "dns: the name servers are ours"
    (folder / "heald.toml").write_text('[remedies.dns]\nretyr = "x"\n')
    shown = said(capsys, "explain", "--stage", "unit", "--message", DNS, code=2)
    assert "heald.toml: [remedies.dns]: there is no action `retyr`" in shown


def test_explain_says_of_each_remedy_why_it_is_not_taken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "heald.toml").write_text('[repairs.rollback]\nkind = "record"\n')
    broken = "a.c:1:2: error: unknown type name 'u24'"
    objections = {each["action"]: each["objection"] for each in explained(capsys, broken)["remedies"]}
    assert objections == {
        "patch_forward": "no repair is configured for it",
        "rollback": "nothing was deployed, and nothing can be reverted",
        "escalate": "",
    }
    shown = said(capsys, "explain", "--stage", "unit", "--message", broken)
    assert "patch_forward: the code does not compile: it has to change (not now: no repair is configured" in shown
    deployed = explained(capsys, broken, stage="deploy")
    assert deployed["attempts"][0]["action"] == "rollback"


def test_explain_weighs_the_retry_of_a_flaky_test_with_the_rest(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = "FAILED tests/test_a.py::test_b - assert 3 == 4"
    shown = said(capsys, "explain", "--stage", "unit", "--message", message, "--flaky")
    assert "retry: the test is known or said to be flaky (not now: on this ref it could hide" in shown


def test_the_list_of_rules_shows_what_helps_what_each_finds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listed = [json.loads(line) for line in said(capsys, "rules", "list", "--json").splitlines()]
    helped = {each["rule"]: [remedy["action"] for remedy in each["remedies"]] for each in listed}
    assert (helped["dns"], helped["tls"]) == (["retry", "escalate"], ["escalate"])
    assert helped["tls-interrupted"] == ["retry", "escalate"]
    assert "retry, escalate" in said(capsys, "rules", "list")


def test_remedies_are_listed_by_cause(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [dns] = [json.loads(line) for line in said(capsys, "rules", "remedies", "dns", "--json").splitlines()]
    assert dns["remedies"][0] == {"action": "retry", "reason": "names usually resolve again within minutes"}
    assert "never-heard-of has no remedies" in said(capsys, "rules", "remedies", "never-heard-of", code=1)


def test_lint_finds_remedies_that_no_failure_ever_has(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "mine.toml").write_text('[remedies.dsn]\nretry = "wait"\n[remedies.test]\nescalate = "ask"\n')
    shown = said(capsys, "rules", "lint", "mine.toml", code=1)
    assert "[remedies.dsn]: no rule finds this cause" in shown
    assert "[remedies.test]" not in shown
