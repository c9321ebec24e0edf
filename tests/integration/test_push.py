"""Reports reach the inbox of a real server with one permission, or stay on the runner with a clear word why."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest
import redis

from heald_producer import push as push_module
from heald_producer.connection import ServerTrouble, connect
from heald_producer.leftovers import MOST_SECONDS, drain_some
from heald_producer.push import Pushed, PushFailed, push, push_encoded, push_many
from heald_producer.signals import INBOX, FailureReport, FailureSignal, InvalidReport
from heald_producer.spool import BATCH, Drained, Spool
from heald_producer.wire import decode_report, encode_report, make_report
from support.command import AWAY, clean_environment, heald
from support.server import Server
from support.tls import HAS_OPENSSL, make_certificate, tls_door
from support.verbs import HEALD

MESSAGE = "boom\nAssertionError: 1 != 2"


def report(run_id: str = "r1", message: str = MESSAGE) -> FailureReport:
    return make_report(run_id, "unit", message, now=1_800_000_000.0, exit_code=1)


def inbox(conn: redis.Redis) -> list[FailureReport]:
    rows: list[bytes] = conn.lrange(INBOX, 0, -1)
    return [decode_report(row) for row in rows]


@pytest.fixture
def settings_of(conn: redis.Redis) -> Iterator[redis.Redis]:
    """The server's settings may be changed; they are as before afterwards."""
    before = conn.config_get("maxmemory*")
    yield conn
    conn.replicaof("NO", "ONE")
    for name in ("maxmemory", "maxmemory-policy"):
        conn.config_set(name, before[name])


@pytest.fixture
def producer(server: Server, conn: redis.Redis) -> Iterator[str]:
    """The URL of a user who may RPUSH onto the inbox and nothing else."""
    rights = ["reset", "on", ">s3cret", "resetkeys", "resetchannels", "-@all", "+rpush", f"~{INBOX}"]
    conn.execute_command("ACL", "SETUSER", "runner", *rights)
    conn.acl_log_reset()
    yield f"redis://runner:s3cret@127.0.0.1:{server.port}/0"
    conn.acl_deluser("runner")


# The library


def test_a_pushed_report_is_the_one_that_intake_reads(server: Server, conn: redis.Redis) -> None:
    assert push(report(), url=server.url) == Pushed(sent=1, inbox=1)
    assert push(report("r2"), connection=conn) == Pushed(sent=1, inbox=2)
    assert inbox(conn) == [report(), report("r2")]


def test_the_environment_names_the_server(server: Server, conn: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", AWAY)
    monkeypatch.setenv("HEALD_REDIS_URL", server.url)
    assert push(report()).sent == 1


def test_one_permission_is_enough_and_nothing_is_refused_on_the_way(producer: str, conn: redis.Redis) -> None:
    assert push_many([report(f"r{number}") for number in range(600)], url=producer) == Pushed(600, 600)
    assert conn.acl_log() == []
    client = connect(producer)
    for command in (["LLEN", INBOX], ["LRANGE", INBOX, 0, -1], ["DEL", INBOX], ["RPUSH", "other", "x"], ["PING"]):
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command)
    client.close()


def test_many_reports_keep_their_order_in_chunks_and_without_multi(
    conn: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_module, "CHUNK_REPORTS", 7)
    conn.config_resetstat()
    reports = [report(f"r{number}") for number in range(100)]
    assert push_many(iter(reports), connection=conn) == Pushed(100, 100)
    assert inbox(conn) == reports
    calls = conn.info("commandstats")
    assert calls["cmdstat_rpush"]["calls"] == 15
    assert "cmdstat_multi" not in calls


def test_large_reports_go_in_chunks_bounded_by_bytes(conn: redis.Redis) -> None:
    conn.config_resetstat()
    reports = [report(f"r{number}", "x" * 60_000) for number in range(30)]
    assert push_many(reports, connection=conn).sent == 30
    assert conn.info("commandstats")["cmdstat_rpush"]["calls"] == 4
    assert inbox(conn) == reports


def test_a_wrong_report_is_refused_by_name_and_never_sent(conn: redis.Redis) -> None:
    with pytest.raises(InvalidReport) as caught:
        push(FailureReport("../x", FailureSignal("s", "m")), connection=conn)
    assert caught.value.field == "run_id"
    assert conn.exists(INBOX) == 0


def test_a_long_message_is_cut_not_refused(conn: redis.Redis) -> None:
    push(FailureReport("r", FailureSignal("s", "é" * 200_000)), connection=conn)
    [arrived] = inbox(conn)
    assert "bytes cut by heald" in arrived.signal.message


def test_a_full_inbox_stops_the_producer_by_the_servers_own_answers(
    conn: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push_module, "CHUNK_REPORTS", 10)
    monkeypatch.setattr(push_module, "CHUNKS_PER_TRIP", 1)
    with pytest.raises(PushFailed, match="the limit is 25") as caught:
        push_many([report(f"r{number}") for number in range(100)], connection=conn, refuse_above=25)
    assert caught.value.sent == 30
    assert conn.llen(INBOX) == 30


# Servers that cannot take it


def trouble_of(url: str) -> ServerTrouble:
    with pytest.raises(ServerTrouble) as caught:
        push(report(), url=url)
    assert "s3cret" not in str(caught.value)
    assert "wrong" not in str(caught.value)
    assert caught.value.hint
    return caught.value


def test_a_server_that_is_away_is_named_with_what_to_do() -> None:
    assert "cannot be reached" in trouble_of("redis://:s3cret@127.0.0.1:1/0").problem


def test_a_wrong_password_and_a_missing_one_are_told_apart(server: Server, conn: redis.Redis, producer: str) -> None:
    refused = trouble_of(f"redis://runner:wrong@127.0.0.1:{server.port}/0")
    assert "refuses the user name or password" in refused.problem
    conn.config_set("requirepass", "s3cret")
    try:
        assert "wants a password" in trouble_of(server.url).problem
    finally:
        conn.config_set("requirepass", "")


def test_a_missing_permission_is_told_with_the_one_that_is_needed(conn: redis.Redis, producer: str) -> None:
    conn.execute_command("ACL", "SETUSER", "runner", "-rpush")
    denied = trouble_of(producer)
    assert "does not allow" in denied.problem
    assert "RPUSH on heald:signals" in denied.hint
    conn.execute_command("ACL", "SETUSER", "runner", "+rpush")
    assert "does not allow" in trouble_of(producer.replace("/0", "/5")).problem  # SELECT


def test_a_read_only_replica_says_so(server: Server, settings_of: redis.Redis) -> None:
    settings_of.replicaof("127.0.0.1", 1)
    assert "read-only replica" in trouble_of(server.url).problem


def test_a_server_out_of_memory_says_so_and_counts_what_it_took(server: Server, settings_of: redis.Redis) -> None:
    settings_of.config_set("maxmemory-policy", "noeviction")
    settings_of.config_set("maxmemory", settings_of.info("memory")["used_memory"] + 8_000_000)
    with pytest.raises(PushFailed, match="out of memory") as caught:
        push_many([report(f"r{number}", "x" * 60_000) for number in range(500)], url=server.url)
    assert 0 < caught.value.sent < 500
    assert settings_of.llen(INBOX) == caught.value.sent


def test_a_key_of_another_type_is_told(server: Server, conn: redis.Redis) -> None:
    conn.set(INBOX, "something else")
    assert "holds something else" in trouble_of(server.url).problem


def test_an_unusable_url_is_told_before_anything_is_tried() -> None:
    for url in ("http://x", "redis://h/zero", "redis://:s3/cret@h", "unix://", "redis://h?nothing=1"):
        with pytest.raises(ServerTrouble, match="is not usable"):
            push(report(), url=url)


def test_a_unix_socket_is_a_server_too(server: Server, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("sock")
    with Server(server.kind, folder, "--unixsocket", str(folder / "s")):
        assert push(report(), url=f"unix://{folder}/s?db=0").sent == 1


@pytest.mark.skipif(not HAS_OPENSSL, reason="makes a certificate with openssl")
def test_tls_is_spoken_and_certificates_are_checked(server: Server, conn: redis.Redis, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with tls_door(server.port, certificate, key) as port:
        assert push(report(), url=f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}") == Pushed(1, 1)
        stranger = trouble_of(f"rediss://127.0.0.1:{port}/0")
        assert "do not agree on TLS" in stranger.problem
        assert "certificate" in stranger.problem
        plainly = trouble_of(f"redis://127.0.0.1:{port}/0")
        assert "rediss://" in plainly.hint
    assert inbox(conn) == [report()]


# `heald run` and `heald push`


def test_a_failing_command_is_reported_with_the_lines_that_tell_why(
    server: Server, conn: redis.Redis, tmp_path: Path
) -> None:
    done = heald("run", "--stage", "unit", "--strict", "--", "sh", "-c", "echo why; exit 3", REDIS_URL=server.url)
    assert (done.returncode, done.stdout) == (3, b"why\n")
    [arrived] = inbox(conn)
    assert (arrived.signal.stage, arrived.signal.message, arrived.signal.exit_code) == ("unit", "why", 3)
    assert f"heald: reported as run {arrived.run_id}".encode() in done.stderr
    assert heald("run", "-q", "--", "false", REDIS_URL=server.url).stderr == b""


def test_an_inbox_that_refuses_a_report_is_told_and_the_report_kept(
    server: Server, conn: redis.Redis, producer: str, tmp_path: Path
) -> None:
    conn.execute_command("ACL", "SETUSER", "runner", "-rpush")
    denied = heald("run", "--spool", tmp_path / "denied", "--redis-url", producer, "--", "false")
    conn.set(INBOX, "no list")
    other = heald("run", "--spool", tmp_path / "other", "--redis-url", server.url, "--", "false")
    for done, folder, reason in ((denied, "denied", b"RPUSH on heald:signals"), (other, "other", b"something else")):
        assert done.returncode == 1
        assert b"warning: the failure could not be pushed: " in done.stderr
        assert reason in done.stderr, done.stderr
        assert len(os.listdir(tmp_path / folder)) == 1


def test_a_green_command_tells_the_server_nothing(server: Server, conn: redis.Redis) -> None:
    assert heald("run", "--", "true", REDIS_URL=server.url).returncode == 0
    assert conn.exists(INBOX) == 0


def test_a_configuration_file_names_the_server(server: Server, conn: redis.Redis, tmp_path: Path) -> None:
    (tmp_path / "heald.toml").write_text(f'redis_url = "{server.url}"\n')
    assert heald("run", "--strict", "--", "false", cwd=tmp_path).returncode == 1
    assert heald("push", "--stage", "s", "--message", "m", cwd=tmp_path).returncode == 0
    assert len(inbox(conn)) == 2


def test_flags_make_a_report(server: Server, conn: redis.Redis, tmp_path: Path) -> None:
    flags = [
        "--run-id",
        "r1",
        "--stage",
        "unit",
        "--message",
        MESSAGE,
        "--exit-code",
        "-11",
        "--flaky",
        "--policy",
        "p",
    ]
    context = [
        "--repository",
        "acme/app",
        "--commit",
        "abc",
        "--ref",
        "refs/heads/x",
        "--job",
        "j",
        "--url",
        "https://x",
    ]
    done = heald("push", *flags, *context, "--json", cwd=tmp_path, REDIS_URL=server.url)
    assert done.returncode == 0
    assert json.loads(done.stdout) == {"run": "r1", "sent": 1, "kept": 0, "refused": 0, "inbox": 1}
    [arrived] = inbox(conn)
    assert arrived.signal == FailureSignal("unit", MESSAGE, -11, True)
    assert (arrived.policy, arrived.context.repository, arrived.context.url) == ("p", "acme/app", "https://x")


def test_the_lines_of_a_log_of_any_size_that_tell_why_are_the_message(
    server: Server, conn: redis.Redis, tmp_path: Path
) -> None:
    log = b"noise\n" * 200_000 + b"\x1b[31mFATAL: no \xff\x1b[0m for hunter2hunter2\n" + b"noise\n" * 300_000
    (tmp_path / "log").write_bytes(log)
    given = {"REDIS_URL": server.url, "MY_PASSWORD": "hunter2hunter2"}
    assert heald("push", "--stage", "s", "--log", tmp_path / "log", **given).returncode == 0
    assert heald("push", "--stage", "t", "--log", "-", stdin=log, **given).returncode == 0
    for arrived in inbox(conn):
        assert arrived.signal.message.startswith("FATAL: no \ufffd for [masked]")
        assert len(arrived.signal.message) < 2000


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--message", "m"], "--stage is needed"),
        (["--stage", "s"], "one of --message, --log and --report"),
        (["--stage", "s", "--message", "m", "--log", "-"], "one of --message, --log and --report"),
        (["--stage", "s", "--message", "m", "--run-id", "a/b"], "run_id: 'a/b' is not allowed"),
        (["--stage", "s", "--message", "m", "--exit-code", "2147483648"], "exit_code: "),
        (["--stage", "s" * 300, "--message", "m"], "stage: 300 bytes"),
        (["-", "--stage", "s"], "exclude each other"),
        (["--spool", "x", "-"], "exclude each other"),
        (["reports.json"], "the only argument is `-`"),
    ],
)
def test_wrong_usage_is_one_sentence_and_exit_code_2(server: Server, arguments: list[str], problem: str) -> None:
    done = heald("push", *arguments, REDIS_URL=server.url)
    assert (done.returncode, problem in done.stderr.decode()) == (2, True), done.stderr
    assert b"Traceback" not in done.stderr


def test_ndjson_sends_the_good_lines_and_names_the_bad_ones(server: Server, conn: redis.Redis) -> None:
    good = {"run_id": "r1", "signal": {"stage": "s", "message": "m"}, "unknown": {"x": 1}}
    whole = {**good, "run_id": "r2", "v": 1, "context": {"ref": "main"}, "reported_at": "2026-01-01T00:00:00Z"}
    bad: list[tuple[bytes, str]] = [
        (b"{", "line"),
        (b"\xff", "line"),
        (b"[]", "line"),
        (json.dumps({**good, "run_id": "../x"}).encode(), "run_id"),
        (json.dumps({"signal": good["signal"]}).encode(), "run_id"),
        (json.dumps({**good, "signal": {"stage": 5, "message": "m"}}).encode(), "signal.stage"),
        (json.dumps({**good, "signal": {"stage": "s"}}).encode(), "signal.message"),
        (json.dumps({**good, "signal": {"stage": "s", "message": "m", "exit_code": 2**31}}).encode(), "exit_code"),
        (json.dumps({**good, "v": 2}).encode(), "v"),
        (json.dumps({**good, "reported_at": "now"}).encode(), "reported_at"),
        (b"x" * 5_000_000, "line"),
        (b"[" * 100_000, "line"),
    ]
    lines = [json.dumps(good).encode(), b"", *(line for line, _ in bad), json.dumps(whole).encode()]
    done = heald("push", "-", "--json", stdin=b"\n".join(lines), REDIS_URL=server.url)
    assert done.returncode == 1
    *complaints, summary = map(json.loads, done.stdout.splitlines())
    assert [(each["line"], each["field"]) for each in complaints] == [
        (number, field) for number, (_, field) in enumerate(bad, start=3)
    ]
    assert summary == {"sent": 2, "kept": 0, "refused": len(bad), "inbox": 2}
    assert b"heald: line 6: run_id: '../x' is not allowed" in done.stderr
    first, second = inbox(conn)
    assert (first.run_id, second.run_id) == ("r1", "r2")
    assert first.reported_at is not None
    assert first.context.host is not None
    assert (second.context.ref, second.reported_at) == ("main", "2026-01-01T00:00:00Z")


def test_many_lines_go_in_their_order(server: Server, conn: redis.Redis) -> None:
    lines = [encode_report(report(f"r{number}")) for number in range(2000)]
    done = heald("push", "-", stdin=b"\n".join(lines), REDIS_URL=server.url)
    assert (done.returncode, done.stdout) == (0, b"sent 2,000 reports\n")
    assert [each.run_id for each in inbox(conn)] == [f"r{number}" for number in range(2000)]


def test_nothing_secret_is_pushed(server: Server, conn: redis.Redis) -> None:
    secret = "hunter2" + "hunter2"
    line = json.dumps({"run_id": "r", "signal": {"stage": "s", "message": f"m {secret}"}, "context": {"job": secret}})
    environment = {"REDIS_URL": server.url, "MY_TOKEN": secret}
    assert heald("push", "-", stdin=line.encode(), **environment).returncode == 0
    assert (
        heald("push", "--stage", secret, "--message", secret, "--url", f"https://x/{secret}", **environment).returncode
        == 0
    )
    assert secret.encode() not in b"".join(conn.lrange(INBOX, 0, -1))


def test_what_was_kept_while_the_server_was_away_is_sent_later(
    server: Server, conn: redis.Redis, tmp_path: Path
) -> None:
    spool = {"HEALD_SPOOL": str(tmp_path / "spool")}
    assert heald("run", "--run-id", "r1", "--", "false", REDIS_URL=AWAY, **spool).returncode == 1
    kept = heald("push", "--run-id", "r2", "--stage", "s", "--message", "m", REDIS_URL=AWAY, **spool)
    assert (kept.returncode, b"`heald push --spool` sends them" in kept.stderr) == (0, True)
    strict = ["push", "--strict", "--run-id", "r3", "--stage", "s", "--message", "m"]
    assert heald(*strict, REDIS_URL=AWAY, **spool).returncode == 75
    lines = b"\n".join(encode_report(report(f"n{number}")) for number in range(3))
    assert heald("push", "-", stdin=lines, REDIS_URL=AWAY, **spool).returncode == 0

    away = heald("push", "--spool", REDIS_URL=AWAY, **spool)
    assert (away.returncode, b"cannot be reached" in away.stderr) == (69, True)
    assert len(os.listdir(tmp_path / "spool")) == 7  # six reports and the lock
    sent = heald("push", "--spool", "--json", REDIS_URL=server.url, **spool)
    assert sent.returncode == 0
    assert json.loads(sent.stdout)["sent"] == 6
    assert [each.run_id for each in inbox(conn)] == ["r1", "r2", "r3", "n0", "n1", "n2"]
    assert json.loads(heald("push", "--spool", tmp_path / "spool", "--json", REDIS_URL=server.url).stdout)["sent"] == 0


def test_a_failing_command_that_finds_the_server_sends_what_waits(
    server: Server, conn: redis.Redis, tmp_path: Path
) -> None:
    spool = {"HEALD_SPOOL": str(tmp_path / "spool")}
    for name in ("r1", "r2"):
        heald("run", "--run-id", name, "--", "false", REDIS_URL=AWAY, **spool)
    green = heald("run", "--", "true", REDIS_URL=server.url, **spool)
    assert (green.stderr, inbox(conn)) == (b"", [])
    red = heald("run", "--run-id", "r3", "--", "false", REDIS_URL=server.url, **spool)
    assert f"heald: sent 2 more that waited in {tmp_path / 'spool'}\n".encode() in red.stderr
    assert [each.run_id for each in inbox(conn)] == ["r3", "r1", "r2"]
    assert os.listdir(tmp_path / "spool") == [".lock"]


def test_any_push_that_finds_the_server_sends_what_waits(server: Server, conn: redis.Redis, tmp_path: Path) -> None:
    spool = {"HEALD_SPOOL": str(tmp_path / "spool")}
    line = encode_report(report("n1"))
    for number, arguments in enumerate((["--run-id", "p1", "--stage", "s", "--message", "m"], ["-"])):
        heald("run", "--run-id", f"r{number}", "--", "false", REDIS_URL=AWAY, **spool)
        done = heald("push", "--json", *arguments, stdin=line, REDIS_URL=server.url, **spool)
        assert b"heald: sent 1 report that waited in " in done.stderr
        assert json.loads(done.stdout)["sent"] == 1  # what was asked for
    assert [each.run_id for each in inbox(conn)] == ["p1", "r0", "n1", "r1"]


def test_a_spool_that_cannot_be_sent_leaves_a_report_delivered(
    server: Server, conn: redis.Redis, tmp_path: Path
) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / ".lock").mkdir()
    (tmp_path / "spool" / "00000000000000001-x.json").write_text("{}")
    done = heald("run", "--strict", "--spool", tmp_path / "spool", "--", "false", REDIS_URL=server.url)
    assert (done.returncode, len(inbox(conn))) == (1, 1)
    assert b"warning: reports that wait in " in done.stderr


def test_what_waits_is_sent_for_a_few_seconds_and_into_an_inbox_that_is_not_full(
    conn: redis.Redis, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "spool")

    def waits(number: int) -> None:
        for place in range(number):
            spool.keep(encode_report(report(f"r{place}")), now=1e9 + place, token="t", warn=pytest.fail)

    def some(*, inbox: int, clock: Iterator[float], refuse_above: int = 1000) -> Drained:
        return drain_some(
            spool, conn, inbox, clock=lambda: next(clock), now=1e9, warn=pytest.fail, refuse_above=refuse_above
        )

    waits(3 * BATCH)
    late = some(inbox=1, clock=iter([0.0, 1.0, MOST_SECONDS]))
    assert (late.sent, late.waiting) == (BATCH, 2 * BATCH)
    assert some(inbox=1001, clock=repeat(0.0)).sent == 0
    assert some(inbox=1, clock=repeat(0.0), refuse_above=BATCH + 1).sent == BATCH  # the server's answer counts
    assert some(inbox=1, clock=repeat(0.0)) == Drained(sent=BATCH)


def test_a_command_that_the_ci_ends_is_reported_at_once_and_once(
    server: Server, conn: redis.Redis, tmp_path: Path
) -> None:
    process = subprocess.Popen(
        [*HEALD, "run", "--spool", tmp_path / "spool", "--", "sh", "-c", "echo up; sleep 600"],
        env=clean_environment(REDIS_URL=server.url, HEALD_SPOOL=str(tmp_path / "spool")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert (process.returncode, b"reported as run" in err) == (143, True)
    [arrived] = inbox(conn)
    assert "stopped by signal SIGTERM" in arrived.signal.message
    assert os.listdir(tmp_path / "spool") == []


def test_garbage_in_the_spool_is_told_and_set_aside(server: Server, conn: redis.Redis, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "x.json").write_text("garbage")
    done = heald("push", "--spool", tmp_path / "spool", REDIS_URL=server.url)
    assert (done.returncode, b"set aside as x.bad" in done.stderr) == (1, True)


def test_a_long_inbox_is_warned_about_and_a_too_long_one_refused(server: Server, conn: redis.Redis) -> None:
    push_encoded([b"x"] * 30, conn)
    limits = {"HEALD_LIMITS_INBOX_WARNING": "20", "HEALD_LIMITS_INBOX_REFUSAL": "100"}
    one = heald("push", "--stage", "s", "--message", "m", REDIS_URL=server.url, **limits)
    assert (one.returncode, b"the inbox holds 31 reports" in one.stderr) == (0, True)
    lines = b"\n".join(encode_report(report(f"n{number}")) for number in range(1000))
    many = heald("push", "-", stdin=lines, REDIS_URL=server.url, **limits)
    assert (many.returncode, b"the limit is 100: 256 were sent" in many.stderr) == (69, True)
    assert conn.llen(INBOX) == 31 + 256


def test_whoever_stops_heald_while_it_reports_still_has_the_report_in_the_spool(tmp_path: Path) -> None:
    """A server that accepts and never answers: the stop comes while heald waits for it."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0?socket_timeout=60"
        process = subprocess.Popen(
            [*HEALD, "run", "--spool", tmp_path / "spool", "--redis-url", url, "--", "sh", "-c", "exit 9"],
            env=clean_environment(),
            stderr=subprocess.PIPE,
        )
        accepted, _ = silent.accept()
        with accepted:
            assert accepted.recv(10)
            process.terminate()
            _, err = process.communicate(timeout=60)
    assert process.returncode == 9
    assert b"stopped by SIGTERM" in err
    assert len(os.listdir(tmp_path / "spool")) == 1
