"""What runs on a CI runner: build failure reports and push them to heald's inbox.

`heald_producer.push` has `push` and `push_many`. Nothing here imports `heald_worker`; the names below load on first
use, so that `heald run` around a green build costs one light interpreter start.
"""

from __future__ import annotations

__version__ = "0.1.0"

TYPE_CHECKING = False  # type checkers read it as true; importing it from `typing` would take milliseconds
if TYPE_CHECKING:
    from heald_producer.signals import Context, FailureReport, FailureSignal, InvalidReport
    from heald_producer.wire import make_report

_HOMES = {
    "Context": "signals",
    "FailureReport": "signals",
    "FailureSignal": "signals",
    "InvalidReport": "signals",
}

__all__ = [
    "Context",
    "FailureReport",
    "FailureSignal",
    "InvalidReport",
    "PushFailed",
    "ServerTrouble",
    "__version__",
    "make_report",
    "push",
    "push_many",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
