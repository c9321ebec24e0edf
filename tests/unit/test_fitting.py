"""Lines that fit a terminal: never wider, nothing lost, and what goes on stands below its beginning."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

from heald_worker.cli.columns import columns
from heald_worker.cli.fitting import NARROWEST, folded, hung

TEXTS = st.text(st.sampled_from("ab-/.  \nż漢🙂"), max_size=300)
WIDTHS = st.integers(NARROWEST, 90)
RATIONALE = "dns: name resolution usually comes back within minutes (not retry: 2 of 2 retries are used)"


def letters(text: str) -> str:
    return "".join(text.split())


@given(TEXTS, WIDTHS)
def test_folded_lines_fit_and_nothing_is_lost(text: str, width: int) -> None:
    lines = folded(Text(text), width)
    assert all(line.cell_len <= width for line in lines)
    assert letters("".join(line.plain for line in lines)) == letters(text)


@given(TEXTS, TEXTS, WIDTHS)
def test_hung_lines_fit_and_nothing_is_lost(head: str, text: str, width: int) -> None:
    head = head.replace("\n", " ")
    lines = hung(Text(head), Text(text), Text(" " * Text(head).cell_len), width)
    assert all(line.cell_len <= width for line in lines)
    assert letters("".join(line.plain for line in lines)) == letters(head + text)


@given(st.lists(st.tuples(TEXTS, TEXTS, TEXTS).map(lambda row: [cell.replace("\n", "") for cell in row])), WIDTHS)
def test_lists_fit_and_nothing_is_lost(rows: list[list[str]], width: int) -> None:
    lines = columns(("run", "state", "where"), rows, width, title=1)
    assert all(line.cell_len <= width for line in lines)
    shown = letters("".join(line.plain for line in lines))
    assert all(letters(cell) in shown for row in rows for cell in row)


def test_text_without_a_width_stays_whole_but_for_its_own_lines() -> None:
    assert [line.plain for line in folded(Text(f"{RATIONALE}\n  below"), None)] == [RATIONALE, "  below"]
    assert [line.plain for line in hung(Text("why  "), Text("a\nb"), Text("  |  "), None)] == ["why  a", "  |  b"]


def test_a_long_rationale_goes_on_below_itself() -> None:
    lines = [line.plain for line in hung(Text("  ├─ "), Text(f"decided\n  {RATIONALE}"), Text("  │  "), 60)]
    assert lines == [
        "  ├─ decided",
        "  │    dns: name resolution usually comes back within",
        "  │      minutes (not retry: 2 of 2 retries are used)",
    ]


def test_a_list_that_fits_stays_a_list() -> None:
    rows = [["run-1", "open"], ["run-2", "parked"]]
    assert [line.plain for line in columns(("run", "state"), rows, 60)] == [
        "run    state",
        "run-1  open",
        "run-2  parked",
    ]


def test_a_card_leaves_out_what_is_empty() -> None:
    rows = [["run-1", "", "x" * 30]]
    assert [line.plain for line in columns(("run", "state", "where"), rows, 40)] == ["run-1", f"  where {'x' * 30}"]
