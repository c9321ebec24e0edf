"""Telling somebody that a run was escalated or exhausted: a command, or a webhook.

One call is one try; who repeats it, and how often, is the caller's. `docs/repairs.md` describes both kinds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from heald_producer.mask import Masker, secret_values
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

MIN_SECRET_PART = 12
"""Characters from which on a part of a webhook's URL, or of a header, is taken for a password."""
SHOWN_ANSWER = 200
"""Characters of a webhook's answer that are shown."""
PASSING = (408, 425, 429)
"""Answers of the 4xx that say something of the moment, and nothing of the notice."""


class Delivery(msgspec.Struct, frozen=True):
    """What came of one try, and one line about it for people.

    Attributes:
        refused: the same again would be answered the same.
        retry_after: seconds that the other side asks to wait before the next try; 0 where it does not.
    """

    delivered: bool
    detail: str
    refused: bool = False
    retry_after: float = 0.0


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
    status = answer.status
    delivered, refused = 200 <= status < 300, 400 <= status < 500 and status not in PASSING
    detail = f"answered {status} {answer.reason}"
    if answer.text.strip() and not delivered:
        masker = Masker([*secret_values(environ, os.path.exists), *_secrets_of(notice.url, headers)])
        detail += f": {one_line(masker.text(answer.text))[:SHOWN_ANSWER]}"
    wait = answer.retry_after if status in (429, 503) else 0.0
    return Delivery(delivered, one_line(detail), refused, wait)


def _secrets_of(url: str, headers: Mapping[str, str]) -> Iterator[str]:
    """What a webhook was asked with, and may answer with: its headers, and of its URL what may be the password."""
    for value in headers.values():
        yield value
        yield from (word for word in value.split() if len(word) >= MIN_SECRET_PART)
    target = urlsplit(url)
    whole = f"{target.path}?{target.query}"
    parts = re.split(r"[/?&=]", whole)
    yield from (part for part in (target.path, whole, *parts) if len(part) >= MIN_SECRET_PART)


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
