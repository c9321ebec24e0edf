"""The `heald` command. `heald run` wraps builds, so it leaves here before anything else is imported."""

from __future__ import annotations

import sys

UNAVAILABLE = 69
"""Exit code when this machine, or the server, cannot do what was asked (`EX_UNAVAILABLE` of sysexits.h)."""
INTERRUPTED = 130
"""Exit code after an interrupt, as shells show it."""


def main(argv: list[str] | None = None) -> int:
    """Run one `heald` command and return its exit code; `argv` is without the program's name."""
    refusal = unsuited(sys.version_info[:2], sys.platform)
    if refusal:
        print(f"heald: {refusal}", file=sys.stderr)
        return UNAVAILABLE
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["run"]:
        from heald_producer.capture import main as run

        return run(arguments[1:])
    try:
        from heald_worker.cli.verbs import call

        return call(arguments)
    except KeyboardInterrupt:  # while it was still importing
        return INTERRUPTED


def unsuited(version: tuple[int, ...], platform: str) -> str:
    """Why heald cannot run on this Python and platform; empty when it can."""
    if version < (3, 11):
        return (
            f"needs Python 3.11 or newer, this is {version[0]}.{version[1]}; "
            "install it again with a newer one, for example: python3.12 -m pip install heald"
        )
    if platform in ("win32", "cygwin"):
        return "runs on Linux and macOS, not on Windows; use it in WSL or in a Linux container"
    return ""
