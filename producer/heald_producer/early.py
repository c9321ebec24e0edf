"""A report that cannot wait for the command's end: whoever stops the command may soon kill heald as well."""

from __future__ import annotations

import os
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_NOT_DELIVERED = 1


class EarlyReport:
    """Reports from a copy of this process, so that the command's output and signals are passed on meanwhile."""

    def __init__(self, report: Callable[[], bool]) -> None:
        self._report = report
        self._copy = 0

    @property
    def started(self) -> bool:
        """Whether the report was begun, so that no other one may be made."""
        return self._copy > 0

    def start(self) -> None:
        """Begin to report; on a machine without room for one more process nothing happens."""
        try:
            self._copy = os.fork()
        except OSError:
            return
        if self._copy == 0:
            code = _NOT_DELIVERED
            try:
                signal.set_wakeup_fd(-1)  # it wakes the original
                code = 0 if self._report() else _NOT_DELIVERED
            finally:
                os._exit(code)

    def delivered(self) -> bool:
        """Wait for the copy, which is bounded in time, and tell whether the server has the report."""
        _, status = os.waitpid(self._copy, 0)
        return status == 0
