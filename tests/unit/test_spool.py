"""A report that cannot be pushed is kept, sent once the server is back, and never fills the disk."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from heald_producer.connection import ServerTrouble
from heald_producer.signals import FailureReport, FailureSignal
from heald_producer.spool import BATCH, MAX_AGE, Drained, Spool, SpoolTrouble, drain, spool_folder
from heald_producer.wire import encode_report

NOW = 1_800_000_000.0


class Notes(list[str]):
    """Collects warnings."""

    def __call__(self, text: str) -> None:
        self.append(text)


def raw(name: str = "r", size: int = 1) -> bytes:
    return encode_report(FailureReport(name, FailureSignal("s", "m" * size)))


def keep(spool: Spool, *names: str, now: float = NOW) -> None:
    for place, name in enumerate(names):
        spool.keep(raw(name), now=now + place, token=name, warn=pytest.fail)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "state" / "spool")


def test_a_kept_report_is_whole_and_for_its_owner_only(spool: Spool) -> None:
    path = spool.keep(raw(), now=NOW, token="t", warn=pytest.fail)
    assert path.read_bytes() == raw()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
    assert os.listdir(spool.folder) == [path.name]


def test_a_drain_sends_oldest_first_and_leaves_nothing(spool: Spool) -> None:
    keep(spool, "a", "b", "c")
    keep(spool, "early", now=NOW - 100)
    batches: list[list[bytes]] = []
    assert drain(spool, batches.append, now=NOW, max_age=MAX_AGE, warn=pytest.fail) == Drained(sent=4)
    assert batches == [[raw("early"), raw("a"), raw("b"), raw("c")]]
    assert spool.waiting() == []
    assert drain(spool, batches.append, now=NOW, max_age=MAX_AGE, warn=pytest.fail) == Drained()


def test_nothing_goes_that_was_not_acknowledged(spool: Spool) -> None:
    keep(spool, *(f"r{number}" for number in range(70)))
    sent: list[bytes] = []

    def send(batch: list[bytes]) -> None:
        if sent:
            raise ServerTrouble("away")
        sent.extend(batch)

    with pytest.raises(ServerTrouble):
        drain(spool, send, now=NOW, max_age=MAX_AGE, warn=pytest.fail)
    assert len(sent) == 64
    assert [path.read_bytes() for path in spool.waiting()] == [raw(f"r{number}") for number in range(64, 70)]


def test_a_drain_stops_between_batches_when_it_is_told_to(spool: Spool) -> None:
    keep(spool, *(f"r{number}" for number in range(2 * BATCH + 1)))
    batches, answers = list[list[bytes]](), iter([True, True, False])
    done = drain(spool, batches.append, now=NOW, max_age=MAX_AGE, warn=pytest.fail, may_send=lambda: next(answers))
    assert done == Drained(sent=2 * BATCH, waiting=1)
    assert [len(batch) for batch in batches] == [BATCH, BATCH]


def test_a_spool_that_cannot_be_read_is_one_clear_trouble(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(SpoolTrouble, match="cannot be used: Permission denied"):
        drain(spool, pytest.fail, now=NOW, max_age=MAX_AGE, warn=pytest.fail)


def test_what_is_too_old_is_removed_with_a_warning(spool: Spool) -> None:
    keep(spool, "old", now=NOW - MAX_AGE - 10)
    keep(spool, "new")
    notes, batches = Notes(), list[list[bytes]]()
    done = drain(spool, batches.append, now=NOW, max_age=MAX_AGE, warn=notes)
    assert done == Drained(sent=1, expired=1)
    assert batches == [[raw("new")]]
    assert "too old" in notes[0]


def test_garbage_is_set_aside_with_a_warning_and_stops_nothing(spool: Spool) -> None:
    keep(spool, "good")
    (spool.folder / "00000000000001-x.json").write_bytes(b"\xff")
    (spool.folder / "garbage.json").write_bytes(b"{}")
    (spool.folder / "dir.json").mkdir()
    os.mkfifo(spool.folder / "pipe.json")
    os.utime(spool.folder / "garbage.json", (NOW, NOW))
    (spool.folder / "00000000000001-x.json").rename(spool.folder / f"{int(NOW * 1000) - 5:014d}-x.json")
    notes, batches = Notes(), list[list[bytes]]()
    done = drain(spool, batches.append, now=NOW, max_age=MAX_AGE, warn=notes)
    assert done == Drained(sent=1, bad=2)
    assert batches == [[raw("good")]]
    assert {"not_utf8" in note or "wrong_shape" in note for note in notes} == {True}
    assert len([name for name in os.listdir(spool.folder) if name.endswith(".bad")]) == 2


def test_two_drains_at_once_send_nothing_twice(spool: Spool) -> None:
    keep(spool, "a", "b")
    sent, notes = list[bytes](), Notes()
    inside, leave = threading.Event(), threading.Event()

    def slow(batch: list[bytes]) -> None:
        inside.set()
        assert leave.wait(30)
        sent.extend(batch)

    first = threading.Thread(target=drain, args=(spool, slow), kwargs={"now": NOW, "max_age": MAX_AGE, "warn": notes})
    first.start()
    assert inside.wait(30)
    second = drain(spool, lambda batch: pytest.fail("sent twice"), now=NOW, max_age=MAX_AGE, warn=notes)
    leave.set()
    first.join(30)
    assert second == Drained(waiting=2, busy=True)
    assert notes == []
    assert sent == [raw("a"), raw("b")]


def test_a_full_spool_lets_the_oldest_go_and_says_so(tmp_path: Path) -> None:
    spool, notes = Spool(tmp_path / "spool", max_files=3), Notes()
    for number in range(5):
        spool.keep(raw(f"r{number}"), now=NOW + number, token="t", warn=notes)
    assert [path.read_bytes() for path in spool.waiting()] == [raw("r2"), raw("r3"), raw("r4")]
    assert len(notes) == 2
    assert "full" in notes[0]


def test_the_spool_is_bounded_in_bytes_too(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", max_bytes=10_000)
    for number in range(20):
        spool.keep(raw(f"r{number}", 3000), now=NOW + number, token="t", warn=Notes())
    assert sum(path.stat().st_size for path in spool.folder.iterdir()) <= 10_000
    assert spool.waiting()[-1].read_bytes() == raw("r19", 3000)


def test_a_disk_that_is_almost_full_is_left_alone(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    spool.folder.mkdir(parents=True)
    real = os.statvfs(spool.folder)
    full = os.statvfs_result((*real[:3], 1, 1, *real[5:10]))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    with pytest.raises(SpoolTrouble, match="almost full"):
        spool.keep(raw(), now=NOW, token="t", warn=pytest.fail)
    assert os.listdir(spool.folder) == []


def test_a_folder_that_cannot_be_made_is_one_clear_trouble(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolTrouble, match="cannot keep a report") as caught:
        Spool(tmp_path / "file" / "spool").keep(raw(), now=NOW, token="t", warn=pytest.fail)
    assert "HEALD_SPOOL" in caught.value.hint


def test_the_folder_follows_flag_environment_and_state_home() -> None:
    home = {"HOME": "/home/ada"}
    assert spool_folder(None, home) == Path("/home/ada/.local/state/heald/spool")
    assert spool_folder(None, home | {"XDG_STATE_HOME": "/state"}) == Path("/state/heald/spool")
    assert spool_folder(None, home | {"XDG_STATE_HOME": "relative"}) == Path("/home/ada/.local/state/heald/spool")
    assert spool_folder(None, home | {"HEALD_SPOOL": "/elsewhere"}) == Path("/elsewhere")
    assert spool_folder("flag", home | {"HEALD_SPOOL": "/elsewhere"}) == Path("flag")
