"""A notice is delivered or it says why not; it is bounded in time and size, and it goes nowhere else."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from heald_worker.notices import Delivery, deliver
from heald_worker.playbook import CommandNotice, Reach, WebhookNotice
from heald_worker.webhook import forbidden_reach, seconds_to_wait
from support.web import WebServer, status

FACTS: dict[str, Any] = {
    "run_id": "ci-7",
    "ending": "exhausted",
    "outcome": "failed",
    "policy": "default",
    "context": {"repository": "acme/shop", "ref": "refs/heads/main"},
    "digest": "ab" * 32,
    "log": {
        "run_id": "ci-7",
        "initial_failure": {"stage": "build", "message": "no", "exit_code": 2, "flaky_hint": False},
        "decisions": [
            {"attempt": 1, "failure_class": "build", "action": "patch_forward", "rationale": "r"},
            {"attempt": 2, "failure_class": "test", "action": "retry", "rationale": "r"},
        ],
        "outcome": "failed",
        "attempts_used": 2,
        "final_failure": {"stage": "unit", "message": "still \u00e9 \x00 no", "exit_code": None, "flaky_hint": True},
    },
}
TOLD = {"format": 1, "idempotency_key": "ci-7:exhausted", **FACTS}
ENVIRON = {"PATH": os.environ["PATH"], "REDIS_URL": "redis://secret-secret@db", "HOOK_TOKEN": "hunter2-hunter2"}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # webhooks go straight to their address


def post(url: str, **options: Any) -> Delivery:
    options = {"time_limit": 30.0} | options
    return deliver(WebhookNotice(url, **options), FACTS, environ=ENVIRON)


# -- commands ------------------------------------------------------------------------------------------------------


def run(script: str, scratch: Path, *arguments: object, **options: Any) -> Delivery:
    notice = CommandNotice(("sh", "-c", script, "sh", *map(str, arguments)), **options)
    return deliver(notice, FACTS, scratch=scratch, environ=ENVIRON)


def test_exit_code_0_means_delivered(tmp_path: Path) -> None:
    assert run("exit 0", tmp_path) == Delivery(True, "exit code 0")


def test_another_exit_code_means_not_delivered_and_shows_the_last_line(tmp_path: Path) -> None:
    delivery = run('echo first; echo "mail server refused $HOOK_TOKEN"; exit 2', tmp_path)
    assert delivery == Delivery(False, "exit code 2: mail server refused [masked]")


def test_a_command_gets_the_facts_in_variables_and_the_whole_log_in_a_file(tmp_path: Path) -> None:
    script = 'cat "$HEALD_FACTS" > "$1"; env > "$2"'
    assert run(script, tmp_path, tmp_path / "facts", tmp_path / "environment").delivered
    assert json.loads((tmp_path / "facts").read_bytes()) == TOLD
    lines = (tmp_path / "environment").read_text().splitlines()
    assert {
        "HEALD_RUN_ID=ci-7",
        "HEALD_PARENT_RUN=ci-7",
        "HEALD_ENDING=exhausted",
        "HEALD_OUTCOME=failed",
        "HEALD_DIGEST=" + "ab" * 32,
        "HEALD_POLICY=default",
        "HEALD_ATTEMPT=2",
        "HEALD_ACTION=retry",
        "HEALD_FAILURE_CLASS=test",
        "HEALD_STAGE=unit",
        "HEALD_EXIT_CODE=",
        "HEALD_REPOSITORY=acme/shop",
        "HEALD_REF=refs/heads/main",
        "HEALD_COMMIT=",
        "HEALD_IDEMPOTENCY_KEY=ci-7:exhausted",
    } <= set(lines)
    assert not any(line.startswith("REDIS_URL=") for line in lines)


def test_a_run_that_was_never_decided_can_be_told_of(tmp_path: Path) -> None:
    log = {**FACTS["log"], "decisions": [], "attempts_used": 0, "final_failure": None}
    notice = CommandNotice(("sh", "-c", 'test "$HEALD_STAGE$HEALD_ACTION$HEALD_ATTEMPT" = build0'))
    assert deliver(notice, {**FACTS, "log": log}, environ=ENVIRON).delivered


@pytest.mark.parametrize(
    ("notice", "detail"),
    [
        (CommandNotice(("no-such-program",)), "not started: no-such-program cannot be run: No such file or directory"),
        (CommandNotice(("sleep", "60"), time_limit=0.3), "ended after its time limit of 0.3 s"),
        (CommandNotice(("true",), env={"A": "$GONE"}), "env.A takes its value from $GONE, which is not set"),
    ],
)
def test_a_command_that_does_not_come_to_its_end_is_not_delivered(
    notice: CommandNotice, detail: str, tmp_path: Path
) -> None:
    delivery = deliver(notice, FACTS, scratch=tmp_path, environ=ENVIRON)
    assert not delivery.delivered
    assert delivery.detail.startswith(detail)


def test_a_command_without_a_place_for_its_facts_is_not_delivered(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    delivery = run("exit 0", tmp_path / "file")
    assert delivery == Delivery(False, "there is no place for the file of facts: File exists")


# -- webhooks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [200, 201, 204])
def test_a_webhook_posts_the_facts_as_json(code: int) -> None:
    with WebServer(status(code)) as server:
        delivery = post(server.url + "/hooks/1?team=ci")
    assert delivery.delivered
    assert delivery.detail.startswith(f"answered {code} ")
    [request] = server.requests
    assert (request.method, request.path) == ("POST", "/hooks/1?team=ci")
    assert json.loads(request.body) == TOLD
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{server.port}"
    assert request.headers["idempotency-key"] == "ci-7:exhausted"
    assert request.headers["user-agent"].startswith("heald/")


@pytest.mark.parametrize("code", [300, 400, 401, 404, 429, 500, 503])
def test_an_answer_that_is_no_success_is_not_delivered(code: int) -> None:
    with WebServer(status(code)) as server:
        delivery = post(server.url)
    assert not delivery.delivered
    assert delivery.detail.startswith(f"answered {code} ")
    assert server.requests[0].path == "/"


@pytest.mark.parametrize(
    ("code", "refused"),
    [(code, True) for code in (400, 401, 404, 410, 422)] + [(code, False) for code in (302, 408, 425, 429, 500, 503)],
)
def test_a_notice_that_was_refused_as_it_stands_is_told_from_one_that_came_at_a_bad_moment(
    code: int, refused: bool
) -> None:
    with WebServer(status(code)) as server:
        assert post(server.url).refused is refused


def test_a_refusal_says_why_bounded_masked_and_without_control_characters() -> None:
    token = "hunter2-hunter2"
    said = f'{{"error": "no channel for Bearer {token}",\r\n\x1b[31m "at": "/hooks/T0-abcdef-path"}}' + "x" * 100_000
    with WebServer(status(400, said.encode())) as server:
        delivery = post(server.url + "/hooks/T0-abcdef-path", headers={"Authorization": "$HOOK_TOKEN"})
    assert delivery.detail.startswith('answered 400 Bad Request: {"error": "no channel for Bearer [masked]", ')
    assert token not in delivery.detail
    assert "T0-abcdef-path" not in delivery.detail
    assert delivery.detail.isprintable()
    assert len(delivery.detail) < 300


@pytest.mark.parametrize(
    ("code", "retry_after", "seconds"),
    [(429, "30", 30), (503, "7", 7), (500, "30", 0), (400, "30", 0), (429, "soon", 0), (429, "-5", 0)],
)
def test_how_long_to_wait_is_heard_where_it_is_said(code: int, retry_after: str, seconds: float) -> None:
    with WebServer(status(code, Retry_After=retry_after)) as server:
        assert post(server.url).retry_after == seconds


def test_a_date_to_wait_for_is_a_time_from_now_and_never_a_past_one() -> None:
    assert seconds_to_wait("Fri, 02 Jan 2026 03:04:35 GMT", 1_767_323_045.0) == 30
    assert seconds_to_wait("Fri, 02 Jan 2026 03:04:05 GMT", 1_767_323_075.0) == 0
    assert seconds_to_wait("9" * 400, 0.0) == 9_999_999_999


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(code: int) -> None:
    with WebServer(status(200)) as elsewhere, WebServer(status(code, Location=elsewhere.url)) as server:
        delivery = post(server.url, headers={"Authorization": "$HOOK_TOKEN"})
        assert not delivery.delivered
        assert len(server.requests) == 1
        assert elsewhere.requests == []


def test_header_values_come_from_the_environment_and_beat_those_of_heald() -> None:
    headers = {"Authorization": "$HOOK_TOKEN", "X-Plain": "as it stands $HOOK_TOKEN", "Content-Type": "text/x-facts"}
    with WebServer(status(200)) as server:
        assert post(server.url, headers=headers).delivered
    [request] = server.requests
    assert request.headers["authorization"] == "hunter2-hunter2"
    assert request.headers["x-plain"] == "as it stands $HOOK_TOKEN"
    assert request.headers["content-type"] == "text/x-facts"


def test_a_header_whose_variable_is_missing_is_never_sent() -> None:
    with WebServer(status(200)) as server:
        delivery = post(server.url, headers={"Authorization": "$NOT_SET"})
    assert server.requests == []
    assert delivery == Delivery(
        False, "headers.Authorization takes its value from $NOT_SET, which is not set for the worker"
    )


@pytest.mark.parametrize("value", ["two\r\nX-Injected: 1", "\u4e16\u754c"])
def test_a_header_that_http_cannot_carry_is_not_sent_and_not_shown(value: str) -> None:
    with WebServer(status(200)) as server:
        notice = WebhookNotice(server.url, {"Authorization": "$ODD"})
        delivery = deliver(notice, FACTS, environ={"ODD": value})
    assert server.requests == []
    assert delivery == Delivery(False, "the URL or a header holds characters that HTTP cannot carry")


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("ftp://127.0.0.1/", "the URL must be one of http or https, in ASCII"),
        ("file:///etc/passwd", "the URL must be one of http or https, in ASCII"),
        ("http://", "the URL must be one of http or https, in ASCII"),
        ("http://[::1", "the URL must be one of http or https, in ASCII"),
        ("http://127.0.0.1:99999/", "the URL must be one of http or https, in ASCII"),
        ("http://b\u00fccher.example/", "the URL must be one of http or https, in ASCII"),
        ("http://u:hunter2@127.0.0.1/", "the URL holds a password; send it in a header instead"),
        ("http://127.0.0.1:1/secret path", "http://127.0.0.1:1: Connection refused"),
    ],
)
def test_a_url_that_leads_nowhere_says_so_without_its_path(url: str, detail: str) -> None:
    delivery = post(url)
    assert not delivery.delivered
    assert delivery.detail.startswith(detail)
    assert "secret" not in delivery.detail
    assert "hunter2" not in delivery.detail


def test_a_host_that_nobody_knows_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(host: str, port: int, **_: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    delivery = post("https://gone.example/secret")
    assert delivery == Delivery(False, "https://gone.example: Name or service not known")


def test_a_path_that_http_cannot_carry_is_not_shown() -> None:
    with WebServer(status(200)) as server:
        delivery = post(server.url + "/secret path")
    assert delivery == Delivery(False, "the URL or a header holds characters that HTTP cannot carry")
    assert server.requests == []


@pytest.mark.parametrize("where", ["head", "drip"])
def test_a_server_that_is_slow_in_whatever_way_is_given_up_at_the_time_limit(where: str) -> None:
    over = threading.Event()

    def answer(request: BaseHTTPRequestHandler) -> None:
        if where == "drip":  # never silent for long, and never done
            while not over.wait(0.02):
                request.wfile.write(b"H")
        over.wait(60)

    with WebServer(answer) as server:
        delivery = post(server.url, time_limit=0.5)
        over.set()
    assert delivery == Delivery(False, f"http://127.0.0.1:{server.port} did not answer within 0.5 s")


def test_a_server_that_does_not_read_is_given_up_at_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        notice = WebhookNotice(f"http://127.0.0.1:{port}/", time_limit=0.5)
        delivery = deliver(notice, {**FACTS, "log": {"final_failure": {"message": "x" * 30_000_000}}}, environ=ENVIRON)
    assert delivery == Delivery(False, f"http://127.0.0.1:{port} did not answer within 0.5 s")


def test_a_success_whose_body_never_ends_is_delivered_in_bounded_memory() -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        while True:
            request.wfile.write(b"x" * 65536)

    with WebServer(answer) as server:
        tracemalloc.start()
        try:
            delivery = post(server.url)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert delivery.delivered
    assert peak < 4 * 1024 * 1024


def test_a_success_whose_body_breaks_off_is_delivered() -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        request.wfile.write(b"ten bytes.")

    with WebServer(answer) as server:
        assert post(server.url).delivered


@pytest.mark.parametrize(
    "said", [b"", b"HTTP/1.1 2", b"220 mail.example ESMTP\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000]
)
def test_a_connection_that_closes_early_or_talks_nonsense_is_not_delivered(said: bytes) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.wfile.write(said)

    with WebServer(answer) as server:
        delivery = post(server.url)
    assert not delivery.delivered
    assert delivery.detail.startswith(f"http://127.0.0.1:{server.port}: ")
    assert len(delivery.detail) < 600


# -- where webhooks may lead ---------------------------------------------------------------------------------------


def test_a_forbidden_address_is_not_connected_to_under_whatever_name() -> None:
    with WebServer(status(200)) as server:
        for host in ("127.0.0.1", "localhost"):
            delivery = post(f"http://{host}:{server.port}/", forbid=(Reach.LOOPBACK,))
            assert not delivery.delivered
            assert "addresses of the kind loopback are forbidden for this webhook" in delivery.detail
        assert server.requests == []
        assert post(f"http://localhost:{server.port}/", forbid=(Reach.PRIVATE, Reach.LINK_LOCAL)).delivered


def test_the_address_that_was_looked_at_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: Iterator[str] = iter(["127.0.0.1", "192.0.2.1"])  # a name server that changes its mind

    def look_up(host: str, port: int, **_: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    with WebServer(status(200)) as server:
        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        delivery = post(f"http://rebinding.example:{server.port}/", forbid=(Reach.PRIVATE,))
    assert delivery.delivered
    assert server.requests[0].headers["host"] == f"rebinding.example:{server.port}"


@pytest.mark.parametrize(
    ("address", "kind"),
    [
        ("127.0.0.1", Reach.LOOPBACK),
        ("127.8.9.1", Reach.LOOPBACK),
        ("0.0.0.0", Reach.LOOPBACK),
        ("::1", Reach.LOOPBACK),
        ("::", Reach.LOOPBACK),
        ("::ffff:127.0.0.1", Reach.LOOPBACK),
        ("169.254.169.254", Reach.LINK_LOCAL),
        ("fe80::1%eth0", Reach.LINK_LOCAL),
        ("::ffff:169.254.169.254", Reach.LINK_LOCAL),
        ("10.1.2.3", Reach.PRIVATE),
        ("172.16.0.1", Reach.PRIVATE),
        ("192.168.1.1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("8.8.8.8", None),
        ("2606:4700::1111", None),
    ],
)
def test_each_address_is_of_at_most_one_kind(address: str, kind: Reach | None) -> None:
    assert forbidden_reach(address, tuple(Reach)) is kind
    assert forbidden_reach(address, tuple(reach for reach in Reach if reach is not kind)) is None


# -- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("making a certificate needs openssl")
    pem = tmp_path_factory.mktemp("tls") / "server.pem"
    argv = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    argv += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem), "-out", f"{pem}.crt"]
    subprocess.run(argv, check=True, capture_output=True)
    pem.write_text(pem.read_text() + Path(f"{pem}.crt").read_text())
    return pem


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    """The server's side of TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_that_nobody_trusts_is_refused(tls: ssl.SSLContext) -> None:
    with WebServer(status(200), tls) as server:
        delivery = post(f"https://127.0.0.1:{server.port}/secret")
    assert not delivery.delivered
    said = rf"the certificate of https://127\.0\.0\.1:{server.port} is not valid: self.signed certificate"
    assert re.match(said, delivery.detail)
    assert server.requests == []


def test_a_certificate_that_is_trusted_for_this_host_is_accepted(
    tls: ssl.SSLContext, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
    with WebServer(status(200), tls) as server:
        assert post(f"https://127.0.0.1:{server.port}/").delivered
        assert "certificate" in post(f"https://localhost:{server.port}/").detail
    assert len(server.requests) == 1


def test_a_server_that_speaks_no_tls_is_not_delivered_to() -> None:
    with WebServer(status(200)) as server:
        delivery = post(f"https://127.0.0.1:{server.port}/")
    assert not delivery.delivered
    assert delivery.detail.startswith(f"https://127.0.0.1:{server.port}: ")
