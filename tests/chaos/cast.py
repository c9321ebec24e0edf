"""The runs of a storm and the repairs that play in them: what happens in each run stands in its id.

`storm-17-tbs` begins with a test failure, its first repair leaves a build failure behind, its second one succeeds.
`-long` repairs outlast several renewals of their lease, `-deaf` ones ignore SIGTERM as well, `-slow` ones outlast a
lease that is not renewed. So any process can play its part without being told anything, and the books know what must
come out.
"""

from __future__ import annotations

import json
import os
import random
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from heald_producer.signals import FailureSignal
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.core.policy import RecoveryAction, RecoveryPolicy
from heald_worker.repairs import RepairOrder

FAILURES = {
    "t": FailureSignal("test", "assertion failed", 1, False),
    "f": FailureSignal("test", "assertion failed, sometimes", 1, True),
    "b": FailureSignal("build", "linker error", 2, False),
    "r": FailureSignal("runtime", "panic: boom", 101, False),
    "i": FailureSignal("integration", "handshake refused", 3, False),
    "u": FailureSignal("deploy", "it broke", 4, False),
}
POLICIES = {
    "default": RecoveryPolicy(),
    "short": RecoveryPolicy(max_attempts=1),
    "long": RecoveryPolicy(max_attempts=5, max_flaky_retries=2),
    "none": RecoveryPolicy(max_attempts=0),
    "tame": RecoveryPolicy(allow_rollback=False),
}
RETRIES_SUCCEED_FROM = 2
REPOSITORIES = ("acme/shop", "acme/pay", None)
REFS = ("main", "fix", "release")
TWIN = ".twin"
"""In the id of a report about another report's cause."""

COMMAND = """
stamp() { read -r up _ < /proc/uptime; echo "$1 $HEALD_IDEMPOTENCY_KEY $$ $up" >> work/stamps; }
fail() {
  stamp end
  printf '{"stage": "%s", "message": "%s", "exit_code": %s, "flaky_hint": %s}' "$@" > "$HEALD_RESULT"
  exit 1
}
script=${HEALD_RUN_ID#*-*-}
case $script in *-deaf) trap '' TERM;; esac
stamp begin
case $script in *-slow) beats=100;; *-*) beats=25;; *) beats=0;; esac
for beat in $(seq $beats); do
  sleep 0.1
  stamp beat
done
outcomes=${script%%-*}
outcomes=${outcomes%%.*}
for attempt in $(seq "$HEALD_ATTEMPT"); do outcomes=${outcomes#?}; done
case $outcomes in
%s
esac
stamp end
"""

NOTICE = 'echo "$HEALD_RUN_ID $HEALD_DIGEST" >> work/notices'


class Part(NamedTuple):
    """One run of the storm."""

    run_id: str
    policy: str
    repository: str | None

    @property
    def outcomes(self) -> str:
        """The first failure, and what each attempt comes to."""
        return self.run_id.split("-")[2].partition(TWIN)[0]

    @property
    def ref(self) -> str:
        """The branch: runs of one repository share a few, so that their repairs wait for each other."""
        return f"refs/heads/{REFS[zlib.crc32(self.run_id.replace(TWIN, '').encode()) // 3 % len(REFS)]}"

    @property
    def branch(self) -> tuple[str, str] | None:
        """Whose repairs must not work side by side with this one's."""
        return (self.repository, self.ref) if self.repository else None

    @property
    def twin(self) -> Part | None:
        """Another report of the same cause, under an id of its own; every third run has one."""
        if self.repository is None or TWIN in self.run_id or zlib.crc32(self.run_id.encode()) % 3:
            return None
        head, number, rest = self.run_id.split("-", 2)
        outcomes, *tail = rest.split("-")
        return self._replace(run_id="-".join([head, number, outcomes + TWIN, *tail]))

    @property
    def signal(self) -> FailureSignal:
        """What the run begins with."""
        return FAILURES[self.outcomes[0]]

    def report(self, **more: object) -> bytes:
        """The report that opens it."""
        signal = self.signal
        said = {name: getattr(signal, name) for name in ("stage", "message", "exit_code", "flaky_hint")}
        origin = self.run_id.replace(TWIN, "")
        context = {"repository": self.repository, "commit": origin, "ref": self.ref} if self.repository else {}
        body = {"v": 1, "run_id": self.run_id, "signal": said, "policy": self.policy, "context": context, **more}
        return json.dumps(body).encode()

    def result(self, action: RecoveryAction, attempt: int) -> RecoveryAttemptResult:
        """What the repair of an attempt comes to."""
        if action is RecoveryAction.RETRY:
            return RecoveryAttemptResult(attempt >= RETRIES_SUCCEED_FROM)
        letter = self.outcomes[attempt : attempt + 1] or "s"
        return RecoveryAttemptResult(True) if letter == "s" else RecoveryAttemptResult(False, FAILURES[letter])


def cast(count: int, seed: int, name: str = "storm", lengths: Mapping[str, float] | None = None) -> list[Part]:
    """Runs of every kind, the same for the same seed.

    Args:
        lengths: which part of them ends in `-long`, `-deaf` or `-slow`.
    """
    rng = random.Random(f"{name} {seed}")
    return [_part(f"{name}-{number}", rng, lengths or {}) for number in range(count)]


def _part(head: str, rng: random.Random, lengths: Mapping[str, float]) -> Part:
    first = rng.choices("tfbriu", [4, 3, 3, 3, 2, 1])[0]
    more = "".join(rng.choices("stbriuf", [10, 2, 2, 2, 2, 1, 1], k=5))
    [tail] = rng.choices(["", *lengths], [1 - sum(lengths.values()), *lengths.values()])
    policy = rng.choices(list(POLICIES), [6, 1, 2, 1, 1])[0]
    return Part(f"{head}-{first}{more}{tail}", policy, rng.choice(REPOSITORIES))


def command() -> str:
    """The shell script that repairs by command."""
    failing = [
        f'  {letter}*) fail "{signal.stage}" "{signal.message}" {signal.exit_code} {json.dumps(signal.flaky_hint)};;'
        for letter, signal in FAILURES.items()
    ]
    return COMMAND.replace("%s\nesac", "\n".join(failing) + "\nesac")


def repair(order: RepairOrder) -> RecoveryAttemptResult:
    """The repair by a Python function."""
    _stamp("begin", order)
    part = Part(order.run_id, "", None)
    result = part.result(order.action, order.attempt)
    _stamp("end", order)
    return result


def _stamp(word: str, order: RepairOrder) -> None:
    up = Path("/proc/uptime").read_text().split()[0]
    with Path("work/stamps").open("ab", buffering=0) as stamps:
        stamps.write(f"{word} {order.idempotency_key} {os.getpid()} {up}\n".encode())


def configuration(script: Path, more: Sequence[str] = ()) -> str:
    """heald.toml: short waits, and a repair of each kind."""
    policies = [
        f"[policies.{name}]\n" + "\n".join(f"{key} = {json.dumps(value)}" for key, value in _bounds(policy))
        for name, policy in POLICIES.items()
    ]
    return "\n".join([CONFIGURATION.format(script=script, succeed_from=RETRIES_SUCCEED_FROM), *policies, *more])


def _bounds(policy: RecoveryPolicy) -> list[tuple[str, object]]:
    return [(name, getattr(policy, name)) for name in policy.__struct_fields__]


LEASE = 6.0
CONFIGURATION = f"""
taxonomy = "aivcs"
[timing]
resend_first = 0.5
resend_most = 2
lease = {LEASE:g}
renewal = 1
stop_grace = 2
retry_first = 0.05
retry_most = 0.2
notice_first = 0.05
notice_most = 0.2
[limits]
max_lost_repairs = 1000
notice_tries = 1000
intake_reports = 40
[repairs.retry]
kind = "record"
succeed_from = {{succeed_from}}
[repairs.patch_forward]
kind = "command"
command = ["/bin/sh", "{{script}}"]
[repairs.rollback]
kind = "python"
call = "chaos.cast:repair"
time_limit = 1
[notices.on_escalated]
kind = "command"
command = ["/bin/sh", "{{script}}.notice"]
time_limit = 1
"""
