"""What one worker process holds: the server, the ledger, the settings, and the rules it judges by."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import redis
from msgspec.structs import replace

from heald_producer.mask import Masker
from heald_producer.signals import FailureSignal
from heald_worker.config import Settings
from heald_worker.core.fingerprint import fingerprint
from heald_worker.core.instant import Instant
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Ending
from heald_worker.core.rules import Explanation
from heald_worker.core.taxonomy import Diagnosis, FailureClass, Taxonomy, TaxonomyRef
from heald_worker.corrections import Correction, Corrections
from heald_worker.ledger import Ledger, Spans
from heald_worker.playbook import Case, CommandRepair, Notice, PlaybookEntry, PythonRepair, Repair, case_of
from heald_worker.playbooks import Heard, Offer
from heald_worker.queues import REPAIR
from heald_worker.remedy_tables import RemedyTables
from heald_worker.states import Run
from heald_worker.taxonomies import chosen_taxonomy, find_taxonomy, remedies_of, rulebook_of
from heald_worker.thinking import Thinking

log = logging.getLogger("heald")

DIAGNOSES = 2048
"""Diagnoses remembered: each failure is asked about when it is taken in and when it is decided about."""
REMEMBERED_CHARS = 4096
"""The longest message whose diagnosis is remembered."""


class UnknownTaxonomy(Exception):
    """A run is judged by rules that this process does not have."""

    def __init__(self, ref: TaxonomyRef) -> None:
        super().__init__(f"this heald has no taxonomy {ref.name} {ref.version} ({ref.digest[:12]})")


class Verdict(NamedTuple):
    """What the rules say about a failure, and the person's correction that goes before it."""

    diagnosis: Diagnosis
    fingerprint: str = ""
    correction: Correction | None = None

    @property
    def failure_class(self) -> FailureClass:
        """What a decision is made about."""
        return self.diagnosis.failure_class if self.correction is None else self.correction.failure_class


class Service:
    """The surroundings of a decision; handed to everything that acts, so that nothing is global.

    Attributes:
        name: this worker, as claims and events name it.
        scratch: where repairs and notices keep their files while they run.
        notices_out: called when notices wait to be delivered, before this process turns to its disk.
    """

    def __init__(self, client: redis.Redis, settings: Settings, name: str) -> None:
        self.client, self.settings, self.name = client, settings, name
        self.scratch = Path(tempfile.gettempdir())
        self.notices_out: Callable[[], object] = lambda: None
        keep = settings.retention
        self.corrections = Corrections(client)
        self._made = Heard(client, REPAIR)
        self._taxonomies: dict[TaxonomyRef, Taxonomy] = {}
        self.ledger = Ledger(
            client,
            Spans(
                events=milliseconds(keep.events),
                recoveries=milliseconds(keep.recoveries),
                tombstones=milliseconds(keep.tombstones),
                regression_window=milliseconds(keep.regression_window),
                flaky=milliseconds(keep.flaky),
                budgets=milliseconds(keep.budgets),
            ),
        )

    @property
    def thinking(self) -> Thinking:
        """The right to think: hold it to decide, let it go to wait."""
        return self.ledger.thinking

    def clock(self) -> Instant:
        """This machine's clock: for what people read in RQ's records, never for a decision."""
        return Instant.from_micros(time.time_ns() // 1000)

    @property
    def artifacts(self) -> Path:
        """The folder of recovery artifacts."""
        return self.settings.artifacts

    @cached_property
    def taxonomy(self) -> Taxonomy:
        """The rules that new runs are judged by.

        Raises:
            ConfigError: a user's rules do not fit together.
        """
        return chosen_taxonomy(self.settings)

    @cached_property
    def remedies(self) -> RemedyTables:
        """What can help which cause: this process's table, and those of runs that were accepted with another.

        Raises:
            ConfigError: a user's rules do not fit together.
        """
        return RemedyTables(self.client, remedies_of(self.settings))

    def taxonomy_of(self, ref: TaxonomyRef) -> Taxonomy:
        """The rules a run was frozen with.

        Raises:
            UnknownTaxonomy: this process does not have them.
        """
        taxonomy = self._taxonomies.get(ref) or find_taxonomy(self.settings, ref)
        if taxonomy is None:
            raise UnknownTaxonomy(ref)
        self._taxonomies[ref] = taxonomy
        return taxonomy

    def judge(self, taxonomy: Taxonomy, repository: str | None, signal: FailureSignal) -> Verdict:
        """What is to be decided about: the rules' diagnosis, or what a person said about failures like this one."""
        diagnosis = diagnose(taxonomy, signal)
        if not self.corrections.table:
            return Verdict(diagnosis)
        known_by = fingerprint(repository, signal)
        return Verdict(diagnosis, known_by, self.corrections.get(known_by))

    def explain(self, ref: TaxonomyRef, signal: FailureSignal) -> Explanation | None:
        """A verdict with what came close; None where these rules are not heald's own, or are not known here.

        The line that decided is masked.
        """
        book = rulebook_of(self.settings)
        if ref != book.taxonomy().ref:
            return None
        found = book.explain(signal)
        return replace(found, diagnosis=diagnose(book.taxonomy(), signal))

    def diagnosis_of(self, run: Run) -> Diagnosis:
        """What is known about the failure of the latest decision.

        Where the decision's class is a person's word, or the rules are not known here, nothing finer is.
        """
        recovery, decision = run.recovery, run.recovery.decisions[-1]
        try:
            found = diagnose(self.taxonomy_of(run.taxonomy), recovery.current_failure)
        except UnknownTaxonomy:
            return Diagnosis(decision.failure_class)
        if found.failure_class is decision.failure_class:
            return found
        return Diagnosis(decision.failure_class, confidence=float(decision.attempt in recovery.corrected))

    def entry_for(self, run: Run) -> PlaybookEntry | None:
        """What the playbook holds for the latest decision; None when nothing fits or nothing may be done."""
        recovery, playbook = run.recovery, self.settings.playbook
        if run.dry_run or recovery.action is None:
            return None
        decision = recovery.decisions[-1]
        needed = playbook.asks_for_a_diagnosis(decision.action)
        diagnosis = self.diagnosis_of(run) if needed else Diagnosis(decision.failure_class)
        return playbook.entry_for(decision.action, case_of(run.context, recovery.current_failure.stage, diagnosis))

    def repair_for(self, run: Run) -> Repair | None:
        """The repair of `entry_for`."""
        entry = self.entry_for(run)
        return None if entry is None else entry.repair

    @property
    def dry_run(self) -> bool:
        """Whether nothing is to be repaired and nobody told: it is said so, or nothing is configured for either."""
        playbook = self.settings.playbook
        return self.settings.dry_run or not (playbook.repairs or playbook.notices or self._offers())

    def available(self, run: Run, verdict: Verdict) -> tuple[RecoveryAction, ...] | None:
        """The actions that somebody has a fitting repair for; None in a dry run without any, to show what could be."""
        case, offers = self._case(run, verdict), self._offers()
        here = {entry.action for entry in self.settings.playbook.repairs if entry.match.fits(case)}
        there = {offer.action for offer in offers if offer.fits(case)}
        found = tuple(action for action in RecoveryAction if action in here | there)
        return None if run.dry_run and not found else found

    def reverts(self, run: Run, verdict: Verdict) -> bool:
        """Whether the repair for `rollback` reverts what broke the branch, and needs no deployment."""
        case = self._case(run, verdict)
        entry = self.settings.playbook.entry_for(RecoveryAction.ROLLBACK, case)
        if entry is not None:
            return entry.reverts
        fitting = (each for each in self._offers() if each.action is RecoveryAction.ROLLBACK and each.fits(case))
        return any(each.reverts for each in fitting)

    def is_repaired_elsewhere(self, run: Run) -> bool:
        """Whether a living repair process has the repair of the latest decision, which this playbook lacks."""
        recovery = run.recovery
        if run.dry_run or recovery.action is None or self.entry_for(run) is not None:
            return False
        case = case_of(run.context, recovery.current_failure.stage, self.diagnosis_of(run))
        return any(offer.action is recovery.action and offer.fits(case) for offer in self._offers())

    def _case(self, run: Run, verdict: Verdict) -> Case:
        found = verdict.diagnosis
        if verdict.failure_class is not found.failure_class:  # a person's word, of which nothing finer is known
            found = Diagnosis(verdict.failure_class)
        return case_of(run.context, run.recovery.current_failure.stage, found)

    def _offers(self) -> tuple[Offer, ...]:
        """What living repair processes have repairs for."""
        with self.thinking.elsewhere():
            return self._made.offers()

    def starts_something(self, repair: Repair | None) -> bool:
        """Whether the repair needs a repair process; what only records is made in the control process."""
        return isinstance(repair, CommandRepair | PythonRepair)

    def notice_for(self, ending: Ending | None, run: Run) -> Notice | None:
        """Who is told of this ending of a run, if anybody."""
        return None if ending is None or run.dry_run or run.quiet else self.settings.playbook.notices.get(ending)


def diagnose(taxonomy: Taxonomy, signal: FailureSignal) -> Diagnosis:
    """What these rules say about a failure; the line that they quote is masked."""
    return (_remembered if len(signal.message) <= REMEMBERED_CHARS else _diagnosed)(taxonomy, signal)


def _diagnosed(taxonomy: Taxonomy, signal: FailureSignal) -> Diagnosis:
    diagnosis = taxonomy.diagnose(signal)
    evidence = diagnosis.evidence
    if evidence is None:
        return diagnosis
    return replace(diagnosis, evidence=replace(evidence, text=_MASKER.text(evidence.text)))


_remembered = lru_cache(maxsize=DIAGNOSES)(_diagnosed)
_MASKER = Masker()


def milliseconds(seconds: float) -> int:
    """Whole milliseconds of a duration in seconds."""
    return round(seconds * 1000)


@lru_cache(maxsize=4)
def rq_time(now: Instant) -> str:
    """A point in time in RQ's text form."""
    return datetime.fromtimestamp(now.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{now.nanos // 1000:06d}Z"
