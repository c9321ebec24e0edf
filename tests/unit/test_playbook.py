"""A playbook is data: each kind is told by its tag, and defaults do nothing surprising."""

from __future__ import annotations

import msgspec
import pytest

from heald_producer.signals import Context
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Ending
from heald_worker.core.taxonomy import Diagnosis, FailureClass
from heald_worker.playbook import (
    Case,
    CommandNotice,
    CommandRepair,
    Notice,
    Playbook,
    PlaybookEntry,
    PythonRepair,
    Reach,
    RecordRepair,
    Repair,
    RepairMatch,
    WebhookNotice,
    case_of,
    one_for_all,
)


@pytest.mark.parametrize(
    ("text", "repair"),
    [
        ('{"kind": "command", "command": ["make", "fix"]}', CommandRepair(("make", "fix"), None, {}, 900.0)),
        ('{"kind": "python", "call": "mending:retry", "time_limit": 5}', PythonRepair("mending:retry", 5.0)),
        ('{"kind": "record"}', RecordRepair(True, 1)),
        ('{"kind": "record", "succeed": false, "succeed_from": 3}', RecordRepair(False, 3)),
    ],
)
def test_a_repair_is_told_by_its_kind(text: str, repair: Repair) -> None:
    assert msgspec.json.decode(text, type=Repair) == repair
    assert msgspec.json.decode(msgspec.json.encode(repair), type=Repair) == repair


@pytest.mark.parametrize(
    ("text", "notice"),
    [
        ('{"kind": "command", "command": ["page"]}', CommandNotice(("page",), None, {}, 60.0)),
        (
            '{"kind": "webhook", "url": "https://x.example/", "forbid": ["loopback"]}',
            WebhookNotice("https://x.example/", {}, 10.0, (Reach.LOOPBACK,)),
        ),
    ],
)
def test_a_notice_is_told_by_its_kind(text: str, notice: Notice) -> None:
    assert msgspec.json.decode(text, type=Notice) == notice
    assert msgspec.json.decode(msgspec.json.encode(notice), type=Notice) == notice


@pytest.mark.parametrize(
    "text",
    [
        '{"command": ["make"]}',
        '{"kind": "shell", "command": ["make"]}',
        '{"kind": "command"}',
        '{"kind": "command", "command": "make fix"}',
        '{"kind": "webhook", "url": "https://x.example/"}',
    ],
)
def test_what_is_no_repair_is_refused(text: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Repair)


def test_an_empty_playbook_does_nothing_and_tells_nobody() -> None:
    assert Playbook().repairs == ()
    assert Playbook().actions == frozenset()
    assert Playbook().repair_for(RecoveryAction.RETRY, Case()) is None
    assert dict(Playbook().notices) == {}


def test_a_playbook_keeps_repairs_by_action_and_notices_by_ending() -> None:
    repairs = one_for_all({RecoveryAction.RETRY: RecordRepair()})
    playbook = Playbook(repairs, {Ending.ESCALATED: WebhookNotice("https://x.example/")})
    assert msgspec.json.decode(msgspec.json.encode(playbook), type=Playbook) == playbook
    assert playbook.repair_for(RecoveryAction.RETRY, Case()) == RecordRepair()
    assert playbook.repair_for(RecoveryAction.ROLLBACK, Case()) is None


LINT = case_of(
    Context(repository="acme/shop", ref="refs/heads/main", job="checks"),
    "lint",
    Diagnosis(FailureClass.BUILD, "lint", rule="ruff-error", tool="ruff"),
)


@pytest.mark.parametrize(
    ("match", "fits"),
    [
        (RepairMatch(), True),
        (RepairMatch(repository="acme/*", ref="refs/heads/main", job="check?", stage="lint"), True),
        (RepairMatch(failure_class="build", subclass="lint", rule="ruff-*", tool="ruff"), True),
        (RepairMatch(repository="other/*"), False),
        (RepairMatch(ref="refs/heads/release"), False),
        (RepairMatch(job="tests"), False),
        (RepairMatch(stage="LINT"), False),
        (RepairMatch(failure_class="test"), False),
        (RepairMatch(subclass="format"), False),
        (RepairMatch(rule="eslint-*"), False),
        (RepairMatch(tool=""), False),
    ],
)
def test_every_glob_of_a_repair_must_fit(match: RepairMatch, fits: bool) -> None:
    entry = PlaybookEntry(RecoveryAction.PATCH_FORWARD, RecordRepair(), match)
    chosen = Playbook((entry,)).entry_for(RecoveryAction.PATCH_FORWARD, LINT)
    assert chosen == (entry if fits else None)


def test_the_first_repair_of_the_action_that_fits_is_chosen() -> None:
    patch, retry = RecoveryAction.PATCH_FORWARD, RecoveryAction.RETRY
    entries = (
        PlaybookEntry(retry, RecordRepair(), name="again"),
        PlaybookEntry(patch, RecordRepair(), RepairMatch(subclass="format"), "format"),
        PlaybookEntry(patch, RecordRepair(), RepairMatch(subclass="l*"), "lint"),
        PlaybookEntry(patch, RecordRepair(), name="any"),
    )
    playbook = Playbook(entries)
    assert [entry.name for action in (patch, retry) if (entry := playbook.entry_for(action, LINT))] == ["lint", "again"]
    unknown = playbook.entry_for(patch, Case())
    assert unknown is not None
    assert unknown.name == "any"
    assert playbook.asks_for_a_diagnosis(patch)
    assert not playbook.asks_for_a_diagnosis(retry)
