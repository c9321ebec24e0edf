"""A progress bar for what may take longer than a second, while a person is watching."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


@contextmanager
def progress(label: str, total: Callable[[], int | None]) -> Iterator[Advance]:
    """Call what this yields with the number of things that are done. Shown on stderr when that is a terminal.

    Args:
        total: counts what is to be done, None if nobody can tell; called only when somebody is watching.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # a pipe must get its lines; on a terminal they go above the bar
    )
    with bar:
        task = bar.add_task(label, total=None)
        bar.update(task, total=total())
        yield lambda done: bar.advance(task, done)
