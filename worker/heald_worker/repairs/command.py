"""Repairs that are commands: exit code 0 is success, anything else a failed attempt that says why."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec.structs import replace

from heald_producer.mask import Masker
from heald_producer.signals import FailureSignal, InvalidReport
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
    what, output = how_it_ended(repair, end), end_of_output(end.output, end.printed > len(end.output), masker)
    detail = "; ".join([masker.text(said.detail) if said.detail else what, *remarks])
    if end.exit_code == 0:
        return succeeded(detail, output, masker.text(said.proof) if said.proof else _proof(repair, masker))
    printed = output or f"heald: the repair {masker.command(repair.command)}: {what} and printed nothing"
    again = repair.output_is_failure and end.fate is Fate.EXITED
    now = replace(order.failure, message=printed, exit_code=end.exit_code) if again else order.failure
    try:
        told = _as_told(now, said, masker)
        return came_to_nothing(detail, output) if told == order.failure else failed(told, detail, output)
    except InvalidReport as problem:
        detail = f"{what}; its result file was ignored: {problem}"
        return failed(now, detail, output) if again else came_to_nothing(detail, output)


def _proof(repair: CommandRepair, masker: Masker) -> str | None:
    """A repair that runs the failing command again proves a success by it; any other only claims it."""
    return f"the failing command, run again: {masker.command(repair.command)}" if repair.output_is_failure else None


def _as_told(failure: FailureSignal, said: RepairResult, masker: Masker) -> FailureSignal:
    """The failure with what the repair wrote about it."""
    told = {name: value for name in FailureSignal.__struct_fields__ if (value := getattr(said, name)) is not None}
    if "message" in told:
        told["message"] = masker.text(told["message"]) or failure.message
    return replace(failure, **told)


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
