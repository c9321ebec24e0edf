"""Which reports tell of one cause: the same failure of the same code, in whichever job of a matrix it was seen.

An incident is known by repository, commit (of a pull request its head) and the failure's fingerprint, with the
parameters of a matrix left aside: versions of languages, operating systems, processors, and numbers of shards.
"""

from __future__ import annotations

import hashlib
import re

from heald_producer.signals import Context, FailureSignal
from heald_worker.core.fingerprint import LENGTH, MOST_CHARS, masked

_NAMES = (
    "python|pypy|cpython|py|node|nodejs|ruby|jruby|php|go|golang|java|jdk|jre|temurin|zulu|corretto|rust|dotnet|perl|lua"
    "|gcc|g\\+\\+|clang|llvm|msvc|vs|xcode|swift|scala|kotlin|elixir|otp|erlang|ghc|cuda|postgres|postgresql|mysql|redis"
    "|ubuntu|debian|fedora|alpine|centos|rocky|alma|almalinux|rhel|arch|archlinux|opensuse|macos|mac|osx|windows|win|linux"
    "|android|ios"
)
_VERSION = r"[-_ @=:]?(?:v?\d++(?:\.(?:\d++|x))*+(?:rc\d++|-dev)?|latest|stable|nightly|server)"
_AXES = re.compile(
    rf"(?<![\w.])(?:{_NAMES})(?:{_VERSION})++(?![\w.]*\w)"
    r"|(?<![\w.])(?:x86[_-]64|x86|i[3-6]86|amd64|x64|arm64|aarch64|armv[67]l?|ppc64le|s390x|riscv64)(?![\w.]*\w)",
    re.IGNORECASE,
)
"""Nothing in it is tried twice (`++`), so a hostile message costs linear time."""
_OS = re.compile(r"(?<![\w.-])(?:ubuntu|macos|windows|linux)(?:-latest)?(?![\w.]*\w)", re.IGNORECASE)
_BRACKETS = re.compile(r"\s*(?:\([^()]*\)|\[[^\[\]]*\])\s*$")
_SHARD = re.compile(r"[\s:#_-]*(?:shard|part|chunk|split|group|node)?[\s:#_-]*\d+\s*(?:/|of)\s*\d+\s*$", re.IGNORECASE)
_AXIS = "<axis>"


def incident_of(context: Context, signal: FailureSignal) -> str:
    """What a report's cause is known by; empty for what never joins: without repository or commit, or from a repair."""
    commit = context.head_commit or context.commit
    if not context.repository or not commit or context.parent_run:
        return ""
    parts = (context.repository, commit, without_parameters(signal.stage), _masked(signal.message))
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:LENGTH]


def without_parameters(name: str) -> str:
    """The name of a stage without what a matrix adds to it: `unit (3.11, ubuntu)` and `unit 3/8` are `unit`."""
    bare = _SHARD.sub("", _BRACKETS.sub("", name)) or name
    return _OS.sub(_AXIS, _AXES.sub(_AXIS, bare))


def _masked(message: str) -> str:
    if len(message) > MOST_CHARS:
        message = f"{message[: MOST_CHARS // 2]} {message[-MOST_CHARS // 2 :]}"
    return masked(_AXES.sub(_AXIS, message))
