"""Globs on facts: which failures a rule, or a repair, is for.

Globs are case-sensitive: `*` any text (also over `/`), `?` one character, `[abc]` one of these. What is not known
counts as empty text, which `*` fits.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

ANY = "*"


def all_fit(globs: Mapping[str, str], facts: Mapping[str, str | None]) -> bool:
    """Whether every glob fits the fact of its name."""
    return all(glob == ANY or fnmatchcase(facts.get(name) or "", glob) for name, glob in globs.items())


def narrowing(globs: Mapping[str, str]) -> str:
    """The globs that narrow something, for reading: `repository 'acme/*', stage 'deploy'`; empty when none does."""
    return ", ".join(f"{name} {glob!r}" for name, glob in globs.items() if glob != ANY)
