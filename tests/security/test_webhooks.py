"""A webhook goes nowhere that its configuration forbids, by whatever name, number, redirect or change of mind."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import Any

import pytest

from heald_worker.config import load_settings
from heald_worker.config_values import ConfigError
from heald_worker.core.recovery import Ending
from heald_worker.notices import Delivery, deliver
from heald_worker.playbook import Reach
from heald_worker.webhook import forbidden_reach
from support.web import WebServer, status

FACTS = {"run_id": "run-1", "ending": "escalated", "outcome": "failed", "digest": "d", "log": {}, "context": {}}
ALL = '["loopback", "link_local", "private"]'


@pytest.fixture
def reached(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that this process has connected to. Nothing leaves the machine."""
    addresses: list[str] = []
    connect = socket.socket.connect

    def watched(self: socket.socket, address: Any) -> None:
        addresses.append(str(address[0]))
        if not str(address[0]).startswith("127."):
            raise ConnectionRefusedError(111, "Connection refused")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    return addresses


def post(folder: Path, url: str, forbid: str = ALL) -> Delivery:
    """One try of the notice that a heald.toml configures."""
    (folder / "heald.toml").write_text(
        f"[notices.on_escalated]\nkind = 'webhook'\nurl = '{url}'\nforbid = {forbid}\ntime_limit = 2\n"
    )
    return deliver(load_settings({}, {}, folder).playbook.notices[Ending.ESCALATED], FACTS, environ={})


def resolve_to(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """A name server that answers every name with the next of these addresses, and what it was asked."""
    asked: list[str] = []

    def look_up(host: str, port: int, *_: object, **__: object) -> list[Any]:
        address = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


SPELLINGS = (
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001",
    "127.255.255.254", "0.0.0.0", "0", "localhost", "LOCALHOST", "localhost.", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "[::ffff:169.254.169.254]", "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "[fe80::1]",
    "10.0.0.1", "192.168.0.1", "172.16.5.4", "100.100.100.200", "192.0.0.192", "[fd00:ec2::254]", "[fc00::1]",
    "[64:ff9b::a9fe:a9fe]", "198.18.0.1", "224.0.0.1", "255.255.255.255", "[ff02::1]", "[fec0::1]",
)  # fmt: skip


@pytest.mark.parametrize("host", SPELLINGS)
def test_no_spelling_of_a_forbidden_address_is_connected_to(tmp_path: Path, reached: list[str], host: str) -> None:
    delivery = post(tmp_path, f"http://{host}:8/")
    assert not delivery.delivered
    assert reached == []
    if "Name or service" not in delivery.detail and "Address family" not in delivery.detail:
        assert "are forbidden for this webhook" in delivery.detail


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "10.0.0.1", "fe80::1%eth0"]
)
def test_a_name_that_leads_to_a_forbidden_address_is_not_followed(
    tmp_path: Path, reached: list[str], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    asked = resolve_to(monkeypatch, address)
    assert "are forbidden for this webhook" in post(tmp_path, "https://metadata.example/").detail
    assert (asked, reached) == (["metadata.example"], [])


def test_a_name_server_that_changes_its_mind_after_the_check_gains_nothing(
    tmp_path: Path, reached: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is asked for once, and the answer that was looked at is the one that is connected to."""
    asked = resolve_to(monkeypatch, "203.0.114.7", "127.0.0.1")
    with WebServer(status(200)) as inside:
        assert not post(tmp_path, f"http://rebinding.example:{inside.port}/").delivered
        assert inside.requests == []
    assert (asked, reached) == (["rebinding.example"], ["203.0.114.7"])


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_to_a_forbidden_address_is_not_followed(tmp_path: Path, reached: list[str], code: int) -> None:
    """The server stands on loopback, which only link-local and private are forbidden for here."""
    with WebServer(status(200)) as inside:
        for target in (inside.url, "http://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "//10.0.0.1/"):
            with WebServer(status(code, Location=target, Refresh=f"0; url={target}")) as server:
                assert not post(tmp_path, server.url, '["link_local", "private"]').delivered
        assert inside.requests == []
    assert set(reached) == {"127.0.0.1"}


def test_a_proxy_of_the_environment_is_not_asked(
    tmp_path: Path, reached: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with WebServer(status(200)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        resolve_to(monkeypatch, "203.0.114.7")
        assert not post(tmp_path, "http://outside.example/").delivered
        assert proxy.requests == []
    assert reached == ["203.0.114.7"]


@pytest.mark.parametrize(
    "forbid", ['["loopbck"]', '"loopback"', "true", '["loopback", 1]', "{ loopback = true }", '["LOOPBACK"]']
)
def test_a_mistake_in_what_is_forbidden_stops_the_worker_and_is_not_taken_for_nothing(
    tmp_path: Path, forbid: str
) -> None:
    with pytest.raises(ConfigError, match="forbid"):
        post(tmp_path, "http://127.0.0.1:8/", forbid)


@pytest.mark.parametrize("url", ["http://user@127.0.0.1/", "http://evil.example#@127.0.0.1/", "http://127.0.0.1\\@evil.example/",
                                 "http://evil.example@127.0.0.1:8/", "http://127.0.0.1%2f@evil.example/"])  # fmt: skip
def test_a_url_that_two_readers_read_in_two_ways_goes_nowhere_forbidden(
    tmp_path: Path, reached: list[str], monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    resolve_to(monkeypatch, "127.0.0.1")
    with contextlib.suppress(ConfigError):
        assert not post(tmp_path, url).delivered
    assert reached == []


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808", "::ffff:8.8.8.8", "2002:808:808::1"]
)
def test_a_public_address_is_of_no_forbidden_kind(address: str) -> None:
    assert forbidden_reach(address, tuple(Reach)) is None


def test_a_name_with_many_addresses_is_no_way_around_the_check(
    tmp_path: Path, reached: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every one of several addresses is looked at, not only the first."""
    addresses = ["10.0.0.1", "127.0.0.1", "169.254.169.254", "::1"]

    def look_up(host: str, port: int, *_: object, **__: object) -> list[Any]:
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert "are forbidden for this webhook" in post(tmp_path, "http://many.example/").detail
    assert reached == []
