"""`make chaos`: scene after scene, a fault each and then many at once, and a table of what the books said.

python tests/chaos/run.py [--runs N] [--seed S] [--faults kill,redis,...]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from chaos.faults import FAULTS, Points
from chaos.storm import Outcome, behind_sentinel, one_server, play

TOGETHER = ("kill", "redis", "memory", "cut", "double", "past", "clock", "spool")
"""What the last scene has at once, under the name `together`."""
SCENES = (*FAULTS, "together")
RUNS_PER_POINT = 100
SHOWN = 5
"""Cases of a broken promise that are printed."""


def scene(name: str, seed: int, runs: int) -> tuple[Outcome, Path]:
    """Play the scene of one name. Returns what came of it, and its folder."""
    folder = Path(tempfile.mkdtemp(prefix=f"heald-chaos-{name}-"))
    faults = [FAULTS[each]() for each in (TOGETHER if name == "together" else (name,))]
    if name == "points":
        faults = [Points(1 + runs // RUNS_PER_POINT)]
    site = behind_sentinel if name == "sentinel" else one_server
    return play(folder, site, seed, runs, faults, strikes=max(4, runs // 5), seconds=60 + runs), folder


def line(name: str, outcome: Outcome) -> str:
    """One row of the table."""
    said = "the books balance" if not outcome.wrong else f"BROKEN: {', '.join(sorted(_promises(outcome)))}"
    struck = sum(outcome.struck.values())
    return f"{name:<10} {struck:>7} {outcome.runs:>6} {outcome.seconds:>7.0f} s  {said}"


def _promises(outcome: Outcome) -> Counter[str]:
    return Counter(wrong.promise for wrong in outcome.wrong)


def main() -> int:
    """Play the chosen scenes. Returns 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1000, help="runs, shared by the scenes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", default="", help=f"scenes, separated by commas: {', '.join(SCENES)}")
    chosen = parser.parse_args()
    names = [name for name in chosen.faults.split(",") if name] or list(SCENES)
    if unknown := set(names) - set(SCENES):
        parser.error(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(SCENES)}")
    print(f"seed {chosen.seed}\n{'fault':<10} {'struck':>7} {'runs':>6} {'took':>9}  the books", flush=True)
    broken = 0
    for name in names:
        outcome, folder = scene(name, chosen.seed, max(10, chosen.runs // len(names)))
        print(line(name, outcome), flush=True)
        for wrong in outcome.wrong[:SHOWN]:
            print(f"    {wrong.promise}: {wrong.case}")
        if outcome.wrong:
            broken += 1
            print(f"    what was said and left behind: {folder}", flush=True)
        else:
            shutil.rmtree(folder)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
