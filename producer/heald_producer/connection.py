"""The server: which one, a client for it, and what its errors mean to a person."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec
import redis
from redis.sentinel import (
    MasterNotFoundError,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.sentinel import Sentinel as SentinelClient

DEFAULT_URL = "redis://127.0.0.1:6379/0"
URL_HINT = "write redis://host:6379/0, rediss://host:6379/0 (TLS) or unix:///path/to/socket?db=0"
_DATABASE = re.compile(r"/*\d*/*", re.ASCII)
_SECRET_OPTION = re.compile(r"([?&][^=&#]*(?:pass|secret|token)[^=&#]*=)[^&#]*", re.IGNORECASE)


class Sentinel(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sentinel servers to ask for the master: RQ's `SENTINEL` setting, with its keys in lower case."""

    instances: tuple[tuple[str, int], ...] = (("localhost", 26379),)
    master_name: str = "mymaster"
    db: int = 0
    username: str | None = None
    password: str | None = None
    socket_timeout: float | None = None
    ssl: bool = False
    connection_kwargs: dict[str, Any] = {}
    sentinel_kwargs: dict[str, Any] = {}


class _MasterConnection(SentinelManagedConnection):
    """redis-py's connection to a master, closed when a reply is interrupted, as its plain connections are.

    redis-py keeps it open (its pull request 4292), and the next command would read the interrupted one's reply.
    """

    def read_response(self, *args: Any, disconnect_on_error: bool | None = True, **more: Any) -> Any:
        return super().read_response(*args, disconnect_on_error=disconnect_on_error, **more)


class _MasterTlsConnection(_MasterConnection, SentinelManagedSSLConnection):
    """The same over TLS."""


class ServerTrouble(Exception):
    """The server cannot be used: what is wrong and where, and what to do next. No password is in it."""

    def __init__(self, problem: str, hint: str = "") -> None:
        self.problem, self.hint = problem, hint
        super().__init__(problem + (f"; {hint}" if hint else ""))


class Server(NamedTuple):
    """Which server is meant: an URL, or Sentinel servers that stand above it."""

    url: str
    sentinel: Sentinel | None = None


def connect(url: str, *, sentinel: Sentinel | None = None, timeout: float = 5.0, **redis_kwargs: Any) -> redis.Redis:
    """A client that connects with its first command.

    It speaks RESP2 and does not introduce itself, so that a user with one permission can connect without a
    refusal in the server's ACL log. Replies stay bytes.

    Args:
        url: as redis-py spells it; its options stand above the arguments here.
        sentinel: asked for the master instead of `url`.
        timeout: seconds for connecting, and for each reply.
        redis_kwargs: passed to redis-py.

    Raises:
        ServerTrouble: the URL, or an option in it, is not usable.
    """
    options = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "protocol": 2,
        "driver_info": None,
        **redis_kwargs,
    }
    if sentinel is not None:
        return _master(sentinel, options)
    _check_url(url)
    try:
        client = redis.Redis.from_url(url, **options)
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # refuses unknown options; opens nothing
    except TypeError as error:
        raise _wrong_url(url, f"redis-py has no option {str(error).rpartition(' ')[2]}") from None
    except (ValueError, redis.RedisError) as error:
        raise _wrong_url(url, str(error).rstrip(".")) from None
    return client


def _master(sentinel: Sentinel, options: dict[str, Any]) -> redis.Redis:
    if sentinel.socket_timeout is not None:
        options["socket_timeout"] = options["socket_connect_timeout"] = sentinel.socket_timeout
    options |= {
        "db": sentinel.db,
        "username": sentinel.username,
        "password": sentinel.password,
        "ssl": sentinel.ssl,
        **sentinel.connection_kwargs,
    }
    options["connection_class"] = _MasterTlsConnection if options["ssl"] else _MasterConnection
    to_sentinels = {name: value for name, value in options.items() if name.startswith("socket_")}
    sentinels = SentinelClient(  # type: ignore[no-untyped-call]
        sentinel.instances, sentinel_kwargs=to_sentinels | sentinel.sentinel_kwargs, **options
    )
    master: redis.Redis = sentinels.master_for(sentinel.master_name)  # type: ignore[no-untyped-call]
    return master


def _check_url(url: str) -> None:
    """Refuse what redis-py would take for something else: a mistyped database for 0, half a password for a host."""
    try:
        parts = urlsplit(url)
        split_password = "@" in parts.path + parts.query + parts.fragment
        _ = parts.port if not split_password else None
    except ValueError:  # its text may hold the password
        raise _wrong_url(url, "its host or port cannot be read") from None
    if split_password:
        raise _wrong_url(url, "the user name or password has a special character", "write / ? # as %2F %3F %23")
    if parts.scheme not in ("redis", "rediss", "unix"):
        raise _wrong_url(url, "it does not begin with redis://, rediss:// or unix://")
    if parts.scheme == "unix" and not parts.path:
        raise _wrong_url(url, "it names no socket")
    if parts.scheme != "unix" and not _DATABASE.fullmatch(parts.path):
        raise _wrong_url(url, "what follows the host is not the number of a database")
    if "decode_responses" in parse_qs(parts.query):
        raise _wrong_url(url, "decode_responses cannot be chosen")


def _wrong_url(url: str, reason: str, hint: str = URL_HINT) -> ServerTrouble:
    return ServerTrouble(f"the Redis URL {safe_url(url) or '(empty)'} is not usable: {reason}", hint)


def safe_url(url: str) -> str:
    """The URL with its password, and whatever else may be one, as `***`."""
    scheme, separator, rest = url.partition("://")
    userinfo, at, place = rest.rpartition("@")
    if not separator:
        return "***" if "@" in url or "pass" in url.lower() else url
    if at:
        user, colon, _ = userinfo.partition(":")
        userinfo = f"{user}:***" if colon else "***"
    return _SECRET_OPTION.sub(r"\1***", f"{scheme}://{userinfo}{at}{place}")


def address(client: redis.Redis) -> str:
    """Where a client connects to, as an URL without credentials; behind Sentinel the master's name."""
    pool, options = client.connection_pool, client.connection_pool.connection_kwargs
    if isinstance(pool, SentinelConnectionPool):
        return f"{pool.service_name} (Sentinel)"
    if "path" in options:
        return f"unix://{options['path']}"
    scheme = "rediss" if issubclass(pool.connection_class, redis.SSLConnection) else "redis"
    return f"{scheme}://{options.get('host', 'localhost')}:{options.get('port', 6379)}/{options.get('db') or 0}"


def trouble(exc: redis.RedisError | OSError, url: str) -> ServerTrouble:
    """What an error of the server at `url` means, and what to do about it."""
    text = " ".join(str(exc).partition(" : <")[0].split())[:300].rstrip(".")
    for meaning in _MEANINGS:
        if isinstance(exc, meaning.error) and meaning.word in text:
            hint = meaning.hint
            problem = meaning.problem.format(server=f"the server {safe_url(url)}", text=text)
            return ServerTrouble(problem, hint)
    return ServerTrouble(f"the server {safe_url(url)} answers: {text}")


class _Meaning(NamedTuple):
    error: type[Exception]
    word: str
    problem: str
    hint: str


_AUTH = redis.AuthenticationError
_REPLY = redis.ResponseError
_PERMISSION = "producers need RPUSH on heald:signals, workers what docs/operating.md lists (`ACL GETUSER` shows it)"
_MEANINGS = (
    _Meaning(MasterNotFoundError, "", "Sentinel does not know the master: {text}", "check [sentinel] in heald.toml"),
    _Meaning(
        _AUTH, "without any password", "{server} has no password, but the URL holds one", "take it out of the URL"
    ),
    _Meaning(
        _AUTH, "uthentication required", "{server} wants a password", "put it in the URL: redis://user:password@host"
    ),
    _Meaning(
        _AUTH, "", "{server} refuses the user name or password", "check them in the URL: redis://user:password@host"
    ),
    _Meaning(redis.exceptions.NoPermissionError, "", "{server} does not allow this: {text}", _PERMISSION),
    _Meaning(_REPLY, "NOPERM", "{server} does not allow this: {text}", _PERMISSION),
    _Meaning(redis.ReadOnlyError, "", "{server} is a read-only replica", "name the primary, or use Sentinel"),
    _Meaning(
        redis.OutOfMemoryError,
        "",
        "{server} is out of memory",
        "raise its maxmemory: until then no worker can move either",
    ),
    _Meaning(redis.BusyLoadingError, "", "{server} is still loading its data", "try again in a moment"),
    _Meaning(_REPLY, "MISCONF", "{server} cannot save to its disk and refuses writes", "free its disk; see its log"),
    _Meaning(_REPLY, "NOREPLICAS", "{server} has too few replicas to accept writes", "see min-replicas-to-write"),
    _Meaning(_REPLY, "WRONGTYPE", "a key of heald holds something else on {server}", "use another database"),
    _Meaning(_REPLY, "MOVED", "{server} is a Redis Cluster, which heald does not support", "name a single server"),
    _Meaning(
        _REPLY, "CLUSTERDOWN", "{server} is a Redis Cluster, which heald does not support", "name a single server"
    ),
    _Meaning(_REPLY, "DB index is out of range", "{server} has no database of this number", "use a lower one"),
    _Meaning(redis.InvalidResponse, "", "{server} does not speak Redis' protocol", "check host and port"),
    _Meaning(
        redis.ConnectionError,
        "protected mode",
        "{server} takes connections from its own machine only",
        "set a password or its bind address",
    ),
    _Meaning(redis.ConnectionError, "max number of clients", "{server} has too many clients", "raise its maxclients"),
    _Meaning(
        redis.ConnectionError,
        "SSL",
        "{server} and this machine do not agree on TLS: {text}",
        "check the certificate, ssl_ca_certs, and rediss:// against redis://",
    ),
    _Meaning(
        redis.ConnectionError,
        "closed by server",
        "{server} closed the connection",
        "is it a TLS port (rediss://), or is the server going down?",
    ),
    _Meaning(
        redis.ConnectionError,
        "reset by peer",
        "{server} closed the connection",
        "is it a TLS port (rediss://), or is the server going down?",
    ),
    _Meaning(
        redis.TimeoutError,
        "",
        "{server} does not answer",
        "check host and port, redis:// against rediss://, the firewall, and whether the server is busy",
    ),
    _Meaning(
        redis.ConnectionError, "", "{server} cannot be reached: {text}", "check host and port, and whether it runs"
    ),
    _Meaning(OSError, "", "{server} cannot be reached: {text}", "check host and port, and whether it runs"),
)
"""The first that fits says it."""


def configured_server(flag: str | None, environ: Mapping[str, str], cwd: Path) -> Server:
    """The server a producer is told: flag > HEALD_REDIS_URL > REDIS_URL > heald.toml > `DEFAULT_URL`.

    Raises:
        ServerTrouble: the configuration file cannot be used.
    """
    url = flag or environ.get("HEALD_REDIS_URL") or environ.get("REDIS_URL")
    return Server(url) if url else _from_file(environ, cwd)


def _from_file(environ: Mapping[str, str], cwd: Path) -> Server:
    named = environ.get("HEALD_CONFIG")
    path = cwd / (named or "heald.toml")
    if not named and not path.exists():
        return Server(DEFAULT_URL)
    import tomllib

    try:
        entries = tomllib.loads(path.read_text("utf-8"))
        url = msgspec.convert(entries.get("redis_url", DEFAULT_URL), str)
        sentinel = msgspec.convert(entries.get("sentinel"), Sentinel | None)
    except (OSError, ValueError) as error:
        raise ServerTrouble(f"{path} cannot be used: {error}", "mend it, or give --redis-url") from None
    if sentinel is not None and "redis_url" in entries:
        raise ServerTrouble(f"{path} has both redis_url and [sentinel]", "keep the one that is meant")
    if sentinel is not None and environ.get("HEALD_SENTINEL_PASSWORD"):
        sentinel = msgspec.structs.replace(sentinel, password=environ["HEALD_SENTINEL_PASSWORD"])
    return Server(url, sentinel)
