"""The accounts of `deploy/users.acl`: they can do their work on a real server, and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import redis
import yaml

from heald_producer.connection import connect
from heald_producer.push import push
from heald_producer.signals import INBOX, FailureReport, FailureSignal
from heald_worker import keys
from heald_worker.cli.verbs import call
from heald_worker.core.policy import RecoveryPolicy
from heald_worker.intake import new_token, take_in
from heald_worker.playbook import RecordRepair
from support.guarded import PASSWORDS, Guarded, guarded_server
from support.server import Server, binary, free_port
from support.service import House, report, settings
from support.verbs import Process, environment, heald
from support.wait import until

ROOT = Path(__file__).parents[2]
Refused = redis.exceptions.NoPermissionError
REFUSALS = ("has no permissions", "command not allowed")
"""The server's words; the second are for MODULE and DEBUG, which are off for everybody."""


@pytest.fixture(scope="module")
def running(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded_server(server.kind, tmp_path_factory.mktemp("guarded")) as guarded:
        yield guarded


@pytest.fixture
def guarded(running: Guarded) -> Guarded:
    running.reset()
    return running


@pytest.fixture
def producer(guarded: Guarded) -> Iterator[redis.Redis]:
    with connect(guarded.url("producer")) as client:
        yield client


@pytest.fixture
def worker(guarded: Guarded) -> Iterator[redis.Redis]:
    with connect(guarded.url("worker")) as client:
        yield client


class Command(NamedTuple):
    """One command, or one subcommand, of the server."""

    words: tuple[str, ...]
    arguments: int
    flags: frozenset[str]

    @property
    def name(self) -> str:
        return "|".join(self.words)


def commands_of(admin: redis.Redis) -> list[Command]:
    """Every command that the server has."""
    admin.set_response_callback("COMMAND", lambda rows, **_: rows)
    return [command for row in admin.execute_command("COMMAND") for command in _with_subcommands(row)]


def _with_subcommands(row: list[Any]) -> Iterator[Command]:
    words = tuple(_text(row[0]).split("|"))
    if row[9]:
        for below in row[9]:
            yield from _with_subcommands(below)
    else:
        yield Command(words, abs(row[1]) - len(words), frozenset(_text(flag) for flag in row[2]))


def _text(raw: bytes | str) -> str:
    return raw.decode() if isinstance(raw, bytes) else raw


def test_nobody_comes_in_without_an_account(guarded: Guarded) -> None:
    with connect(f"redis://127.0.0.1:{guarded.server.port}/0") as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()


@pytest.mark.parametrize("password", ["", "default", *PASSWORDS.values()])
def test_nobody_can_be_the_default_user(guarded: Guarded, password: str) -> None:
    """It may do everything, as the server replays its append-only file with its rights; so nobody may come in as it."""
    with connect(f"redis://127.0.0.1:{guarded.server.port}/0") as stranger, pytest.raises(redis.AuthenticationError):
        stranger.execute_command("AUTH", "default", password)


def test_the_server_may_replay_whatever_a_worker_may_write(guarded: Guarded) -> None:
    """True of every server: the older ones check the default user's rights when they replay what scripts wrote."""
    writes = [c for c in commands_of(guarded.admin) if "write" in c.flags and _may(guarded, "heald-worker", c)]
    assert len(writes) > 50
    assert [c.name for c in writes if not _may(guarded, "default", c)] == []


def test_a_producer_pushes_reports_and_leaves_no_refusal_in_the_servers_log(
    guarded: Guarded, producer: redis.Redis
) -> None:
    pushed = push(FailureReport(run_id="ci-7", signal=FailureSignal("unit", "1 failed")), connection=producer)
    assert (pushed.sent, guarded.admin.llen(INBOX)) == (1, 1)
    assert guarded.refusals() == set()


def test_a_runner_needs_no_more_than_that(guarded: Guarded, tmp_path: Path) -> None:
    env = environment(guarded.url("producer"), tmp_path)
    failed = heald("run", "--strict", "--stage", "unit", "--", "false", env=env, cwd=tmp_path)
    pushed = heald("push", "--run-id", "ci-8", "--stage", "unit", "--message", "red", env=env, cwd=tmp_path)
    assert (failed.returncode, pushed.returncode, guarded.admin.llen(INBOX)) == (1, 0, 2), failed.stderr + pushed.stderr
    assert guarded.refusals() == set()


def test_a_runner_s_account_is_tried_by_a_probe_that_intake_counts_and_drops(
    guarded: Guarded, worker: redis.Redis, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(["health", "--runner", "--redis-url", guarded.url("producer")]) == 0
    assert "the server took a probe" in capsys.readouterr().out
    assert guarded.refusals() == set()
    house = House(worker, settings(tmp_path))
    house.settle()
    house.close()
    assert (guarded.admin.hget(keys.STATS, "probes"), house.dead(), house.logs()) == (b"1", [], {})
    assert not guarded.admin.keys("heald:intake:*")


def test_a_runner_that_may_not_push_or_has_no_account_hears_so(
    guarded: Guarded, capsys: pytest.CaptureFixture[str]
) -> None:
    guarded.admin.acl_setuser("mute", enabled=True, passwords=["+pw"], keys=["heald:signals"], commands=["+ping"])
    url = guarded.url("producer").replace("heald-producer:producer-pw", "{}")
    for account, said in (("mute:pw", "does not allow this"), ("heald-producer:wrong", "refuses the user name")):
        assert call(["health", "--runner", "--redis-url", url.format(account)]) == 69
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("account", "said"),
    [("producer", "a producer's"), ("worker", "a worker's"), ("admin", "an administrator's")],
)
def test_the_doctor_knows_whose_account_it_has_and_judges_by_that(
    guarded: Guarded,
    account: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code = call(["doctor", "--json", "--redis-url", guarded.url(account)])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each for each in found if each["level"] == "bad"] == []
    assert code == 0
    [finding] = [each["detail"] for each in found if each["check"] == "account"]
    assert finding.startswith(said)
    asked = {each["check"] for each in found}
    assert ("agenda" in asked, "artifacts" in asked) == (account != "producer", account != "producer")


def test_a_producer_s_account_mends_nothing_and_says_so(
    guarded: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(["doctor", "--mend", "--redis-url", guarded.url("producer")]) == 1
    assert "this account may not mend anything" in capsys.readouterr().out


def test_a_producer_may_do_nothing_but_rpush(guarded: Guarded, producer: redis.Redis) -> None:
    """Every command of the server, with as many arguments as it wants, on the very key that RPUSH may have."""
    asked = [c for c in commands_of(guarded.admin) if c.words != ("rpush",) and "no_auth" not in c.flags]
    assert len(asked) > 200
    answers = {command.name: _answer(producer, command) for command in asked}
    allowed = {name: answer for name, answer in answers.items() if not any(word in answer for word in REFUSALS)}
    assert allowed == {}


def _answer(client: redis.Redis, command: Command) -> str:
    try:
        return f"done: {client.execute_command(*command.words, *[INBOX] * command.arguments)!r}"
    except redis.RedisError as error:
        return str(error)


@pytest.mark.parametrize("key", ["other", "heald:signals2", "heald:dead", "rq:queue:heald-decide"])
def test_a_producer_reaches_no_other_list(producer: redis.Redis, key: str) -> None:
    with pytest.raises(Refused):
        producer.rpush(key, b"{}")


@pytest.mark.parametrize(
    "words",
    [
        ("DEL", INBOX),
        ("LRANGE", INBOX, 0, -1),
        ("LPUSH", INBOX, "x"),
        ("LPOP", INBOX),
        ("XADD", "heald:recoveries", "MAXLEN", 0, "*", "run", "x"),
        ("SADD", "rq:queues", "x"),
        ("HSET", "rq:job:x", "data", "x"),
        ("HSET", "heald:corrections", "f" * 32, '{"failure_class": "test"}'),
        ("SET", "heald:flaky:" + "f" * 32, '{"run": "x", "how": "retry"}'),
        ("PUBLISH", "rq:pubsub:x", "x"),
        ("SUBSCRIBE", "rq:pubsub:x"),
        ("EVAL", "return redis.call('DEL', KEYS[1])", 1, INBOX),
        ("KEYS", "*"),
        ("SCAN", 0),
        ("MULTI",),
        ("CONFIG", "GET", "*"),
        ("FLUSHALL",),
        ("INFO",),
    ],
    ids=lambda words: "-".join(map(str, words[:2])),
)
def test_a_producer_cannot(guarded: Guarded, producer: redis.Redis, words: tuple[object, ...]) -> None:
    guarded.admin.rpush(INBOX, b"theirs")
    with pytest.raises(Refused):
        producer.execute_command(*words)
    assert guarded.admin.lrange(INBOX, 0, -1) == [b"theirs"]


def test_a_worker_has_no_administrative_or_dangerous_command(guarded: Guarded) -> None:
    asked = [c for c in commands_of(guarded.admin) if c.words != ("info",)]
    feared = {_text(name) for kind in ("admin", "dangerous") for name in guarded.admin.acl_cat(kind)}
    feared |= {"script|flush", "script|kill", "function|load", "function|delete", "fcall"}
    assert {"config|set", "flushall", "flushdb", "shutdown", "debug", "acl|setuser", "keys", "monitor"} < feared
    assert feared - {"info"} <= {c.name for c in asked} | {c.words[0] for c in asked}
    allowed = [c.name for c in asked if feared & {c.name, c.words[0]} and _may(guarded, "heald-worker", c)]
    assert allowed == []


def _may(guarded: Guarded, account: str, command: Command) -> bool:
    answer = guarded.admin.execute_command("ACL DRYRUN", account, *command.words, *["heald:x"] * command.arguments)
    return answer in (b"OK", "OK", True)


@pytest.mark.parametrize("key", ["other", "healdx", "rqx", "resque:queue"])
def test_a_worker_reaches_no_keys_but_healds_and_rqs(worker: redis.Redis, key: str) -> None:
    for words in (("GET", key), ("SET", key, "x"), ("EVAL", "return redis.call('GET', KEYS[1])", 1, key)):
        with pytest.raises(Refused):
            worker.execute_command(*words)


def test_a_worker_reaches_no_keys_through_a_script(worker: redis.Redis) -> None:
    for body in ("return redis.call('GET', 'other')", "return redis.call('CONFIG', 'GET', '*')"):
        with pytest.raises(redis.ResponseError):
            worker.eval(body, 0)


@pytest.mark.parametrize("channel", ["other", "rq:pubsub:any-worker", "heald:x"])
def test_a_worker_neither_says_nor_hears_anything_on_a_channel(worker: redis.Redis, channel: str) -> None:
    """heald uses none, and RQ's would carry commands to stock workers beside it."""
    for words in (("PUBLISH", channel, "x"), ("SUBSCRIBE", channel), ("PSUBSCRIBE", channel)):
        with pytest.raises(Refused):
            worker.execute_command(*words)


def test_the_flow_of_a_run_needs_nothing_that_a_worker_may_not_do(
    guarded: Guarded, worker: redis.Redis, tmp_path: Path
) -> None:
    chosen = settings(tmp_path, RecordRepair(succeed_from=2), policy=RecoveryPolicy(max_attempts=2))
    house = House(worker, chosen)
    house.push(report("mended"), report("given-up", stage="deploy", message="x"), b"junk", report("mended"))
    house.settle()
    house.close()
    assert set(house.logs()) == {"mended", "given-up"}
    assert house.dead() == ["not_json"]
    assert guarded.refusals() == set()


CONFIGURATION = """
[repairs.patch_forward]
kind = "command"
command = {command}

[notices.on_escalated]
kind = "command"
command = {command}
"""


def test_real_workers_and_rqs_own_tools_need_nothing_more(
    guarded: Guarded, producer: redis.Redis, tmp_path: Path
) -> None:
    """Work-horses, registration, heartbeats and RQ's maintenance, all as the worker account."""
    command = json.dumps([sys.executable, "-c", "print('done')"])
    (tmp_path / "heald.toml").write_text(CONFIGURATION.format(command=command))
    producer.rpush(INBOX, report("mended"), report("given-up", stage="deploy", message="x"))
    env = environment(guarded.url("worker"), tmp_path)
    with Process("worker", "--burst", env=env, cwd=tmp_path) as process:
        assert process.wait() == 0, process.said()
    ended = {entry[b"run"]: entry[b"ending"] for _, entry in guarded.admin.xrange(keys.RECOVERIES)}
    assert ended == {b"mended": b"recovered", b"given-up": b"escalated"}
    rq = [Path(sys.executable).with_name("rq"), "info", "--raw", "--url", guarded.url("worker")]
    info = subprocess.run(rq, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (info.returncode, "heald-repair" in info.stdout) == (0, True), info.stderr
    assert guarded.refusals() == set()


def test_every_command_of_heald_works_as_the_worker(
    guarded: Guarded, worker: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the doctor asks for more, `CONFIG GET appendfsync`, and does without."""
    monkeypatch.chdir(tmp_path)
    for name, value in environment(guarded.url("worker"), tmp_path).items():
        monkeypatch.setenv(name, value)
    house = House(worker, settings(tmp_path))
    house.push(report("mended"), b"junk")
    house.settle()
    house.push(report("open"))
    take_in(house.service, new_token())
    house.close()
    [(letter, _)] = guarded.admin.xrange(keys.DEAD)
    for verb in VERBS:
        verdict = 1 if verb == "health" else 0  # there is work, and no worker lives
        assert call(verb.replace("LETTER", letter.decode()).split()) == verdict, verb
    assert guarded.refusals() == {("heald-worker", "config|get")}


VERBS = (
    "pause --reason test",
    "runs",
    "runs --repository acme/* --since 1h",
    "stats",
    "show open",
    "cancel open",
    "resume",
    "health",
    "doctor",
    "show mended",
    "show mended --follow",
    "logs mended",
    "memory mended",
    "tail --no-follow",
    "tail --no-follow --events",
    "tail --no-follow --group exporter --json",
    "dead list",
    "dead show LETTER",
    "dead replay LETTER",
    "dead purge --all",
    "artifacts rebuild",
)


def test_the_server_of_compose_yaml_has_these_accounts(server: Server, tmp_path: Path) -> None:
    """Its own start script, with paths in a test's folder and the server's program of the suite."""
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    shell, option, script = compose["services"]["valkey"]["command"]
    port = free_port()
    places = {
        "/etc/valkey": str(ROOT / "deploy"),
        "/run/valkey": str(tmp_path),
        "/data": str(tmp_path),
        "${HEALD_VALKEY_MEMORY:-512mb}": "512mb",
        "valkey-server": f"{binary(server.kind)} --bind 127.0.0.1 --port {port}",
        "$$": "$",
    }
    for place, here in places.items():
        script = script.replace(place, here)
    passwords = {f"HEALD_{account.upper()}_PASSWORD": password for account, password in PASSWORDS.items()}
    process = subprocess.Popen([shell, option, script], env=os.environ | passwords, stdout=subprocess.DEVNULL)
    try:
        with connect(f"redis://heald-worker:{PASSWORDS['worker']}@127.0.0.1:{port}/0") as client:
            until(lambda: _answers(client), "the server answers the worker account")
        with connect(f"redis://heald-producer:{PASSWORDS['producer']}@127.0.0.1:{port}/0") as client:
            assert client.rpush(INBOX, b"{}") == 1
        with connect(f"redis://heald-admin:{PASSWORDS['admin']}@127.0.0.1:{port}/0") as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.info("persistence")["aof_enabled"] == 1
    finally:
        process.terminate()
        process.wait(10)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
