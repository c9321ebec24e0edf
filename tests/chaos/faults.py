"""Everything that a storm can make go wrong, by name."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis

from chaos.books import Wrong
from chaos.cast import LEASE, Part
from chaos.points import BY_ROLE
from heald_worker import keys, queues
from heald_worker.artifacts import write_recovery_artifact
from heald_worker.core.recovery import log_of
from heald_worker.states import decode_run
from support.cutting import CuttingProxy
from support.guarded import url_of
from support.verbs import children_of, environment, heald

if TYPE_CHECKING:
    from chaos.storm import Storm, Victim

NOTICED = 3.0
"""Seconds within which a holder notices that its claim is over: a renewal, and a look a second."""
OLD_RUNS = Path(__file__).with_name("old_runs.jsonl")
"""Open runs as the first release wrote them; never to be made anew."""
NEVER_BEFORE = "2020-01-01T00:00:00Z"


class Fault:
    """One way in which things go wrong; a scene may have several.

    Attributes:
        pause: seconds between two strikes, about.
        most: strikes in one scene, at most.
        lengths: which part of the runs takes its time, and how.
        lossy: the server forgets what it had acknowledged.
        overlap: seconds that a repair may go on beside its successor: a claim that the server forgot, or a machine that
            wakes, is noticed when it is to be renewed.
        helpers: workers beside the usual four.
    """

    name = ""
    about = ""
    pause = 0.3
    most = 1000
    lengths: Mapping[str, float] = {"-long": 0.03, "-deaf": 0.03}
    lossy = False
    overlap = 0.0
    helpers: tuple[str, ...] = ()

    def configuration(self, storm: Storm) -> Sequence[str]:
        """More lines for heald.toml."""
        return ()

    def plan(self, storm: Storm, name: str) -> dict[str, object]:
        """What the process of this name is to suffer."""
        return {}

    def set_up(self, storm: Storm) -> None:
        """Before the first worker starts."""

    def begin(self, storm: Storm) -> None:
        """Once the first runs have been pushed."""

    def strike(self, storm: Storm) -> None:
        """Do it once."""

    def settled(self, storm: Storm) -> bool:
        """Whether it has done all that it was to do. Asked after the last strike, now and then."""
        return True

    def lift(self, storm: Storm) -> None:
        """Undo what still stands: the scene's time is over."""

    def late(self, storm: Storm) -> None:
        """When every run has ended."""

    def complaints(self, storm: Storm) -> list[Wrong]:
        """What only this fault can tell about the books."""
        return []

    def close(self, storm: Storm) -> None:
        """Leave nothing behind."""


class Kill(Fault):
    name = "kill"
    about = "SIGKILL of workers, work-horses and their parents, and of keepers, at random"
    lengths: Mapping[str, float] = {"-long": 0.03, "-deaf": 0.03, "-slow": 0.02}

    def strike(self, storm: Storm) -> None:
        what = storm.random.choices(["control", "repairs", "parent", "horse", "keeper"], [4, 2, 3, 3, 2])[0]
        for victim in storm.victims("control" if what == "control" else "repairs"):
            busy = victim.horses()
            pids = {"horse": busy, "keeper": victim.keepers()}.get(what, [victim.pid])
            if not pids or (what == "parent" and not busy):
                continue
            for pid in pids:
                _kill(pid)
            storm.struck[self.name] += 1
            return


class Points(Fault):
    name = "points"
    about = "SIGKILL at every named point of the flow"
    lengths: Mapping[str, float] = {"-long": 0.1}
    pause = 0.5
    most = 8

    def __init__(self, each: int = 1) -> None:
        self.each = each

    def plan(self, storm: Storm, name: str) -> dict[str, object]:
        return {"tokens": str(storm.folder / "tokens")}

    def set_up(self, storm: Storm) -> None:
        (storm.folder / "tokens").mkdir()
        for points in BY_ROLE.values():
            for name in points:
                for number in range(self.each):
                    (storm.folder / "tokens" / f"{name}.{number}").touch()

    def settled(self, storm: Storm) -> bool:
        tokens = list((storm.folder / "tokens").iterdir())
        struck = [token for token in tokens if token.name.startswith("struck ")]
        storm.struck[self.name] = len(struck)
        if len(struck) == len(tokens):
            return True
        storm.push_more(4)
        return False

    def complaints(self, storm: Storm) -> list[Wrong]:
        left = [path.stem for path in (storm.folder / "tokens").iterdir() if not path.name.startswith("struck ")]
        return [Wrong("every named point is reached", name) for name in left]


class ServerDies(Fault):
    name = "redis"
    about = "the server killed and restarted, with an append-only file that is always synced"
    pause = 1.0

    def strike(self, storm: Storm) -> None:
        storm.server.kill()
        storm.server.start()
        storm.struck[self.name] += 1


class LostSecond(Fault):
    name = "second"
    about = "the server's machine dies: what it had acknowledged in its last second is gone"
    pause = 1.5
    lossy = True
    overlap = NOTICED

    def begin(self, storm: Storm) -> None:
        storm.conn.config_set("appendfsync", "always")  # Redis 7.0 has no WAITAOF
        storm.push(len(storm.waiting))
        storm.conn.config_set("appendfsync", "everysec")

    def strike(self, storm: Storm) -> None:
        kept = storm.server.log_size()
        storm.later(storm.random.uniform(0.3, 1.0), lambda: self._strike(storm, kept))

    def _strike(self, storm: Storm, kept: int) -> None:
        storm.server.kill()
        storm.server.cut_log(storm.random.randint(kept, storm.server.log_size()))
        storm.server.start()
        storm.struck[self.name] += 1


class Paused(Fault):
    name = "pause"
    about = "the server stopped for longer than the leases, and going on"
    pause = 12.0
    most = 2

    def strike(self, storm: Storm) -> None:
        storm.server.freeze()
        storm.struck[self.name] += 1
        storm.later(LEASE + 2, storm.server.thaw)

    def close(self, storm: Storm) -> None:
        storm.server.thaw()


class Refusing(Fault):
    """A server that refuses writes for a while."""

    pause = 2.0
    lasts = (0.3, 1.5)

    def refuse(self, storm: Storm) -> None:
        raise NotImplementedError

    def relent(self, storm: Storm) -> None:
        raise NotImplementedError

    def strike(self, storm: Storm) -> None:
        self.refuse(storm)
        storm.struck[self.name] += 1
        storm.later(storm.random.uniform(*self.lasts), lambda: self.relent(storm))

    def lift(self, storm: Storm) -> None:
        self.relent(storm)


class Memory(Refusing):
    name = "memory"
    about = "the server out of memory for a while"

    def refuse(self, storm: Storm) -> None:
        storm.conn.config_set("maxmemory", max(1, storm.conn.info("memory")["used_memory"] // 2))

    def relent(self, storm: Storm) -> None:
        storm.conn.config_set("maxmemory", 0)


class ReadOnly(Refusing):
    name = "readonly"
    about = "the server a replica of a dead host, or without enough replicas, for a while"

    def refuse(self, storm: Storm) -> None:
        if storm.random.random() < 0.5:
            storm.conn.config_set("min-replicas-to-write", 1)
        else:
            storm.conn.replicaof("127.0.0.1", "1")

    def relent(self, storm: Storm) -> None:
        storm.conn.config_set("min-replicas-to-write", 0)
        storm.conn.replicaof("NO", "ONE")


class Cut(Fault):
    name = "cut"
    about = "connections cut after the request has gone through: its reply is lost"
    pause = 1.0
    share = 0.12

    def set_up(self, storm: Storm) -> None:
        self.proxy = CuttingProxy(storm.server.port, storm.seed)
        self.proxy.__enter__()
        storm.worker_url = url_of("worker", self.proxy.port)

    def strike(self, storm: Storm) -> None:
        self.proxy.share = self.share
        storm.later(0.5, self._let_through)

    def _let_through(self) -> None:
        self.proxy.share = 0.0

    def settled(self, storm: Storm) -> bool:
        storm.struck[self.name] = self.proxy.cuts
        return True

    def lift(self, storm: Storm) -> None:
        self._let_through()

    def close(self, storm: Storm) -> None:
        self.proxy.__exit__(None, None, None)


class Double(Fault):
    name = "double"
    about = "every nudge sent twice"

    def plan(self, storm: Storm, name: str) -> dict[str, object]:
        return {"double": True}

    def settled(self, storm: Storm) -> bool:
        storm.struck[self.name] = len(storm.pushed)
        return True


class Past(Fault):
    name = "past"
    about = "nudges from the past, for versions that are over and runs that have ended"
    pause = 0.1

    def strike(self, storm: Storm) -> None:
        for run_id in storm.random.sample(sorted(storm.pushed), min(10, len(storm.pushed))):
            queue, version = storm.random.choice(queues.QUEUES), storm.random.randint(1, 6)
            job = queues.nudge_job(queue, run_id, version, "2026-01-02T03:04:05.000000Z")
            with contextlib.suppress(redis.RedisError), storm.conn.pipeline() as pipe:
                pipe.hset(job.job_key, mapping=_fields(job))
                pipe.expire(job.job_key, job.life)
                pipe.rpush(job.queue_key, job.job_id)
                pipe.execute()
                storm.struck[self.name] += 1


class Clock(Fault):
    name = "clock"
    about = "one machine's clock ten minutes ahead, another's ten minutes behind"

    def plan(self, storm: Storm, name: str) -> dict[str, object]:
        return {"clock": 600 if name.endswith("1") else -600}

    def settled(self, storm: Storm) -> bool:
        storm.struck[self.name] = len(storm.pushed)
        return True


class Janitors(Fault):
    name = "janitors"
    about = "two janitors, and everything due at once all the time"
    pause = 0.1

    def strike(self, storm: Storm) -> None:
        """Time leaps for what waits for a nudge; a lease is not touched, as it has its holder's word."""
        with contextlib.suppress(redis.RedisError):
            for member in storm.conn.zrange(keys.AGENDA, 0, -1):
                state = storm.conn.hget(keys.RUN_PREFIX + member.decode(), "s") or b""
                if b'"holder"' not in state:
                    storm.conn.zadd(keys.AGENDA, {member: 1}, xx=True)
            storm.struck[self.name] += 1


class Freeze(Fault):
    name = "freeze"
    about = "a repair's machine stopped beyond its lease, and going on while another makes the repair"
    pause = 1.0
    lengths: Mapping[str, float] = {"-slow": 0.1}
    overlap = NOTICED
    helpers = ("repairs-3",)

    def __init__(self) -> None:
        self._frozen: list[int] = []

    def chosen(self, victim: Victim) -> list[int]:
        """The processes of a worker that are stopped."""
        return [victim.pid, *_below(victim.pid)]

    def strike(self, storm: Storm) -> None:
        busy = [victim for victim in storm.victims("repairs") if any(map(_is_slow, victim.commands()))]
        if busy and not self._frozen:
            self._frozen = self.chosen(busy[0])
            for pid in self._frozen:
                _send(pid, signal.SIGSTOP)
            storm.struck[self.name] += 1
            storm.later(LEASE + 3.0, self._thaw)

    def _thaw(self) -> None:
        for pid in reversed(self._frozen):
            _send(pid, signal.SIGCONT)
        self._frozen = []

    def close(self, storm: Storm) -> None:
        self._thaw()


class Holder(Freeze):
    name = "holder"
    about = "only the process that holds a lease stopped beyond it, its repair going on"
    overlap = 0.0

    def chosen(self, victim: Victim) -> list[int]:
        return [victim.pid]


class Spool(Fault):
    name = "spool"
    about = "reports again, after their runs have ended; spools days late; run ids that are taken"

    def late(self, storm: Storm) -> None:
        parts = list(storm.pushed.values())
        taken = [part._replace(policy="tame" if part.policy != "tame" else "short") for part in parts[:10]]
        forgotten = parts[10:20]
        for part in forgotten:  # a spool that is older than the memory of its run
            storm.conn.delete(keys.tombstone(part.run_id))
        batch = [part.report() for part in parts if part not in forgotten]
        batch += [part.report() for part in taken]
        batch += [part.report(reported_at=NEVER_BEFORE) for part in forgotten]
        before = storm.conn.hgetall(keys.STATS)
        storm.conn.rpush(keys.INBOX, *batch)
        storm.wait_for_calm(20)
        after = storm.conn.hgetall(keys.STATS)
        self.counted = {name: int(after.get(name, 0)) - int(before.get(name, 0)) for name in after}
        self.expected = {
            b"duplicate": len(parts) - len(forgotten),
            b"dead": len(taken) + len(forgotten),
            b"accepted": 0,
        }
        storm.struck[self.name] = len(batch)

    def complaints(self, storm: Storm) -> list[Wrong]:
        return [
            Wrong("a late report is a duplicate or a dead letter", f"{self.counted.get(name)} {name!r}, not {count}")
            for name, count in self.expected.items()
            if self.counted.get(name, 0) != count
        ]


class FailOver(Fault):
    name = "sentinel"
    about = "the master replaced by its replica while everybody works, by Sentinel"
    pause = 1.0
    most = 1
    overlap = NOTICED

    def configuration(self, storm: Storm) -> Sequence[str]:
        assert storm.ground.watched
        return [storm.ground.watched.configuration]

    def begin(self, storm: Storm) -> None:
        storm.push(len(storm.waiting))
        storm.conn.wait(1, 5000)  # what the replica does not have is lost with the master

    def strike(self, storm: Storm) -> None:
        assert storm.ground.watched
        storm.ground.watched.fail_over()
        storm.struck[self.name] += 1


class Upgrade(Fault):
    name = "upgrade"
    about = "open runs that an older heald has written, in every phase; one that a newer heald has written"

    def begin(self, storm: Storm) -> None:
        for line in OLD_RUNS.read_text("utf-8").splitlines():
            self._plant(storm, json.loads(line))
        storm.struck[self.name] = len(OLD_RUNS.read_text("utf-8").splitlines())

    def _plant(self, storm: Storm, old: dict[str, Any]) -> None:
        """Put a run into the ledger as it stood in one of version 1 of the state's format."""
        run, state = old["run"], old["state"]
        newer = old["phase"] == "waiting"
        if newer:
            self.newer_run, self.readable = run, state
            state = state[:-1] + ',"format":99}'
        storm.pushed[run] = Part(run, "default", None)
        if old["phase"] == "settling":  # it had been written by then
            settling = decode_run(run, 1, state.encode(), None).recovery
            write_recovery_artifact(log_of(settling), storm.folder / "artifacts")
        with storm.conn.pipeline() as pipe:
            for kind, version, facts in old["events"]:
                pipe.xadd(keys.EVENTS, {"run": run, "kind": kind, "version": version, "facts": facts})
            pipe.hincrby(keys.STATS, "accepted", 1)
            ids = b" ".join(pipe.execute()[:-1])
        hash_ = {"v": old["version"], "c": "older", "s": state, "d": old["digest"], "e": ids}
        storm.conn.hset(keys.run(run), mapping=hash_)
        storm.conn.zadd(keys.AGENDA, {run: 1})

    def late(self, storm: Storm) -> None:
        """All workers are new now: what they could not read is given back to them."""
        self.parked = [run.decode() for run in storm.conn.hkeys(keys.PARKED)]
        storm.conn.hset(keys.run(self.newer_run), "s", self.readable)
        env = environment(storm.worker_url, storm.folder)
        heald("resume", self.newer_run, env=env, cwd=storm.folder)

    def complaints(self, storm: Storm) -> list[Wrong]:
        if self.parked == [self.newer_run]:
            return []
        return [Wrong("what cannot be read is parked, and nothing else", f"{self.parked} were parked")]


class Disk(Fault):
    name = "disk"
    about = "the artifacts' disk full or read-only, or their folder gone, for a while"
    pause = 2.5

    def plan(self, storm: Storm, name: str) -> dict[str, object]:
        return {"disk": str(self._flag(storm))}

    def strike(self, storm: Storm) -> None:
        storm.struck[self.name] += 1
        if storm.struck[self.name] % 3 == 0 and (storm.folder / "artifacts").is_dir():
            self._take_away(storm)
            storm.later(1.5, lambda: self._put_back(storm))
            return
        flag = self._flag(storm)
        flag.with_suffix(".new").write_text(str(storm.random.choice((errno.ENOSPC, errno.EROFS))))
        flag.with_suffix(".new").rename(flag)
        storm.later(1.5, lambda: flag.unlink(missing_ok=True))

    def lift(self, storm: Storm) -> None:
        self._flag(storm).unlink(missing_ok=True)
        self._put_back(storm)

    def complaints(self, storm: Storm) -> list[Wrong]:
        said = "".join((storm.folder / f"control-{n}.log").read_text("utf-8", "replace") for n in (1, 2))
        told = "artifacts cannot be written to" in said or storm.struck[self.name] == 0
        return [] if told else [Wrong("a run that waits for its disk says so", "nobody did")]

    def _flag(self, storm: Storm) -> Path:
        return storm.folder / "disk-refuses"

    def _take_away(self, storm: Storm) -> None:
        (storm.folder / "artifacts").rename(storm.folder / "artifacts-away")
        (storm.folder / "artifacts").touch()

    def _put_back(self, storm: Storm) -> None:
        if (storm.folder / "artifacts-away").is_dir():
            (storm.folder / "artifacts").unlink()
            (storm.folder / "artifacts-away").rename(storm.folder / "artifacts")


def _fields(job: Any) -> dict[str | bytes, Any]:
    flat = list(job.fields)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _is_slow(pid: int) -> bool:
    """Whether it is the command of a repair that outlasts a lease."""
    with contextlib.suppress(OSError):
        return b"-slow\0" in Path(f"/proc/{pid}/environ").read_bytes()
    return False


def _below(pid: int) -> list[int]:
    found = children_of(pid)
    return found + [each for child in found for each in _below(child)]


def _kill(pid: int) -> None:
    _send(pid, signal.SIGKILL)


def _send(pid: int, signum: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)


FAULTS: dict[str, type[Fault]] = {
    fault.name: fault
    for fault in (
        *(Kill, Points, ServerDies, LostSecond, Paused, Memory, ReadOnly, Cut, FailOver),
        *(Double, Past, Clock, Janitors, Freeze, Holder, Spool, Upgrade, Disk),
    )
}
"""Every fault, by the name by which FAULTS= chooses it."""
