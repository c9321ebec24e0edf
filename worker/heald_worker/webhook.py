"""One HTTP POST of JSON, bounded in time and size, to an address that was looked at before it is connected to.

`urllib` follows redirects, resolves a host name again after any check of it, and counts its time limit anew for every
read. So this is `http.client` on a socket of our own: one address, one request, one deadline, no redirects.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import ipaddress
import socket
import ssl
import time
from collections.abc import Collection, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from heald_producer import __version__
from heald_worker.playbook import Reach

MAX_ANSWER_BYTES = 64 * 1024
"""How much of an answer's body is read, to let the other side finish."""
KEPT_ANSWER_BYTES = 8 * 1024
"""How much of it is kept, for whoever wants to know why."""


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
_PROTOCOLS = ipaddress.IPv4Network("192.0.0.0/24")
"""Of which a cloud keeps its metadata at .192; the standard library finds it public, in part."""
_COMPATIBLE = ipaddress.IPv6Network("::/96")


class Undelivered(Exception):
    """The request did not go through. The URL's path is never shown: with many services it is the password."""


class Answer(NamedTuple):
    """How the other side answered.

    Attributes:
        text: the beginning of its body as it came, not masked.
        retry_after: seconds that it asks to wait for; 0 where it does not say.
    """

    status: int
    reason: str
    text: str = ""
    retry_after: float = 0.0


def post_json(
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    time_limit: float,
    forbid: Collection[Reach] = (),
) -> Answer:
    """Post a body of JSON. A redirect is an answer like any other and is not followed.

    Args:
        headers: on top of, and instead of, those that this function sets.
        time_limit: seconds for connecting, sending and the answer's head and body together; looking the host
            name up takes as long as the system's resolver does.
        forbid: kinds of addresses that are not connected to.

    Raises:
        Undelivered: no answer.
    """
    target = _read(url)
    deadline = _Deadline(time_limit)
    place = f"{target.scheme}://{target.netloc}"
    try:
        with _connect(target, deadline, forbid) as connected:
            return _request(target, connected, deadline, body, headers)
    except TimeoutError:
        raise Undelivered(f"{place} did not answer within {time_limit:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise Undelivered(f"the certificate of {place} is not valid: {error.verify_message}") from None
    except (ValueError, http.client.InvalidURL):
        raise Undelivered("the URL or a header holds characters that HTTP cannot carry") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Undelivered(f"{place}: {reason}") from None


def _read(url: str) -> SplitResult:
    try:
        target = urlsplit(url)
        fine = target.scheme in ("http", "https") and target.hostname and target.port != 0 and url.isascii()
    except ValueError:
        fine = False
    if not fine:
        raise Undelivered("the URL must be one of http or https, in ASCII")
    if target.username is not None or target.password is not None:
        raise Undelivered("the URL holds a password; send it in a header instead")
    return target


class _Deadline:
    """A point in time on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until then.

        Raises:
            TimeoutError: it has passed.
        """
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


def _connect(target: SplitResult, deadline: _Deadline, forbid: Collection[Reach]) -> socket.socket:
    """A connection to the first address of the host that is allowed and answers; with TLS for https."""
    host, trouble, refused = str(target.hostname), None, ""
    for family, kind, protocol, _, address in socket.getaddrinfo(host, _port(target), type=socket.SOCK_STREAM):
        reach = forbidden_reach(str(address[0]), forbid)
        if reach is not None:
            refused = f"{host} is {address[0]}, and addresses of the kind {reach} are forbidden for this webhook"
            continue
        plain = socket.socket(family, kind, protocol)
        try:
            plain.settimeout(deadline.left())
            plain.connect(address)
        except OSError as error:
            plain.close()
            trouble = error
        else:
            return _secure(plain, host, deadline) if target.scheme == "https" else plain
    raise trouble or Undelivered(refused or f"{host} has no address")


def _port(target: SplitResult) -> int:
    return target.port or (443 if target.scheme == "https" else 80)


def _secure(plain: socket.socket, host: str, deadline: _Deadline) -> ssl.SSLSocket:
    try:
        plain.settimeout(deadline.left())
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except (OSError, ValueError):
        plain.close()
        raise


def forbidden_reach(address: str, forbid: Collection[Reach]) -> Reach | None:
    """The forbidden kind that an IP address is of, if it is of any; addresses that stand within it count too."""
    for ip in _meant(ipaddress.ip_address(address.partition("%")[0])):
        kinds = {
            Reach.LOOPBACK: ip.is_loopback or ip.is_unspecified,
            Reach.LINK_LOCAL: ip.is_link_local,
            Reach.PRIVATE: not _is_public(ip),
        }
        found = next((reach for reach, is_it in kinds.items() if is_it), None)
        if found in forbid:
            return found
    return None


def _meant(ip: Address) -> list[Address]:
    """Where packets for an address may arrive: there, or at the IPv4 address that gateways read out of it."""
    if isinstance(ip, ipaddress.IPv4Address):
        return [ip]
    last = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip.ipv4_mapped or ip in _TRANSLATED:
        return [last]
    if ip.sixtofour:  # of no reach of its own, which newer versions of Python take for a private one
        return [ip.sixtofour]
    within = [*(ip.teredo or ()), last if _is_compatible(ip) else None]
    return [ip, *(each for each in within if each is not None)]


def _is_compatible(ip: ipaddress.IPv6Address) -> bool:
    return ip in _COMPATIBLE and int(ip) > 1  # below stand `::` and `::1`


def _is_public(ip: Address) -> bool:
    set_apart = ip.is_multicast or ip.is_reserved or getattr(ip, "is_site_local", False)
    return ip.is_global and not set_apart and ip not in _PROTOCOLS


def _request(
    target: SplitResult,
    connected: socket.socket,
    deadline: _Deadline,
    body: bytes,
    headers: Mapping[str, str],
) -> Answer:
    own = {
        "host": target.netloc,
        "content-type": "application/json",
        "user-agent": f"heald/{__version__}",
        "connection": "close",
    }
    own |= {name.lower(): value for name, value in headers.items()}
    path = (target.path or "/") + (f"?{target.query}" if target.query else "")
    client = http.client.HTTPConnection(str(target.hostname), _port(target))
    client.sock = _TimedSocket(connected, deadline)
    client.request("POST", path, body, own)
    answer = client.getresponse()
    said = b""
    with contextlib.suppress(OSError, http.client.HTTPException):
        said = answer.read(MAX_ANSWER_BYTES)  # the status was said; how the body ends changes nothing
    text = said[:KEPT_ANSWER_BYTES].decode("utf-8", "replace")
    return Answer(answer.status, answer.reason, text, seconds_to_wait(answer.getheader("retry-after"), time.time()))


def seconds_to_wait(retry_after: str | None, now: float) -> float:
    """What a `Retry-After` asks for: a number of seconds, or a date; 0 for what is neither, or is over.

    Args:
        now: this machine's clock, seconds since the epoch; a date is of the other side's.
    """
    said = (retry_after or "").strip()
    if said.isascii() and said.isdecimal():
        return float(said[:10])
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return 0.0


class _TimedSocket:
    """The part of a socket that `http.client` uses, with one deadline over all of it."""

    def __init__(self, connected: socket.socket, deadline: _Deadline) -> None:
        self._connected, self._deadline = connected, deadline

    def sendall(self, data: bytes) -> None:
        """Send everything."""
        self._connected.settimeout(self._deadline.left())
        self._connected.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """The stream of what is received."""
        return io.BufferedReader(_TimedReader(self._connected, self._deadline))

    def close(self) -> None:
        """Leave closing to whoever connected."""


class _TimedReader(io.RawIOBase):
    """Reads from a socket until a deadline."""

    def __init__(self, connected: socket.socket, deadline: _Deadline) -> None:
        self._connected, self._deadline = connected, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connected.settimeout(self._deadline.left())
        return self._connected.recv_into(buffer)
