"""On a terminal of 60 columns every verb can be read: no line is longer, and nothing that matters is cut."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from pathlib import Path

import pytest
import redis
from rich.cells import cell_len

from heald_worker import keys
from heald_worker.cli.common import Output
from heald_worker.playbook import RecordRepair
from heald_worker.policies import MatchRule
from support.calls import Caller
from support.server import Server
from support.service import House, report, settings
from support.verbs import HEALD, environment

COLUMNS = 60
LONG = "github.com-acme-payments-service-backend-" + "123456789-" * 7 + "unit"
WORKER = f"{'a-long-host-name-' * 3}control-12345-abcdef"
REPOSITORY = "acme/payments-service-backend"
EVIDENCE = f"curl: (6) Could not resolve host: registry.example.com {'so it went on ' * 20}to its very end"
REF = "refs/heads/feature/make-everything-better"
CONTEXT = {"repository": REPOSITORY, "ref": REF, "url": f"https://ci.example/{'x' * 90}"}


@pytest.fixture
def heald(
    server: Server,
    conn: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Caller:
    """Verbs at 60 columns, beside a service that has seen long names: ended, open and parked runs, a dead letter."""
    rules = (MatchRule("default", ref="refs/heads/feature/*"),)
    house = House(conn, settings(tmp_path, RecordRepair(succeed_from=2), taxonomy="heald", rules=rules))
    house.push(report(LONG, message=EVIDENCE, exit_code=6, context=CONTEXT))
    house.settle()
    house.push(report(f"open-{LONG}", context=CONTEXT), report(f"parked-{LONG}"), b"no report " * 30)
    house.control.turn()
    house.close()
    conn.hset(keys.PARKED, keys.fold(f"parked-{LONG}"), "its state has a format that this heald cannot read " * 2)
    name = f"rq:worker:{WORKER}"
    conn.sadd("rq:workers:heald-decide", name)
    conn.hset(name, mapping={"birth": "2026-01-01T00:00:00Z", "state": "idle", "queues": "heald-decide"})
    caller = Caller(server.url, tmp_path, monkeypatch, capsys)
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    return caller


VERBS = (
    ["runs"], ["show", LONG], ["show", LONG, "--full"], ["show", f"open-{LONG}"], ["show", f"parked-{LONG}"],
    ["tail", "--no-follow"], ["tail", "--no-follow", "--events"], ["dead", "list"], ["doctor"], ["health"],
    ["explain", "--stage", "unit", "--message", EVIDENCE, "--repository", REPOSITORY], ["rules", "list"],
    ["memory", LONG], ["workers"], ["stats"],
)  # fmt: skip


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_no_line_is_longer_than_the_terminal(heald: Caller, verb: list[str]) -> None:
    answer = heald(*verb)
    assert answer.lines
    assert [line for line in answer.lines if cell_len(line) > COLUMNS] == []


@pytest.mark.parametrize("verb", [["runs"], ["show", LONG], ["tail", "--no-follow"]], ids=" ".join)
def test_a_long_run_id_is_there_as_a_whole(heald: Caller, verb: list[str]) -> None:
    assert LONG in "".join(line.strip() for line in heald(*verb).lines)


def test_a_list_that_does_not_fit_shows_a_card_for_each_row_with_its_headings(heald: Caller) -> None:
    lines = heald("runs", "--ended").lines
    words = " ".join(line.strip() for line in lines)
    for shown in ("state recovered", "class integration", "attempts 2", "actions retry x2", f"where {REPOSITORY} test"):
        assert shown in words
    assert all(line.startswith("  ") for line in lines if LONG[:20] not in line)


def test_a_rationale_goes_on_below_its_event_within_the_tree(heald: Caller) -> None:
    lines = heald("show", LONG).lines
    first = next(number for number, line in enumerate(lines) if "decided" in line)
    assert lines[first].startswith("  ├─ ")
    below = lines[first + 1 : first + 3]
    assert all(line.startswith("  │  ") for line in below)
    assert "retry (" in " ".join(below)


def test_what_matched_is_marked_below_the_line_also_where_that_is_narrow(heald: Caller) -> None:
    lines = heald("explain", "--stage", "unit", "--message", EVIDENCE).lines
    number = next(number for number, line in enumerate(lines) if line.startswith("line 1"))
    marks = lines[number + 1]
    marked = lines[number][marks.index("^") : len(marks)]
    assert set(marks.strip()) == {"^"}
    assert "resolve host" in marked


def test_a_terminal_says_its_width_by_itself(heald: Caller, server: Server, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    env = environment(server.url, tmp_path, TERM="dumb")
    with subprocess.Popen([*HEALD, "runs"], env=env, cwd=tmp_path, stdout=slave, stderr=slave) as process:
        os.close(slave)
        shown = b""
        while data := _read(master):
            shown += data
    os.close(master)
    assert process.returncode == 0
    lines = shown.decode().splitlines()
    assert LONG in "".join(line.strip() for line in lines)
    assert max(map(cell_len, lines)) <= COLUMNS


def _read(master: int) -> bytes:
    try:
        return os.read(master, 65536)
    except OSError:  # Linux's way to say that nobody holds the other end
        return b""


def test_without_a_terminal_lines_stay_whole(heald: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS")
    assert max(map(len, heald("runs").lines)) > 2 * COLUMNS
    assert Output().width is None


@pytest.mark.parametrize(("columns", "width"), [("60", 60), ("3", 20), ("x", None), ("", None), ("-5", None)])
def test_columns_that_make_no_sense_are_none(monkeypatch: pytest.MonkeyPatch, columns: str, width: int | None) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert Output().width == width
