"""`heald show RUN --follow`: one run's events as they come, until it has ended.

The ledger is asked again and again, not the event stream: that costs the same however busy the server is, and a run's
end is seen there whatever became of its events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import redis

from heald_worker import views
from heald_worker.cli.branches import branch_records, draw_branches
from heald_worker.cli.common import Output
from heald_worker.cli.story import draw_foot, draw_head
from heald_worker.cli.watching import check_reader, teller
from heald_worker.core.recovery import Ending
from heald_worker.patience import Patience
from heald_worker.streams import RecoveryEntry
from heald_worker.views import OpenRun, Timeline

if TYPE_CHECKING:
    from heald_worker.config import Settings

INTERVAL = 0.5
"""Seconds between two looks at the run."""

Found = OpenRun | RecoveryEntry


def follow_run(
    find: Callable[[], Found], client: redis.Redis, settings: Settings, output: Output, *, full: bool
) -> int:
    """Tell a run's events until it has ended; 0 when it has recovered, 1 when it has not.

    Args:
        find: looks the run up.
        client: one that does not repeat commands by itself.
    """
    first: Found | None = None
    for run, timeline in _stages(find, client, output):
        for record in branch_records(run, timeline.events):
            output.record(record)
        if first is None:
            first = run
            draw_head(run, output, full=full)
        draw_branches(run, timeline, output, full=full, grows=True)
        if isinstance(run, RecoveryEntry):
            draw_foot(run, settings, output, full=full, closing=first is not run)
            return 0 if run.ending is Ending.RECOVERED else 1
    raise AssertionError("a run that is followed ends")


def _stages(find: Callable[[], Found], client: redis.Redis, output: Output) -> Iterator[tuple[Found, Timeline]]:
    """The run with its events that are new, again and again; for the last time when it has ended."""
    tell = teller(output)
    patience, seen = Patience(client, tell, time.sleep), set[str]()
    while True:
        try:
            run = find()
            timeline = views.timeline(client, run, seen)
        except redis.RedisError as error:
            patience.wait(error)
            continue
        if patience.waiting:
            tell("the server is back; the run is followed on")
            patience.over()
        yield run, timeline._replace(trimmed=0) if seen else timeline
        seen.update(run.events)
        if isinstance(run, RecoveryEntry):
            return
        check_reader()
        time.sleep(INTERVAL)
