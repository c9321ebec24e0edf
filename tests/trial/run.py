"""`make trial`: a day of made-up failures in about a minute, and the table of what heald did about them.

python tests/trial/run.py [--json FILE] [--keep]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from trial.day import Day


def main() -> int:
    """Play the day and print its table. Returns 1 when the books do not balance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write the table there, too")
    parser.add_argument("--keep", action="store_true", help="keep the folder of the trial, to look around in it")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="heald-trial-"))
    started = time.monotonic()
    day = Day(folder)
    with day.begin():
        day.pass_by()
        result, wrong = day.result(), [f"the token stands in {place}" for place in day.leaks()]
    print(result.markdown())
    wrong += result.wrong
    print(f"\n24 hours in {time.monotonic() - started:.0f} s; {'; '.join(wrong) or 'the books balance'}")
    if chosen.json:
        Path(chosen.json).write_text(result.json() + "\n")
    if chosen.keep or wrong:
        print(f"kept: {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
