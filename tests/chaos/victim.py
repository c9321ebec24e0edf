"""`heald` as a victim: the same command, made to die at a named point, to read a wrong clock or to find its disk full.

The storm starts its workers by this file instead of `python -m heald_worker`; what is to happen stands as JSON in
CHAOS_PLAN. It wraps functions and scripts by name, so that the product needs no hooks.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import signal
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parents[1]
sys.path.append(str(TESTS))

from chaos.points import BY_ROLE, Point  # noqa: E402

Act = Callable[[], None]
CUES: dict[str, tuple[list[Act], list[Act]]] = {}
"""By script: what is done before it is asked, and before its answer is given."""
_hits: dict[str, int] = {}


class Cue:
    """A script of the ledger with a point before and after it."""

    def __init__(self, script: Any, name: str) -> None:
        self._script, self._before, self._after = script, *CUES.get(name, ([], []))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _between(self._before, self._after, lambda: self._script(*args, **kwargs))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._script, name)


def _between(before: list[Act], after: list[Act], act: Callable[[], Any]) -> Any:
    for strike in before:
        strike()
    answer = act()
    for strike in after:
        strike()
    return answer


def die_once(name: str, point: Point, plan: dict[str, Any]) -> Act:
    """Die by SIGKILL at one of the first passes of a point, as long as a token for it is left."""
    tokens, main = Path(plan["tokens"]), os.getpid()
    wanted_here = point.where == "process"

    def strike() -> None:
        if (os.getpid() == main) is not wanted_here:
            return
        _hits[name] = _hits.get(name, 0) + 1
        if wanted_here and zlib.crc32(f"{plan['seed']} {name} {_hits[name]}".encode()) % 2:
            return
        for token in tokens.glob(f"{name}.*"):
            try:
                token.rename(tokens / f"struck {token.name}")
            except FileNotFoundError:
                continue
            os.kill(os.getpid(), signal.SIGKILL)

    return strike


def install_points(plan: dict[str, Any]) -> None:
    """Put every point of this process's role in place."""
    for name, point in BY_ROLE[plan["role"]].items():
        strike = die_once(name, point, plan)
        kind, _, script = point.what.partition(" ")
        if kind == "script":
            CUES.setdefault(script, ([], []))[point.when == "after"].append(strike)
        else:
            wrap(point.what, point, strike)


def wrap(what: str, point: Point, strike: Act) -> None:
    """Put a point before or after a function, wherever its callers look it up."""
    module, _, attribute = what.partition(":")
    *path, last = attribute.split(".")
    owner = functools.reduce(getattr, path, importlib.import_module(module))
    real = getattr(owner, last)

    @functools.wraps(real)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if point.only and args[:1] != (point.only,):
            return real(*args, **kwargs)
        acts: tuple[list[Act], list[Act]] = ([strike], []) if point.when == "before" else ([], [strike])
        return _between(*acts, lambda: real(*args, **kwargs))

    setattr(owner, last, wrapped)


def install_scripts() -> None:
    """Hand out scripts with their points around them."""
    from heald_worker import ledger

    load = ledger.load_scripts

    def loaded(client: Any) -> Any:
        scripts = load(client)
        missing = CUES.keys() - scripts.keys()
        if missing:
            raise SystemExit(f"points name scripts that are not there: {sorted(missing)}")
        return {name: Cue(script, name) if name in CUES else script for name, script in scripts.items()}

    ledger.load_scripts = loaded


TWICE = """
local once = redis
local redis = setmetatable({}, { __index = once })
local function twice(call)
  return function(...)
    local command, key = ...
    if command == 'RPUSH' and string.sub(key, 1, 9) == 'rq:queue:' then call(...) end
    return call(...)
  end
end
redis.call, redis.pcall = twice(once.call), twice(once.pcall)
"""
"""Put before a script: whatever it sends to a queue is sent twice."""


def double_nudges() -> None:
    """Make every script send each of its nudges twice."""
    import redis

    register = redis.Redis.register_script
    redis.Redis.register_script = lambda client, text: register(client, TWICE + text)  # type: ignore[method-assign]


def shift_clock(seconds: float) -> None:
    """Let this machine's clock be wrong; its monotonic one is not."""
    import datetime

    import rq.utils

    real_time, real_time_ns, rq_now = time.time, time.time_ns, rq.utils.now
    time.time = lambda: real_time() + seconds
    time.time_ns = lambda: real_time_ns() + int(seconds * 1e9)
    importlib.import_module("heald_worker.repair_worker")
    importlib.import_module("heald_worker.workers")
    for module in list(sys.modules.values()):
        if getattr(module, "now", None) is rq_now:
            module.now = lambda: rq_now() + datetime.timedelta(seconds=seconds)  # type: ignore[attr-defined]


def refuse_disk(flag: Path) -> None:
    """While the flag file is there, the artifacts' disk refuses what would change it, with the error it names."""

    def guard(name: str, writes: Callable[..., bool]) -> None:
        real = getattr(os, name)

        @functools.wraps(real)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            if writes(*args, **kwargs) and flag.exists():
                number = int(flag.read_text())
                raise OSError(number, os.strerror(number))
            return real(*args, **kwargs)

        setattr(os, name, guarded)

    guard("mkdir", lambda *_, dir_fd=None, **__: dir_fd is not None)
    guard("rename", lambda *_, src_dir_fd=None, **__: src_dir_fd is not None)
    guard("open", lambda _, flags, *__, dir_fd=None: dir_fd is not None and bool(flags & os.O_CREAT))


def main() -> None:
    """Prepare this process as planned, and be `heald`."""
    plan = json.loads(os.environ.pop("CHAOS_PLAN"))
    from heald_worker.repairs.process import tie_to_parent

    tie_to_parent(signal.SIGKILL)
    if os.getppid() != plan["parent"]:
        raise SystemExit("the storm is over")
    if "clock" in plan:
        shift_clock(plan["clock"])
    if plan.get("double"):
        double_nudges()
    if "disk" in plan:
        refuse_disk(Path(plan["disk"]))
    if "tokens" in plan:
        install_points(plan)
    install_scripts()
    from heald_worker import intake
    from heald_worker.cli import main as heald

    intake.INTAKE_LEASE_MS = plan["intake_lease_ms"]
    sys.exit(heald(sys.argv[1:]))


if __name__ == "__main__":
    main()
