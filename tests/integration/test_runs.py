"""`heald runs`, `heald show` and `heald memory`: what happened to runs, open and ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from heald_worker import keys, views
from heald_worker.core.recovery import Ending
from heald_worker.playbook import CommandNotice, CommandRepair, RecordRepair
from heald_worker.streams import RecoveryEntry
from support.calls import Caller
from support.entries import add_event, add_recovery
from support.server import Server
from support.service import House, report, settings

MakeHouse = Callable[..., House]


@pytest.fixture
def heald(
    server: Server,
    conn: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Caller:
    return Caller(server.url, tmp_path, monkeypatch, capsys)


@pytest.fixture
def house(conn: redis.Redis, tmp_path: Path) -> Iterator[MakeHouse]:
    made: list[House] = []

    def make(*args: object, **more: object) -> House:
        made.append(House(conn, settings(tmp_path, *args, **more)))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.close()


def opened(it: House, *reports: bytes) -> None:
    """Take reports in, and do nothing more."""
    it.push(*reports)
    it.control.turn()
    assert it.conn.llen(keys.INBOX) == 0


def park(it: House, run_id: str, reason: str) -> None:
    [version] = it.conn.hmget(keys.run(run_id), "v")
    assert it.service.ledger.park(run_id, int(version), reason)


def forge_state(conn: redis.Redis, run_id: str) -> None:
    state = json.loads(conn.hget(keys.run(run_id), "s"))
    conn.hset(keys.run(run_id), "s", json.dumps(state | {"format": 99}))


def test_an_ended_run_is_told_from_acceptance_to_end(heald: Caller, house: MakeHouse) -> None:
    it = house(RecordRepair(succeed_from=2))
    it.push(report("Run-1", exit_code=3, context={"repository": "acme/app", "ref": "refs/heads/main"}))
    it.settle()
    text = heald("show", "run-1").out
    kinds = ["accepted", "decided", "repair_ended", "decided", "repair_ended", "ended"]
    drawn = [line.split()[2] for line in text.splitlines() if "─ 20" in line]
    assert drawn == kinds
    assert text.startswith("Run-1  recovered (claimed)  2 attempts (patch_forward x2), ")
    for words in ("stage test, test failure, exit code 3", "t red", "acme/app", "refs/heads/main", "default"):
        assert words in text
    [record] = heald("show", "RUN-1", "--json").records
    assert [event["kind"] for event in record["timeline"]] == kinds
    assert (record["run"], record["state"], record["trimmed_events"]) == ("Run-1", "ended", 0)
    assert record["log"] == json.loads(it.logs()["Run-1"])


def test_the_last_events_of_a_run_are_its_own_among_those_of_its_batch(heald: Caller, house: MakeHouse) -> None:
    it = house()
    it.push(*(report(f"run-{number}") for number in range(40)))
    it.settle()
    for number in (0, 17, 39):
        [record] = heald("show", f"run-{number}", "--json").records
        assert [event["kind"] for event in record["timeline"]] == ["accepted", "decided", "repair_ended", "ended"]
        assert {event["run"] for event in record["timeline"]} == {f"run-{number}"}


def test_a_notice_stands_in_the_timeline(heald: Caller, house: MakeHouse) -> None:
    it = house(notices={Ending.ESCALATED: CommandNotice(("false",))}, limits=_one_try())
    it.push(report("run-1", stage="deploy", message="it broke"))
    it.settle()
    text = heald("show", "run-1").out
    assert "run-1  escalated" in text
    assert "try 1 not delivered" in text
    assert "attempt 1, unknown failure: escalate" in text


def _one_try() -> object:
    from heald_worker.config import Limits

    return Limits(notice_tries=1)


def test_an_open_run_tells_where_it_stands(heald: Caller, house: MakeHouse) -> None:
    it = house()
    opened(it, report("run-1", stage="unit", message="one\ntwo"))
    text = heald("show", "run-1").out
    assert text.startswith("run-1  open, deciding\n")
    assert "stage unit" in text
    assert "└─" in text
    [record] = heald("show", "run-1", "--json").records
    assert (record["state"], record["recovery"]["phase"], record["version"]) == ("open", "deciding", 1)
    assert [event["kind"] for event in record["timeline"]] == ["accepted"]


def test_what_repairs_printed_is_told_attempt_by_attempt(heald: Caller, house: MakeHouse) -> None:
    script = """printf 'red\\n\\033[31mat last\\n'; exit $((2 - HEALD_ATTEMPT))"""
    it = house(CommandRepair(("sh", "-c", script)))
    it.push(report("run-1"))
    it.settle()
    told = [f"attempt {number}  patch_forward  2 lines\n  red\n  at last\n" for number in (1, 2)]
    assert heald("logs", "RUN-1").out == "".join(told)
    assert heald("show", "run-1", "--output").out == heald("show", "run-1").out + "\n" + "".join(told)
    records = heald("logs", "run-1", "--json").records
    assert records[0] == {"run": "run-1", "attempt": 1, "action": "patch_forward", "output": "red\nat last"}
    [shown] = heald("show", "run-1", "--output", "--json").records
    assert shown["outputs"] == {"1": "red\nat last", "2": "red\nat last"}
    [shown] = heald("show", "run-1", "--json").records
    assert "outputs" not in shown


def test_an_output_that_somebody_else_wrote_moves_no_cursor(heald: Caller, house: MakeHouse, conn: redis.Redis) -> None:
    opened(house(), report("run-1"))
    conn.hset(keys.output("run-1"), mapping={"1": b"\x1b[2Jgone\x85\xff", "x": b"?"})
    assert heald("logs", "run-1").out == "attempt 1  1 line\n  \\x1b[2Jgone\n"


def test_a_run_whose_repairs_printed_nothing_says_so(heald: Caller, house: MakeHouse) -> None:
    opened(house(), report("run-1"))
    answer = heald("logs", "run-1")
    assert (answer.code, answer.out) == (0, "")
    assert "no repair of this run has printed anything that is kept" in answer.err
    assert heald("logs", "nobody").code == 1


def test_a_parked_run_tells_why(heald: Caller, house: MakeHouse) -> None:
    it = house()
    opened(it, report("run-1"))
    park(it, "run-1", "its \x1b[31mstate")
    text = heald("show", "run-1").out
    assert text.startswith("run-1  parked, deciding\n")
    assert "its \\x1b[31mstate" in text
    assert "\x1b" not in text
    [record] = heald("show", "run-1", "--json").records
    assert (record["state"], record["due"], record["timeline"][-1]["kind"]) == ("parked", None, "parked")


def test_a_run_whose_state_cannot_be_read_is_shown_all_the_same(
    heald: Caller, house: MakeHouse, conn: redis.Redis
) -> None:
    opened(house(), report("run-1"))
    forge_state(conn, "run-1")
    answer = heald("show", "run-1")
    assert answer.code == 0
    assert "its state has format 99" in answer.out
    assert "accepted" in answer.out
    conn.delete(keys.run("run-1"))
    conn.set(keys.run("run-1"), "nonsense")
    assert "WRONGTYPE" in heald("show", "run-1").out
    [record] = heald("runs", "--json").records
    assert "WRONGTYPE" in record["problem"]


def test_a_long_message_is_shown_by_its_end_and_cannot_steer_the_terminal(heald: Caller, house: MakeHouse) -> None:
    opened(house(), report("run-1", message="\n".join(f"line {n} \x1b]0;x\x07" for n in range(500))))
    text = heald("show", "run-1").out
    assert "... 488 lines more" in text
    assert "line 499 \\x1b]0;x\\x07" in text
    assert "\x1b" not in text


def test_events_that_were_trimmed_are_made_up_for_by_the_log(
    heald: Caller, house: MakeHouse, conn: redis.Redis
) -> None:
    it = house()
    it.push(report("run-1"))
    it.settle()
    conn.xtrim(keys.EVENTS, maxlen=0, approximate=False)
    text = heald("show", "run-1").out
    assert "4 events of this run were trimmed" in text
    assert "decided  attempt 1, test failure: patch_forward" in text
    assert heald("show", "run-1", "--json").records[0]["trimmed_events"] == 4


LINE = f"{'npm info attempt ' * 40}getaddrinfo EAI_AGAIN registry.npmjs.org {'and so on ' * 40}until here"
"""What decided stands in the middle of it; an event keeps 200 characters."""


def test_the_line_that_decided_is_quoted_whole_below_each_decision(heald: Caller, house: MakeHouse) -> None:
    it = house(RecordRepair(succeed_from=2), taxonomy="heald")
    it.push(report("run-1", message=f"2026-01-02T03:04:05.678Z first\n\x1b[31m   {LINE}\x1b[0m\nlast"))
    it.settle()
    lines = heald("show", "run-1").lines
    assert [line for line in lines if line.endswith(f"  line 2: {LINE}")] == [
        line for line in lines if "  line 2: " in line
    ]
    decided = [each for each in heald("show", "run-1", "--json").records[0]["timeline"] if each["kind"] == "decided"]
    assert [each["evidence_line"] for each in decided] == [LINE, LINE]
    assert max(len(each["facts"]["evidence"]["text"]) for each in decided) <= 200


def test_an_open_run_quotes_its_line_too(heald: Caller, house: MakeHouse) -> None:
    it = house(CommandRepair(("true",)), taxonomy="heald")
    it.push(report("run-1", message=LINE))
    it.control.turn()
    it.control.turn()
    assert f"  line 1: {LINE}\n" in heald("show", "run-1").out


def test_a_line_that_no_message_has_any_more_is_quoted_as_far_as_it_was_kept(
    heald: Caller, house: MakeHouse, conn: redis.Redis
) -> None:
    opened(house(), report("run-1", message="short"))
    evidence = {"line": 3, "start": 0, "end": 4, "text": "what \x1b[31mwas kept"}
    forge_event(conn, "run-1", attempt=2, evidence=evidence)
    forge_event(conn, "run-1", attempt=3, evidence={"line": "x"})
    forge_event(conn, "run-1", attempt=4, evidence=[ESC])
    text = heald("show", "run-1").out
    assert "  line 3: what \\x1b[31mwas kept (as far as it was kept)\n" in text
    assert ESC not in text


def test_a_secret_in_the_whole_line_is_masked(heald: Caller, house: MakeHouse) -> None:
    it = house(taxonomy="heald")
    secret = f"ghp_{'a1B2' * 9}"
    it.push(report("run-1", message=f"{LINE} {secret}"))
    it.settle()
    [line] = [line for line in heald("show", "run-1").lines if "line 1: " in line]
    assert "until here" in line
    assert secret not in line


ESC = "\x1b"


def forge_event(conn: redis.Redis, run_id: str, **facts: object) -> None:
    ids = conn.hget(keys.run(run_id), "e").decode()
    added = add_event(conn, run_id, "decided", **{"class": "test", "action": "retry", "rationale": "r"}, **facts)
    conn.hset(keys.run(run_id), "e", f"{ids} {added}")


def test_in_full_everything_is_shown(heald: Caller, house: MakeHouse) -> None:
    it = house(taxonomy="heald")
    message = "\n".join(f"message line {number}" for number in range(300))
    it.push(report("run-1", message=f"{message}\nAssertionError: 1 != 2", context={"provider": "gitlab", "fork": True}))
    it.settle()
    assert "message line 0\n" not in heald("show", "run-1").out
    text = heald("show", "run-1", "--full").out
    assert all(f"  message line {number}\n" in text for number in range(300))
    [record] = heald("show", "run-1", "--json").records
    for event in record["timeline"]:
        assert all(f"  {name}: " in text for name in event["facts"])
    for fact in ("context.provider: gitlab", "context.fork: true", "taxonomy.name: heald", "generation: 0"):
        assert f"  {fact}\n" in text
    assert f"  taxonomy.digest: {record['taxonomy']['digest']}\n" in text


def test_in_full_an_open_run_and_one_that_cannot_be_read_are_shown_too(
    heald: Caller, house: MakeHouse, conn: redis.Redis
) -> None:
    opened(house(), report("run-1", message="\n".join(f"line {number}" for number in range(50))))
    text = heald("show", "run-1", "--full").out
    assert "  recovery.phase: deciding\n" in text
    assert "  line 0\n" in text
    forge_state(conn, "run-1")
    assert "  version: 1\n" in heald("show", "run-1", "--full").out


@pytest.mark.parametrize("verb", ["show", "memory"])
def test_a_run_that_nobody_knows_is_an_error_with_a_hint(heald: Caller, verb: str) -> None:
    answer = heald(verb, "nope")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("heald: nothing is known of run nope\n")
    assert "heald verify nope" in answer.err


@pytest.mark.parametrize("verb", [["show", "run-1"], ["memory", "run-1"], ["runs"]])
def test_who_asks_for_what_waits_in_the_inbox_is_told_so(heald: Caller, conn: redis.Redis, verb: list[str]) -> None:
    conn.rpush(keys.INBOX, report("run-1"))
    assert "1 report waits in the inbox" in heald(*verb).err
    conn.rpush(keys.INBOX, report("run-2"))
    assert "2 reports wait in the inbox" in heald(*verb).err


@pytest.mark.parametrize("run_id", ["../x", "a b", "", "x" * 129, "a\x1b[31m"])
def test_what_can_be_no_run_id_is_refused(heald: Caller, run_id: str) -> None:
    answer = heald("show", run_id)
    assert answer.code == 2
    assert "run_id" in answer.err
    assert "\x1b" not in answer.err


def test_an_ended_run_whose_entry_was_trimmed_says_so(heald: Caller, house: MakeHouse, conn: redis.Redis) -> None:
    it = house()
    it.push(report("run-1"))
    it.settle()
    conn.xtrim(keys.RECOVERIES, maxlen=0, approximate=False)
    for verb in ("show", "memory"):
        answer = heald(verb, "run-1")
        assert answer.code == 1
        assert "run run-1 has ended, and its entry" in answer.err


def test_one_run_costs_the_same_among_few_and_many(house: MakeHouse, conn: redis.Redis) -> None:
    it = house()
    it.push(report("run-0"))
    it.settle()

    def commands() -> int:
        before = conn.info("stats")["total_commands_processed"]
        found = views.find_run(conn, "run-0")
        assert isinstance(found, RecoveryEntry)
        assert len(views.timeline(conn, found).events) == 4
        return int(conn.info("stats")["total_commands_processed"] - before)

    alone = commands()
    it.push(*(report(f"run-{number}") for number in range(1, 300)))
    it.settle()
    assert commands() == alone


def test_runs_are_listed_by_state(heald: Caller, house: MakeHouse) -> None:
    it = house()
    it.push(report("done-1"), report("done-2"))
    it.settle()
    opened(it, report("waits"), report("stuck"))
    park(it, "stuck", "no taxonomy")
    listed = [(record["run"], record["state"]) for record in heald("runs", "--json").records]
    assert listed[:2] == [("stuck", "parked"), ("waits", "open")]
    assert sorted(listed[2:]) == [("done-1", "ended"), ("done-2", "ended")]
    assert [record["run"] for record in heald("runs", "--open", "--json").records] == ["waits"]
    assert [record["run"] for record in heald("runs", "--parked", "--json").records] == ["stuck"]
    assert len(heald("runs", "--ended", "-n", "1", "--json").records) == 1
    both = heald("runs", "--open", "--parked", "--json").records
    assert {record["run"] for record in both} == {"waits", "stuck"}
    header, *rows = heald("runs").lines
    assert header.split() == ["since", "run", "state", "class", "actions", "attempts", "took", "where"]
    assert [row.split()[1:3] for row in rows][:2] == [["stuck", "parked"], ["waits", "deciding"]]


REF, TAG = "refs/heads/release/1", "refs/tags/v1"
DECIDED_BY = {"patch_forward": ["build-1", "test-1"], "rollback": ["deploy-1"], "escalate": ["odd-1"]}


@pytest.fixture
def varied(heald: Caller, house: MakeHouse) -> Caller:
    """Ended runs of two repositories, and one that is open, one that is parked."""
    it = house()
    it.push(
        report("build-1", stage="build", context={"repository": "acme/app", "ref": REF}),
        report("test-1", stage="test", context={"repository": "acme/app", "ref": TAG}),
        report("deploy-1", stage="runtime", context={"repository": "acme/web", "ref": "main"}),
        report("odd-1", stage="?", message="?"),
    )
    it.settle()
    opened(it, report("open-1", context={"repository": "acme/app", "ref": REF}), report("parked-1"))
    park(it, "parked-1", "why")
    return heald


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--repository acme/app", ["build-1", "open-1", "test-1"]),
        ("--repository acme/*", ["build-1", "deploy-1", "open-1", "test-1"]),
        ("--repository ACME/app", []),
        (f"--ref {REF}", ["build-1", "open-1"]),
        ("--ref release/*", ["build-1", "open-1"]),
        ("--ref v1", ["test-1"]),
        ("--ref main", ["deploy-1"]),
        ("--state escalated", ["odd-1"]),
        ("--state recovered --state deciding", ["build-1", "deploy-1", "open-1", "test-1"]),
        ("--state parked", ["parked-1"]),
        ("--open --state escalated", ["odd-1", "open-1"]),
        ("--state waiting", []),
        ("--class test", ["test-1"]),
        ("--class test --class build", ["build-1", "test-1"]),
        *((f"--action {action}", runs) for action, runs in DECIDED_BY.items()),
        ("--repository acme/app --state recovered --class build --action patch_forward --since 1h", ["build-1"]),
        ("--repository acme/app --class runtime", []),
        (
            "--since 2020-01-02 --until 2100-01-02T03:04:05Z",
            ["build-1", "deploy-1", "odd-1", "open-1", "parked-1", "test-1"],
        ),
        ("--until 1h", []),
        ("--until 2020-01-02T03:04:05Z", []),
        ("--since 2020-01-02T03:04:05Z", ["build-1", "deploy-1", "odd-1", "open-1", "parked-1", "test-1"]),
    ],
)
def test_options_narrow_the_list_together(varied: Caller, options: str, expected: list[str]) -> None:
    assert sorted(record["run"] for record in varied("runs", *options.split(), "--json").records) == expected
    shown = [line.split()[1] for line in varied("runs", *options.split()).lines[1:]]
    assert sorted(shown) == expected


def test_the_time_of_an_ended_run_is_that_of_its_entry(varied: Caller, conn: redis.Redis) -> None:
    ids = [entry.decode() for entry, _ in conn.xrange(keys.RECOVERIES)]
    after = varied("runs", "--ended", "--since", ids[1], "--json").records
    assert [record["id"] for record in after] == ids[:1:-1]
    between = varied("runs", "--ended", "--since", ids[0], "--until", ids[3], "--json").records
    assert [record["id"] for record in between] == ids[2:0:-1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--state done", "escalated"),
        ("--class compile", "integration"),
        ("--action revert", "patch_forward"),
        ("--since yesterday", "15m"),
        ("--until soon", "--until"),
        ("--since 1h --until 2h", "--since 1h and --until 2h"),
    ],
)
def test_a_value_that_can_not_be_is_refused_with_what_is_allowed(heald: Caller, options: str, said: str) -> None:
    answer = heald("runs", *options.split())
    assert (answer.code, answer.out) == (2, "")
    assert said in answer.err


def test_a_search_looks_at_so_many_runs_and_says_where_to_go_on(
    heald: Caller, conn: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("selection", "runs"):
        monkeypatch.setattr(f"heald_worker.cli.{module}.MOST_SEEN", 150)
    for number in range(200):
        add_recovery(conn, f"run-{number}", context={"repository": "rare" if number < 10 else "often"})
    answer = heald("runs", "--repository", "rare", "--json")
    assert answer.records == []
    assert "only the first 150 ended runs were looked at" in answer.err
    further = answer.err.split("--until ")[1].split()[0]
    answer = heald("runs", "--repository", "rare", "--until", further, "--json")
    assert [record["run"] for record in answer.records] == [f"run-{number}" for number in reversed(range(10))]
    assert answer.err == ""
    assert len(heald("runs", "--repository", "often", "-n", "3", "--json").records) == 3


def test_lists_are_read_in_pages(house: MakeHouse, conn: redis.Redis) -> None:
    it = house()
    it.push(*(report(f"run-{number}") for number in range(250)))
    it.settle()
    assert len({entry.run for entry in views.ended_runs(conn, 1000)}) == 250
    newest = [int(entry.id.split("-")[0]) for entry in views.ended_runs(conn, 120)]
    assert len(newest) == 120
    assert newest == sorted(newest, reverse=True)
    opened(it, *(report(f"open-{number}") for number in range(250)))
    assert len({run.run_id for run in views.open_runs(conn)}) == 250


def test_batches_on_the_agenda_are_no_runs(house: MakeHouse, conn: redis.Redis) -> None:
    opened(house(), report("run-1"))
    conn.zadd(keys.AGENDA, {f"{keys.INTAKE_MEMBER}abc": 1, "vanished": 2})
    assert [run.run_id for run in views.open_runs(conn)] == ["run-1"]


def test_a_parked_name_without_a_run_is_still_listed(heald: Caller, conn: redis.Redis) -> None:
    conn.hset(keys.PARKED, "ghost", "why")
    [record] = heald("runs", "--json").records
    assert (record["run"], record["parked"], record["problem"]) == ("ghost", "why", "its state is gone")
    assert heald("show", "ghost").code == 0


def test_nothing_to_list_is_no_error(heald: Caller) -> None:
    answer = heald("runs")
    assert (answer.code, answer.out) == (0, "")
    assert heald("runs", "--json").out == ""


def test_memory_tells_a_recovery_in_one_sentence(heald: Caller, house: MakeHouse) -> None:
    it = house()
    it.push(report("run-1", flaky_hint=True))
    it.settle()
    answer = heald("memory", "run-1")
    assert "Successful recovery for test failure in stage 'test': Retry in 1 attempt(s)" in answer.out
    [record] = heald("memory", "run-1", "--json").records
    assert record["tags"] == ["recovery:recovered", "failure:test", "stage:test", "run:run-1", "flaky:true"]
    assert record["token_estimate"] == len(record["summary"]) // 4


def test_memory_of_an_open_run_is_an_error_with_a_hint(heald: Caller, house: MakeHouse) -> None:
    opened(house(), report("run-1"))
    answer = heald("memory", "run-1")
    assert answer.code == 1
    assert "run run-1 is deciding; it has no log yet" in answer.err
