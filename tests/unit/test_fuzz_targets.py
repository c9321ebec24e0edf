"""What `make fuzz` feeds for an hour is fed here for a moment: its seeds, whole and damaged."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.corpus import WORDS
from fuzz.targets import TARGETS

EXAMPLES = 200


@cache
def seeds_of(name: str) -> list[bytes]:
    return list(TARGETS[name].seeds())


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_keeps_its_promises_for_its_seeds(name: str) -> None:
    assert seeds_of(name)
    assert all(WORDS[name])
    for seed in seeds_of(name):
        assert len(seed) <= TARGETS[name].longest
        TARGETS[name].run(seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_target_keeps_its_promises_for_anything(name: str, data: st.DataObject) -> None:
    whole = bytearray(data.draw(st.binary(max_size=300) | st.sampled_from(seeds_of(name))))
    parts = st.binary(max_size=8) | st.sampled_from([word.encode() for word in WORDS[name]])
    for _ in range(data.draw(st.integers(0, 4))):
        start = data.draw(st.integers(0, len(whole)))
        end = data.draw(st.integers(start, min(len(whole), start + 30)))
        whole[start:end] = data.draw(parts)
    TARGETS[name].run(bytes(whole))
