"""What verbs that go on until something happens have in common: whether anybody reads, and what to say meanwhile."""

from __future__ import annotations

import select
import sys

from heald_worker.cli.common import Output, clean
from heald_worker.patience import Tell


def teller(output: Output) -> Tell:
    """Says on stderr that the server went away or is back."""
    return lambda sentence: output.note(f"heald: {clean(sentence)}")


def check_reader() -> None:
    """While nothing comes nothing is written, so a reader that is gone would not be noticed.

    Raises:
        BrokenPipeError: whoever read stdout is gone.
    """
    try:
        reader = select.poll()
        reader.register(sys.stdout.fileno(), 0)
        closed = any(event & (select.POLLERR | select.POLLHUP) for _, event in reader.poll(0))
    except (OSError, ValueError):
        return
    if closed:
        raise BrokenPipeError
