"""Which repair belongs to which action and failure, and who is told of which ending: specifications as data.

They come from heald.toml and nowhere else: nothing that a signal or the server says can add to them. What
runs them is in `heald_worker.repairs` and `heald_worker.notices`; `docs/repairs.md` describes them for users.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec
from msgspec.structs import asdict

from heald_producer.signals import Context
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Ending
from heald_worker.core.taxonomy import Diagnosis
from heald_worker.globs import ANY, all_fit, narrowing

Environment = dict[str, str]


class CommandRepair(msgspec.Struct, frozen=True, tag_field="kind", tag="command"):
    """Run a command; exit code 0 is success.

    Attributes:
        command: program and arguments, used as they stand: no shell, nothing from a signal is ever put in.
        cwd: the working folder; the worker's own without it. heald.toml gives each command one, by default its own.
        env: variables set for the command on top of what every repair gets.
        time_limit: seconds after which the command and everything it started are ended.
        output_is_failure: it runs again what failed, so what it prints when it fails is the failure of now.
    """

    command: tuple[str, ...]
    cwd: str | None = None
    env: Environment = {}
    time_limit: float = 900.0
    output_is_failure: bool = False


class PythonRepair(msgspec.Struct, frozen=True, tag_field="kind", tag="python"):
    """Call a Python function in the repair process: for things that only talk.

    Attributes:
        call: `module:function`; imported when a worker starts.
        time_limit: seconds after which the call is interrupted and has failed.
    """

    call: str
    time_limit: float = 900.0


class RecordRepair(msgspec.Struct, frozen=True, tag_field="kind", tag="record"):
    """Do nothing and record a result: for trials and benchmarks.

    Attributes:
        succeed: False fails every attempt.
        succeed_from: with `succeed`, the attempt from which on it succeeds.
    """

    succeed: bool = True
    succeed_from: int = 1


Repair = CommandRepair | PythonRepair | RecordRepair


class CommandNotice(msgspec.Struct, frozen=True, tag_field="kind", tag="command"):
    """Tell somebody by running a command; exit code 0 means delivered. Fields as in `CommandRepair`."""

    command: tuple[str, ...]
    cwd: str | None = None
    env: Environment = {}
    time_limit: float = 60.0


class Reach(StrEnum):
    """Kinds of addresses that a webhook may be kept away from."""

    LOOPBACK = "loopback"
    LINK_LOCAL = "link_local"
    PRIVATE = "private"


class WebhookNotice(msgspec.Struct, frozen=True, tag_field="kind", tag="webhook"):
    """Tell somebody by an HTTP POST of JSON; a 2xx answer means delivered. Redirects are not followed.

    Attributes:
        url: http or https.
        headers: sent with the request; a value `$NAME` is taken from the worker's environment.
        time_limit: seconds for the whole delivery.
        forbid: kinds of addresses that are refused even when the URL's host name leads there.
    """

    url: str
    headers: Environment = {}
    time_limit: float = 10.0
    forbid: tuple[Reach, ...] = ()


Notice = CommandNotice | WebhookNotice


class Case(msgspec.Struct, frozen=True):
    """What a repair is chosen by: where it failed, and what the diagnosis says. What is not known is empty.

    Attributes:
        failure_class: the class that the decision is about.
        subclass, rule, tool: as the diagnosis has them.
    """

    repository: str = ""
    ref: str = ""
    job: str = ""
    stage: str = ""
    failure_class: str = ""
    subclass: str = ""
    rule: str = ""
    tool: str = ""


def case_of(context: Context, stage: str, diagnosis: Diagnosis) -> Case:
    """The case of a failure that was reported from here."""
    return Case(
        repository=context.repository or "",
        ref=context.ref or "",
        job=context.job or "",
        stage=stage,
        failure_class=diagnosis.failure_class,
        subclass=diagnosis.subclass,
        rule=diagnosis.rule,
        tool=diagnosis.tool,
    )


class RepairMatch(msgspec.Struct, frozen=True):
    """Which failures a repair is for: a glob (see `globs`) on each fact of a `Case`, by its name."""

    repository: str = ANY
    ref: str = ANY
    job: str = ANY
    stage: str = ANY
    failure_class: str = ANY
    subclass: str = ANY
    rule: str = ANY
    tool: str = ANY

    def fits(self, case: Case) -> bool:
        """Whether the repair is for this failure."""
        return all_fit(asdict(self), asdict(case))

    def describe(self) -> str:
        """The globs that narrow it, for reading; empty for a repair that is for all."""
        return narrowing(asdict(self))

    @property
    def asks_for_a_diagnosis(self) -> bool:
        """Whether it looks at more than where it failed and the class."""
        return any(glob != ANY for glob in (self.subclass, self.rule, self.tool))


FOR_ALL = RepairMatch()


class PlaybookEntry(msgspec.Struct, frozen=True):
    """One repair, and what it is for.

    Attributes:
        name: how it is told from others; `[repairs.ACTION]` has its action's.
        reverts: it reverts the culprit on the branch, instead of rolling back what was deployed.
    """

    action: RecoveryAction
    repair: Repair
    match: RepairMatch = FOR_ALL
    name: str = ""
    reverts: bool = False


class Playbook(msgspec.Struct, frozen=True):
    """What a worker does about decisions and endings; what is not named here is not done.

    Attributes:
        repairs: in their order; an attempt for which none fits fails with that reason.
        notices: for `Ending.ESCALATED` and `Ending.EXHAUSTED`.
    """

    repairs: tuple[PlaybookEntry, ...] = ()
    notices: Mapping[Ending, Notice] = {}

    def entry_for(self, action: RecoveryAction, case: Case) -> PlaybookEntry | None:
        """The first entry for this action that fits; None when there is none."""
        return next((entry for entry in self.repairs if entry.action == action and entry.match.fits(case)), None)

    def repair_for(self, action: RecoveryAction, case: Case) -> Repair | None:
        """The repair of `entry_for`."""
        entry = self.entry_for(action, case)
        return None if entry is None else entry.repair

    def asks_for_a_diagnosis(self, action: RecoveryAction) -> bool:
        """Whether the choice among the repairs of an action depends on the diagnosis."""
        return any(entry.match.asks_for_a_diagnosis for entry in self.repairs if entry.action == action)

    @property
    def actions(self) -> frozenset[RecoveryAction]:
        """The actions that have a repair for some failure at least."""
        return frozenset(entry.action for entry in self.repairs)


def one_for_all(repairs: Mapping[RecoveryAction, Repair]) -> tuple[PlaybookEntry, ...]:
    """One repair per action, whatever failed."""
    return tuple(PlaybookEntry(action, repair, name=action) for action, repair in repairs.items())
