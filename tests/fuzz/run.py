"""`make fuzz`: every target in turn, in a process of its own, and a table of what came of it.

python tests/fuzz/run.py [--target NAME] [--seconds N]

What the fuzzer has learned stays in `.fuzz/TARGET/corpus` and is where the next run goes on; an input that broke a
promise lies beside it, and `python tests/fuzz/one.py TARGET FILE` feeds it again.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fuzz.corpus import WORDS
from fuzz.targets import TARGETS

HOME = Path(__file__).resolve().parents[2] / ".fuzz"
HANGS_AFTER = 600
"""Seconds on the wall after which an input hangs; `one.py` counts the processor's."""
MEGABYTES = 1_024
"""Of memory that a process may take."""
LEAST_SECONDS = 5
_EXECUTIONS = re.compile(rb"^stat::number_of_executed_units: (\d+)", re.MULTILINE)
_FEATURES = re.compile(rb"\bft: (\d+)")


class Outcome(NamedTuple):
    """What came of one target: inputs tried, features of coverage reached, and inputs that broke a promise."""

    target: str
    executions: int
    features: int
    found: tuple[Path, ...]


def fuzz(name: str, seconds: int) -> Outcome:
    """Fuzz one target for so long, or until it breaks; what the fuzzer says goes to a file."""
    folder = HOME / name
    before = _found(folder)
    command = [sys.executable, str(Path(__file__).with_name("one.py")), name, *_options(name, folder, seconds)]
    log = folder / "log.txt"
    with log.open("wb") as said:
        subprocess.run(command, stdout=said, stderr=subprocess.STDOUT, cwd=folder, check=False)
    text = log.read_bytes()
    executions, features = _EXECUTIONS.findall(text), _FEATURES.findall(text)
    if not executions:
        raise SystemExit(f"{name} did not run: {text[-2_000:].decode(errors='replace')}")
    found = tuple(sorted(_found(folder) - before))
    return Outcome(name, int(executions[-1]), int(features[-1]) if features else 0, found)


def _options(name: str, folder: Path, seconds: int) -> list[str]:
    """libFuzzer's: the corpus it adds to comes first, then the seeds, which are written anew."""
    target = TARGETS[name]
    corpus, seeds, words = folder / "corpus", folder / "seeds", folder / "words.txt"
    for each in (corpus, seeds):
        each.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (seeds / str(number)).write_bytes(seed)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in WORDS[name]), "ascii")
    limits = {"max_total_time": seconds, "timeout": HANGS_AFTER, "rss_limit_mb": MEGABYTES}
    settings = limits | {"max_len": target.longest, "dict": words, "artifact_prefix": f"{folder}/"}
    return [*(f"-{key}={value}" for key, value in settings.items()), "-print_final_stats=1", str(corpus), str(seeds)]


def _escaped(word: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word.encode())


def _found(folder: Path) -> set[Path]:
    """Inputs that ended a run: by an exception, by their time, by memory."""
    return {path for kind in ("crash", "timeout", "oom") for path in folder.glob(f"{kind}-*")}


def main() -> int:
    """Fuzz the chosen targets. Returns 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--target", choices=TARGETS, help="one of them, instead of all")
    parser.add_argument("--seconds", type=int, default=600, help="for all of them together")
    chosen = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        parser.error("this needs atheris, which there is for Linux only: make fuzz")
    names = [chosen.target] if chosen.target else list(TARGETS)
    print(f"{'target':<12} {'executions':>12} {'features':>9} {'crashes':>8}", flush=True)
    broken = 0
    for name in names:
        outcome = fuzz(name, max(LEAST_SECONDS, chosen.seconds // len(names)))
        print(f"{name:<12} {outcome.executions:>12,} {outcome.features:>9,} {len(outcome.found):>8}", flush=True)
        for path in outcome.found:
            print(f"    {path}: python tests/fuzz/one.py {name} {path}", flush=True)
        broken += bool(outcome.found)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
