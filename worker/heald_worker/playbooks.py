"""What the playbooks of all living workers can do, as they tell it themselves with every heartbeat.

Beside its record in RQ, a worker keeps alive a key named after its playbook's digest. In it stands what the playbook
has repairs for, and nothing of how: no command, no environment, no secret. So a control process knows what others can
repair, a repair that only exists elsewhere is left to those who have it, and a person hears when workers differ.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import msgspec
import redis
from redis.client import Pipeline

from heald_producer import __version__
from heald_worker import keys, queues
from heald_worker.core.policy import RecoveryAction
from heald_worker.globs import ANY
from heald_worker.playbook import Case, Playbook, RepairMatch

OFFER_LIFE = 180
"""Seconds after its last heartbeat for which a worker's playbook is known."""
HEARD_FOR = 3.0
"""Seconds for which a process believes what it has heard of the others."""
MOST_PLAYBOOKS = 64
MOST_BYTES = 64 * 1024
"""Of one playbook's offers: whoever may write there could make it any size."""
MOST_CHARS = 200
SHOWN = 3
"""Of what differs, and of those who have it."""
_SECRET_FIELDS = ("env", "headers")


class Offer(msgspec.Struct, frozen=True):
    """One thing that a playbook has a repair for.

    Attributes:
        match: globs by what they are matched with; empty for a repair of every run.
        name: what its configuration calls it; may be empty.
        reverts: it takes back what a change has brought.
    """

    action: RecoveryAction
    match: dict[str, str] = {}
    name: str = ""
    reverts: bool = False

    def fits(self, case: Case) -> bool:
        """Whether the repair is for this failure; what a newer heald matches with fits nothing here."""
        known = RepairMatch.__struct_fields__
        return all(fact in known for fact in self.match) and RepairMatch(**self.match).fits(case)


class Told(NamedTuple):
    """What a worker tells of itself; empty where it does not: an older one, or a repair process of its rules."""

    worker: str
    version: str = ""
    playbook: str = ""
    rules: str = ""


class Difference(NamedTuple):
    """In what living workers differ, and what to do about it."""

    detail: str
    advice: str


def offers_of(playbook: Playbook) -> tuple[Offer, ...]:
    """What a playbook has repairs for."""
    return tuple(Offer(entry.action, _narrowing(entry.match), entry.name, entry.reverts) for entry in playbook.repairs)


def _narrowing(match: RepairMatch) -> dict[str, str]:
    """The globs that say something."""
    return {fact: glob for fact, glob in msgspec.structs.asdict(match).items() if glob != ANY}


def digest_of(playbook: Playbook) -> str:
    """16 hexadecimal digits that two playbooks share when they do the same. Of variables and headers, which may be
    secret and are the machine's own, only the names count."""
    content = _without_secrets(msgspec.to_builtins(playbook))
    return hashlib.sha256(msgspec.json.encode(content, order="deterministic")).hexdigest()[:16]


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: sorted(part) if name in _SECRET_FIELDS and isinstance(part, Mapping) else _without_secrets(part)
            for name, part in value.items()
        }
    return [_without_secrets(part) for part in value] if isinstance(value, list | tuple) else value


class Teller:
    """What one worker tells.

    Args:
        rules: digest of the rules that it judges by; empty for a repair process, which judges nothing.
    """

    def __init__(self, playbook: Playbook, rules: str) -> None:
        digest = digest_of(playbook)
        self.fields = {"heald_version": __version__, "heald_playbook": digest, "heald_rules": rules}
        self._key, self._offers = keys.playbook(digest), msgspec.json.encode(offers_of(playbook))

    def tell(self, client: redis.Redis | Pipeline) -> None:
        """Keep what the playbook can do known, for as long as heartbeats come."""
        client.set(self._key, self._offers, ex=OFFER_LIFE)


def told_by(client: redis.Redis, *of: str) -> list[Told]:
    """What living workers of these queues, or of any of heald's, tell of themselves; in two round trips.

    Raises:
        redis.RedisError: the server cannot be asked.
    """
    pipe = client.pipeline(transaction=False)
    for queue in of or queues.QUEUES:
        pipe.smembers(queues.workers_key(queue))
    members = sorted(set[bytes]().union(*pipe.execute()))
    for member in members:
        pipe.hmget(member, "birth", "heald_version", "heald_playbook", "heald_rules")
    rows = pipe.execute(raise_on_error=False)
    return [
        Told(_text(member).removeprefix(queues.WORKER_PREFIX), *map(_text, fields))
        for member, row in zip(members, rows, strict=True)
        if isinstance(row, list)
        for birth, *fields in [row]
        if birth is not None
    ]


def offers(client: redis.Redis, *of: str) -> tuple[Offer, ...]:
    """What living workers of these queues, or of any of heald's, have repairs for; in three round trips.

    Raises:
        redis.RedisError: the server cannot be asked.
    """
    digests = sorted({told.playbook for told in told_by(client, *of)} - {""})[:MOST_PLAYBOOKS]
    pipe = client.pipeline(transaction=False)
    for digest in digests:
        pipe.getrange(keys.playbook(digest), 0, MOST_BYTES - 1)
    found: list[Offer] = []
    for raw in pipe.execute(raise_on_error=False) if digests else []:
        found += [offer for offer in _read(raw) if offer not in found]
    return tuple(found)


class Heard:
    """What living workers of these queues have repairs for, asked for again when it was heard a while ago.

    Where the server does not answer, what was heard last holds on: it decides nothing that cannot be made up for.
    """

    def __init__(self, client: redis.Redis, *of: str) -> None:
        self._client, self._of = client, of
        self._offers: tuple[Offer, ...] = ()
        self._until = 0.0

    def offers(self) -> tuple[Offer, ...]:
        """All offers, each once."""
        if time.monotonic() >= self._until:
            self._until = time.monotonic() + HEARD_FOR
            with contextlib.suppress(redis.RedisError):
                self._offers = offers(self._client, *self._of)
        return self._offers


def differences(told: Iterable[Told]) -> list[Difference]:
    """In what workers differ. Pure."""
    known = list(told)
    found = [
        (_difference("versions", {each.worker: each.version for each in known}), "upgrade all workers together"),
        (
            _difference("playbooks", {each.worker: each.playbook for each in known}),
            "give all workers the same [repairs] and [notices], unless it is meant so",
        ),
        (
            _difference("rules", {each.worker: each.rules for each in known}),
            "give all workers the same version and [diagnosis]: a run is parked where its rules are not known",
        ),
    ]
    return [Difference(detail, advice) for detail, advice in found if detail]


def _difference(what: str, by_worker: Mapping[str, str]) -> str:
    """Who has which; what a worker does not tell differs from nothing."""
    groups: dict[str, list[str]] = {}
    for worker, value in by_worker.items():
        if value:
            groups.setdefault(value, []).append(worker)
    if len(groups) < 2:
        return ""
    shown = [_group(value, workers) for value, workers in list(groups.items())[:SHOWN]]
    return f"{what} of living workers differ: {'; '.join(shown)}{' ...' if len(groups) > SHOWN else ''}"


def _group(value: str, workers: list[str]) -> str:
    more = f" and {len(workers) - SHOWN} more" if len(workers) > SHOWN else ""
    return f"{value[:12]} ({', '.join(workers[:SHOWN])}{more})"


def _read(raw: object) -> list[Offer]:
    """What stands there, as far as it is offers: a newer heald may write others."""
    try:
        return _decode(raw) if isinstance(raw, bytes) else []
    except msgspec.MsgspecError:
        return []


def _text(raw: bytes | None) -> str:
    return (raw or b"").decode("utf-8", "replace")[:MOST_CHARS]


_decode = msgspec.json.Decoder(list[Offer]).decode
