"""Telling somebody that a run was escalated or exhausted: a command, or a webhook.

One call is one try; who repeats it, and how often, is the caller's. `docs/repairs.md` describes both kinds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from heald_worker.playbook import CommandNotice, Notice, WebhookNotice
from heald_worker.repairs.command import how_it_ended, masker_for, run_at
from heald_worker.repairs.facts import (
    FACTS_FORMAT,
    MissingVariable,
    context_variables,
    desk,
    environment,
    filled,
    shown,
)
from heald_worker.repairs.order import one_line
from heald_worker.repairs.output import end_of_output
from heald_worker.webhook import Undelivered, post_json


class Delivery(msgspec.Struct, frozen=True):
    """What came of one try, and one line about it for people."""

    delivered: bool
    detail: str


def _never() -> bool:
    return False


def deliver(
    notice: Notice,
    facts: Mapping[str, Any],
    *,
    scratch: Path | None = None,
    stopping: Callable[[], bool] = _never,
    environ: Mapping[str, str] = os.environ,
) -> Delivery:
    """Try once to tell somebody. Never raises for what the other side does.

    Args:
        facts: what is told, as JSON can hold it: `run_id`, `ending`, `outcome`, `digest`, `log` and `context`
            at least.
        scratch: where a command's file of facts stands; the system's temporary folder without it.
        stopping: asked about every half second while a command runs; when it turns true, it is ended.
        environ: the worker's environment.
    """
    told = {"format": FACTS_FORMAT, "idempotency_key": f"{facts['run_id']}:{facts['ending']}", **facts}
    try:
        match notice:
            case CommandNotice():
                return _run(notice, told, scratch, stopping, environ)
            case WebhookNotice():
                return _post(notice, told, environ)
    except (MissingVariable, Undelivered) as error:
        return Delivery(False, one_line(str(error)))


def _run(
    notice: CommandNotice,
    told: Mapping[str, Any],
    scratch: Path | None,
    stopping: Callable[[], bool],
    environ: Mapping[str, str],
) -> Delivery:
    variables = environment(environ, notice_variables(told), notice.env)
    try:
        with desk(scratch, told) as place:
            end = run_at(place, notice, variables, stopping)
    except OSError as error:
        return Delivery(False, f"there is no place for the file of facts: {error.strerror or error}")
    detail = how_it_ended(notice, end)
    if end.exit_code == 0:
        return Delivery(True, detail)
    masker = masker_for(notice, variables, environ)
    last_line = end_of_output(end.output, end.printed > len(end.output), masker).rpartition("\n")[2]
    return Delivery(False, one_line(f"{detail}: {last_line}" if last_line else detail))


def _post(notice: WebhookNotice, told: Mapping[str, Any], environ: Mapping[str, str]) -> Delivery:
    headers = filled(notice.headers, environ, "headers")
    key = {"Idempotency-Key": str(told["idempotency_key"])}
    answer = post_json(
        notice.url,
        msgspec.json.encode(told),
        headers={**key, **headers},
        time_limit=notice.time_limit,
        forbid=notice.forbid,
    )
    return Delivery(200 <= answer.status < 300, one_line(f"answered {answer.status} {answer.reason}"))


def notice_variables(facts: Mapping[str, Any]) -> dict[str, str]:
    """The facts that fit into environment variables; what is not known is empty."""
    recovery_log = facts.get("log") or {}
    decisions = recovery_log.get("decisions") or [{}]
    failure = recovery_log.get("final_failure") or recovery_log.get("initial_failure") or {}
    return {
        "HEALD_RUN_ID": str(facts["run_id"]),
        "HEALD_PARENT_RUN": str(facts["run_id"]),
        "HEALD_ENDING": str(facts["ending"]),
        "HEALD_OUTCOME": shown(facts.get("outcome")),
        "HEALD_DIGEST": shown(facts.get("digest")),
        "HEALD_POLICY": shown(facts.get("policy")),
        "HEALD_ATTEMPT": shown(recovery_log.get("attempts_used")),
        "HEALD_ACTION": shown(decisions[-1].get("action")),
        "HEALD_FAILURE_CLASS": shown(decisions[-1].get("failure_class")),
        "HEALD_STAGE": shown(failure.get("stage")),
        "HEALD_EXIT_CODE": shown(failure.get("exit_code")),
        "HEALD_GENERATION": shown(facts.get("generation")),
        "HEALD_IDEMPOTENCY_KEY": str(facts["idempotency_key"]),
        **context_variables(facts.get("context") or {}),
    }
