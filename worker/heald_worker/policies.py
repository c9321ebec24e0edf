"""Which policy judges a run: the server's rules first, then what the producer asks for, then `default`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from heald_producer.signals import FailureReport
from heald_worker.core.policy import Bounds, RecoveryPolicy
from heald_worker.globs import ANY, all_fit, narrowing

if TYPE_CHECKING:
    from heald_worker.config import Settings

DEFAULT_POLICY = "default"
"""The policy's name that always exists."""


class MatchRule(msgspec.Struct, frozen=True):
    """One `[[rules]]` entry: a report that fits all its globs (see `globs`) is judged by `policy`."""

    policy: str
    repository: str = ANY
    ref: str = ANY
    job: str = ANY
    stage: str = ANY

    def fits(self, report: FailureReport) -> bool:
        """Whether this rule is for the report."""
        context = report.context
        facts = {"repository": context.repository, "ref": context.ref, "job": context.job, "stage": report.signal.stage}
        return all_fit(self._globs(), facts)

    def describe(self) -> str:
        """The globs that narrow the rule, for reading: `repository 'acme/*', stage 'deploy'`."""
        return narrowing(self._globs()) or "every report"

    def _globs(self) -> dict[str, str]:
        return {"repository": self.repository, "ref": self.ref, "job": self.job, "stage": self.stage}


class PolicyChoice(msgspec.Struct, frozen=True):
    """The policy for one report.

    Attributes:
        name: the chosen policy's name.
        policy: its bounds, frozen on the run from now on.
        requested: the name that the report asked for, if any.
        reason: why this one, as a sentence's part.
        bounds: heald's own beside them, frozen on the run, too.
    """

    name: str
    policy: RecoveryPolicy
    requested: str | None
    reason: str
    bounds: Bounds = Bounds()


def choose_policy(settings: Settings, report: FailureReport) -> PolicyChoice:
    """The policy for a report. A wish never overrides a rule; an unknown wish falls back to `default`."""
    name, reason = _choose(settings, report)
    return PolicyChoice(name, settings.policies[name], report.policy, reason, settings.bounds_of(name))


def _choose(settings: Settings, report: FailureReport) -> tuple[str, str]:
    for number, rule in enumerate(settings.rules, start=1):
        if rule.fits(report):
            return rule.policy, f"rule {number} fits ({rule.describe()})"
    if report.policy is None:
        return DEFAULT_POLICY, "no rule fits and the report names no policy"
    if report.policy in settings.policies:
        return report.policy, "no rule fits and the report asks for it"
    return DEFAULT_POLICY, f"no rule fits and the report asks for {report.policy!r}, which is not configured"
