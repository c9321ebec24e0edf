"""What `heald run` costs a green build: wall time and peak memory, beside bare interpreter starts."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from lab import HERE, Lab
from table import Row, at_most, row

MOST_STARTS = 3
MOST_MEMORY = 20
TRUE = shutil.which("true") or "/bin/true"
COMMANDS = {
    "true": [TRUE],
    "bare": [sys.executable, "-c", "pass"],
    "isolated": [sys.executable, "-I", "-S", "-c", "pass"],
    "heald": [str(Path(sys.executable).with_name("heald")), "run", "--", TRUE],
}


def measure(lab: Lab) -> list[Row]:
    """The four commands in turn, round by round; the first round warms the disk's cache and is not counted."""
    order = {"rounds": lab.effort.starts + 1, "commands": list(COMMANDS.values())}
    argv = [sys.executable, "-I", "-S", str(HERE / "launcher.py")]
    answer = subprocess.run(argv, input=json.dumps(order), stdout=subprocess.PIPE, text=True, check=True).stdout
    samples = dict(zip(COMMANDS, (found[1:] for found in json.loads(answer)), strict=True))
    walls = {name: [wall * 1e3 for wall, _ in found] for name, found in samples.items()}
    peaks = {name: [peak / 1024 for _, peak in found] for name, found in samples.items()}
    starts = [run / bare for run, bare in zip(walls["heald"], walls["bare"], strict=True)]
    return [
        row("true", walls["true"], "ms"),
        row("python -c pass", walls["bare"], "ms", f"peak {max(peaks['bare']):.1f} MiB"),
        row("python -I -S -c pass", walls["isolated"], "ms", f"peak {max(peaks['isolated']):.1f} MiB"),
        row("heald run -- true", walls["heald"], "ms"),
        at_most(MOST_STARTS, row("heald run : python -c pass", starts, "x")),
        at_most(MOST_MEMORY, row("heald run, peak memory", peaks["heald"], "MiB")),
    ]
