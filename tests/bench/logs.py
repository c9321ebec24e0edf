"""What reading logs costs: extraction from a hundred megabytes, and a gigabyte through `heald run` beside `cat`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from lab import HERE, Lab
from table import Row, at_least, at_most, row

from support.ci_logs import LOGS, text_of, well

LEAST_RATE, MOST_MEMORY = 100, 50
LEAST_OF_CAT, MOST_PASSING_MEMORY = 0.5, 60
EXTRACT = """
import sys, time
from pathlib import Path
from heald_producer.extract import Extractor
extractor, begun = Extractor(), time.process_time()
with open(sys.argv[1], "rb") as log:
    while data := log.read(1 << 20):
        extractor.feed(data)
assert extractor.finish().text
print(time.process_time() - begun, Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""
"""Prints seconds of processor time, and the peak memory in KiB."""
HEALD = str(Path(sys.executable).with_name("heald"))


def measure(lab: Lab) -> list[Row]:
    """Extraction in processes of their own; then output through the same pipes with and without heald."""
    build = _extraction(lab, "a build's log", "one line in ten talks of errors", _build())
    return [*build, *_extraction(lab, "a log of errors", "every line says error", _errors()), *_passing(lab)]


def _extraction(lab: Lab, name: str, about: str, lines: bytes) -> list[Row]:
    log, megabytes = lab.folder / "log", lab.effort.log_megabytes
    with log.open("wb") as file:
        for _ in range(megabytes * 1_000_000 // len(lines) + 1):
            file.write(lines)
    size = log.stat().st_size / 1e6
    argv = [sys.executable, "-c", EXTRACT, str(log)]
    answers = [subprocess.run(argv, stdout=subprocess.PIPE, check=True) for _ in range(lab.effort.rounds)]
    found = [[float(word) for word in answer.stdout.split()] for answer in answers]
    log.unlink()
    rates, peaks = [size / seconds for seconds, _ in found], [peak / 1024 for _, peak in found]
    return [
        at_least(LEAST_RATE, row(f"extraction, {name}", rates, "MB/s", f"{size:.0f} MB on one core; {about}")),
        at_most(MOST_MEMORY, row(f"extraction, {name}, peak memory", peaks, "MiB")),
    ]


def _passing(lab: Lab) -> list[Row]:
    """In turn to nowhere and into a pipe; `cat` stands where heald does, between the writer and the reader."""
    log, megabytes = lab.folder / "output", lab.effort.output_megabytes
    with log.open("wb") as file:
        for _ in range(megabytes):
            file.write((b"x" * 79 + b"\n") * 12_500)
    shell = ["/bin/sh", "-c"]
    commands = {
        "cat": [*shell, f"cat {log} | cat"],
        "heald": [HEALD, "run", "--", "cat", str(log)],
        "cat, piped": [*shell, f"cat {log} | cat | cat"],
        "heald, piped": [*shell, f"{HEALD} run -- cat {log} | cat"],
    }
    order = json.dumps({"rounds": lab.effort.rounds + 1, "commands": list(commands.values())})
    argv = [sys.executable, "-I", "-S", str(HERE / "launcher.py")]
    answer = subprocess.run(argv, input=order, stdout=subprocess.PIPE, text=True, check=True).stdout
    log.unlink()
    samples = dict(zip(commands, (found[1:] for found in json.loads(answer)), strict=True))
    rates = {name: [megabytes / wall for wall, _ in found] for name, found in samples.items()}
    ratios = {end: _ratios(rates[f"heald{end}"], rates[f"cat{end}"]) for end in ("", ", piped")}
    peaks = [peak / 1024 for _, peak in samples["heald"]]
    return [
        row("cat FILE | cat", rates["cat"], "MB/s", f"{megabytes} MB"),
        row("heald run -- cat FILE", rates["heald"], "MB/s"),
        at_least(LEAST_OF_CAT, row("heald run : cat", ratios[""], "x")),
        at_least(LEAST_OF_CAT, row("heald run : cat, into a pipe", ratios[", piped"], "x")),
        at_most(MOST_PASSING_MEMORY, row("heald run of much output, peak memory", peaks, "MiB")),
    ]


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def _build() -> bytes:
    quiet = "[INFO] Downloaded from central: https://repo.example/maven2/shop/cart/{0}.1/cart-{0}.1.jar (12 kB)\n"
    rest = "".join(quiet.format(number) for number in range(40_000))
    return (rest + "\n".join(well(6_000)) + "\n" + text_of(LOGS[0], 10)).encode()


def _errors() -> bytes:
    parts = ("cart", "till", "coin", "drawer", "note", "change")
    lines = (
        f"{parts[n % 6]} {parts[n // 6 % 6]} {parts[n // 36 % 6]}: error {n} in part {chr(97 + n % 26)} of the shop\n"
        for n in range(100_000)
    )
    return "".join(lines).encode()
