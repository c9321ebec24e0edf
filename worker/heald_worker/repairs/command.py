"""Repairs that are commands: exit code 0 is success, anything else a failed attempt that says why."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec.structs import replace

from heald_producer.mask import Masker
from heald_producer.signals import InvalidReport
from heald_worker.playbook import CommandNotice, CommandRepair
from heald_worker.repairs import process
from heald_worker.repairs.facts import (
    Desk,
    InvalidResult,
    MissingVariable,
    RepairResult,
    desk,
    environment,
    read_result,
    repair_facts,
    repair_variables,
)
from heald_worker.repairs.order import RepairOrder, RepairReport, came_to_nothing, failed, succeeded
from heald_worker.repairs.output import end_of_output
from heald_worker.repairs.process import Fate, ProcessEnd


def perform_command(
    repair: CommandRepair,
    order: RepairOrder,
    *,
    scratch: Path,
    stopping: Callable[[], bool],
    environ: Mapping[str, str],
) -> RepairReport:
    """Run the command of one attempt, and make of its end what the attempt came to."""
    try:
        variables = environment(environ, repair_variables(order), repair.env)
        with desk(scratch, repair_facts(order)) as place:
            variables["HEALD_RESULT"] = str(place.result)
            end = run_at(place, repair, variables, stopping)
            report = _report(repair, order, end, place, masker_for(repair, variables, environ))
            return replace(report, lost=end.fate is Fate.LOST)
    except MissingVariable as error:
        return came_to_nothing(f"not started: {error}")
    except OSError as error:
        reason = f"the worker has no place for the repair's files: {error.strerror or error}"
        return came_to_nothing(f"{reason}: {error.filename or scratch}")


def run_at(
    place: Desk,
    spec: CommandRepair | CommandNotice,
    variables: Mapping[str, str],
    stopping: Callable[[], bool],
) -> ProcessEnd:
    """Run a configured command at its desk."""
    return process.run(
        spec.command,
        cwd=spec.cwd,
        env={**variables, "HEALD_FACTS": str(place.facts)},
        time_limit=spec.time_limit,
        stopping=stopping,
    )


def masker_for(spec: CommandRepair | CommandNotice, variables: Mapping[str, str], environ: Mapping[str, str]) -> Masker:
    """A masker for what a command might show: the worker's secrets, and those of its own `env`."""
    return Masker.of({**environ, **{name: variables[name] for name in spec.env}})


def _report(repair: CommandRepair, order: RepairOrder, end: ProcessEnd, place: Desk, masker: Masker) -> RepairReport:
    said, remarks = RepairResult(), []
    try:
        said = read_result(place.result)
    except InvalidResult as problem:
        remarks.append(f"its result file was ignored: {problem}")
    if end.left:
        remarks.append(f"{end.left} of its processes could not be ended")
    what = how_it_ended(repair, end)
    detail = "; ".join([masker.text(said.detail) if said.detail else what, *remarks])
    if end.exit_code == 0:
        return succeeded(detail)
    if end.fate is not Fate.EXITED and replace(said, detail=None) == RepairResult():
        return came_to_nothing(detail)
    message = _message(repair, end, what, masker)
    code = end.exit_code if said.exit_code is None else said.exit_code
    told = masker.text(said.message) if said.message else message
    try:
        return failed(order, told, detail, exit_code=code, stage=said.stage, flaky_hint=said.flaky_hint)
    except InvalidReport as problem:
        return failed(order, message, f"{what}; its result file was ignored: {problem}", exit_code=end.exit_code)


def how_it_ended(spec: CommandRepair | CommandNotice, end: ProcessEnd) -> str:
    """A command's end in a few words."""
    match end.fate:
        case Fate.EXITED:
            return f"exit code {end.exit_code}{_signal_name(end.exit_code or 0)}"
        case Fate.TIME_LIMIT:
            return f"ended after its time limit of {spec.time_limit:g} s"
        case Fate.STOPPED:
            return "ended because its worker stops"
        case Fate.LOST:
            return "lost: the process that watched it was killed"
        case Fate.NOT_STARTED:
            return f"not started: {end.problem}"


def _signal_name(exit_code: int) -> str:
    try:
        return f" ({signal.Signals(exit_code - 128).name})"
    except ValueError:
        return ""


def _message(repair: CommandRepair, end: ProcessEnd, what: str, masker: Masker) -> str:
    """Why the attempt failed: what the command printed last, or heald's own words."""
    printed = end_of_output(end.output, end.printed > len(end.output), masker)
    return printed or f"heald: the repair {masker.command(repair.command)}: {what} and printed nothing"
