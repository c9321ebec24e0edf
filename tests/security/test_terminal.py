"""What a signal says is shown, and does nothing: no verb and no log line passes on what a terminal would obey."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import redis

from heald_producer.signals import INBOX, MAX_MESSAGE_BYTES
from heald_worker import keys, queues
from heald_worker.intake import new_token, take_in
from support.server import Server
from support.service import House, report, settings
from support.verbs import HEALD, environment, heald
from support.wait import until
from support.workplace import Workplace

ESC, C1, BEL = "\x1b", "\x9b", "\x07"
WEAPONS = {
    "colour": f"{ESC}[31mred",
    "clear the screen": f"{ESC}[2J{ESC}[H",
    "move up and overwrite": f"{ESC}[1A{ESC}[2K",
    "title": f"{ESC}]0;owned{BEL}",
    "link": f"{ESC}]8;;http://evil.example/{ESC}\\click{ESC}]8;;{ESC}\\",
    "clipboard": f"{ESC}]52;c;cm0gLXJmIH4K{BEL}",
    "device attributes": f"{ESC}[c{ESC}[6n",
    "C1 introducer": f"{C1}31mred\x9d0;owned\x9c\x90q\x9c",
    "bell and backspace": f"{BEL}safe\x08\x08\x08\x08evil",
    "carriage return": "safe\revil",
    "bidi override": "user\u202etxt.exe\u2066\u2069\u200f\u061c",
    "NUL": "a\0b",
    "delete and form feed": "a\x7fb\x0cc\x0b",
    "line separators": "a\u2028b\u2029c\x85d",
    "zero width and tags": "a\u200bb\ufeffc\U000e0041d\u00ad",
    "forged log line": "x\n2026-01-01 00:00:00,000 heald[1] ERROR all is lost",
    "markup": "[red]x[/red] [link=http://evil.example]y[/link] :bomb:",
}
ALL = " ".join(WEAPONS.values())
OBEYED = re.compile(r"[^\n\x20-\x7e\xa0-\U0010ffff]")
"""Everything below a blank but the line's end, DEL, and the second set of control characters."""


def assert_harmless(text: str) -> None:
    """No control character but the line's end, and nothing that is invisible or turns the text around."""
    found = {
        char for char in text if OBEYED.match(char) or unicodedata.category(char) in ("Cf", "Zl", "Zp", "Cs", "Co")
    }
    assert not found - {"\u200c", "\u200d"}, ascii(found)


def assert_lines_are_its_own(text: str) -> None:
    """On stderr, where logs are collected, nobody else begins a line."""
    assert not re.search("^2026-01-01 00:00:00,000 heald", text, re.MULTILINE)


def hostile_report(run: str, weapon: str, **more: object) -> bytes:
    context = {
        name: weapon.replace("\0", "") for name in ("repository", "commit", "ref", "job", "url", "command", "host")
    }
    plain = weapon.replace("\0", "")
    return report(run, f"test {plain[:200]}", weapon, context=context, policy=plain[:100], **more)


@pytest.fixture
def stage(conn: redis.Redis, tmp_path: Path) -> House:
    """Everything that verbs show, in the hands of an attacker: ended, open and parked runs, dead letters, streams."""
    house = House(conn, settings(tmp_path))
    for number, weapon in enumerate(WEAPONS.values()):
        house.push(hostile_report(f"run-{number}", weapon, exit_code=number))
    house.settle()
    house.push(hostile_report("open", ALL), hostile_report("parked", ALL), hostile_report("run-0", ALL))
    house.push(
        report(f"..{ALL}"), ALL.encode(), b"{" + ALL.encode(), b"\xff\xfe" + ALL.encode(), b'{"v":1,"run_id":"\\ud800"}'
    )
    take_in(house.service, new_token())
    house.close()
    conn.hset(keys.PARKED, "parked", ALL)
    conn.set(keys.PAUSED, ALL)
    conn.xadd(keys.EVENTS, {"run": "open", "kind": ALL, "version": 1, "facts": json.dumps({ALL: ALL})})
    conn.xadd(keys.EVENTS, {"run": ALL, "kind": "accepted", "version": ALL, "facts": ALL})
    conn.xadd(
        keys.RECOVERIES,
        {"run": ALL, "outcome": ALL, "ending": ALL, "digest": ALL, "log": ALL, "facts": ALL, "events": ALL},
    )
    conn.xadd(
        keys.DEAD, {"reason": ALL, "detail": ALL, "run": ALL, "length": ALL, "digest": ALL, "body": ALL, "whole": ALL}
    )
    conn.sadd(f"rq:workers:{queues.DECIDE}", "rq:worker:evil", ALL.encode())
    conn.hset("rq:worker:evil", mapping={"birth": "2026-01-01T00:00:00Z", "state": ALL, "queues": ALL, "hostname": ALL})
    return house


def letters(conn: redis.Redis) -> list[str]:
    return [entry.decode() for entry, _ in conn.xrange(keys.DEAD)]


VERBS = (
    "tail --no-follow -n 100", "tail --no-follow -n 100 --events", "tail --no-follow --group g --consumer c",
    "runs", "runs -n 100", "runs --parked", "show open", "show parked", "show run-0", "show run-7", "memory run-0",
    "memory open", "dead list", "health", "doctor", "doctor --mend", "workers", "verify --all", "artifacts rebuild",
    "artifacts prune --older-than 1d --dry-run", "resume parked", "resume", "cancel open", "pause",
    "correct run-0 --class runtime --reason \x1b[31mred\u202e\x07", "correct open --class build", "correct --list",
    "rules list", "explain --report hostile.json", "stats", "show run-0 --full", "show parked --full",
)  # fmt: skip


def test_no_verb_passes_on_what_a_terminal_would_obey(stage: House, server: Server, tmp_path: Path) -> None:
    """One process for all of them; what each says is told apart by a line between."""
    shown = [f"dead show {entry}" for entry in letters(stage.conn)]
    script = (
        "import sys\nfrom heald_worker.cli.verbs import call\n"
        "for line in sys.argv[1:]:\n    print(f'>> {line!a}', flush=True); call(line.split())\n"
    )
    (tmp_path / "hostile.json").write_bytes(hostile_report("run-x", ALL))
    plain = [*VERBS[:19], *shown, *VERBS[19:]]
    machine = [f"{verb} --json" for verb in plain]
    env = environment(server.url, tmp_path, PYTHONIOENCODING="utf-8")
    for verbs in (machine, plain):
        done = subprocess.run(
            [sys.executable, "-c", script, *verbs], env=env, cwd=tmp_path, capture_output=True, timeout=100, check=True
        )
        said, complaints = done.stdout.decode(), done.stderr.decode()
        assert said.count(">> ") >= len(verbs)
        assert "Traceback" not in complaints
        assert "this is a bug" not in complaints
        assert_harmless(complaints)
        assert_lines_are_its_own(complaints)
        if verbs is machine:
            assert said.isascii()
            records = [line for line in said.splitlines() if not line.startswith(">> ")]
            assert len(records) > 60
            assert all(isinstance(json.loads(line), dict) for line in records)
        assert_harmless(said)


def test_weapons_are_shown_and_not_swallowed(stage: House, server: Server, tmp_path: Path) -> None:
    said = heald("show", "run-0", env=environment(server.url, tmp_path), cwd=tmp_path).stdout
    assert r"\x1b[31mred" in said


def test_explaining_a_report_passes_nothing_on(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_bytes(hostile_report("run-1", ALL))
    (tmp_path / "weapons.log").write_text(f"{ALL}\nE   AssertionError: {ALL}\n", "utf-8")
    env = environment("redis://127.0.0.1:1/0", tmp_path)
    plain = ALL.replace("\0", "")
    for options in ([], ["--json"]):
        for words in (
            ["--report", "report.json"],
            [
                "--stage",
                plain,
                "--message",
                plain,
                "--policy",
                plain[:100],
                "--repository",
                plain,
                "--ref",
                plain,
                "--run-id",
                "r",
            ],
            ["--stage", "x", "--message", "y", "--run-id", plain],
            ["--stage", "test", "--log", "weapons.log"],
        ):
            done = heald("explain", *words, *options, env=env, cwd=tmp_path)
            assert_harmless(done.stdout)
            assert_harmless(done.stderr)
            assert "Traceback" not in done.stderr


HOSTILE_REPAIR = """
import json, os, sys
weapons = json.load(open("weapons.json"))
print(weapons)
sys.stderr.write(weapons)
open(os.environ["HEALD_RESULT"], "w").write(json.dumps({"detail": weapons, "stage": weapons[:100].replace(chr(0), "")}))
sys.exit(3)
"""


def test_workers_log_and_keep_nothing_that_a_terminal_would_obey(workplace: Workplace) -> None:
    """Hostile reports, jobs with hostile names, and repairs that print and answer weapons, before real processes."""
    workplace.configure(
        HOSTILE_REPAIR,
        more="[notices.on_exhausted]\nkind = 'command'\ncommand = ['sh', '-c', 'cat weapons.json; exit 1']\n",
    )
    (workplace.folder / "weapons.json").write_text(json.dumps(ALL), "utf-8")
    for queue in queues.QUEUES:
        for number, weapon in enumerate(WEAPONS.values()):
            workplace.conn.rpush(queues.queue_key(queue), weapon, f"job-{number}")
            workplace.conn.hset(f"rq:job:job-{number}", mapping={"data": weapon, "origin": weapon, "status": weapon})
            workplace.conn.hset(f"rq:job:{weapon}", mapping={"data": weapon})
    workplace.push(
        hostile_report("run-1", ALL), *(weapon.encode() for weapon in WEAPONS.values()), hostile_report("run-1", "x")
    )
    workplace.conn.hset("heald:run:broken", mapping={"v": "1", "s": ALL, "d": ALL, "c": ALL})
    workplace.conn.zadd(keys.AGENDA, {"broken": 0, f"intake:{ALL}": 0, ALL: 0})
    with workplace.worker() as process:
        until(lambda: "run-1" in workplace.ended(), "the run has ended")
        process.terminate()
    assert_harmless(process.said())
    assert_lines_are_its_own(process.said())
    details = [json.loads(fields[b"facts"]).get("detail", "") for _, fields in workplace.conn.xrange(keys.EVENTS)]
    assert any("evil" in detail for detail in details)
    for detail in details:
        assert_harmless(detail)


def test_an_exception_with_hostile_words_is_logged_in_lines_of_its_own() -> None:
    script = (
        "import logging, sys\nfrom heald_worker.cli.worker import _log_to_stderr\n_log_to_stderr()\n"
        "try:\n    raise ValueError(sys.argv[1])\nexcept ValueError:\n"
        "    logging.getLogger('heald').exception('bad %s', sys.argv[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, ALL.replace("\0", "")], capture_output=True, timeout=60, check=True
    )
    said = done.stderr.decode()
    assert_harmless(said)
    lines = said.splitlines()
    assert "ERROR bad" in lines[0]
    assert len(lines) > 4
    assert all(line.startswith("  ") for line in lines[1:])


@pytest.mark.parametrize(
    "line",
    ["x" * 2_000_000, ESC * 500_000, "\0" * 1_000_000, "\ud800".encode("utf-16-le", "surrogatepass").hex() * 100_000],
)
def test_a_line_of_a_megabyte_is_cut_by_the_runner(
    conn: redis.Redis, server: Server, tmp_path: Path, line: str
) -> None:
    (tmp_path / "out").write_text(line)
    env = environment(server.url, tmp_path)
    done = subprocess.run(
        [*HEALD, "run", "--strict", "--stage", "s", "--", "sh", "-c", "cat out; exit 1"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    [raw] = conn.lrange(INBOX, 0, -1)
    message = json.loads(raw)["signal"]["message"]
    assert len(json.dumps(message)) <= MAX_MESSAGE_BYTES + 100
    assert_harmless(message)


@pytest.mark.parametrize(
    "body",
    [
        b'{"v":1,"run_id":"r","signal":{"stage":"test","message":"\\ud800 lone"}}',
        b'{"v":1,"run_id":"r","signal":{"stage":"test","message":"\\udfff\\ud800"}}',
        b'{"v":1,"run_id":"r","signal":{"stage":"\\udc00","message":"m"}}',
        b'{"v":1,"run_id":"r","signal":{"stage":"test","message":"\xed\xa0\x80"}}',
        b'{"v":1,"run_id":"r","signal":{"stage":"te\\u0000st","message":"m"}}',
    ],
)
def test_a_lone_surrogate_or_a_nul_in_a_name_is_a_dead_letter(it: House, body: bytes) -> None:
    it.push(body, report("run-1"))
    it.settle()
    assert len(it.dead()) == 1
    assert set(it.logs()) == {"run-1"}


def test_a_nul_within_a_message_is_kept_and_costs_nothing(it: House) -> None:
    it.push(report("run-1", message="a\0b"))
    it.settle()
    kept: Any = it.log("run-1").initial_failure.message
    assert kept == "a\0b"
