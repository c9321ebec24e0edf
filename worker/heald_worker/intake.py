"""Intake: from the inbox to open runs, in batches that survive the death of whoever takes them.

A batch is moved atomically into a list of its own, whose token stands on the agenda; its commit creates the runs,
writes the dead letters and deletes the list in one script. A batch left behind is taken up again by any janitor.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from heald_producer.probe import Probe, decode_probe
from heald_producer.signals import MAX_REPORT_BYTES, FailureReport
from heald_producer.wire import PoisonReport, decode_report
from heald_worker import keys
from heald_worker.considering import attempt_number
from heald_worker.core.instant import Instant, parse_instant
from heald_worker.core.recovery import open_recovery
from heald_worker.history import Past, look_back
from heald_worker.ledger import Held, encode_facts, encode_signal, new_commit_id
from heald_worker.moves import InHand, in_hand, job_for, wait_for
from heald_worker.packing import MARK_LIFE, Job, JobPacker, blob, pack, unpack
from heald_worker.policies import choose_policy
from heald_worker.queues import Hand
from heald_worker.remedy_tables import Kept
from heald_worker.service import Service, log, milliseconds
from heald_worker.states import STATE_FORMAT, Run, encode_opened, encode_progress

POISON_PREFIX = 4096
"""Bytes kept of a report that cannot be read; one that was only refused is kept whole."""

NO_TABLE = Kept("", b"")
"""In place of a table where the reference's actions are taken."""

LOOKS = 5
"""How often a batch looks at what is known of its causes before it is taken in although that has changed again."""
_MOVED = b"moved"

INTAKE_LEASE_MS = 10_000
"""How long a batch may take before another worker takes it up."""


class Arrived(NamedTuple):
    """One report off the inbox: its bytes (cut when too long), its true length, and what it decodes to."""

    raw: bytes
    length: int
    report: FailureReport | PoisonReport | Probe


def new_token() -> str:
    """A name for one intake batch."""
    return os.urandom(9).hex()


class TakenIn(NamedTuple):
    """What an intake did.

    Attributes:
        reports: how many were taken; 0 when there was nothing to do, or while the service is paused.
        in_hand: the runs that it goes on with.
        now: the server's time while it did.
    """

    reports: int
    in_hand: list[InHand]
    now: Instant | None


def take_in(service: Service, token: str, hand: Hand | None = None) -> TakenIn:
    """Take one batch off the inbox, or take up the one left under this token, and commit it.

    Args:
        hand: the caller, when it goes on with the runs itself.
    """
    limits = service.settings.limits
    member = keys.INTAKE_MEMBER + token
    packed = service.ledger.scripts["intake_take"](
        keys=[keys.INBOX, keys.intake(token), keys.AGENDA, keys.PAUSED],
        args=[member, limits.intake_reports, limits.intake_bytes, MAX_REPORT_BYTES, INTAKE_LEASE_MS],
    )
    flat = unpack(packed)
    if not flat:
        return TakenIn(0, [], None)
    reports, lengths = flat[: len(flat) // 2], flat[len(flat) // 2 :]
    arrived = [_arrive(raw or b"", int(length or 0)) for raw, length in zip(reports, lengths, strict=True)]
    for tries in range(1, LOOKS + 1):
        now, pasts = look_back(service, [each.report for each in arrived])
        batch = _Batch(service, now, hand)
        items = [batch.item(each, past) for each, past in zip(arrived, pasts, strict=True)]
        verdicts = _commit(service, token, pack([items, batch.jobs.shared]), at_any_rate=tries == LOOKS)
        if verdicts != [_MOVED]:
            break
    refused = sum(verdict in (b"dead", b"run_id_conflict") for verdict in verdicts)
    if refused:
        log.warning("%d of %d reports became dead letters; see `heald dead list`", refused, len(reports))
    return TakenIn(len(reports), batch.in_hand(verdicts), now)


def _commit(service: Service, token: str, packed: bytes, *, at_any_rate: bool) -> list[bytes]:
    """The verdict on each item of a batch. The table of remedies goes along where the server lacks it."""
    limits, own = service.settings.limits, _remedies_of_new_runs(service)

    def ask(table: bytes) -> list[bytes]:
        answer: bytes = service.ledger.scripts["intake_commit"](
            keys=[keys.intake(token), keys.AGENDA, keys.EVENTS, keys.DEAD, keys.STATS, keys.REMEDIES],
            args=[
                keys.INTAKE_MEMBER + token,
                packed,
                milliseconds(service.settings.retention.events),
                limits.dead_letters,
                keys.RUN_PREFIX,
                keys.TOMBSTONE_PREFIX,
                limits.dead_letter_bytes,
                MARK_LIFE,
                own.digest,
                table,
                milliseconds(service.settings.retention.tombstones),
                milliseconds(service.settings.retention.budgets),
                "at any rate" if at_any_rate else "",
            ],
        )
        return answer.split(b"\n")

    verdicts = ask(b"")
    return ask(own.data) if verdicts == [b"remedies"] else verdicts


def _remedies_of_new_runs(service: Service) -> Kept:
    return service.remedies.own if service.settings.has_remedies else NO_TABLE


def _arrive(raw: bytes, length: int) -> Arrived:
    if length > MAX_REPORT_BYTES:
        detail = f"{length} bytes; a report has at most {MAX_REPORT_BYTES}"
        return Arrived(raw, length, PoisonReport("too_large", detail, raw))
    try:
        return Arrived(raw, length, decode_report(raw))
    except PoisonReport as poison:
        return Arrived(raw, length, decode_probe(raw) or poison)


class _Batch:
    """The reports of one batch on their way into the commit script, and the runs that they would open."""

    def __init__(self, service: Service, now: Instant, hand: Hand | None) -> None:
        self._service, self._now, self._hand = service, now, hand
        self._commit_id, self._opened = new_commit_id(), list[tuple[Held, Job] | None]()
        self.jobs = JobPacker()

    def item(self, arrived: Arrived, past: Past) -> list[object]:
        """One report as the commit script takes it: a run to create, a dead letter, or a probe to be counted."""
        if isinstance(arrived.report, Probe):
            self._opened.append(None)
            return ["probe"]
        if letter := self._refused(arrived):
            self._opened.append(None)
            return ["dead", letter]
        assert isinstance(arrived.report, FailureReport)
        run = _open(self._service, arrived.report, past, self._now)
        job = job_for(self._service, run, 1, self._now, self._hand)
        held = Held(run, 1, self._commit_id, _digest(arrived.raw), past.job.spent)
        self._opened.append((held, job) if job and job.mark else None)
        facts = {"stage": arrived.report.signal.stage, "policy": run.policy_name, "reason": run.policy_reason}
        if past.flaky is not None:
            facts |= {"flaky": past.flaky.run, "shown_by": past.flaky.how}
        return [
            "run",
            keys.fold(arrived.report.run_id),
            held.digest,
            held.commit_id,
            blob(encode_progress(run.recovery)),
            wait_for(self._service, run).due_ms,
            blob(encode_facts(facts)),
            self.jobs.pack(job) if job else False,
            arrived.report.run_id,
            blob(encode_opened(run)),
            *_place(arrived.report, past),
        ]

    def in_hand(self, verdicts: Sequence[bytes]) -> list[InHand]:
        """The runs that were opened and that the caller goes on with."""
        pairs = zip(verdicts, self._opened, strict=False)  # a batch that was gone has one verdict
        return [in_hand(*opened) for verdict, opened in pairs if opened and verdict == b"accepted"]

    def _refused(self, arrived: Arrived) -> list[object]:
        """The dead letter that a report becomes; nothing when it can be accepted."""
        report, most = arrived.report, self._service.settings.retention.spool
        assert not isinstance(report, Probe)
        if isinstance(report, PoisonReport):
            # A newer producer's report is worth a replay once this service is newer, too.
            body = arrived.raw if report.reason == "unknown_version" else arrived.raw[:POISON_PREFIX]
            return _dead_letter(arrived, report.reason, report.detail, report.run_id, body)
        if (age := _age(report, self._now)) > most:
            detail = f"reported {age / 86_400:.1f} days ago; a report may be {most / 86_400:g} days old"
            return _dead_letter(arrived, "too_old", detail, report.run_id, arrived.raw)
        return []


def _place(report: FailureReport, past: Past) -> list[object]:
    """Where a report belongs: what the script needs to let it join a run, or be the verdict of one."""
    context, job, incident = report.context, past.job, past.incident
    attempt = attempt_number(context.ci_attempt)
    lineage = (context.ci_run, attempt) if context.ci_run and attempt and not context.parent_run else ("", "")
    facts = {"report": report.run_id, "job": context.job, "ci_attempt": context.ci_attempt}
    return [
        past.job_key,
        [job.run, job.ci_run, job.ci_attempt],
        *lineage,
        past.generation,
        past.incident_key,
        [incident.run, incident.state],
        blob(encode_signal(report.signal)),
        blob(encode_facts(facts)),
        past.quiet,
    ]


def _open(service: Service, report: FailureReport, past: Past, now: Instant) -> Run:
    choice = choose_policy(service.settings, report)
    signal = report.signal if past.flaky is None else replace(report.signal, flaky_hint=True)
    most = choice.bounds.max_transient_retries
    return Run(
        recovery=open_recovery(report.run_id, signal, choice.policy, now, past.advice, most),
        taxonomy=service.taxonomy.ref,
        policy_name=choice.name,
        policy_reason=choice.reason,
        requested_policy=choice.requested,
        context=report.context,
        regression=past.regression,
        reported_at=report.reported_at,
        accepted_at=now.to_micros(),
        generation=past.generation,
        dry_run=service.dry_run,
        flaky=None if past.flaky is None else past.flaky.run,
        remedies=_remedies_of_new_runs(service).digest,
        bounds=choice.bounds,
        follows=past.follows,
        quiet=past.quiet,
        format=STATE_FORMAT,
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
