"""A flood: many signals and nobody who repairs. The inbox is the backlog, nudges are sent once and stay few."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, NamedTuple

import redis

from heald_worker import keys
from heald_worker.config import Limits, Timing
from heald_worker.control import BATCH, Control
from heald_worker.playbook import CommandRepair
from heald_worker.service import Service
from support.service import report, settings

PORTION, SAMPLE = 1000, 100
SLACK = 3 * BATCH
"""Jobs above the high-water mark: those that are taken in and decided side by side while its height is read."""
SENDS = "flood:sends"
COUNTING = f"""
local plain = redis
local redis = setmetatable({{}}, {{ __index = plain }})
local function counted(call)
  return function(...)
    local command, key = ...
    if command == 'RPUSH' and string.sub(key, 1, 9) == 'rq:queue:' then
      plain.call('INCRBY', '{SENDS}', select('#', ...) - 2)
    end
    return call(...)
  end
end
redis.call, redis.pcall = counted(plain.call), counted(plain.pcall)
"""
"""Put before a script: counts what it sends to queues."""
IMPATIENT = Timing(resend_first=0.1, resend_most=0.5)
"""A janitor that looks at every open run several times a second."""


class CountingClient(redis.Redis):
    """A client whose scripts count the nudges that they send."""

    def register_script(self, script: Any) -> Any:
        return super().register_script(COUNTING + script)


class Flood(NamedTuple):
    """What a flood came to.

    Attributes:
        nudges: how many there were to send: one per version of a run that waits for a job.
        sends: how often one was sent.
        most_jobs: the most `rq:job:*` keys that stood in the server at once.
        inbox: reports that still wait, as too much has been begun.
        looks: how often the janitor had looked at a run that nobody repaired, on average.
    """

    nudges: int
    sends: int
    most_jobs: int
    inbox: int
    looks: float

    @property
    def sends_per_nudge(self) -> float:
        """1 where nothing is sent twice."""
        return self.sends / self.nudges


def flood(conn: redis.Redis, url: str, folder: Path, signals: int, high_water: int, looks_wanted: float) -> Flood:
    """Push signals whose repair nobody makes, and let a control process work until the janitor has looked enough.

    Args:
        conn: of the server at this URL, which is empty.
        high_water: the setting `limits.open_nudges`.
        looks_wanted: how often the janitor is to look at each waiting run, on average.
    """
    chosen = settings(
        folder, CommandRepair(("nobody",)), timing=IMPATIENT, limits=Limits(open_nudges=high_water), regression="off"
    )
    control = Control(Service(CountingClient.from_url(url), chosen, "flooded"))
    for first in range(0, signals, PORTION):
        conn.rpush(keys.INBOX, *(report(f"run-{number}", stage="build") for number in range(first, first + PORTION)))
    most_jobs, looks = 0, 0.0
    while looks < looks_wanted:
        if control.turn() is not None:  # nothing to do but wait
            time.sleep(min(0.05, control.next_look()))
            looks = _looks(conn)
        most_jobs = max(most_jobs, conn.dbsize() - conn.zcard(keys.AGENDA))
    control.close(5)
    events = conn.xrange(keys.EVENTS)
    nudges = sum(fields[b"kind"] in (b"accepted", b"decided") for _, fields in events)
    return Flood(nudges, int(conn.get(SENDS) or 0), most_jobs, conn.llen(keys.INBOX), looks)


def _looks(conn: redis.Redis) -> float:
    """How often the janitor has looked at a run since its last step, by a sample."""
    members = conn.zrange(keys.AGENDA, 0, SAMPLE - 1)
    counts = [int(conn.hget(keys.run(member.decode()), "n") or 0) for member in members]
    return sum(counts) / max(1, len(counts))
