"""A whole run over TLS, in a URL as redis-py spells it. `test_push.py` shows what a runner is told of certificates."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from heald_producer.push import push
from heald_producer.signals import FailureReport, FailureSignal
from heald_worker import keys
from support.server import Server
from support.tls import HAS_OPENSSL, make_certificate, tls_door
from support.verbs import Process, environment, heald


@pytest.mark.skipif(not HAS_OPENSSL, reason="makes a certificate with openssl")
def test_a_whole_run_goes_over_tls(server: Server, conn: redis.Redis, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    command = json.dumps([sys.executable, "-c", "pass"])
    (tmp_path / "heald.toml").write_text(f"[repairs.patch_forward]\nkind = 'command'\ncommand = {command}\n")
    with tls_door(server.port, certificate, key) as port:
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}&ssl_check_hostname=true"
        push(FailureReport(run_id="run-1", signal=FailureSignal("test", "1 failed")), url=url)
        env = environment(url, tmp_path)
        with Process("worker", "--burst", env=env, cwd=tmp_path) as worker:
            assert worker.wait() == 0, worker.said()
        assert conn.xlen(keys.RECOVERIES) == 1
        assert heald("health", "--need-workers", "0", env=env, cwd=tmp_path).returncode == 0
        rq = [Path(sys.executable).with_name("rq"), "info", "--raw", "--url", url]
        assert subprocess.run(rq, env=env, capture_output=True, timeout=60, check=False).returncode == 0
