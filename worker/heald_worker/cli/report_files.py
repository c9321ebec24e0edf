"""`heald push --report`: what test reports say, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from heald_producer.reports import ReportSummary, headline, read_matching
from heald_producer.signals import FailureReport
from heald_worker.cli.common import Output, Problem, clean

TESTS_STAGE = "test"
"""The stage where neither a flag nor the CI tells one."""


def tests_told(patterns: Sequence[str], output: Output) -> ReportSummary:
    """What the reports say; what could not be read is told on stderr.

    Raises:
        Problem: there was no report.
    """
    told = read_matching(patterns)
    for note in told.notes:
        output.note(f"heald: {clean(note)}")
    for warning in told.warnings:
        output.note(f"heald: warning: {clean(warning)}")
    if not told.files:
        raise Problem("there is no test report to push", "quote the pattern of --report, and see docs/reports.md")
    return told


def nothing_to_push(told: ReportSummary, output: Output) -> int:
    """Say that no test failed; return the exit code, which is not 0 when a failure may have been overlooked."""
    counts = {"files": told.files, "tests": told.tests, "failed": 0, "skipped": told.skipped}
    output.record({"sent": 0, "kept": 0, "refused": 0, "inbox": 0, **counts})
    doubt = ", but see the warnings" if told.warnings else ""
    output.print(f"nothing to push: {headline(told)}{doubt}")
    return 1 if told.warnings else 0


def show_report(report: FailureReport, output: Output) -> None:
    """What would be pushed."""
    output.record(msgspec.to_builtins(report))
    signal = report.signal
    rows = [("run", report.run_id), ("stage", signal.stage)]
    rows += [("exit code", str(signal.exit_code))] if signal.exit_code is not None else []
    rows += [("flaky", "yes")] if signal.flaky_hint else []
    output.fields([(label, clean(text)) for label, text in rows])
    output.print()
    output.print(clean(signal.message, multiline=True))
