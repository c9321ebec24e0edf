"""Real worker processes: repairs in work-horses, graceful and ungraceful ends, what RQ's own tools see."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from heald_producer import __version__
from heald_worker import keys, queues, supervisor
from heald_worker.leases import LEASE_LOST
from heald_worker.playbooks import offers, told_by
from heald_worker.records import decode_log
from heald_worker.repair_worker import SAME_SIGNAL
from support.processes import lives
from support.server import Server
from support.service import report
from support.verbs import Process, children_of, descendants, environment, heald
from support.wait import until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="walks /proc")

SWIFT = """
[timing]
resend_first = 0.2
resend_most = 1
lease = 10
renewal = 1
stop_grace = {grace}
retry_first = 0.05
retry_most = 0.1
"""


class Shop:
    """A folder with a heald.toml and everything to run workers in it."""

    def __init__(self, server: Server, conn: redis.Redis, folder: Path) -> None:
        self.server, self.conn, self.folder = server, conn, folder
        self.env = environment(server.url, folder)

    def configure(self, script: str, *, more: str = "", grace: float = 30) -> None:
        """Every action runs this Python script (with the repair's variables)."""
        repair = self.folder / "repair.py"
        repair.write_text(script)
        command = json.dumps([sys.executable, str(repair)])
        repairs = "".join(
            f"[repairs.{action}]\nkind = 'command'\ncommand = {command}\n"
            for action in ("retry", "patch_forward", "rollback")
        )
        (self.folder / "heald.toml").write_text(SWIFT.format(grace=grace) + repairs + more)

    def worker(self, *argv: str, name: str = "worker") -> Process:
        return Process("worker", *argv, env=self.env, cwd=self.folder, name=name)

    def push(self, *reports: bytes) -> None:
        self.conn.rpush(keys.INBOX, *reports)

    def logs(self) -> dict[str, bytes]:
        entries = [fields for _, fields in self.conn.xrange(keys.RECOVERIES)]
        runs = [fields[b"run"].decode() for fields in entries]
        assert len(runs) == len(set(runs)), "a run has two logs"
        return {fields[b"run"].decode(): fields[b"log"] for fields in entries}

    def events(self, run_id: str) -> list[str]:
        entries = [fields for _, fields in self.conn.xrange(keys.EVENTS)]
        return [e[b"kind"].decode() for e in entries if e[b"run"].decode() == run_id]

    def until_ended(self, *runs: str, seconds: float = 60) -> None:
        until(lambda: set(runs) <= set(self.logs()), f"{runs} have ended", seconds)

    def marks(self) -> list[str]:
        """Lines that repairs wrote to `marks`."""
        path = self.folder / "marks"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def shop(server: Server, conn: redis.Redis, tmp_path: Path) -> Shop:
    return Shop(server, conn, tmp_path)


MARK = "import os; open('marks', 'a').write(os.environ['HEALD_IDEMPOTENCY_KEY'] + '\\n')\n"
HANG = "import os, time\n" + MARK + "while not os.path.exists('go'): time.sleep(0.05)\n"


KILL_HORSE = (
    "import os, signal\n"
    "horse = open(f'/proc/{os.getppid()}/stat').read().rpartition(')')[2].split()[1]\n"
    "os.kill(int(horse), signal.SIGKILL)\n"
)
"""A repair's parent is its keeper; the keeper's parent is the work-horse."""
KILL_KEEPER = "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\n"


def test_a_burst_works_everything_off_and_ends(shop: Shop) -> None:
    shop.configure(MARK)
    shop.push(*(report(f"run-{n}") for n in range(5)))
    with shop.worker("--burst", "--repairs", "2") as worker:
        assert worker.wait() == 0, worker.said()
    assert {decode_log(log).outcome for log in shop.logs().values()} == {"recovered"}
    assert sorted(shop.marks()) == [f"run-{n}:1" for n in range(5)]
    assert shop.events("run-0") == ["accepted", "decided", "repair_started", "repair_ended", "ended"]
    check = heald("verify", "--all", "--dir", str(shop.folder / "artifacts"), env=shop.env, cwd=shop.folder)
    assert check.returncode == 0, check.stderr


RED = "import sys; print('still red: 3 failed'); sys.exit(4)"


def test_a_failing_repair_that_runs_again_what_failed_tells_the_next_failure(shop: Shop) -> None:
    shop.configure(RED)
    written = (shop.folder / "heald.toml").read_text()
    again = written.replace("kind = 'command'", "kind = 'command'\noutput_is_failure = true")
    (shop.folder / "heald.toml").write_text(again)
    shop.push(report("run-1"))
    with shop.worker("--burst") as worker:
        assert worker.wait() == 0, worker.said()
    log = decode_log(shop.logs()["run-1"])
    assert (log.outcome, log.attempts_used) == ("failed", 3)
    assert (log.final_failure.exit_code, "still red: 3 failed" in log.final_failure.message) == (4, True)


def test_what_a_repair_printed_is_kept_beside_its_run_and_is_no_failure_of_it(shop: Shop) -> None:
    shop.configure(RED)
    shop.push(report("run-1"))
    with shop.worker("--burst") as worker:
        assert worker.wait() == 0, worker.said()
    log = decode_log(shop.logs()["run-1"])
    assert (log.attempts_used, log.final_failure) == (3, log.initial_failure)
    told = heald("logs", "run-1", "--json", env=shop.env, cwd=shop.folder)
    assert [json.loads(line)["output"] for line in told.stdout.splitlines()] == ["still red: 3 failed"] * 3


def test_a_killed_repair_process_gives_its_repair_to_another(shop: Shop) -> None:
    shop.configure(HANG)
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"), shop.worker("--role", "repairs", name="one") as one:
        until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
        family = descendants(one.pid)
        assert len(family) >= 2
        one.kill()
        until(lambda: not any(lives(pid) for pid in family), "the repair died with its worker")
        (shop.folder / "go").touch()
        with shop.worker("--role", "repairs", name="two"):
            shop.until_ended("run-1")
    assert shop.marks() == ["run-1:1", "run-1:1"]
    log = decode_log(shop.logs()["run-1"])
    assert (log.outcome, log.attempts_used) == ("recovered", 1)


def test_a_killed_work_horse_is_a_lost_repair_that_is_made_again_at_once(shop: Shop) -> None:
    shop.configure(HANG)
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"), shop.worker("--role", "repairs", name="one") as one:
        until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
        (shop.folder / "go").touch()
        [horse] = one.children()
        command = children_of(horse)
        os.kill(horse, signal.SIGKILL)
        shop.until_ended("run-1", seconds=9)  # sooner than the lease
        assert not any(lives(pid) for pid in command)
    assert shop.events("run-1").count("repair_lost") == 1


@pytest.mark.parametrize("victim", [KILL_HORSE, KILL_KEEPER], ids=["horse", "keeper"])
def test_a_repair_lost_too_often_is_a_failed_attempt(shop: Shop, victim: str) -> None:
    shop.configure(
        MARK + victim + "import time; time.sleep(60)",
        more="[policies.default]\nmax_attempts = 1\n",
    )
    shop.push(report("run-1"))
    with shop.worker("--burst") as worker:
        assert worker.wait() == 0, worker.said()
    assert shop.marks() == ["run-1:1"] * 3
    assert shop.events("run-1").count("repair_lost") == 2
    assert shop.events("run-1").count("repair_abandoned") == 1


def test_a_long_repair_holds_no_decision_back(shop: Shop) -> None:
    shop.configure(HANG)
    shop.push(report("run-1"))
    with shop.worker("--repairs", "1"):
        until(lambda: shop.marks() == ["run-1:1"], "the long repair has begun")
        shop.push(report("run-2", stage="deploy", message="unknown"))
        shop.until_ended("run-2")
        assert "run-1" not in shop.logs()
        (shop.folder / "go").touch()


def test_sigterm_lets_the_repair_in_hand_finish(shop: Shop) -> None:
    shop.configure(MARK + "import os, time\nwhile not os.path.exists('go'): time.sleep(0.05)\n")
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"), shop.worker("--role", "repairs", name="one") as one:
        until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
        one.popen.send_signal(signal.SIGTERM)
        (shop.folder / "go").touch()
        assert one.wait() == 0, one.said()
        shop.until_ended("run-1")
    assert shop.marks() == ["run-1:1"]
    assert decode_log(shop.logs()["run-1"]).outcome == "recovered"


def test_sigterm_gives_a_repair_back_that_outlasts_the_grace(shop: Shop) -> None:
    shop.configure(HANG, grace=0.5)
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"):
        with shop.worker("--role", "repairs", name="one") as one:
            until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
            family = descendants(one.pid)
            assert one.terminate() == 0, one.said()
        assert not any(lives(pid) for pid in family)
        until(lambda: "repair_returned" in shop.events("run-1"), "the repair was given back")
        (shop.folder / "go").touch()
        with shop.worker("--role", "repairs", name="two"):
            shop.until_ended("run-1")
    assert "repair_lost" not in shop.events("run-1")
    assert decode_log(shop.logs()["run-1"]).attempts_used == 1


def test_what_the_last_repair_came_to_is_taken_up_before_a_stopping_worker_ends(shop: Shop) -> None:
    shop.configure(HANG)
    shop.push(report("run-1"))
    with shop.worker("--repairs", "1") as worker:
        until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
        worker.popen.send_signal(signal.SIGINT)
        until(lambda: "stopping; repairs in hand may end within 30 s" in worker.said(), "the worker says that it stops")
        (shop.folder / "go").touch()
        assert worker.wait() == 0, worker.said()
        assert worker.said().rstrip().endswith("stopped")
    assert decode_log(shop.logs()["run-1"]).outcome == "recovered"
    assert (shop.folder / "artifacts" / "run-1").is_dir()


def test_a_repair_process_that_does_not_end_costs_the_control_process_no_patience(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.configure(HANG)
    monkeypatch.setattr(supervisor, "LAST_PATIENCE", 0.0)
    watched = supervisor.Supervisor(1, shop.env, burst=False, stop_grace=0.0)
    monkeypatch.chdir(shop.folder)
    for child in watched._children:
        child.start()
    control, repairs = (child.process for child in watched._children)
    assert control is not None
    assert repairs is not None
    until(lambda: len(shop.conn.keys("rq:worker:*")) == 2, "both work")
    os.kill(repairs.pid, signal.SIGSTOP)
    watched._end_all()
    assert (repairs.returncode, control.returncode) == (-signal.SIGKILL, 0)


def test_a_second_signal_to_a_worker_gives_its_repairs_back(shop: Shop) -> None:
    shop.configure(HANG)
    shop.push(report("run-1"))
    with shop.worker("--repairs", "1") as worker:
        until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
        worker.popen.send_signal(signal.SIGINT)
        until(lambda: "stopping" in worker.said(), "the worker says that it stops")
        asked = time.monotonic()
        until(lambda: time.monotonic() > asked + 1.5 * SAME_SIGNAL, "a second signal is one of its own")
        worker.popen.send_signal(signal.SIGINT)
        assert worker.wait(25) == 0, worker.said()
    assert shop.events("run-1")[-1] == "repair_returned"


def test_a_killed_supervisor_takes_its_processes_with_it(shop: Shop) -> None:
    shop.configure(HANG, grace=0.5)
    shop.push(report("run-1"))
    with shop.worker("--repairs", "1") as worker:
        until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
        family = descendants(worker.pid)
        assert len(family) >= 4
        worker.kill()
        until(lambda: not any(lives(pid) for pid in family), "all of them have ended")


def test_a_killed_control_process_is_started_again_and_nothing_is_lost(shop: Shop) -> None:
    shop.configure(MARK)
    with shop.worker("--repairs", "1") as worker:
        until(lambda: len(worker.children()) == 2, "both processes run")
        for pid in worker.children():
            os.kill(pid, signal.SIGKILL)
        shop.push(report("run-1"))
        shop.until_ended("run-1")


def test_a_server_that_is_away_is_told_of_once_and_so_is_its_return(server: Server, tmp_path: Path) -> None:
    with Server(server.kind, tmp_path) as own, redis.Redis.from_url(own.url) as client:
        shop = Shop(own, client, tmp_path)
        with shop.worker("--role", "control", name="control") as control:
            shop.push(report("run-0", stage="deploy", message="it broke"))
            shop.until_ended("run-0")
            own.kill()
            until(lambda: "heald tries again until it answers" in control.said(), "it says that the server is away")
            own.start()
            shop.push(report("run-1", stage="deploy", message="it broke"))
            shop.until_ended("run-1")
            until(lambda: "the server answers again" in control.said(), "it says that the server is back")
    assert control.said().count("the server answers again") == 1
    assert control.said().count("heald tries again") <= 3, control.said()  # closed, refused, loading


def test_a_control_process_without_a_playbook_leaves_repairs_to_those_who_have_one(
    shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    shop.configure(MARK)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "heald.toml").write_text(SWIFT.format(grace=30))
    with (
        shop.worker("--role", "repairs", name="repairs"),
        Process("worker", "--role", "control", env=shop.env, cwd=elsewhere, name="control"),
    ):
        until(lambda: len(told_by(shop.conn)) == 2, "both tell what they are")
        assert {offer.action for offer in offers(shop.conn)} == {"patch_forward", "retry", "rollback"}
        shop.push(report("run-1"))
        shop.until_ended("run-1")
        seen = heald("workers", "--json", env=shop.env, cwd=shop.folder)
    assert shop.marks() == ["run-1:1"]
    assert decode_log(shop.logs()["run-1"]).outcome == "recovered"
    known = [json.loads(line) for line in seen.stdout.splitlines()]
    assert {each["version"] for each in known} == {__version__}
    assert len({each["playbook"] for each in known}) == 2
    assert "playbooks of living workers differ" in seen.stderr


def test_rq_and_heald_see_the_workers(shop: Shop) -> None:
    shop.configure(HANG)
    shop.push(report("run-1"))
    with shop.worker("--repairs", "1"):
        until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
        seen = heald("workers", "--json", env=shop.env, cwd=shop.folder)
        rows = [json.loads(line) for line in seen.stdout.splitlines()]
        assert sorted((row["queues"], row["state"]) for row in rows) == [
            (["decide", "record", "escalate"], "idle"),
            (["repair"], "busy"),
        ]
        rq = Path(sys.executable).with_name("rq")
        argv = [str(rq), "info", "--raw", "--url", shop.server.url]
        info = subprocess.run(argv, env=shop.env, capture_output=True, text=True, timeout=30, check=True).stdout
        assert "queue heald-repair 0" in info
        assert info.count("worker ") == 2
        assert "busy heald-repair" in info
        (shop.folder / "go").touch()
        shop.until_ended("run-1")
    assert heald("workers", env=shop.env, cwd=shop.folder).returncode == 1


def test_garbage_in_rq_s_keys_stops_no_worker(shop: Shop) -> None:
    shop.configure(MARK)
    for queue in queues.QUEUES:
        shop.conn.zadd(f"rq:wip:{queue}", {b"\xff": 0, "a:b:c": 0, "no-such-job": 0})
        shop.conn.set(f"rq:failed:{queue}", "no sorted set")
        shop.conn.sadd(f"rq:workers:{queue}", b"\xff")
        shop.conn.rpush(f"rq:queue:{queue}", b"\xff", "a b", "no-such-job", "broken")
    shop.conn.set("rq:wip:heald-record", "no sorted set")
    shop.conn.set("rq:job:broken", "no hash")
    shop.conn.sadd("rq:rl-keys", b"\xff")
    shop.conn.sadd("rq:groups", b"\xff")
    shop.push(report("run-1"))
    with shop.worker("--burst") as worker:
        assert worker.wait() == 0, worker.said()
        assert "another is started" not in worker.said()
    assert set(shop.logs()) == {"run-1"}
    assert not shop.conn.keys("rq:queue:*")


def test_a_job_in_hand_has_a_life(shop: Shop) -> None:
    shop.configure(HANG)
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"), shop.worker("--role", "repairs", name="one"):
        until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
        [job] = shop.conn.keys("rq:job:*")
        assert shop.conn.ttl(job) > 0
        (shop.folder / "go").touch()
        shop.until_ended("run-1")


def test_a_repair_process_whose_server_is_away_while_its_work_horse_dies_waits_for_it(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "server").mkdir()
    own = Server(server.kind, tmp_path / "server", "--appendonly", "yes", "--appendfsync", "always")
    with own, redis.Redis.from_url(own.url) as conn:
        shop = Shop(own, conn, tmp_path)
        shop.configure(HANG)
        shop.push(report("run-1"))
        with shop.worker("--role", "control", name="control"), shop.worker("--role", "repairs", name="one") as one:
            until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
            [horse] = one.children()
            own.kill()
            os.kill(horse, signal.SIGKILL)
            until(lambda: "tries again until it answers" in one.said(), "it says that the server is away")
            (shop.folder / "go").touch()
            own.start()
            shop.until_ended("run-1")
            assert one.popen.poll() is None
            assert one.terminate() == 0
    assert shop.marks() == ["run-1:1", "run-1:1"]
    assert "the server answers again" in one.said()
    assert "Traceback" not in one.said()


def test_a_repair_process_that_waits_for_its_server_ends_when_it_is_told_to(server: Server, tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    own = Server(server.kind, tmp_path / "server")
    with own, redis.Redis.from_url(own.url) as conn:
        shop = Shop(own, conn, tmp_path)
        shop.configure(HANG)
        shop.push(report("run-1"))
        with shop.worker("--role", "control", name="control"), shop.worker("--role", "repairs", name="one") as one:
            until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
            [horse] = one.children()
            own.kill()
            os.kill(horse, signal.SIGKILL)
            until(lambda: "tries again until it answers" in one.said(), "it says that the server is away")
            assert one.terminate() == 0
    assert "Traceback" not in one.said()


PYTHON = """
[timing]
lease = {lease}
renewal = 1
resend_first = 0.2
resend_most = 1
stop_grace = 60
[repairs.patch_forward]
kind = "python"
call = "repair:mend"
time_limit = {limit}
"""
STUBBORN = """
import os, time
def mend(order):
    open("marks", "a").write(order.idempotency_key + "\\n")
    while not os.path.exists("go"):
        try:
            time.sleep(0.05)
        except BaseException:
            pass
"""


def python_repair(shop: Shop, script: str, *, limit: float, lease: float = 30) -> None:
    """Patch-forward calls `mend` of this script, in the repair process."""
    (shop.folder / "repair.py").write_text(script)
    (shop.folder / "heald.toml").write_text(PYTHON.format(lease=lease, limit=limit))
    shop.env["PYTHONPATH"] = os.pathsep.join([str(shop.folder), os.environ.get("PYTHONPATH", "")])


def test_a_function_that_nothing_interrupts_ends_with_its_process_before_its_lease(shop: Shop) -> None:
    python_repair(shop, STUBBORN, limit=1, lease=5)
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"):
        with shop.worker("--role", "repairs", name="one") as one:
            until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
            until(lambda: one.popen.poll() is not None, "the process has ended")
            assert "repair_lost" not in shop.events("run-1")
        (shop.folder / "go").touch()
        with shop.worker("--role", "repairs", name="two"):
            shop.until_ended("run-1")
    assert shop.events("run-1").count("repair_lost") == 1


HANGS_IN_C = "import ctypes\n" + STUBBORN.replace(
    "time.sleep(0.05)",
    "mutex = ctypes.create_string_buffer(64); [ctypes.PyDLL(None).pthread_mutex_lock(mutex) for _ in range(2)]",
)
"""A C function that hangs, whatever the signal, and lets no other thread of Python run."""


def test_a_c_function_that_hangs_ends_with_its_process_before_its_lease(shop: Shop) -> None:
    python_repair(shop, HANGS_IN_C, limit=600, lease=5)
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"):
        with shop.worker("--role", "repairs", name="one") as one:
            until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
            assert one.wait(60) == -signal.SIGKILL
            assert "repair_lost" not in shop.events("run-1")
        (shop.folder / "go").touch()
        with shop.worker("--role", "repairs", name="two"):
            shop.until_ended("run-1")


STARTS_ONE = STUBBORN.replace(
    "def mend(order):",
    """def mend(order):
    import subprocess, sys
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open("child", "w").write(str(child.pid))""",
)


def test_a_function_whose_worker_lost_the_server_ends_with_all_that_it_started(shop: Shop) -> None:
    python_repair(shop, STARTS_ONE, limit=600, lease=5)
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"):
        with shop.worker("--role", "repairs", name="one") as one:
            until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
            shop.server.freeze()
            try:
                assert one.wait(60) == LEASE_LOST, one.said()
            finally:
                shop.server.thaw()
            assert "has outlived its lease" in one.said()
            until(lambda: not lives(int((shop.folder / "child").read_text())), "what it started has ended")
        (shop.folder / "go").touch()
        with shop.worker("--role", "repairs", name="two"):
            shop.until_ended("run-1")


def test_a_function_that_outlasts_its_lease_keeps_it_and_is_seen_meanwhile(shop: Shop) -> None:
    python_repair(shop, STUBBORN, limit=600, lease=4)
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"), shop.worker("--role", "repairs", name="one"):
        until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
        first = shop.conn.zscore(keys.AGENDA, "run-1")
        until(lambda: shop.conn.zscore(keys.AGENDA, "run-1") > first + 5000, "the lease was renewed beyond its end")
        [known] = shop.conn.smembers("rq:workers:heald-repair")
        assert 0 < shop.conn.ttl(known) <= 120
        (shop.folder / "go").touch()
        shop.until_ended("run-1")
    assert shop.events("run-1").count("repair_started") == 1


@pytest.mark.parametrize("kind", ["command", "python"])
def test_a_killed_worker_s_repair_is_made_again_within_its_lease_and_five_seconds(shop: Shop, kind: str) -> None:
    lease = 6
    if kind == "python":
        python_repair(shop, STUBBORN, limit=600, lease=lease)
    else:
        shop.configure(HANG)
        shop.env["HEALD_TIMING_LEASE"] = str(lease)
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"), shop.worker("--role", "repairs", name="one") as one:
        until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
        with shop.worker("--role", "repairs", name="two"):
            for pid in (one.pid, *descendants(one.pid)):
                os.kill(pid, signal.SIGKILL)
            until(lambda: len(shop.marks()) == 2, "it is made again", lease + 5)
            (shop.folder / "go").touch()
            shop.until_ended("run-1")
    assert shop.events("run-1").count("repair_lost") == 1


def test_a_function_whose_run_is_cancelled_ends_with_its_process(shop: Shop) -> None:
    python_repair(shop, STUBBORN, limit=600)
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"), shop.worker("--role", "repairs", name="one") as one:
        until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
        assert heald("cancel", "run-1", env=shop.env, cwd=shop.folder).returncode == 0
        assert one.wait(20) == LEASE_LOST
        assert "was taken from this process" in one.said()
        shop.until_ended("run-1")
    assert shop.marks() == ["run-1:1"]


EFFECTS = """
import os, time
def mend(order):
    while not os.path.exists("go"):
        open("marks", "a").write(f"{os.getpid()}\\n")
        time.sleep(0.02)
"""


def test_a_function_whose_process_slept_through_its_lease_has_no_second_effect(shop: Shop) -> None:
    python_repair(shop, EFFECTS, limit=600, lease=5)
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"), shop.worker("--role", "repairs", name="one") as one:
        until(shop.marks, "the repair has begun")
        os.kill(one.pid, signal.SIGSTOP)
        had = shop.marks().count(str(one.pid))
        with shop.worker("--role", "repairs", name="two") as two:
            until(lambda: str(two.pid) in shop.marks(), "another has its repair")
            with contextlib.suppress(ProcessLookupError):  # the alarm ends it while it is stopped, where it can
                os.kill(one.pid, signal.SIGCONT)
            assert one.wait(20) in (LEASE_LOST, -signal.SIGKILL)
            (shop.folder / "go").touch()
            shop.until_ended("run-1")
    assert shop.marks().count(str(one.pid)) == had


def test_a_command_whose_worker_is_stopped_ends_before_its_lease(shop: Shop) -> None:
    shop.configure(HANG)
    shop.env["HEALD_TIMING_LEASE"] = "5"
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"), shop.worker("--role", "repairs", name="one") as one:
        until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
        family = descendants(one.pid)
        os.kill(one.pid, signal.SIGSTOP)
        until(lambda: not any(lives(pid) for pid in family), "the repair has ended")
        assert "repair_lost" not in shop.events("run-1")
        os.kill(one.pid, signal.SIGCONT)
        (shop.folder / "go").touch()
        shop.until_ended("run-1")


def test_a_second_signal_gives_a_function_in_hand_back(shop: Shop) -> None:
    script = STUBBORN.replace("except BaseException:\n            pass", "finally:\n            pass")
    python_repair(shop, script, limit=600)
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"):
        with shop.worker("--role", "repairs", name="one") as one:
            until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
            one.popen.send_signal(signal.SIGTERM)
            first = time.monotonic()
            until(lambda: time.monotonic() - first > 1.5 * SAME_SIGNAL, "the next signal is a second one")
            one.popen.send_signal(signal.SIGTERM)
            assert one.wait() == 0, one.said()
        assert shop.events("run-1")[-1] == "repair_returned"
        (shop.folder / "go").touch()
        with shop.worker("--role", "repairs", name="two"):
            shop.until_ended("run-1")
    assert decode_log(shop.logs()["run-1"]).outcome == "recovered"


def test_a_stop_command_of_rq_s_tools_ends_no_process_that_makes_a_repair_itself(shop: Shop) -> None:
    python_repair(shop, STUBBORN, limit=600)
    shop.push(report("run-1"))
    with shop.worker("--role", "control", name="control"), shop.worker("--role", "repairs", name="one") as one:
        until(lambda: shop.marks() == ["run-1:1"], "the repair has begun")
        [known] = shop.conn.smembers("rq:workers:heald-repair")
        [job] = shop.conn.keys("rq:job:*")
        name = known.decode().removeprefix("rq:worker:")
        command = {"command": "stop-job", "job_id": job.decode().removeprefix("rq:job:")}
        assert shop.conn.publish(f"rq:pubsub:{name}", json.dumps(command)) == 0
        (shop.folder / "go").touch()
        shop.until_ended("run-1")
        assert one.popen.poll() is None
    assert shop.events("run-1").count("repair_ended") == 1
