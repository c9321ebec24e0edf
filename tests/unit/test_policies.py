"""Policies: the server's rules stand above the producer's wish."""

from __future__ import annotations

import pytest

from heald_producer.signals import Context, FailureReport, FailureSignal
from heald_worker.config import Settings
from heald_worker.core.policy import RecoveryPolicy
from heald_worker.policies import MatchRule, choose_policy

STRICT, LOOSE, DEFAULT = RecoveryPolicy(max_attempts=1), RecoveryPolicy(max_attempts=9), RecoveryPolicy()
POLICIES = {"default": DEFAULT, "strict": STRICT, "loose": LOOSE}


def settings(*rules: MatchRule) -> Settings:
    return Settings(policies=POLICIES, rules=rules)


def report(
    policy: str | None = None, stage: str = "unit", repository: str | None = None, ref: str | None = None, **more: str
) -> FailureReport:
    return FailureReport("r1", FailureSignal(stage, "m"), policy, Context(repository=repository, ref=ref, **more))


def test_without_rules_and_wishes_the_default_policy_judges() -> None:
    choice = choose_policy(settings(), report())
    assert (choice.name, choice.policy, choice.requested) == ("default", DEFAULT, None)
    assert choice.reason == "no rule fits and the report names no policy"


def test_without_a_rule_that_fits_a_wish_is_granted() -> None:
    choice = choose_policy(settings(MatchRule("strict", stage="deploy")), report("loose"))
    assert (choice.name, choice.policy, choice.requested) == ("loose", LOOSE, "loose")


def test_a_rule_that_fits_stands_above_any_wish() -> None:
    choice = choose_policy(settings(MatchRule("strict", repository="acme/*")), report("loose", repository="acme/shop"))
    assert (choice.name, choice.policy, choice.requested) == ("strict", STRICT, "loose")
    assert choice.reason == "rule 1 fits (repository 'acme/*')"


def test_an_unknown_wish_falls_back_to_the_default_and_is_recorded() -> None:
    choice = choose_policy(settings(), report("anything goes"))
    assert (choice.name, choice.policy, choice.requested) == ("default", DEFAULT, "anything goes")
    assert "'anything goes', which is not configured" in choice.reason


def test_the_first_rule_that_fits_wins() -> None:
    rules = MatchRule("strict", stage="unit"), MatchRule("loose")
    assert choose_policy(settings(*rules), report()).name == "strict"
    assert choose_policy(settings(*reversed(rules)), report()).name == "loose"
    assert choose_policy(settings(*rules), report(stage="other")).reason == "rule 2 fits (every report)"


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        (MatchRule("strict", repository="acme/*", ref="refs/heads/main", stage="u*"), True),
        (MatchRule("strict", job="e2e*"), True),
        (MatchRule("strict", job="lint"), False),
        (MatchRule("strict", repository="acme/*", ref="refs/heads/mai?", stage="[tu]nit"), True),
        (MatchRule("strict", repository="*shop"), True),
        (MatchRule("strict", repository="Acme/*"), False),
        (MatchRule("strict", stage="UNIT"), False),
        (MatchRule("strict", stage="uni"), False),
        (MatchRule("strict", ref="main"), False),
        (MatchRule("strict", ref=""), False),
        (MatchRule("strict", repository="acme/*", ref="refs/tags/*"), False),
    ],
)
def test_all_globs_of_a_rule_must_fit_and_case_matters(rule: MatchRule, fits: bool) -> None:
    assert rule.fits(report(repository="acme/shop", ref="refs/heads/main", job="e2e (3.12)")) is fits


def test_what_a_report_leaves_out_fits_only_what_fits_empty_text() -> None:
    assert MatchRule("strict").fits(report())
    assert MatchRule("strict", repository="").fits(report())
    assert not MatchRule("strict", repository="?*").fits(report())


def test_hostile_text_in_a_report_is_matched_as_text() -> None:
    assert not MatchRule("strict", stage="deploy").fits(report(stage="deploy\n"))
    assert not MatchRule("strict", stage="[a]").fits(report(stage="[a]"))
    assert MatchRule("strict", stage="*deploy*").fits(report(stage="\x00x\ndeploy\ud800"))
