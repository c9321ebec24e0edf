"""From files or patterns to one summary. Whatever a file holds, it costs a warning at most."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from heald_producer.reports.detect import HEAD_BYTES, NotAReport, read_report
from heald_producer.reports.files import MAX_BYTES, MAX_FILES, CannotRead, find, names, open_report, pieces, read
from heald_producer.reports.results import ReportSummary, Results
from heald_producer.reports.search import MAX_ENTRIES, MAX_SECONDS


def read_matching(patterns: Sequence[str], since: int | None = None) -> ReportSummary:
    """Read the files that patterns name; see `files.find`. What was left out is told by warnings."""
    found = find(patterns, since)
    results = Results()
    for pattern in found.unmatched:
        results.warn_of_all(f"no file matches {pattern!r}; a pattern starts at the current folder, and ** is any depth")
    if found.stale:
        of = "1 report is" if found.stale == 1 else f"{found.stale:,} reports are"
        results.note(f"{of} older than the command and left out, as an earlier run wrote them")
    if found.cut:
        results.warn_of_all(
            f"the search for reports was ended after {MAX_ENTRIES:,} names or {MAX_SECONDS:g} s, and what it had not "
            "come to is not read; let the pattern begin with the folder that holds them"
        )
    if found.more:
        results.warn_of_all(f"there are more than {MAX_FILES:,} files; the others are not read")
    _read_all(found.paths, results)
    return results.summary()


def read_reports(paths: Iterable[Path]) -> ReportSummary:
    """Read these files, in their order."""
    results = Results()
    _read_all(paths, results)
    return results.summary()


def _read_all(paths: Iterable[Path], results: Results) -> None:
    room = MAX_BYTES
    seen: set[tuple[int, int]] = set()
    others: dict[str, list[Path]] = {}
    for path in paths:
        if room <= 0:
            results.warn_of_all(f"reports have more than {MAX_BYTES >> 30} GiB; {path} and what follows is not read")
            break
        results.begin_file(str(path))
        try:
            room -= _read_file(path, room, seen, results)
        except NotAReport as reason:
            others.setdefault(str(reason), []).append(path)
        except CannotRead as reason:
            results.warn(f"it cannot be read: {reason}")
    for what, left_out in others.items():
        results.note(f"not a test report that heald reads ({what}): {names(left_out)}")


def _read_file(path: Path, room: int, seen: set[tuple[int, int]], results: Results) -> int:
    """Read one file once, by whatever names it is known; return its size."""
    descriptor = open_report(path)
    try:
        facts = os.fstat(descriptor)
        if (facts.st_dev, facts.st_ino) in seen:
            return 0
        seen.add((facts.st_dev, facts.st_ino))
        head = read(descriptor, HEAD_BYTES)
        counter = _Counter(pieces(descriptor, head, room))
        read_report(counter, head, path.name, results)
        if counter.total >= room:
            results.warn("it is not read to its end, as all reports together are too large")
        return counter.total
    finally:
        os.close(descriptor)


class _Counter:
    """Counts the bytes that pass."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source = source
        self.total = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._source:
            self.total += len(piece)
            yield piece
