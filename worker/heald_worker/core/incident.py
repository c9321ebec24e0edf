"""Which reports tell of one cause: the same error of the same code, in whichever part of a matrix.

Left aside are the parameters of a matrix: what stands in brackets at the end of a job's or stage's name, parts of it
(`3/8`), versions of languages, systems and processors. In a message they are left aside only where they stand for
themselves: `python3.11` or `ubuntu-22.04` anywhere, `windows` or `arm64` not as a part of a path or a name, as
`tests/windows.py` and `tests/linux.py` are two files.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from heald_producer.signals import MAX_MESSAGE_BYTES, Context, FailureSignal
from heald_worker.core.fingerprint import LENGTH, masked

LONGEST_NAME = 256
"""Characters up to which a name is looked at: no job of a matrix is called so much."""

_SYSTEM = r"(?:ubuntu|debian|fedora|centos|alpine|linux|windows|win32|win64|macosx?|osx|darwin)"
_PROCESSOR = r"(?:x86[_-]64|amd64|x64|x86|i[3-6]86|arm64|aarch64|armv[67]l?)"
_VERSION = r"(?:#|latest|[0-9]+(?:\.[0-9]+)*)"
_LANGUAGE = r"(?:[Pp]ython|cpython|pypy|py|cp|node|ruby|php|go|java|jdk|openjdk|temurin|dotnet|net)"
_MASK = "#"

_ANYWHERE = re.compile(
    rf"(?<![\w.]){_LANGUAGE}-?(?:[0-9]+(?:\.(?:[0-9x]+|#))+|(?<!-)[0-9]{{2,3}})(?![0-9A-Za-z_])"
    rf"|(?<![\w.]){_SYSTEM}-{_VERSION}(?:-(?:arm|large|xlarge|intel))?(?![0-9A-Za-z_])"
    rf"|(?<![\w.]){_PROCESSOR}-(?:unknown|apple|pc|none)-[a-z][0-9a-z]*(?:-[a-z]+)?(?![0-9A-Za-z_])"
    r"|(?<![0-9A-Za-z])(?:(?:many|musl)?linux(?:[0-9_]*)_(?:x86_64|aarch64|i686)"
    r"|macosx_[0-9]+_[0-9]+_(?:x86_64|arm64|universal2)|win_(?:amd64|arm64))(?![0-9A-Za-z_])"
    r"|(?<![\w.])v[0-9]+(?:\.(?:[0-9]+|#))+(?![0-9A-Za-z_])"
)
"""Parameters that can stand for nothing else, in a text whose numbers were masked before. Also in a path:
`lib/python3.11/`, `cp311-cp311-linux_x86_64.whl`."""
_ALONE = re.compile(rf"(?<![\w./\\-])(?:{_SYSTEM}|{_PROCESSOR})(?![\w/\\-]|\.\w)", re.IGNORECASE)
"""Words that are parameters only where they are no part of a name or a path."""

_BRACKETS = re.compile(r"[\s:_-]*(?:\([^()]*\)|\[[^\[\]]*\]|\{[^{}]*\})\s*$")
_PART = re.compile(r"[\s:_#-]*(?<![0-9.])[0-9]+\s*(?:/|of)\s*[0-9]+\s*$")
_IN_A_NAME = re.compile(
    rf"(?<![0-9A-Za-z])(?:{_LANGUAGE}[-_ ]?v?[0-9]+(?:\.[0-9x]+)*|{_SYSTEM}(?:[-_ ]?{_VERSION})?|{_PROCESSOR}"
    r"|v?[0-9]+(?:\.[0-9x]+)+)(?![0-9A-Za-z])",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(r"[\s:_,/+.-]+")


def incident_of(context: Context, signal: FailureSignal) -> str:
    """What reports of one cause have in common: 32 hex digits. Empty for a report that is about nothing but itself.

    That is one without a repository or a commit, and one that a repair caused. Of a pull request the commit is its
    head, as each run of it may have a merge of its own. Exit code and `flaky_hint` do not matter.
    """
    revision = context.head_commit or context.commit
    if not context.repository or not revision or context.parent_run is not None:
        return ""
    where = (context.repository, revision, without_matrix(signal.stage))
    text = "\0".join((*where, _same_error(signal.message)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:LENGTH]


def without_matrix(name: str) -> str:
    """A job's or stage's name without its parameters: `unit` for `unit (3.11, ubuntu)`, `unit-py311`, `unit: 3/8`."""
    if len(name) > LONGEST_NAME:
        return name
    before = None
    while name != before:
        before, name = name, _PART.sub("", _BRACKETS.sub("", name))
    return _SEPARATORS.sub(" ", _IN_A_NAME.sub(" ", name)).strip()


def _same_error(message: str) -> str:
    """The whole message without what changes from run to run and over a matrix: what is cut off may tell two apart."""
    return " ".join([_word(word) for word in masked(message, MAX_MESSAGE_BYTES).split(" ")])


@lru_cache(maxsize=4096)
def _word(word: str) -> str:
    return _ALONE.sub(_MASK, word if word.isalpha() else _ANYWHERE.sub(_MASK, word))
