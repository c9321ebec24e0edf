"""What one worker process holds: the server, the ledger, the settings, and the rules it judges by."""

from __future__ import annotations

import logging
import tempfile
import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import redis

from heald_worker.config import Settings
from heald_worker.core.instant import Instant
from heald_worker.core.recovery import Ending, Recovery
from heald_worker.core.taxonomy import TAXONOMIES, Taxonomy, TaxonomyRef
from heald_worker.ledger import Ledger, Spans
from heald_worker.playbook import CommandRepair, Notice, PythonRepair, Repair

log = logging.getLogger("heald")


class UnknownTaxonomy(Exception):
    """A run is judged by rules that this process does not have."""

    def __init__(self, ref: TaxonomyRef) -> None:
        super().__init__(f"this heald has no taxonomy {ref.name} {ref.version} ({ref.digest[:12]})")


class Service:
    """The surroundings of a decision; handed to everything that acts, so that nothing is global.

    Attributes:
        name: this worker, as claims and events name it.
        scratch: where repairs and notices keep their files while they run.
    """

    def __init__(self, client: redis.Redis, settings: Settings, name: str) -> None:
        self.client, self.settings, self.name = client, settings, name
        self.scratch = Path(tempfile.gettempdir())
        keep = settings.retention
        self.ledger = Ledger(
            client,
            Spans(
                events=milliseconds(keep.events),
                recoveries=milliseconds(keep.recoveries),
                tombstones=milliseconds(keep.tombstones),
                regression_window=milliseconds(keep.regression_window),
            ),
        )

    def clock(self) -> Instant:
        """This machine's clock: for what people read in RQ's records, never for a decision."""
        return Instant.from_micros(time.time_ns() // 1000)

    @property
    def artifacts(self) -> Path:
        """The folder of recovery artifacts."""
        return self.settings.artifacts

    @property
    def taxonomy(self) -> Taxonomy:
        """The rules that new runs are judged by."""
        return TAXONOMIES[self.settings.taxonomy]

    def taxonomy_of(self, ref: TaxonomyRef) -> Taxonomy:
        """The rules a run was frozen with.

        Raises:
            UnknownTaxonomy: this process does not have them.
        """
        taxonomy = TAXONOMIES.get(ref.name)
        if taxonomy is None or taxonomy.ref.digest != ref.digest:
            raise UnknownTaxonomy(ref)
        return taxonomy

    def repair_for(self, recovery: Recovery, dry_run: bool) -> Repair | None:
        """What the playbook holds for the latest decision; None when nothing is configured or nothing may be done."""
        if dry_run or recovery.action is None:
            return None
        return self.settings.playbook.repairs.get(recovery.action)

    def starts_something(self, repair: Repair | None) -> bool:
        """Whether the repair needs a repair process; what only records is made in the control process."""
        return isinstance(repair, CommandRepair | PythonRepair)

    def notice_for(self, ending: Ending | None, dry_run: bool) -> Notice | None:
        """Who is told of this ending, if anybody."""
        return None if ending is None or dry_run else self.settings.playbook.notices.get(ending)


def milliseconds(seconds: float) -> int:
    """Whole milliseconds of a duration in seconds."""
    return round(seconds * 1000)


@lru_cache(maxsize=4)
def rq_time(now: Instant) -> str:
    """A point in time in RQ's text form."""
    return datetime.fromtimestamp(now.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{now.nanos // 1000:06d}Z"
