"""What reading logs costs: a gigabyte through `heald run` beside `cat`, and extraction from a hundred megabytes."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from lab import Lab
from table import Row, at_least, at_most, row

from support.ci_logs import LOGS, text_of, well

LEAST_RATE, MOST_MEMORY = 100, 50
"""Megabytes a second on one core, and MiB."""
LEAST_OF_CAT, MOST_PASSING_MEMORY = 0.5, 60
EXTRACT = """
import resource, sys, time
from heald_producer.extract import Extractor
extractor, begun = Extractor(), time.process_time()
with open(sys.argv[1], "rb") as log:
    while data := log.read(1 << 20):
        extractor.feed(data)
assert extractor.finish().text
print(time.process_time() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
HEALD = [str(Path(sys.executable).with_name("heald")), "run", "--"]


def measure(lab: Lab) -> list[Row]:
    """Extraction in processes of their own; then the gigabyte, in turn through `cat` and through heald."""
    return [*_extraction(lab), *_passing(lab)]


def _extraction(lab: Lab) -> list[Row]:
    rows = []
    for name, about, lines in (
        ("a build's log", "one line in thirteen talks of errors", _build),
        ("a log of errors", "every line says error", _errors),
    ):
        log, megabytes = lab.folder / "log", lab.effort.log_megabytes
        log.write_bytes((lines() * (megabytes * 1_000_000 // len(lines()) + 1))[: megabytes * 1_000_000])
        argv = [sys.executable, "-c", EXTRACT, str(log)]
        found = [_numbers(argv) for _ in range(lab.effort.rounds)]
        rates = [megabytes / seconds for seconds, _ in found]
        rows.append(at_least(LEAST_RATE, row(f"extraction, {name}", rates, "MB/s", f"{megabytes} MB, {about}")))
        peaks = [peak / 1024 for _, peak in found]
        rows.append(at_most(MOST_MEMORY, row(f"extraction, {name}, peak memory", peaks, "MiB")))
    return rows


def _passing(lab: Lab) -> list[Row]:
    """Both between the same writer and the same reader, by processor time and by the clock."""
    log, megabytes = lab.folder / "output", lab.effort.output_megabytes
    log.write_bytes(b"x" * 79 + b"\n")
    log.write_bytes((log.read_bytes() * 12_500) * megabytes)
    source = ["cat", str(log)]
    walls: dict[str, list[float]] = {"cat": [], "heald": []}
    shares, peaks = [], []
    for _ in range(lab.effort.rounds):
        cat, _ = _timed(["sh", "-c", 'cat "$1" | cat', "sh", str(log)])
        heald, peak = _timed([*HEALD, *source])
        walls["cat"].append(megabytes / cat)
        walls["heald"].append(megabytes / heald)
        shares.append(cat / heald)
        peaks.append(peak / 1024)
    log.unlink()
    return [
        row("cat FILE | cat", walls["cat"], "MB/s", f"{megabytes} MB"),
        row("heald run -- cat FILE", walls["heald"], "MB/s"),
        at_least(LEAST_OF_CAT, row("heald run : cat", shares, "x", "the first megabytes pay for heald's start")),
        at_most(MOST_PASSING_MEMORY, row("heald run of much output, peak memory", peaks, "MiB")),
    ]


def _build() -> bytes:
    quiet = "[INFO] Downloaded from central: https://repo.example/maven2/shop/cart/{0}.1/cart-{0}.1.jar (12 kB)\n"
    busy = "\n".join(well(4_000)) + "\n"
    rest = "".join(quiet.format(number) for number in range(40_000))
    return (rest + busy + text_of(LOGS[0], 10)).encode()


def _errors() -> bytes:
    parts = ("cart", "till", "coin", "drawer", "note", "change")
    lines = (
        f"{parts[n % 6]} {parts[n // 6 % 6]} {parts[n // 36 % 6]}: error {n} in part {chr(97 + n % 26)} of the shop\n"
        for n in range(100_000)
    )
    return "".join(lines).encode()


def _numbers(argv: Sequence[str]) -> tuple[float, float]:
    seconds, peak = subprocess.run(argv, capture_output=True, text=True, check=True).stdout.split()
    return float(seconds), float(peak)


def _timed(argv: Sequence[str]) -> tuple[float, int]:
    """Seconds on the wall until a reader has everything, and the peak memory of the largest process, in KiB."""
    readable, writable = os.pipe()
    reader = subprocess.Popen(["cat"], stdin=readable, stdout=subprocess.DEVNULL)
    os.close(readable)
    begun = time.perf_counter()
    pid = os.posix_spawnp(argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, writable, 1)])
    os.close(writable)
    _, status, used = os.wait4(pid, 0)
    if reader.wait() or status:
        raise RuntimeError(f"{argv} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begun, used.ru_maxrss


__all__ = ["measure", "resource"]
