"""RQ's workers obey whoever may publish on their channel. heald's listen to nobody, and no account may speak there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from rq.command import send_command

from heald_producer.connection import connect
from support.guarded import Guarded
from support.service import report
from support.verbs import Process
from support.wait import until
from support.workplace import Workplace

HANG = (
    "import os, time\n"
    "open('marks', 'a').write(os.environ['HEALD_IDEMPOTENCY_KEY'] + '\\n')\n"
    "while not os.path.exists('go'): time.sleep(0.02)\n"
)
COMMANDS = ("shutdown", "kill-horse", "stop-job", "stop-execution")
Refused = redis.exceptions.NoPermissionError


@pytest.fixture
def staffed(workplace: Workplace) -> Iterator[tuple[Workplace, list[Process]]]:
    """A control and a repair process, the latter with a repair in hand."""
    workplace.configure(HANG)
    workplace.push(report("run-1"))
    with (
        workplace.worker("--role", "control", name="c") as control,
        workplace.worker("--role", "repairs", name="r") as one,
    ):
        until(lambda: workplace.marks() == ["run-1:1"], "the repair has begun")
        yield workplace, [control, one]


def test_no_worker_hears_a_command_of_rqs_tools(staffed: tuple[Workplace, list[Process]]) -> None:
    """With an account that may do everything: not even then."""
    at, processes = staffed
    names = {key.decode().removeprefix("rq:worker:") for key in at.conn.smembers("rq:workers")}
    assert len(names) == 2
    [job] = [key.decode().removeprefix("rq:job:") for key in at.conn.keys("rq:job:*")]
    for name in names:
        assert at.conn.pubsub_numsub(f"rq:pubsub:{name}") == [(f"rq:pubsub:{name}".encode(), 0)]
        for command in COMMANDS:
            send_command(at.conn, name, command, job_id=job, execution_id=job)
    assert at.conn.pubsub_channels() == []
    (at.folder / "go").touch()
    until(lambda: at.ended() == ["run-1"], "the run has ended")
    assert [process.popen.poll() for process in processes] == [None, None]
    assert (at.marks(), at.events("run-1").count("repair_started")) == (["run-1:1"], 1)


@pytest.mark.parametrize("account", ["producer", "worker"])
@pytest.mark.parametrize("command", COMMANDS)
def test_no_account_may_publish_a_command_or_listen_to_one(guarded: Guarded, account: str, command: str) -> None:
    with connect(guarded.url(account)) as attacker:
        with pytest.raises(Refused):
            send_command(attacker, "any-worker", command, job_id="x")
        with pytest.raises(Refused):
            attacker.execute_command("SUBSCRIBE", "rq:pubsub:any-worker")
        with pytest.raises(Refused):
            attacker.execute_command("SPUBLISH", "rq:pubsub:any-worker", "{}")
