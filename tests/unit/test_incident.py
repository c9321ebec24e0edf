"""Reports of one cause have one key: the parameters of a matrix do not matter, and nothing else is left aside."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from heald_producer.signals import MAX_MESSAGE_BYTES, Context, FailureSignal
from heald_worker.core.incident import incident_of, without_matrix
from heald_worker.sharing import branch_name

HERE = Context(repository="acme/shop", commit="9fceb02", job="unit")


def key(message: str = "boom", stage: str = "unit", context: Context = HERE) -> str:
    return incident_of(context, FailureSignal(stage, message))


@pytest.mark.parametrize(
    ("name", "without"),
    [
        ("unit", "unit"),
        ("unit (3.11, ubuntu)", "unit"),
        ("unit (3.11) [linux]", "unit"),
        ("build [linux]", "build"),
        ("test: [3.11, linux]", "test"),
        ("test: 3/8", "test"),
        ("test 3 of 8", "test"),
        ("unit py311", "unit"),
        ("unit-py3.12", "unit"),
        ("unit node-20", "unit"),
        ("unit_3.11", "unit"),
        ("build-ubuntu-22.04", "build"),
        ("build windows-latest", "build"),
        ("build x86_64", "build"),
        ("wheels / macos-14 / arm64", "wheels"),
    ],
)
def test_a_name_is_known_without_the_parameters_of_its_matrix(name: str, without: str) -> None:
    assert without_matrix(name) == without


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("unit", "integration"),
        ("step-1", "step-2"),
        ("unit", "unit slow"),
        ("golang lint", "java lint"),
        ("test (3.11) slow", "test (3.11) fast"),
        ("e2e-cart", "e2e-checkout"),
        ("windowsill", "linuxfest"),
    ],
)
def test_names_that_differ_otherwise_stay_different(one: str, other: str) -> None:
    assert without_matrix(one) != without_matrix(other)
    assert key(stage=one) != key(stage=other)
    assert key(context=replace(HERE, job=one)) == key(context=replace(HERE, job=other))  # one cause, many jobs


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("in .venv/lib/python3.11/site-packages/cart.py:12", "in .venv/lib/python3.12/site-packages/cart.py:14"),
        ("py311: FAIL code 1", "py312: FAIL code 1"),
        ("no wheel pay-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "no wheel pay-1.0-cp312-cp312-win_amd64.whl"),
        ("unsupported platform: linux", "unsupported platform: windows"),
        ("built for (Darwin, arm64)", "built for (Linux, x86_64)"),
        ("target x86_64-unknown-linux-gnu: error", "target aarch64-apple-darwin: error"),
        ("image ubuntu-22.04: no curl", "image ubuntu-24.04: no curl"),
        ("Node.js v20.11.1: boom", "Node.js v18.19.0: boom"),
        ("with jdk17: boom", "with jdk21: boom"),
        ("go1.21: boom", "go1.22: boom"),
        ("\x1b[31mlinux\x1b[0m: boom", "windows: boom"),
    ],
)
def test_an_error_is_the_same_on_every_axis(one: str, other: str) -> None:
    assert key(one) == key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("crashed: access violation in Till.Billing", "crashed: stack overflow in Till.Search"),
        ("FAILED tests/test_cart.py::test_add", "FAILED tests/test_cart.py::test_remove"),
        ("FAILED tests/linux/test_a.py::test_b", "FAILED tests/windows/test_a.py::test_b"),
        ("FAILED tests/windows.py", "FAILED tests/linux.py"),
        ("test_windows_path failed", "test_linux_path failed"),
        ("windows.h: no such file", "linux.h: no such file"),
        ("python2: not found", "python3: not found"),
        ("node-pay: timed out", "node-cart: timed out"),
        ("error E0432", "error E0433"),
        ("arm64_init failed", "x86_init failed"),
        ("missing lib-arm64", "missing lib-x86"),
        ("no module named cart", "no module named pay"),
    ],
)
def test_different_errors_do_not_merge(one: str, other: str) -> None:
    assert key(one) != key(other)


def test_what_is_far_inside_a_long_message_tells_two_apart() -> None:
    padding = "line of a log\n" * 1500
    assert key(f"{padding}cart is broken\n{padding}") != key(f"{padding}pay is broken\n{padding}")


def test_another_repository_or_commit_is_another_cause() -> None:
    assert len({key(), key(context=replace(HERE, repository="acme/pay")), key(context=replace(HERE, commit="aa"))}) == 3


def test_of_a_pull_request_the_head_counts_and_not_the_merge_that_the_ci_has_made() -> None:
    one, other = (replace(HERE, commit=merge, head_commit="9fceb02", pull_request="7") for merge in ("aa", "bb"))
    assert key(context=one) == key(context=other) == key()


@pytest.mark.parametrize(
    "context",
    [
        replace(HERE, repository=None),
        replace(HERE, commit=None),
        replace(HERE, repository=""),
        replace(HERE, parent_run="run-1"),
    ],
)
def test_a_report_without_repository_or_commit_or_of_a_repair_is_of_no_known_cause(context: Context) -> None:
    assert key(context=context) == ""


def test_exit_code_and_flaky_hint_do_not_matter() -> None:
    signal = FailureSignal("unit", "boom")
    assert incident_of(HERE, signal) == incident_of(HERE, replace(signal, exit_code=2, flaky_hint=True))


@given(st.text(max_size=200), st.text(max_size=60))
def test_any_text_has_a_key(message: str, name: str) -> None:
    assert len(key(message, name)) == 32
    assert without_matrix(without_matrix(name)) == without_matrix(name)


@pytest.mark.parametrize("unit", ["x86_64-pc-", "linux_", "([{", "1/", "py1.", "v1.", "py3 ", "#", "-", "a"])
def test_the_largest_texts_have_keys(unit: str) -> None:
    """With expressions that try everything again and again, this would end by the suite's time limit alone."""
    text = unit * (MAX_MESSAGE_BYTES // len(unit))
    for message in (text, f"x86_64-pc-{text}_", f"linux{text}_", f"py1{text}_"):
        assert len(key(message, text[:256], HERE)) == 32


@pytest.mark.parametrize(
    ("context", "branch"),
    [
        (Context(repository="acme/shop", ref="refs/heads/main"), ("acme/shop", "main")),
        (Context(repository="acme/shop", ref="main"), ("acme/shop", "main")),
        (Context(repository="acme/shop", ref="refs/pull/7/merge", head_ref="refs/heads/fix"), ("acme/shop", "fix")),
        (
            Context(repository="acme/shop", head_ref="refs/heads/main", pull_request="7", fork=True),
            ("acme/shop", "7:main"),
        ),
        (Context(repository="acme/shop"), None),
        (Context(ref="refs/heads/main"), None),
    ],
)
def test_a_repair_changes_the_branch_that_its_report_names(context: Context, branch: tuple[str, str] | None) -> None:
    assert branch_name(context) == branch
