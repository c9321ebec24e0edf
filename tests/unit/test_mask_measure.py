"""How many secrets go, and how many ordinary lines are touched, as numbers: `docs/security.md` tells them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from heald_producer.mask import Masker
from support.ordinary import ordinary_lines
from support.tokens import KINDS, TOLD_BY_ITSELF, Kind, Sample, samples, wrapped

ROOT = Path(__file__).parents[2]
REAL_LOGS = os.environ.get("REAL_LOGS", "")
"""A folder of real build logs, where there is one; they are no part of heald."""
MOST_LEAKED, MOST_TOUCHED = 0.01, 0.001
MASKER = Masker()


def leaked(chosen: Iterable[Sample]) -> tuple[float, Counter[str]]:
    """The part of the samples that can still be read, and how many of each kind."""
    total, kinds = 0, Counter[str]()
    for sample in chosen:
        total += 1
        if sample.leaks(MASKER.text(sample.text)):
            kinds[sample.kind] += 1
    return kinds.total() / total, kinds


def touched(lines: Iterable[str]) -> tuple[float, list[str]]:
    """The part of the lines that the masker changes, and which."""
    all_lines = list(lines)
    changed = [line for line in all_lines if MASKER.text(line) != line]
    return len(changed) / len(all_lines), changed


def test_at_least_99_of_100_secrets_of_150_kinds_go_in_whatever_surroundings() -> None:
    assert len({kind.name for kind in KINDS}) >= 150
    part, kinds = leaked(samples(KINDS, 2, seed=1))
    assert part <= MOST_LEAKED, kinds


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_kind_hides_behind_the_others(kind: Kind) -> None:
    part, _ = leaked(samples([kind], 3, seed=2))
    assert part <= 0.1


def test_at_least_98_of_100_go_when_the_width_of_a_terminal_has_broken_them() -> None:
    part, kinds = leaked(wrapped(TOLD_BY_ITSELF, 10, seed=3))
    assert part <= 0.02, kinds


def test_at_most_1_of_1000_ordinary_lines_is_touched() -> None:
    part, changed = touched(ordinary_lines(10_000, seed=4))
    assert part <= MOST_TOUCHED, changed


def test_ordinary_lines_one_below_the_other_are_not_taken_for_broken_tokens() -> None:
    lines = list(ordinary_lines(10_000, seed=5))
    text = "\n".join(lines)
    masked = MASKER.text(text)
    assert masked.count("[masked]") <= len(lines) * MOST_TOUCHED


@pytest.mark.skipif(not REAL_LOGS, reason="REAL_LOGS names no folder of build logs")
def test_at_most_1_of_1000_lines_of_real_build_logs_is_touched() -> None:
    part, changed = touched(
        line for log in sorted(Path(REAL_LOGS).iterdir()) for line in log.read_text("utf-8", "replace").splitlines()
    )
    assert part <= MOST_TOUCHED, changed[:20]


def test_the_measure_sees_a_leak() -> None:
    """Half a token counts, and so does one line of a key."""
    [token, *_] = samples([kind for kind in KINDS if kind.name == "GitHub personal token"], 1, seed=6)
    [key, *_] = samples([kind for kind in KINDS if kind.name == "private key, RSA"], 1, seed=6)
    assert token.leaks(token.text)
    assert token.leaks(token.text.replace(token.secret[:20], ""))
    assert key.leaks(key.secret.splitlines()[2])
    assert not token.leaks("[masked]")
    assert not key.leaks("[masked]")


def test_no_value_stands_in_the_sources() -> None:
    """Scanners of repositories look for shapes too, and so may those of a forge that refuses a push."""
    for path in [*(ROOT / "tests").rglob("*.py"), *(ROOT / "producer").rglob("*.py"), *(ROOT / "docs").rglob("*.md")]:
        for found in re.finditer(
            r"(?:gh[pousr]_|npm_|dop_v1_|glpat-|sk_live_|AKIA)[A-Za-z0-9]{16,}", path.read_text("utf-8")
        ):
            assert found[0] == "AKIAIOSFODNN7EXAMPLE", f"{path}: {found[0]}"
