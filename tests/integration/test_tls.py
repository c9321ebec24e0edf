"""TLS, as redis-py spells it in a URL, through a proxy that ends TLS before the server."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import redis

from heald_producer.connection import ServerTrouble
from heald_producer.push import push
from heald_producer.signals import FailureReport, FailureSignal
from heald_worker import keys
from support.server import Server
from support.verbs import Process, environment, heald

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")


class TlsProxy:
    """Takes TLS connections on a loopback port and passes what they hold on to a server."""

    def __init__(self, certificate: Path, key: Path, port: int) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        self._server_port = port
        self._loop = asyncio.new_event_loop()
        self.port: int = self._loop.run_until_complete(self._listen())
        self._thread = Thread(target=self._loop.run_forever)
        self._thread.start()

    async def _listen(self) -> int:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        return int(listener.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself; its key lies beside it."""
    folder = tmp_path_factory.mktemp("tls")
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=127.0.0.1"]
    argv += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "ca.pem"]
    subprocess.run(argv, cwd=folder, capture_output=True, check=True)
    return folder / "ca.pem"


@pytest.fixture
def proxy(server: Server, conn: redis.Redis, certificate: Path) -> Iterator[TlsProxy]:
    running = TlsProxy(certificate, certificate.with_name("key.pem"), server.port)
    yield running
    running.close()


def a_report() -> FailureReport:
    return FailureReport(run_id="run-1", signal=FailureSignal("test", "1 failed"))


def test_a_whole_run_goes_over_tls(proxy: TlsProxy, certificate: Path, conn: redis.Redis, tmp_path: Path) -> None:
    url = f"rediss://127.0.0.1:{proxy.port}/0?ssl_ca_certs={certificate}&ssl_check_hostname=true"
    push(a_report(), url=url)
    command = json.dumps([sys.executable, "-c", "pass"])
    (tmp_path / "heald.toml").write_text(f"[repairs.patch_forward]\nkind = 'command'\ncommand = {command}\n")
    env = environment(url, tmp_path)
    with Process("worker", "--burst", env=env, cwd=tmp_path) as worker:
        assert worker.wait() == 0, worker.said()
    assert conn.xlen(keys.RECOVERIES) == 1
    assert heald("health", env=env, cwd=tmp_path).returncode == 0
    rq = [Path(sys.executable).with_name("rq"), "info", "--raw", "--url", url]
    assert subprocess.run(rq, env=env, capture_output=True, timeout=60, check=False).returncode == 0


def test_a_server_whose_certificate_nobody_vouches_for_gets_nothing(proxy: TlsProxy, conn: redis.Redis) -> None:
    with pytest.raises(ServerTrouble, match="do not agree on TLS") as refused:
        push(a_report(), url=f"rediss://127.0.0.1:{proxy.port}/0")
    assert "ssl_ca_certs" in refused.value.hint
    assert conn.llen(keys.INBOX) == 0


def test_plain_text_for_a_tls_port_is_told_as_what_it_is(proxy: TlsProxy) -> None:
    with pytest.raises(ServerTrouble) as refused:
        push(a_report(), url=f"redis://127.0.0.1:{proxy.port}/0")
    assert "rediss://" in refused.value.hint
