"""`heald verify`: are artifacts what heald wrote? Works offline: no server is asked, no client library imported."""

from __future__ import annotations

import os
from pathlib import Path

import click

from heald_worker.artifact_reading import ArtifactError, ArtifactTampered, verify_artifact
from heald_worker.artifact_walk import count, problem_of, walk
from heald_worker.cli.common import Output, Problem, clean, settings_options
from heald_worker.cli.progress import progress
from heald_worker.config import Settings
from heald_worker.core.instant import format_instant

NAMED_STRAYS = 3

dir_option = click.option(
    "--dir", "artifacts", metavar="DIR", help="The artifact folder (default: HEALD_ARTIFACTS or the configuration)."
)


@click.command()
@click.argument("run", required=False)
@click.option("--all", "every", is_flag=True, help="Check every artifact of the folder.")
@dir_option
@settings_options
def verify(settings: Settings, output: Output, run: str | None, every: bool) -> int:
    """Check the artifact of RUN, or all of them, against digest, content and place.

    Exit code 0: all is well; 1: something is wrong or missing; 2: wrong usage.
    """
    if every == (run is not None):
        raise click.UsageError("name one run, or give --all")
    folder = existing(settings.artifacts)
    return _verify_all(folder, output) if run is None else _verify_one(folder, run, output)


def existing(folder: Path) -> Path:
    """The artifact folder.

    Raises:
        Problem: there is no such folder.
    """
    if not folder.is_dir():
        what = "is not a folder" if os.path.lexists(folder) else "does not exist"
        raise Problem(f"the artifact folder {folder} {what}", "name it with --dir or HEALD_ARTIFACTS", 2)
    return folder


def _verify_one(folder: Path, run: str, output: Output) -> int:
    try:
        log = verify_artifact(folder, run)
    except ArtifactError as error:
        output.record(_facts(error))
        if output.as_json:
            return 1
        raise
    decided = format_instant(log.evaluated_at)
    facts = {"run": run, "ok": True, "outcome": log.outcome, "attempts_used": log.attempts_used}
    output.record({**facts, "evaluated_at": decided})
    output.print(f"run {run}: verified ({log.outcome}, attempts {log.attempts_used}, {decided})")
    return 0


def _verify_all(folder: Path, output: Output) -> int:
    checked = bad = 0
    strays: list[str] = []
    ignored = 0

    def stray(name: str) -> None:
        nonlocal ignored
        ignored += 1
        if len(strays) < NAMED_STRAYS:
            strays.append(name)

    with progress("verifying", lambda: count(folder)) as advance:
        for problems in walk(folder, problem_of, stray):
            checked += len(problems)
            for problem in filter(None, problems):
                bad += 1
                output.record(_facts(problem))
                output.print(clean(problem.problem), style="red")
            advance(len(problems))
    output.record({"checked": checked, "bad": bad, "ignored": ignored})
    output.print(f"{checked:,} artifacts checked, {bad:,} bad", style="bold red" if bad else "bold green")
    if ignored:
        more = ", ..." if ignored > len(strays) else ""
        output.note(f"{ignored:,} entries that are no artifacts were ignored: {clean(', '.join(strays))}{more}")
    return 1 if bad else 0


def _facts(error: ArtifactError) -> dict[str, object]:
    facts: dict[str, object] = {"run": error.run_id, "ok": False, "kind": error.kind, "problem": error.problem}
    if isinstance(error, ArtifactTampered):
        facts |= {"expected": error.expected, "actual": error.actual}
    return facts
