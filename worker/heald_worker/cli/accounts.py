"""How events and recoveries are told: one line for a person, one record for a machine."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

import msgspec
from rich.text import Text

from heald_producer.signals import Context
from heald_worker.cli.common import clean
from heald_worker.cli.times import id_micros, local_time, took, utc_time
from heald_worker.core.instant import format_instant
from heald_worker.core.log import RecoveryDecision
from heald_worker.core.recovery import Ending
from heald_worker.states import UnreadableRun
from heald_worker.streams import EventEntry, RecoveryEntry
from heald_worker.views import OpenRun

ENDING_STYLES = {
    Ending.RECOVERED: "green",
    Ending.EXHAUSTED: "red",
    Ending.ESCALATED: "yellow",
    Ending.CANCELLED: "magenta",
}
_KIND_STYLES = {
    "repair_lost": "yellow",
    "repair_abandoned": "red",
    "parked": "red",
    "cancelled": "magenta",
}


def recovery_line(entry: RecoveryEntry) -> Text:
    """One completed recovery in one line."""
    return Text.assemble(
        (local_time(id_micros(entry.id)), "dim"),
        "  ",
        (clean(entry.run), "bold"),
        "  ",
        (ending_words(entry), ENDING_STYLES[entry.ending]),
        "  ",
        (failure_class(entry.log.decisions), "cyan"),
        "  ",
        actions(entry.log.decisions),
        "  ",
        count(entry.log.attempts_used, "attempt"),
        "  ",
        took(entry.seconds),
        "  ",
        (place(entry.facts.context, entry.log.initial_failure.stage), "dim"),
    )


def ending_words(entry: RecoveryEntry) -> str:
    """How a run ended, and of a recovery how that is known: `recovered (claimed)`."""
    return f"{entry.ending} ({entry.known})" if entry.known else str(entry.ending)


def recovery_record(entry: RecoveryEntry) -> dict[str, object]:
    """One completed recovery for `--json`: the log as an object, its digest, and what the service knew."""
    facts: dict[str, object] = msgspec.to_builtins(entry.facts)
    return {
        "id": entry.id,
        "at": utc_time(id_micros(entry.id)),
        "run": entry.run,
        "outcome": entry.outcome,
        "ending": entry.ending,
        "known": entry.known or None,
        "joined": entry.joined,
        "seconds": round(entry.seconds, 6),
        **facts,
        "accepted_at": utc_time(entry.facts.accepted_at),
        "events": entry.events,
        "digest": entry.digest,
        "log": msgspec.json.decode(entry.data),
    }


def open_record(run: OpenRun) -> dict[str, object]:
    """One run that has not ended, for `--json`."""
    known: dict[str, object] = {
        "run": run.run_id,
        "version": run.version,
        "due": None if run.due is None else utc_time(round(run.due * 1000)),
        "parked": run.parked,
        "joined": run.joined,
        "waits_for_branch_of": run.waits_for,
        "events": run.events,
    }
    if isinstance(run.run, UnreadableRun):
        return known | {"problem": run.run.problem}
    facts: dict[str, object] = msgspec.to_builtins(run.run)
    recovery: dict[str, object] = msgspec.to_builtins(run.run.recovery)
    evaluated_at = run.run.recovery.evaluated_at
    if evaluated_at is not None:
        recovery["evaluated_at"] = format_instant(evaluated_at)
    accepted_at = utc_time(run.run.accepted_at)
    return known | facts | {"accepted_at": accepted_at, "recovery": {"phase": run.run.recovery.phase} | recovery}


def event_line(entry: EventEntry) -> Text:
    """One transition in one line."""
    at, kind = local_time(id_micros(entry.id)), (clean(entry.kind), event_style(entry))
    return Text.assemble((at, "dim"), "  ", (clean(entry.run), "bold"), "  ", kind, "  ", event_words(entry))


def event_record(entry: EventEntry) -> dict[str, object]:
    """One transition for `--json`."""
    return {
        "id": entry.id,
        "at": utc_time(id_micros(entry.id)),
        "run": entry.run,
        "kind": entry.kind,
        "version": entry.version,
        "facts": entry.facts,
    }


def event_style(entry: EventEntry) -> str:
    """The colour of an event's kind: what went well is green, what did not is not."""
    facts = entry.facts
    if entry.kind == "ended" and facts.get("ending") in set(Ending):
        return ENDING_STYLES[Ending(facts["ending"])]
    if entry.kind == "repair_ended":
        return "green" if facts.get("success") is True else "red"
    if entry.kind == "notice_ended":
        return "green" if facts.get("delivered") is True else "yellow"
    return _KIND_STYLES.get(entry.kind, "cyan")


def event_words(entry: EventEntry) -> str:
    """An event's facts as a person reads them; of a kind that is not known, as they stand."""
    sentence = _SENTENCES.get(entry.kind)
    facts = {name: _plain(name, value) for name, value in entry.facts.items()}
    if sentence is None or not sentence[1] <= facts.keys():
        return "  ".join(f"{clean(name)}={value}" for name, value in facts.items())
    words = sentence[0].format_map(facts)
    details = [_repair_words(facts), _known_words(entry), facts.get("detail"), _diagnosis_words(entry)]
    return ": ".join([words, *(detail for detail in details if detail)])


def _known_words(entry: EventEntry) -> str:
    """How the success of a repair is known."""
    if entry.kind != "repair_ended" or not entry.facts.get("known"):
        return ""
    return clean(" by ".join(str(part) for part in (entry.facts["known"], entry.facts.get("proof")) if part))


def _repair_words(facts: Mapping[str, str]) -> str:
    """Which repair was made, where its action does not say it."""
    name = facts.get("repair", "")
    return name if name != facts.get("action") else ""


def _diagnosis_words(entry: EventEntry) -> str:
    """Why a decision's failure has its class, or an accepted one its flaky hint."""
    facts = entry.facts
    if entry.kind == "accepted" and facts.get("flaky"):
        return clean(f"known as flaky from run {facts['flaky']}")
    if entry.kind != "decided":
        return ""
    if facts.get("corrected_by"):
        return clean(f"its class is the word of {facts['corrected_by']}")
    named = [facts.get("subclass"), "transient" if facts.get("transient") is True else "", _rule_words(facts)]
    return clean(", ".join(str(part) for part in named if part))


def _rule_words(facts: Mapping[str, object]) -> str:
    return f"rule {facts['rule']}" if facts.get("rule") else ""


def _plain(name: str, value: object) -> str:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, bool) and name in _YES_NO:
        return _YES_NO[name][not value]
    return clean(msgspec.json.encode(value).decode())


_YES_NO = {"success": ("succeeded", "failed"), "delivered": ("delivered", "not delivered")}


def _sentence(words: str, *names: str) -> tuple[str, frozenset[str]]:
    return words, frozenset(names)


_SENTENCES: Mapping[str, tuple[str, frozenset[str]]] = {
    "corrected": _sentence("failures like this one are {class} failures, by {by}", "class", "by", "fingerprint"),
    "uncorrected": _sentence("the correction of {fingerprint} was taken back by {by}", "fingerprint", "by"),
    "accepted": _sentence("stage {stage}, policy {policy}", "stage", "policy"),
    "decided": _sentence(
        "attempt {attempt}, {class} failure: {action} ({rationale})", "attempt", "class", "action", "rationale"
    ),
    "repair_started": _sentence("attempt {attempt}: {action} by {holder}", "attempt", "action", "holder"),
    "repair_ended": _sentence("attempt {attempt}: {action} {success}", "attempt", "action", "success"),
    "repair_lost": _sentence("attempt {attempt}: {action} was lost with {holder}", "attempt", "action", "holder"),
    "repair_returned": _sentence(
        "attempt {attempt}: {action} was given back by {holder}", "attempt", "action", "holder"
    ),
    "repair_abandoned": _sentence(
        "attempt {attempt}: {action} was lost {losses} times and counts as failed", "attempt", "action", "losses"
    ),
    "cancelled": _sentence("after {attempt} attempts", "attempt"),
    "recorded": _sentence("{ending}; somebody is to be told", "ending"),
    "notice_started": _sentence("try {try} by {holder}", "try", "holder"),
    "notice_ended": _sentence("try {try} {delivered}", "try", "delivered"),
    "ended": _sentence("{ending}, attempts {attempts}", "ending", "attempts"),
    "parked": _sentence("{reason}", "reason"),
    "resumed": _sentence("by {by}", "by"),
    "joined": _sentence("{report} tells of the same cause", "report", "job", "ci_attempt"),
    "verdict": _sentence("{report}: attempt {ci_attempt} of the CI failed", "report", "job", "ci_attempt"),
    "duplicate": _sentence("the same report came again; nothing changes"),
}

KINDS: Mapping[str, frozenset[str]] = {kind: names for kind, (_, names) in _SENTENCES.items()}
"""The kinds of events that this heald knows, with the facts that it tells of each."""


def failure_class(decisions: tuple[RecoveryDecision, ...]) -> str:
    """The class that the first decision was made about; `-` before it, or where the policy allows none."""
    return decisions[0].failure_class if decisions else "-"


def actions(decisions: tuple[RecoveryDecision, ...]) -> str:
    """The actions in their order: `retry, patch_forward x2`."""
    runs = [(action, len(list(group))) for action, group in groupby(decision.action for decision in decisions)]
    return ", ".join(action if times == 1 else f"{action} x{times}" for action, times in runs) or "-"


def count(number: int, thing: str) -> str:
    """`1 attempt`, `2 attempts`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def place(context: Context, stage: str) -> str:
    """Where it failed: repository and stage."""
    return clean(" ".join(part for part in (context.repository, stage) if part))
