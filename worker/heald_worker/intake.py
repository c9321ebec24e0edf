"""Intake: from the inbox to open runs, in batches that survive the death of whoever takes them.

A batch is moved atomically into a list of its own, whose token stands on the agenda; its commit creates the runs,
writes the dead letters and deletes the list in one script. A batch left behind is taken up again by any janitor.
"""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from msgspec.structs import replace

from heald_producer.signals import MAX_REPORT_BYTES, FailureReport
from heald_producer.wire import PoisonReport, decode_report
from heald_worker import keys
from heald_worker.core.instant import Instant, parse_instant
from heald_worker.core.recovery import open_recovery
from heald_worker.history import Past, look_back
from heald_worker.ledger import Run, encode_facts, encode_run, new_commit_id
from heald_worker.moves import job_for, wait_for
from heald_worker.packing import JobPacker, blob, pack, unpack
from heald_worker.policies import choose_policy
from heald_worker.service import Service, log, milliseconds

POISON_PREFIX = 4096
"""Bytes kept of a report that cannot be read; one that was only refused is kept whole."""

INTAKE_LEASE_MS = 10_000
"""How long a batch may take before another worker takes it up."""


class Arrived(NamedTuple):
    """One report off the inbox: its bytes (cut when too long), its true length, and what it decodes to."""

    raw: bytes
    length: int
    report: FailureReport | PoisonReport


def new_token() -> str:
    """A name for one intake batch."""
    return os.urandom(9).hex()


def take_in(service: Service, token: str) -> int:
    """Take one batch off the inbox, or take up the one left under this token, and commit it.

    Returns:
        How many reports were taken; 0 when there is nothing to do, or while the service is paused.
    """
    limits = service.settings.limits
    member = keys.INTAKE_MEMBER + token
    packed = service.ledger.scripts["intake_take"](
        keys=[keys.INBOX, keys.intake(token), keys.AGENDA, keys.PAUSED],
        args=[member, limits.intake_reports, limits.intake_bytes, MAX_REPORT_BYTES, INTAKE_LEASE_MS],
    )
    flat = unpack(packed)
    if not flat:
        return 0
    reports, lengths = flat[: len(flat) // 2], flat[len(flat) // 2 :]
    arrived = [_arrive(raw or b"", int(length or 0)) for raw, length in zip(reports, lengths, strict=True)]
    now, pasts = look_back(service, [each.report for each in arrived])
    jobs = JobPacker()
    items = [_item(service, each, past, now, jobs) for each, past in zip(arrived, pasts, strict=True)]
    verdicts = service.ledger.scripts["intake_commit"](
        keys=[keys.intake(token), keys.AGENDA, keys.EVENTS, keys.DEAD, keys.STATS],
        args=[
            member,
            pack([items, jobs.shared]),
            milliseconds(service.settings.retention.events),
            limits.dead_letters,
            keys.RUN_PREFIX,
            keys.TOMBSTONE_PREFIX,
            limits.dead_letter_bytes,
        ],
    )
    refused = sum(verdict in (b"dead", b"run_id_conflict") for verdict in verdicts.split(b"\n"))
    if refused:
        log.warning("%d of %d reports became dead letters; see `heald dead list`", refused, len(reports))
    return len(reports)


def _arrive(raw: bytes, length: int) -> Arrived:
    if length > MAX_REPORT_BYTES:
        detail = f"{length} bytes; a report has at most {MAX_REPORT_BYTES}"
        return Arrived(raw, length, PoisonReport("too_large", detail, raw))
    try:
        return Arrived(raw, length, decode_report(raw))
    except PoisonReport as poison:
        return Arrived(raw, length, poison)


def _item(service: Service, arrived: Arrived, past: Past, now: Instant, jobs: JobPacker) -> list[object]:
    """One report as the commit script takes it: a run to create, or a dead letter."""
    report = arrived.report
    if isinstance(report, PoisonReport):
        # A newer producer's report is worth a replay once this service is newer, too.
        body = arrived.raw if report.reason == "unknown_version" else arrived.raw[:POISON_PREFIX]
        return ["dead", _dead_letter(arrived, report.reason, report.detail, report.run_id, body)]
    age = _age(report, now)
    if age > service.settings.retention.spool:
        most = service.settings.retention.spool
        detail = f"reported {age / 86_400:.1f} days ago; a report may be {most / 86_400:g} days old"
        return ["dead", _dead_letter(arrived, "too_old", detail, report.run_id, arrived.raw)]
    run = _open(service, report, past, now)
    wait = wait_for(service, run)
    job = job_for(service, run, 1, now)
    facts = {"stage": report.signal.stage, "policy": run.policy_name, "reason": run.policy_reason}
    if past.flaky is not None:
        facts |= {"flaky": past.flaky.run, "shown_by": past.flaky.how}
    return [
        "run",
        keys.fold(report.run_id),
        _digest(arrived.raw),
        new_commit_id(),
        blob(encode_run(run)),
        wait.due_ms,
        blob(encode_facts(facts)),
        jobs.pack(job) if job else False,
        report.run_id,
    ]


def _open(service: Service, report: FailureReport, past: Past, now: Instant) -> Run:
    choice = choose_policy(service.settings, report)
    signal = report.signal if past.flaky is None else replace(report.signal, flaky_hint=True)
    return Run(
        recovery=open_recovery(report.run_id, signal, choice.policy, now, past.advice, choice.max_transient_retries),
        taxonomy=service.taxonomy.ref,
        policy_name=choice.name,
        policy_reason=choice.reason,
        requested_policy=choice.requested,
        context=report.context,
        regression=past.regression,
        reported_at=report.reported_at,
        accepted_at=now.to_micros(),
        generation=past.generation,
        dry_run=service.settings.dry_run,
        flaky=None if past.flaky is None else past.flaky.run,
    )


def _age(report: FailureReport, now: Instant) -> float:
    """Seconds since the runner made the report by its own clock; 0 where it does not say."""
    if report.reported_at is None:
        return 0.0
    try:
        return float(now.seconds - parse_instant(report.reported_at).seconds)
    except ValueError:
        return 0.0


def _dead_letter(arrived: Arrived, reason: str, detail: str, run_id: str, body: bytes) -> list[object]:
    whole = len(body) == arrived.length
    described = ["reason", reason, "detail", detail, "run", run_id, "length", arrived.length]
    return [*described, "digest", _digest(arrived.raw), "body", blob(body), "whole", "1" if whole else "0"]


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()[:32]
