"""Which reports tell of one cause, and which only look alike."""

from __future__ import annotations

import pytest

from heald_producer.signals import Context, FailureSignal
from heald_worker.core.incident import incident_of, without_parameters

HERE = Context(repository="acme/shop", commit="c0ffee")
ERROR = "src/till.c:3:5: error: unknown type name 'u24'"


def cause(stage: str = "unit", message: str = ERROR, context: Context = HERE) -> str:
    return incident_of(context, FailureSignal(stage, message, 1))


@pytest.mark.parametrize(
    "stage",
    ["unit (3.11, ubuntu-22.04)", "unit [linux, gcc]", "unit 3/8", "unit: shard 2 of 4", "unit (windows-latest)"],
)
def test_the_jobs_of_a_matrix_have_one_cause(stage: str) -> None:
    assert cause(stage) == cause("unit")
    assert without_parameters(stage) == "unit"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("py311: exit 1", "py312: exit 1"),
        ("ERROR: python3.9 -m build", "ERROR: python3.12 -m build"),
        (
            "/opt/node-18/bin/tsc: error TS2304: Cannot find name 'x'",
            "/opt/node-20/bin/tsc: error TS2304: Cannot find name 'x'",
        ),
        ("build for linux x86_64 failed: u24", "build for linux arm64 failed: u24"),
        ("on ubuntu-22.04: u24 is no type", "on ubuntu-24.04: u24 is no type"),
        ("took 3.1 s: u24", "took 4.9 s: u24"),
    ],
)
def test_values_of_a_matrix_in_a_message_do_not_tell_causes_apart(one: str, other: str) -> None:
    assert cause(message=one) == cause(message=other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (
            "Test host process crashed: access violation in Till.Printer",
            "Test host process crashed: stack overflow in Till.Parser",
        ),
        ("error TS2304: Cannot find name 'x'", "error TS2305: Cannot find name 'x'"),
        ("FAILED test_add_2 - assert 2 == 3", "FAILED test_add_3 - assert 2 == 3"),
        ("database container did not start", "browser grid cannot be reached"),
        ("cannot find utf8", "cannot find utf16"),
        ("undefined reference to go_main", "undefined reference to java_main"),
        ("error in windows_till.c", "error in linux_till.c"),
    ],
)
def test_different_errors_are_different_causes(one: str, other: str) -> None:
    assert cause(message=one) != cause(message=other)


@pytest.mark.parametrize("stage", ["lint", "unit tests", "unit2", "deploy-eu"])
def test_other_stages_are_other_causes(stage: str) -> None:
    assert cause(stage) != cause("unit")


def test_a_pull_request_is_known_by_its_head_and_not_by_the_merge_that_the_ci_makes() -> None:
    one = Context(repository="acme/shop", commit="merge1", head_commit="beef")
    again = Context(repository="acme/shop", commit="merge2", head_commit="beef")
    assert cause(context=one) == cause(context=again)
    assert cause(context=one) != cause(context=Context(repository="acme/shop", commit="merge1"))
    assert cause(context=one) != cause(context=Context(repository="acme/api", commit="x", head_commit="beef"))


@pytest.mark.parametrize(
    "context",
    [
        Context(commit="c0ffee"),
        Context(repository="acme/shop"),
        Context(repository="acme/shop", commit="c0ffee", parent_run="run-1"),
    ],
)
def test_what_names_no_code_and_what_a_repair_reports_never_joins(context: Context) -> None:
    assert cause(context=context) == ""


@pytest.mark.parametrize("hostile", ["py" + "1" * 60_000 + "z", "py-1" * 15_000, "py1 " * 15_000, "1.x" * 20_000])
def test_a_hostile_message_takes_linear_time(hostile: str) -> None:
    assert cause(message=hostile) == cause(message=hostile)  # a pattern that tries things twice would never end
