"""A failure is known again by its text without what changes from run to run."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heald_producer.signals import FailureSignal
from heald_worker.core import fingerprint as module
from heald_worker.core.fingerprint import LENGTH, MOST_CHARS, fingerprint, masked


def of(message: str, stage: str = "unit", repository: str | None = "acme/shop") -> str:
    return fingerprint(repository, FailureSignal(stage, message))


SAME = [
    ("expected 12 items, got 7", "expected 3 items, got 1,024"),
    ("failed after 1m30s (0.25 s)", "failed after 59.5s (12 s)"),
    ("took 12ms", "took 3.5s"),
    ("at 2026-01-02T03:04:05.678Z on pid 812", "at 2025-12-31T23:59:59+01:00 on pid 9"),
    ("2026-01-02 03:04:05,678 ERROR boom", "2025-11-30 13:14:15,001 ERROR boom"),
    ("Mon Jan  5 03:04:05 runner kernel: oops", "Tue Dec 16 13:14:15 runner kernel: oops"),
    ("Fri, 02 Jan 2026 03:04:05 GMT boom", "Sat, 13 Dec 2025 13:14:15 GMT boom"),
    ("checkout of 9fceb02 failed", "checkout of 1234567 failed"),
    ("sha256:" + "ab12" * 16, "sha256:" + "0f" * 32),
    (f"request {uuid.UUID(int=7)}", f"request {uuid.UUID(int=2**120 + 99)}"),
    ("<Cart object at 0x7f3a12bc>", "<Cart object at 0xDEADBEEF00>"),
    ("/home/runner/work/shop/shop/src/cart.py:12: boom", "/builds/acme/src/cart.py:99: boom"),
    ("cannot open /tmp/tmpab12cd/x.sock", "cannot open /tmp/pytest-of-ci/pytest-3/y"),
    ("no /private/var/folders/zz/abc/T/x here", "no /tmp/z here"),
    ("C:\\Users\\ci\\shop\\Cart.cs(12,3): boom", "D:\\a\\shop\\Cart.cs(9,30): boom"),
    ("wrote tmpab12cd8z", "wrote tmpzz99yy7x"),
    ("connect to 10.0.0.1:5432 refused", "connect to 192.168.12.7:15432 refused"),
    ("worker_90210 died", "worker_12345678 died"),
    ("\x1b[31mFAILED\x1b[0m cart", "FAILED cart"),
    ("a  b\r\n\tc", "a b c"),
]


@pytest.mark.parametrize(("one", "other"), SAME, ids=[one[:24] for one, _ in SAME])
def test_what_changes_from_run_to_run_does_not_matter(one: str, other: str) -> None:
    assert masked(one) == masked(other)
    assert of(one) == of(other)


DISTINCT = [
    ("error[E0432]: boom", "error[E0433]: boom"),
    ("error TS2304: boom", "error TS2305: boom"),
    ("FAILED test_add_1", "FAILED test_add_2"),
    ("FAILED tests/test_cart.py", "FAILED tests/test_page.py"),
    ("/home/runner/src/cart.py: boom", "/home/runner/src/page.py: boom"),
    ("C:\\src\\Cart.cs: boom", "C:\\src\\Page.cs: boom"),
    ("https://one.example/a refused", "https://two.example/a refused"),
    ("cannot import utf8", "cannot import utf16"),
    ("the facade was defaced", "the facade was effaced"),
    ("expected True", "expected False"),
    ("a b", "ab"),
    ("", "x"),
]


@pytest.mark.parametrize(("one", "other"), DISTINCT, ids=[one[:24] for one, _ in DISTINCT])
def test_what_tells_failures_apart_stays(one: str, other: str) -> None:
    assert of(one) != of(other)


def test_repository_and_stage_belong_to_it_and_exit_code_and_hint_do_not() -> None:
    assert len({of("m"), of("m", stage="e2e"), of("m", repository="acme/page"), of("m", repository=None)}) == 4
    signals = [FailureSignal("unit", "m", code, hint) for code in (None, 1, 137) for hint in (False, True)]
    assert len({fingerprint("acme/shop", signal) for signal in signals}) == 1
    assert fingerprint("", signals[0]) == fingerprint(None, signals[0])


def test_parts_cannot_be_moved_from_one_field_to_the_next() -> None:
    assert len({of("c", "b", "a"), of("bc", "a", ""), of("c", "ab", ""), of("c", "", "ab"), of("bc", "", "a")}) == 5


@given(st.text(max_size=200))
def test_any_text_has_a_fingerprint_of_fixed_length_and_masking_again_changes_nothing(message: str) -> None:
    assert len(of(message)) == LENGTH
    assert masked(masked(message)) == masked(message)


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_numbers_that_stand_for_themselves_are_all_alike(one: int, other: int) -> None:
    assert of(f"port {one} is taken") == of(f"port {other} is taken")


def test_of_a_long_message_the_beginning_and_the_end_count() -> None:
    filler = "x" * MOST_CHARS
    assert of(f"begin {filler} end") == of(f"begin {filler}{filler} end")
    assert of(f"begin {filler} end") != of(f"start {filler} end")
    assert of(f"begin {filler} end") != of(f"begin {filler} stop")


EVIL = [
    "a",
    "1",
    "/a",
    "1a",
    "f",
    "\\",
    "tmp",
    "a-",
    "1ms",
    "\x1b[",
    "x/",
    "1.",
    "0x",
    "/",
    "ab12",
    "/tmp",
    "_1234",
    "#:# ",
]


@pytest.mark.parametrize("unit", [*EVIL, "abcdef12-abcd-", "2026-01-02T", "1,", "C:\\", "Mon Jan "])
def test_masking_a_megabyte_comes_to_an_end(unit: str) -> None:
    """It takes linear time: a mask that is quadratic in any of these would take hours."""
    text = unit * (2**20 // len(unit))
    for mask in (module._CHANGING, module._WRITTEN_OUT, module._COLOURS):
        assert len(mask.sub("#", text)) <= len(text)
