"""One target under atheris: `python tests/fuzz/one.py TARGET [libFuzzer's options, files or folders]`.

With a file it feeds that file, with folders it fuzzes. `run.py` starts one such process per target.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Never

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

with atheris.instrument_imports(include=["heald_producer", "heald_worker", "tomllib"]):
    from fuzz.targets import TARGETS

SECONDS_PER_INPUT = 5
"""Of the processor's time: on a busy machine, the clock on the wall accuses the innocent."""


class TooSlow(BaseException):
    """An input took longer than any input may. Nothing that is fuzzed catches this."""


def timed(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The target with a limit on its time."""

    def stop(*_: object) -> Never:
        raise TooSlow(f"{SECONDS_PER_INPUT} seconds")

    def fed(data: bytes) -> None:
        signal.setitimer(signal.ITIMER_PROF, SECONDS_PER_INPUT)
        run(data)
        signal.setitimer(signal.ITIMER_PROF, 0)

    signal.signal(signal.SIGPROF, stop)
    return fed


def main() -> None:
    """Feed the target; ends the process."""
    program, name, *options = sys.argv
    atheris.Setup([program, *options], timed(TARGETS[name].run))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
