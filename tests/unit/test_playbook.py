"""A playbook is data: each kind is told by its tag, and defaults do nothing surprising."""

from __future__ import annotations

import msgspec
import pytest

from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Ending
from heald_worker.playbook import (
    CommandNotice,
    CommandRepair,
    Notice,
    Playbook,
    PythonRepair,
    Reach,
    RecordRepair,
    Repair,
    WebhookNotice,
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
    assert dict(Playbook().repairs) == {}
    assert dict(Playbook().notices) == {}


def test_a_playbook_keeps_repairs_by_action_and_notices_by_ending() -> None:
    playbook = Playbook({RecoveryAction.RETRY: RecordRepair()}, {Ending.ESCALATED: WebhookNotice("https://x.example/")})
    assert msgspec.json.decode(msgspec.json.encode(playbook), type=Playbook) == playbook
