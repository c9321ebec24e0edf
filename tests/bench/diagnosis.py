"""What a diagnosis costs with all shipped rules: messages of 2 KB, as extraction makes them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain, count, cycle, islice

from lab import Lab
from table import Row, at_most, row

from heald_producer.signals import FailureSignal
from heald_worker.rulebook import shipped_rulebook

SIZE = 2048
MOST_MICROSECONDS = 50
WARM = 3
"""Rounds that are not counted: the automata are built while they are used."""
ENDS = (
    "FAILED tests/test_cart.py::test_total - assert 3 == 4",
    "src/ring.c:14:9: error: unknown type name 'u24'\n1 error generated.",
    "curl: (6) Could not resolve host: downloads.acme.example",
    "npm ERR! code ERESOLVE\nnpm ERR! ERESOLVE unable to resolve dependency tree",
    "./ci.sh: line 40: 18833 Segmentation fault      (core dumped) ./unit --fast",
    "Error: Process completed with exit code 1.",
    "--- FAIL: TestMerge (0.03s)\n    merge_test.go:31: got 3, want 4",
    "[ERROR] Tests run: 12, Failures: 1, Errors: 0, Skipped: 0, Time elapsed: 0.2 s <<< FAILURE!",
    'Exception in thread "main" java.lang.IllegalStateException: no configuration',
)
STEPS = (
    "[{n}/412] Building CXX object lib/CMakeFiles/core.dir/part{n}.cc.o",
    "tests/test_part{n}.py::test_round_trip PASSED",
    "ok {n} - keeps the order of {n} things",
    "[INFO] Downloaded from central: artifact-{n}.jar (18 kB at 204 kB/s)",
)


def measure(lab: Lab) -> list[Row]:
    """Every message in turn, in rounds, in processor time of this thread: first the same ones, then ever new ones."""
    rounds, rules = 10 * lab.effort.rounds, len(shipped_rulebook().rules)
    known = [_spent(_signals(cycle(range(60)))) for _ in range(WARM + rounds)][WARM:]
    numbers = count(60)
    new = [_spent(_signals(numbers)) for _ in range(rounds)]
    note = f"{rules} rules, {len(STEPS) * len(ENDS)} messages of {SIZE} bytes"
    return [
        at_most(MOST_MICROSECONDS, row("diagnosis of a message", [*chain(*known)], "µs", note)),
        row("diagnosis of new lines", [*chain(*new)], "µs", "the same, no line but the last was seen before"),
    ]


def _spent(signals: list[FailureSignal]) -> list[float]:
    """Microseconds for each of them."""
    book, samples = shipped_rulebook(), []
    for signal in signals:
        begun = time.thread_time_ns()
        book.diagnose(signal)
        samples.append((time.thread_time_ns() - begun) / 1000)
    return samples


def _signals(numbers: Iterator[int]) -> list[FailureSignal]:
    found = []
    for step in STEPS:
        for end in ENDS:
            before = "\n".join(step.format(n=number) for number in islice(numbers, 60))
            text = f"{before}\n{end}"
            found.append(FailureSignal("check", text[-SIZE:], 1))
    return found
