"""Which files a pattern names, within bounds: every folder is looked into once, whatever the pattern.

A pattern is taken apart at its slashes. A folder is visited with all the places in the pattern where it may stand, so
`**/**/*.xml` costs what `**/*.xml` costs, and a tree of any depth costs its entries.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from fnmatch import translate
from pathlib import PurePath

MAX_ENTRIES = 1_000_000
"""Names that are looked at, for all patterns together."""
MAX_SECONDS = 10.0
"""How long that may take; a disk over the network can be slow."""
_MAGIC = re.compile(r"[*?[]")
_LOOK_AT_CLOCK = 1_000

Name = str | re.Pattern[str] | None
"""One part of a pattern: a name as it is, what names have to match, or None for `**`."""


class Search:
    """One search for files; `ended` says that a bound has stopped it, so that there may be more of them."""

    def __init__(self, clock: Callable[[], float], *, entries: int = MAX_ENTRIES, seconds: float = MAX_SECONDS) -> None:
        self.ended = False
        self._clock, self._deadline = clock, clock() + seconds
        self._left = entries

    def files(self, pattern: str) -> Iterator[str]:
        """Everything but folders that a pattern names. `**` is any depth of folders, without following links.

        Folders that cannot be read hold nothing.
        """
        path = PurePath(pattern)
        names = [_name(part) for part in path.parts if part != path.anchor]
        waiting = [(path.anchor, frozenset([0]))] if names else []
        while waiting and not self.ended:
            folder, places = waiting.pop()
            places = _with_skipped(places, names)
            for name, kind in self._candidates(folder, [names[place] for place in places]):
                is_named, inside = _step(name, kind, places, names)
                if is_named:
                    yield folder + name
                if inside:
                    waiting.append((f"{folder}{name}/", inside))

    def _candidates(self, folder: str, wanted: list[Name]) -> Iterator[tuple[str, str]]:
        """What a folder holds, by name and kind; where all names are known, only these are looked for."""
        known = [name for name in wanted if isinstance(name, str)]
        if len(known) < len(wanted):
            yield from self._entries(folder)
            return
        for name in known:
            if kind := _kind(folder + name):
                yield name, kind

    def _entries(self, folder: str) -> Iterator[tuple[str, str]]:
        """Names and kinds of what stands in a folder, while the bounds allow."""
        try:
            with os.scandir(folder or ".") as entries:
                for entry in entries:
                    self._left -= 1
                    if self._left < 0 or (self._left % _LOOK_AT_CLOCK == 0 and self._clock() > self._deadline):
                        self.ended = True
                        return
                    yield entry.name, _kind_of(entry)
        except OSError:  # it went away, or is not for us
            return
        self.ended = self.ended or self._clock() > self._deadline


def _name(part: str) -> Name:
    if part == "**":
        return None
    return re.compile(translate(part)) if _MAGIC.search(part) else part


def _with_skipped(places: frozenset[int], names: list[Name]) -> frozenset[int]:
    """Also the places behind each `**`, as it may stand for no folder at all."""
    found = set(places)
    for place in sorted(places):
        while place + 1 < len(names) and names[place] is None:
            place += 1
            found.add(place)
    return frozenset(found)


def _step(name: str, kind: str, places: frozenset[int], names: list[Name]) -> tuple[bool, frozenset[int]]:
    """Whether the pattern names this entry, and at which places of it stands what the entry holds."""
    is_named, inside = False, set()
    for place in places:
        wanted = names[place]
        if wanted is None:
            if kind == "folder":
                inside.add(place)
            is_named = is_named or (place == len(names) - 1 and kind == "file")
        elif name == wanted if isinstance(wanted, str) else wanted.match(name):
            if place == len(names) - 1:
                is_named = is_named or kind == "file"
            elif kind != "file":
                inside.add(place + 1)
    return is_named, frozenset(inside)


def _kind_of(entry: os.DirEntry[str]) -> str:
    """`folder`, `link` for one that leads to a folder, or `file` for everything else."""
    try:
        return "file" if not entry.is_dir() else "link" if entry.is_symlink() else "folder"
    except OSError:
        return "file"


def _kind(path: str) -> str | None:
    if os.path.isdir(path):  # noqa: PTH112  thousands of Path objects cost more than the search
        return "link" if os.path.islink(path) else "folder"  # noqa: PTH114
    return "file" if os.path.lexists(path) else None
