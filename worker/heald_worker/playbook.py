"""Which repair belongs to which action, and who is told of which ending: specifications as data.

They come from heald.toml and nowhere else: nothing that a signal or the server says can add to them. What
runs them is in `heald_worker.repairs` and `heald_worker.notices`; `docs/repairs.md` describes them for users.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import msgspec

from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Ending

Environment = dict[str, str]


class CommandRepair(msgspec.Struct, frozen=True, tag_field="kind", tag="command"):
    """Run a command; exit code 0 is success.

    Attributes:
        command: program and arguments, used as they stand: no shell, nothing from a signal is ever put in.
        cwd: the working folder; the worker's own without it.
        env: variables set for the command on top of what every repair gets.
        time_limit: seconds after which the command and everything it started are ended.
    """

    command: tuple[str, ...]
    cwd: str | None = None
    env: Environment = {}
    time_limit: float = 900.0


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


class Playbook(msgspec.Struct, frozen=True):
    """What a worker does about decisions and endings; what is not named here is not done.

    Attributes:
        repairs: by action; an attempt whose action has none fails with that reason.
        notices: for `Ending.ESCALATED` and `Ending.EXHAUSTED`.
    """

    repairs: Mapping[RecoveryAction, Repair] = {}
    notices: Mapping[Ending, Notice] = {}
