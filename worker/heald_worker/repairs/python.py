"""Repairs that are Python functions, called in the repair process: for things that only talk.

A function gets the `RepairOrder` and returns True or None for success, False for a failed attempt, or says more with
a `RecoveryAttemptResult` or a `RepairReport`. Which function is called stands in the configuration, never in Redis.
"""

from __future__ import annotations

import signal
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from importlib import import_module
from types import FrameType
from typing import Any

import msgspec
from msgspec.structs import replace

from heald_producer.mask import Masker
from heald_producer.signals import InvalidReport
from heald_worker.core.log import RecoveryAttemptResult
from heald_worker.playbook import Playbook, PythonRepair
from heald_worker.repairs.order import RepairOrder, RepairReport, as_signal, came_to_nothing, one_line, succeeded
from heald_worker.repairs.output import end_of_output

RepairFunction = Callable[[RepairOrder], Any]

TICK = 0.5
"""Seconds between two looks at the clock and at `stopping` while a function runs."""
INSIST_AFTER = 5.0
"""Seconds that an interrupted function gets to clean up before it is interrupted again."""


class CallableUnavailable(Exception):
    """A configured function cannot be had: what is wrong, and what to do about it."""

    exit_code = 2  # a mistake in the configuration

    def __init__(self, call: str, problem: str, hint: str) -> None:
        self.problem, self.hint = f"the repair function {call} cannot be used: {problem}", hint
        super().__init__(f"{self.problem}; {hint}")


class Interrupted(BaseException):
    """Raised inside a repair function whose time is over; not an `Exception`, so that it is not caught by chance."""


def resolve_callables(playbook: Playbook) -> dict[str, RepairFunction]:
    """Import every function that the playbook names, so that mistakes show when a worker starts.

    Raises:
        CallableUnavailable: for the first that cannot be had.
    """
    calls = [entry.repair.call for entry in playbook.repairs if isinstance(entry.repair, PythonRepair)]
    return {call: resolve(call) for call in calls}


def resolve(call: str) -> RepairFunction:
    """The function behind `module:function`.

    Raises:
        CallableUnavailable: the module cannot be imported, or has no such function.
    """
    module_name, _, attributes = call.partition(":")
    found: object
    try:
        found = import_module(module_name)
    except (Exception, SystemExit) as error:
        hint = f"install {module_name} beside heald, or put its folder into PYTHONPATH"
        if not isinstance(error, ImportError):
            hint = f"mend {module_name}: heald imports it when it starts"
        raise CallableUnavailable(call, f"{type(error).__name__}: {error}", hint) from error
    for attribute in attributes.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError:
            raise CallableUnavailable(call, f"there is no {attribute!r}", "correct the name") from None
    if not callable(found):
        kind = type(found).__name__
        raise CallableUnavailable(call, f"it is of type {kind}, not a function", "name something that can be called")
    return found


def perform_python(
    repair: PythonRepair, order: RepairOrder, *, stopping: Callable[[], bool], environ: Mapping[str, str]
) -> RepairReport:
    """Call the function of one attempt; whatever it raises is a failed attempt, and says nothing about what is broken.

    The time limit, and `stopping`, interrupt it where Python code runs in the main thread; elsewhere, and while it
    waits inside a C library, only the end of the process does.
    """
    output, masker = "", Masker.of(environ)
    try:
        answer = _call(resolve(repair.call), order, time.monotonic() + repair.time_limit, stopping)
        return _report(repair, answer, masker)
    except Interrupted:
        ended = "because its worker stops" if stopping() else f"after its time limit of {repair.time_limit:g} s"
        reason = f"the repair function {repair.call} was interrupted {ended}"
    except CallableUnavailable as error:
        reason = str(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a repair may raise anything
        reason = masker.text(f"{type(error).__name__}: {error}")
        output = _as_output("".join(traceback.format_exception(error)), masker)
    return came_to_nothing(reason, output)


def _call(function: RepairFunction, order: RepairOrder, deadline: float, stopping: Callable[[], bool]) -> object:
    """Call the function; in the main thread, interrupt it when its time is over."""
    if threading.current_thread() is not threading.main_thread():
        return function(order)

    def look(signum: int, frame: FrameType | None) -> None:
        if time.monotonic() >= deadline or stopping():
            signal.setitimer(signal.ITIMER_REAL, INSIST_AFTER, INSIST_AFTER)
            raise Interrupted

    began = time.monotonic()
    handler = signal.signal(signal.SIGALRM, look)
    first = max(0.001, min(TICK, deadline - began))
    alarm, interval = signal.setitimer(signal.ITIMER_REAL, first, TICK)
    try:
        try:
            return function(order)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, handler)
        if alarm:  # whoever had set one, RQ for instance, gets the rest of it
            signal.setitimer(signal.ITIMER_REAL, max(0.001, alarm - (time.monotonic() - began)), interval)


def _report(repair: PythonRepair, answer: object, masker: Masker) -> RepairReport:
    detail = f"{repair.call} returned {'None' if answer is None else answer}"
    match answer:
        case True | None:
            return succeeded(detail)
        case False:
            return came_to_nothing(detail)
        case RecoveryAttemptResult():
            return _checked(repair, RepairReport(answer, f"{repair.call} returned a result"), masker)
        case RepairReport():
            return _checked(repair, replace(answer, output=answer.output or answer.detail), masker)
    reason = (
        f"the repair function {repair.call} returned {type(answer).__name__};"
        " it must return a bool, None, RecoveryAttemptResult or RepairReport"
    )
    return came_to_nothing(reason)


def _checked(repair: PythonRepair, report: RepairReport, masker: Masker) -> RepairReport:
    """A function's own report within the limits of the wire, and of what is kept of an output."""
    try:
        checked = msgspec.convert(msgspec.to_builtins(report), RepairReport)
        next_failure = checked.result.next_failure
        result = RecoveryAttemptResult(checked.result.success, next_failure and as_signal(next_failure))
        proof = one_line(masker.text(checked.proof)) if checked.proof else None
        return RepairReport(result, one_line(checked.detail), _as_output(checked.output, masker), proof=proof)
    except (InvalidReport, msgspec.ValidationError, TypeError, UnicodeError) as problem:
        reason = f"the repair function {repair.call} returned a result that cannot be used: {problem}"
        return came_to_nothing(reason)


def _as_output(text: str, masker: Masker) -> str:
    return end_of_output(text.encode("utf-8", "replace"), False, masker)
