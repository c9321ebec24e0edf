"""A backlog causes no nudge storm: what nobody can take is sent once, and what is too much waits in the inbox."""

from __future__ import annotations

from pathlib import Path

import redis

from chaos.flood import SLACK, flood
from support.server import Server

HIGH_WATER = 1000


def test_a_backlog_that_nobody_works_off_is_nudged_once_and_waits_in_the_inbox(
    server: Server, conn: redis.Redis, tmp_path: Path
) -> None:
    found = flood(conn, server.url, tmp_path, signals=10_000, high_water=HIGH_WATER, looks_wanted=4)
    assert found.looks >= 4  # so often it could have been sent again
    assert found.sends_per_nudge < 1.1
    assert found.most_jobs <= HIGH_WATER + SLACK
    assert found.inbox >= 10_000 - HIGH_WATER - SLACK
