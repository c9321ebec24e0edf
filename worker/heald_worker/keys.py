"""Every Redis key of heald, in one place. `docs/keyspace.md` tells what stands behind each.

Keys of RQ itself (`rq:*`) belong to RQ; `queues.py` names those that heald writes.
"""

from __future__ import annotations

import hashlib

from heald_producer.signals import INBOX as INBOX

AGENDA = "heald:agenda"
"""Sorted set: folded run id, or `intake:<token>` -> when somebody must look at it again (ms, Redis clock)."""

EVENTS = "heald:events"
"""Stream: every transition of every run. Fields `run`, `kind`, `version`, `facts` (JSON)."""

RECOVERIES = "heald:recoveries"
"""Stream: every completed recovery. Fields `run`, `outcome`, `ending`, `digest`, `log` (canonical
bytes), `facts` (JSON), `events` (ids)."""

DEAD = "heald:dead"
"""Stream: what could not be accepted. Fields `reason`, `detail`, `run`, `length`, `digest`, `body` (bounded) and
`whole`."""

CORRECTIONS = "heald:corrections"
"""Hash: fingerprint -> the class that a person gave to failures of it (JSON); `version` counts its changes."""

PARKED = "heald:parked"
"""Hash: folded run id -> why the run cannot be advanced."""

UNHEARD = "heald:unheard"
"""Stream: notices that failed for good. Fields `run`, `ending`, `tries`, `reason`."""

UNCLOSED = "heald:unclosed"
"""Sorted set: folded run id -> when its log was fixed (ms), of runs that take long to end all the same."""

PAUSED = "heald:paused"
"""String: set while nothing new is to be begun; its value tells who paused and why."""

STATS = "heald:stats"
"""Hash: counters since the server's keys were made: `accepted`, `duplicate`, `dead`, `probes`, `ended_<ending>`,
`notices_failed`; and what stands in `DEAD`: `letters`, `letter_bytes`."""

REMEDIES = "heald:remedies"
"""Hash: digest -> a table of remedies (JSON), and `<digest>:runs` -> how many open runs use it."""

INTAKE_PREFIX = "heald:intake:"
RUN_PREFIX = "heald:run:"
TOMBSTONE_PREFIX = "heald:tomb:"
PRIOR_PREFIX = "heald:prior:"
FLAKY_PREFIX = "heald:flaky:"
JOB_PREFIX = "heald:job:"
INCIDENT_PREFIX = "heald:incident:"
BRANCH_PREFIX = "heald:branch:"
JOINED = "joined:"
"""In a tombstone, before the name of the run that its report joined, in place of a stream entry's id."""

PLAYBOOK_PREFIX = "heald:playbook:"
OUTPUT_PREFIX = "heald:output:"

INTAKE_MEMBER = "intake:"
"""How an intake token stands on the agenda; run ids hold no colon."""


def fold(run_id: str) -> str:
    """The form under which a run is kept: ids that differ by case alone are one run, as they are one folder on some
    disks."""
    return run_id.lower()


def run(run_id: str) -> str:
    """Hash of an open run: `v` version, `c` commit id, `s` state (JSON), `d` report digest, `n` re-sends, `l` whose
    lease runs, `u` until when."""
    return RUN_PREFIX + fold(run_id)


def tombstone(run_id: str) -> str:
    """String of an ended run: report digest, stream entry id, commit id, generation, separated by blanks."""
    return TOMBSTONE_PREFIX + fold(run_id)


def output(run_id: str) -> str:
    """Hash: attempt -> the end of what its repair printed."""
    return OUTPUT_PREFIX + fold(run_id)


def intake(token: str) -> str:
    """List: a batch of reports taken off the inbox, untouched until its commit deletes it."""
    return INTAKE_PREFIX + token


def prior(repository: str, failure_class: str, stage: str) -> str:
    """String (JSON): the newest two ended runs of this repository, class and exact stage."""
    text = "\0".join((repository, failure_class, stage))
    return PRIOR_PREFIX + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def job(repository: str, commit: str, workflow: str, job: str) -> str:
    """Hash: what was done about this job of this commit, in whatever run, and which run heard of it last."""
    text = "\0".join((repository, commit, workflow, job))
    return JOB_PREFIX + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def incident(cause: str) -> str:
    """Hash: the run that is open for this cause, or how it ended and when."""
    return INCIDENT_PREFIX + cause


def branch(repository: str, ref: str) -> str:
    """Hash: the run whose repair works on this branch, and those that wait for it."""
    text = "\0".join((repository, ref))
    return BRANCH_PREFIX + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def playbook(digest: str) -> str:
    """String (JSON): what workers with this playbook have repairs for."""
    return PLAYBOOK_PREFIX + digest


def flaky(fingerprint: str) -> str:
    """String (JSON): the run that showed failures of this fingerprint to be flaky, and how."""
    return FLAKY_PREFIX + fingerprint
