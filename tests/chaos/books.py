"""Checking the books: what must hold when everything has ended, whatever went wrong on the way."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import redis

from chaos.cast import POLICIES, Part
from heald_worker import execute_recovery_loop, keys, queues
from heald_worker.artifact_reading import read_recovery_artifact
from heald_worker.artifacts import ArtifactError
from heald_worker.config import load_settings
from heald_worker.core.log import RecoveryAttemptResult, RecoveryLog
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Advice
from heald_worker.core.taxonomy import TaxonomyRef
from heald_worker.records import canonical_bytes, decode_log, digest_of
from heald_worker.service import Service
from heald_worker.views import joined_run

KEYSPACE = Path(__file__).parents[2] / "docs" / "keyspace.md"
RQ_OWNED = ("rq:queues", "rq:workers", "rq:workers:<queue>", "rq:wip:<queue>")
"""Keys of RQ without a life: lists and registries that its tools read, of a fixed number."""
RQ_MORTAL = (
    "rq:job:<id>",
    "rq:worker:<name>",
    "rq:worker:<name>:executions",
    "rq:executions:<id>",
    "rq:execution:<id>:<execution>",
)


class Wrong(NamedTuple):
    """A broken promise, and the case."""

    promise: str
    case: str


class Entry(NamedTuple):
    """One completed recovery of the stream."""

    id: str
    run: str
    digest: str
    data: bytes
    facts: Mapping[str, Any]
    ending: str
    events: tuple[str, ...]

    @property
    def log(self) -> RecoveryLog:
        return decode_log(self.data)


class Told(NamedTuple):
    """One entry of the event stream."""

    id: str
    run: str
    kind: str
    version: int
    facts: Mapping[str, Any]


class Books:
    """The books of one server and one folder.

    Args:
        pushed: every run that was pushed, by its id.
        twins: every other report of one of their causes, by its id.
    """

    def __init__(
        self, conn: redis.Redis, folder: Path, pushed: Mapping[str, Part], twins: Mapping[str, Part] | None = None
    ) -> None:
        self.conn, self.folder, self.twins = conn, folder, twins or {}
        self.pushed = pushed
        self.parts = {**pushed, **self.twins}
        self.service = Service(conn, load_settings({"config": str(folder / "heald.toml")}, {}, folder), "books")
        self.entries = [_entry(id_, fields) for id_, fields in conn.xrange(keys.RECOVERIES)]
        self.told = [_told(id_, fields) for id_, fields in conn.xrange(keys.EVENTS)]

    def check(self, overlap: float = 0.0) -> list[Wrong]:
        """Every broken promise.

        Args:
            overlap: seconds for which two repairs of one run may work side by side, where no clock can prevent it.
        """
        found = [*self._one_log_each(), *self._logs(), *self._artifacts(), *self._history(), *self._results()]
        found += [*self._index(), *self._counters(), *self._nothing_open(), *self._keys(), *self._notices()]
        return [*found, *self._overlaps(overlap)]

    def _one_log_each(self) -> Iterator[Wrong]:
        ended = Counter(entry.run for entry in self.entries)
        for run_id in self.pushed:
            if ended[run_id] != 1:
                yield Wrong("every accepted signal has exactly one log", f"{run_id} has {ended[run_id]}")
        for twin_id in self.twins:
            joined = joined_run(self.conn, twin_id)
            logs = ended[_case(joined, ended) if joined else twin_id]
            if logs != 1 or (joined and ended[twin_id]):
                case = f"{twin_id} has {ended[twin_id]} logs and joined {joined or 'nothing'}"
                yield Wrong("every accepted report opens a run or joins one", case)
        for run_id in ended.keys() - self.parts.keys():
            yield Wrong("every log has a signal", f"{run_id} was never pushed")

    def _logs(self) -> Iterator[Wrong]:
        for entry in self.entries:
            part = self.parts.get(entry.run)
            if part is None:
                continue
            if entry.digest != digest_of(entry.data):
                yield Wrong("the log has its digest", entry.run)
            expected = self._expected(part, entry)
            if entry.data != canonical_bytes(expected):
                case = f"{entry.run}: {_in_short(entry.log)}, not {_in_short(expected)}"
                yield Wrong("the log equals execute_recovery_loop", case)
            ended, evaluated = int(entry.id.partition("-")[0]) * 1000, entry.log.evaluated_at.to_micros()
            if not entry.facts["accepted_at"] <= evaluated <= ended + 1000:
                yield Wrong("the server's clock alone decides", f"{entry.run} was evaluated at {evaluated}")
            if [decision.attempt for decision in entry.log.decisions] != list(range(1, entry.log.attempts_used + 1)):
                yield Wrong("decisions are numbered 1 to n", entry.run)

    def _expected(self, part: Part, entry: Entry) -> RecoveryLog:
        attempts = iter(range(1, 1000))

        def scripted(action: RecoveryAction, _failure: object) -> RecoveryAttemptResult:
            return part.result(action, next(attempts))

        taxonomy = self.service.taxonomy_of(msgspec.convert(entry.facts["taxonomy"], TaxonomyRef))
        return execute_recovery_loop(
            part.run_id,
            part.signal,
            POLICIES[part.policy],
            scripted,
            now=entry.log.evaluated_at,
            classify=taxonomy.classify,
            advice=msgspec.convert(entry.facts["advice"], Advice | None),
        )

    def _artifacts(self) -> Iterator[Wrong]:
        promise = "stream and artifacts agree"
        folder = self.folder / "artifacts"
        found = {path.name for path in folder.iterdir() if not path.name.startswith(".")} if folder.is_dir() else set()
        for entry in self.entries:
            try:
                same = canonical_bytes(read_recovery_artifact(folder, entry.run)) == entry.data
            except ArtifactError as error:
                yield Wrong(promise, f"{entry.run}: {error}")
                continue
            if not same:
                yield Wrong(promise, f"{entry.run}: the artifact says something else")
        for name in found - {entry.run for entry in self.entries}:
            yield Wrong(promise, f"{name} has an artifact and no log")

    def _history(self) -> Iterator[Wrong]:
        """Versions 1 to n, each committed once, in order, the ending last; and the log knows its events."""
        promise = "each version is committed and told once, in order"
        by_run: dict[str, list[Told]] = defaultdict(list)
        for told in self.told:
            if told.kind not in ("duplicate", "parked", "resumed", "joined"):
                by_run[told.run].append(told)
        for entry in self.entries:
            told_here = by_run.pop(entry.run.lower(), [])
            versions = [told.version for told in told_here]
            steps = [(told.version, told.kind) for told in told_here]
            whole = sorted(set(versions)) == list(range(1, len(set(versions)) + 1))
            if not whole or versions != sorted(versions) or len(set(steps)) != len(steps):
                yield Wrong(promise, f"{entry.run}: {steps}")
            if [told.kind for told in told_here].count("ended") != 1 or told_here[-1].kind != "ended":
                yield Wrong(promise, f"{entry.run} does not end once: {steps}")
            known = tuple(told.id for told in told_here)
            noted = tuple(id_ for id_ in entry.events if id_ in {told.id for told in told_here})
            if noted != known:
                yield Wrong("the log knows its events", f"{entry.run}: {entry.events} are not {known}")
        for run_id in by_run:
            yield Wrong("ledger and streams agree", f"{run_id} has events and no log")

    def _results(self) -> Iterator[Wrong]:
        results: dict[str, list[int]] = defaultdict(list)
        decided: dict[str, list[int]] = defaultdict(list)
        for told in self.told:
            if told.kind in ("repair_ended", "repair_abandoned"):
                results[told.run].append(told.facts["attempt"])
            if told.kind == "decided":
                decided[told.run].append(told.facts["attempt"])
        for entry in self.entries:
            decisions = entry.log.decisions
            if decided[entry.run.lower()] != [decision.attempt for decision in decisions]:
                yield Wrong("decisions are numbered 1 to n", f"{entry.run} was told {decided[entry.run.lower()]}")
            repaired = [each.attempt for each in decisions if each.action is not RecoveryAction.ESCALATE]
            if results[entry.run.lower()] != repaired:
                case = f"{entry.run}: {results[entry.run.lower()]} for {repaired}"
                yield Wrong("each attempt has exactly one committed result", case)

    def _index(self) -> Iterator[Wrong]:
        """The regression index holds the newest two ended runs per repository, class and stage."""
        newest: dict[str, list[tuple[int, int, Entry]]] = defaultdict(list)
        for place, entry in enumerate(self.entries):
            repository = entry.facts["context"].get("repository")
            if repository:
                taxonomy = self.service.taxonomy_of(msgspec.convert(entry.facts["taxonomy"], TaxonomyRef))
                signal = entry.log.initial_failure
                key = keys.prior(repository, taxonomy.classify(signal), signal.stage)
                newest[key].append((-entry.log.evaluated_at.to_micros(), place, entry))
        for key, candidates in newest.items():
            expected = [[str(-at), str(entry.log.outcome), entry.run] for at, _, entry in sorted(candidates)[:2]]
            stored = json.loads(self.conn.get(key) or b"[]")
            if [row[:3] for row in stored] != expected:
                yield Wrong("the regression index agrees with the stream", f"{key}: {stored} is not {expected}")
        for key in self.conn.scan_iter(f"{keys.PRIOR_PREFIX}*"):
            if key.decode() not in newest:
                yield Wrong("the regression index agrees with the stream", f"{key.decode()} is of no run")

    def _counters(self) -> Iterator[Wrong]:
        stats = {name.decode(): int(count) for name, count in self.conn.hgetall(keys.STATS).items()}
        endings = Counter(entry.ending for entry in self.entries)
        joined = sum(bool(joined_run(self.conn, twin_id)) for twin_id in self.twins)
        expected = {"accepted": len(self.entries), "joined": joined}
        expected |= {f"ended_{ending}": n for ending, n in endings.items()}
        for name, count in expected.items():
            if stats.get(name, 0) != count:
                yield Wrong("counters agree with the stream", f"{name} is {stats.get(name, 0)}, not {count}")

    def _nothing_open(self) -> Iterator[Wrong]:
        if open_ := self.conn.zrange(keys.AGENDA, 0, 5):
            yield Wrong("the agenda is empty", f"{open_}")
        for name in queues.QUEUES:
            if waiting := self.conn.lrange(queues.queue_key(name), 0, 5):
                yield Wrong("all queues are empty", f"{name}: {waiting}")
        if left := self.conn.llen(keys.INBOX):
            yield Wrong("the inbox is empty", f"{left} reports")
        for run, reason in self.conn.hgetall(keys.PARKED).items():
            yield Wrong("no run is parked", f"{run.decode()}: {reason.decode()}")

    def _keys(self) -> Iterator[Wrong]:
        promise = "no key is left without an owner or a life"
        known = {_pattern(name): life for name, life in _described().items()}
        owned = [_pattern(name) for name in RQ_OWNED]
        mortal = [_pattern(name) for name in RQ_MORTAL]
        for key in self.conn.scan_iter(count=1000):
            name, life = key.decode("utf-8", "replace"), self.conn.ttl(key)
            told = [text for pattern, text in known.items() if pattern.fullmatch(name)]
            if told:
                gone = "until" in told[0] or "per open run" in told[0]
                if gone or ("days" in told[0] and ":" in name.removeprefix("heald:") and life < 0):
                    yield Wrong(promise, f"{name} was to live {told[0]}")
            elif any(pattern.fullmatch(name) for pattern in mortal):
                if life == -1:
                    yield Wrong(promise, f"{name} has no life")
            elif not any(pattern.fullmatch(name) for pattern in owned):
                yield Wrong(promise, f"{name} is described nowhere")

    def _notices(self) -> Iterator[Wrong]:
        """Whoever is to be told of an ending is told at least once, of this very log."""
        file = self.folder / "work" / "notices"
        delivered = set(file.read_text().splitlines()) if file.exists() else set()
        for entry in self.entries:
            if (
                entry.ending == "escalated"
                and not entry.facts["quiet"]
                and f"{entry.run} {entry.digest}" not in delivered
            ):
                yield Wrong("an escalation is told at least once", entry.run)

    def _overlaps(self, allowed: float) -> Iterator[Wrong]:
        """Two processes that worked at one run or branch at the same time, by the stamps that repairs leave."""
        stamps: dict[object, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        file = self.folder / "work" / "stamps"
        for line in file.read_text().splitlines() if file.exists() else []:
            _, key, pid, at = line.split()
            run_id = key.rpartition(":")[0]
            part = self.parts.get(run_id)
            stamps[(part and part.branch) or run_id][f"{key} by {pid}"].append(float(at))
        for by_process in stamps.values():
            ordered = sorted(by_process.items(), key=lambda one: one[1][0])
            for (one, seen), (other, later) in pairwise(ordered):
                beside = [at for at in seen if at > later[0]]
                if beside and beside[-1] - beside[0] >= allowed:
                    case = f"{one} was seen until {beside[-1] - later[0]:.2f} s after {other} began"
                    yield Wrong("two repairs of one run or branch never overlap", case)


def _case(folded: str, ended: Mapping[str, int]) -> str:
    """A run's id as its log spells it."""
    return next((run_id for run_id in ended if run_id.lower() == folded), folded)


def _in_short(log: RecoveryLog) -> str:
    steps = [f"{decision.failure_class} {decision.action}" for decision in log.decisions]
    return f"{log.outcome} by {', '.join(steps)}"


def _entry(id_: bytes, fields: Mapping[bytes, bytes]) -> Entry:
    plain = {name.decode(): value for name, value in fields.items()}
    return Entry(
        id_.decode(),
        plain["run"].decode(),
        plain["digest"].decode(),
        plain["log"],
        json.loads(plain["facts"]),
        plain["ending"].decode(),
        tuple(plain["events"].decode().split()),
    )


def _told(id_: bytes, fields: Mapping[bytes, bytes]) -> Told:
    plain = {name.decode(): value.decode() for name, value in fields.items()}
    return Told(id_.decode(), plain["run"], plain["kind"], int(plain["version"]), json.loads(plain["facts"]))


def _described() -> dict[str, str]:
    """Every key of the first table of docs/keyspace.md, and how long it lives."""
    rows = re.findall(r"^\| `(heald:[^`]+)` \|.*\| ([^|]+) \|$", KEYSPACE.read_text("utf-8"), re.MULTILINE)
    return dict(rows)


def _pattern(name: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"<\w+>", r"[^:]+", name))
