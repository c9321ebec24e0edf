"""Which server is meant, a client for it, and what its errors mean; no password is ever shown."""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from redis.exceptions import NoPermissionError
from redis.sentinel import MasterNotFoundError

from heald_producer.connection import (
    DEFAULT_URL,
    Sentinel,
    Server,
    ServerTrouble,
    address,
    configured_server,
    connect,
    safe_url,
    trouble,
)

URL = "redis://u:pw@h:1/2"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://h:6379/0", "redis://h:6379/0"),
        ("redis://user:pw@h/0", "redis://user:***@h/0"),
        ("redis://:pw@h", "redis://:***@h"),
        ("redis://token@h", "redis://***@h"),
        ("rediss://u:p@ss@h", "rediss://u:***@h"),
        ("redis://:p/w#?@h", "redis://:***@h"),
        ("unix://u:pw@/s?db=1&password=pw", "unix://u:***@/s?db=1&password=***"),
        ("redis://h?ssl_password=pw&db=1", "redis://h?ssl_password=***&db=1"),
        ("user:pw@h", "***"),
        ("h:6379", "h:6379"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert safe_url(url) == shown


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "does not begin with"),
        ("localhost:6379", "does not begin with"),
        ("http://h", "does not begin with"),
        ("redis://h/zero", "number of a database"),
        ("redis://h:port", "host or port"),
        ("redis://h:70000", "host or port"),
        ("redis://[::1", "host or port"),
        ("unix://", "no socket"),
        ("redis://:hidd/en@h:1", "special character"),
        ("redis://:hidd#en@h:1", "special character"),
        ("redis://:hidd?en@h:1", "special character"),
        ("redis://h?nothing=1", "no option 'nothing'"),
        ("redis://h?db=one", "'db'"),
        ("redis://h?decode_responses=true", "cannot be chosen"),
        ("rediss://h?ssl_cert_reqs=maybe", "maybe"),
    ],
)
def test_an_unusable_url_says_why_and_what_would_be_right(url: str, reason: str) -> None:
    with pytest.raises(ServerTrouble) as caught:
        connect(url)
    assert reason in caught.value.problem
    assert caught.value.hint
    assert "hidd" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://u:pw@h:1/2", "redis://h:1/2"),
        ("redis://", "redis://localhost:6379/0"),
        ("rediss://h", "rediss://h:6379/0"),
        ("unix:///s?db=3", "unix:///s"),
        ("redis://[::1]:1", "redis://::1:1/0"),
    ],
)
def test_a_client_tells_where_it_connects_to_and_opens_nothing(url: str, shown: str) -> None:
    assert address(connect(url)) == shown


def test_replies_are_bytes_and_waiting_is_bounded() -> None:
    options = connect("redis://h", timeout=3.0).connection_pool.connection_kwargs
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (3.0, 3.0)
    assert not options.get("decode_responses")
    assert connect("redis://h?socket_timeout=9").connection_pool.connection_kwargs["socket_timeout"] == 9


def test_sentinel_keys_are_rqs_in_lower_case() -> None:
    sentinel = Sentinel(
        instances=(("127.0.0.1", 1),),
        master_name="mine",
        db=3,
        username="u",
        password="pw",
        socket_timeout=0.5,
        connection_kwargs={"health_check_interval": 7},
        sentinel_kwargs={"password": "other"},
    )
    client = connect("redis://ignored", sentinel=sentinel)
    options = client.connection_pool.connection_kwargs
    assert (options["db"], options["username"], options["password"]) == (3, "u", "pw")
    assert (options["socket_timeout"], options["health_check_interval"]) == (0.5, 7)
    with pytest.raises(MasterNotFoundError) as caught:
        client.ping()
    assert "does not know the master" in trouble(caught.value, "mine").problem


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (redis.AuthenticationError("invalid username-password pair or user is disabled."), "refuses the user name"),
        (redis.AuthenticationError("Authentication required."), "wants a password"),
        (redis.AuthenticationError("AUTH <password> called without any password configured"), "has no password"),
        (NoPermissionError("this user has no permissions to run 'rpush'"), "does not allow"),
        (redis.ReadOnlyError("You can't write against a read only replica."), "read-only replica"),
        (redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "out of memory"),
        (redis.BusyLoadingError("Redis is loading the dataset in memory"), "loading"),
        (redis.ResponseError("MISCONF Redis is configured to save RDB snapshots"), "cannot save"),
        (redis.ResponseError("NOREPLICAS Not enough good replicas to write."), "too few replicas"),
        (redis.ResponseError("WRONGTYPE Operation against a key"), "holds something else"),
        (redis.ResponseError("MOVED 1 127.0.0.1:2"), "Redis Cluster"),
        (redis.ResponseError("DB index is out of range"), "no database of this number"),
        (redis.InvalidResponse("Protocol Error: b'HTTP/1.1 400'"), "does not speak"),
        (redis.TimeoutError("Timeout reading from h:1"), "does not answer"),
        (redis.ConnectionError("Error 111 connecting to h:1. Connection refused."), "cannot be reached"),
        (redis.ConnectionError("Connection closed by server."), "closed the connection"),
        (redis.ConnectionError("[SSL: CERTIFICATE_VERIFY_FAILED] x"), "do not agree on TLS"),
        (redis.ConnectionError("max number of clients reached"), "too many clients"),
        (ConnectionResetError(104, "Connection reset by peer"), "cannot be reached"),
        (redis.ResponseError("something new\nunder the sun"), "answers: something new under the sun"),
    ],
)
def test_every_error_of_a_server_is_one_sentence(error: redis.RedisError | OSError, problem: str) -> None:
    meaning = trouble(error, URL)
    assert problem in meaning.problem
    assert "pw" not in str(meaning)
    assert "\n" not in str(meaning)


def test_the_server_comes_from_flag_environment_file_and_default(tmp_path: Path) -> None:
    both = {"HEALD_REDIS_URL": "redis://own", "REDIS_URL": "redis://common"}
    assert configured_server("redis://flag", both, tmp_path) == Server("redis://flag")
    assert configured_server(None, both, tmp_path) == Server("redis://own")
    assert configured_server(None, both | {"HEALD_REDIS_URL": ""}, tmp_path) == Server("redis://common")
    assert configured_server(None, {}, tmp_path) == Server(DEFAULT_URL)
    (tmp_path / "heald.toml").write_text('redis_url = "redis://file"\n[policies.x]\nmax_attempts = 1\n')
    assert configured_server(None, {}, tmp_path) == Server("redis://file")
    assert configured_server(None, both, tmp_path) == Server("redis://own")
    (tmp_path / "other.toml").write_text('[sentinel]\ninstances = [["s1", 26379]]\nmaster_name = "mine"\n')
    found = configured_server(None, {"HEALD_CONFIG": "other.toml", "HEALD_SENTINEL_PASSWORD": "pw"}, tmp_path)
    assert found.sentinel == Sentinel(instances=(("s1", 26379),), master_name="mine", password="pw")


def test_a_file_with_both_an_url_and_sentinel_is_refused_as_the_worker_does(tmp_path: Path) -> None:
    (tmp_path / "heald.toml").write_text('redis_url = "redis://one"\n[sentinel]\nmaster_name = "mine"\n')
    with pytest.raises(ServerTrouble, match=r"has both redis_url and \[sentinel\]; keep the one that is meant"):
        configured_server(None, {}, tmp_path)
    assert configured_server("redis://flag", {}, tmp_path) == Server("redis://flag")


@pytest.mark.parametrize("text", ["redis_url = 5", "not toml", "[sentinel]\nmaster = 1", "\udcff"])
def test_a_broken_configuration_file_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "heald.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ServerTrouble, match=r"heald\.toml cannot be used"):
        configured_server(None, {}, tmp_path)
    with pytest.raises(ServerTrouble, match=r"missing\.toml cannot be used"):
        configured_server(None, {"HEALD_CONFIG": "missing.toml"}, tmp_path)
