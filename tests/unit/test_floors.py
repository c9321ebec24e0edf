"""Imports go down only, the core is pure, the producer stands alone; and the test that says so can fail."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.floors import FLOORS, complaints, cycles, floor, sources

KNOWN = sources(Path(__file__).parent.parent.parent)


@pytest.mark.parametrize("module", sorted(KNOWN))
def test_every_module_keeps_to_its_floor(module: str) -> None:
    assert complaints(module, KNOWN[module], KNOWN) == []


def test_no_modules_import_each_other_while_they_load() -> None:
    assert cycles(KNOWN) == []


def test_the_whole_house_was_walked() -> None:
    assert {"heald_producer.signals", "heald_worker", "heald_worker.core.recovery", "heald_worker.cli"} <= KNOWN.keys()
    assert {floor(module) for module in KNOWN if module.startswith("heald_worker.")} == set(range(len(FLOORS)))


@pytest.mark.parametrize(
    ("module", "source", "problem"),
    [
        ("heald_worker.core.recovery", "import redis", "imports redis, which is not pure"),
        ("heald_worker.core.recovery", "from rq import Queue", "imports rq, which is not pure"),
        ("heald_worker.core.recovery", "import time", "imports time, which is not pure"),
        ("heald_worker.core.recovery", "def f():\n    import random", "imports random, which is not pure"),
        ("heald_worker.core.recovery", "import os", "imports os, which is not pure"),
        ("heald_worker.core.recovery", "from pathlib import Path", "imports pathlib, which is not pure"),
        ("heald_worker.core.recovery", "from heald_producer.push import push", "imports heald_producer.push, which"),
        ("heald_worker.core.recovery", "from heald_worker import keys", "imports heald_worker.keys, which is not pure"),
        ("heald_worker.core.recovery", "x = datetime.now()", "uses .now, which asks a clock"),
        ("heald_worker.core.recovery", "x = datetime.datetime.utcnow()", "uses .utcnow, which asks a clock"),
        ("heald_worker.core.recovery", "open('x')", "uses open, which is not pure"),
        ("heald_producer.signals", "import socket", "imports socket, which is not pure"),
        ("heald_producer.push", "from heald_worker.keys import INBOX", "the producer knows nothing of the worker"),
        ("heald_producer.push", "import heald_worker", "the producer knows nothing of the worker"),
        ("heald_producer.push", "from heald_worker import keys", "the producer knows nothing of the worker"),
        ("heald_worker.records", "from heald_worker.artifacts import sweep", "from a higher floor"),
        (
            "heald_worker.ledger",
            "def f():\n    from heald_worker import workers",
            "from a higher floor",
        ),
        (
            "heald_worker.queues",
            "if TYPE_CHECKING:\n    import heald_worker.cli.common",
            "from a higher floor",
        ),
        ("heald_worker.workers", "from heald_worker import decide_action", "imports from heald_worker itself"),
        ("heald_worker.workers", "from worker.heald_worker import keys", "imports worker.heald_worker; name"),
        ("heald_worker.workers", "import producer.heald_producer", "imports producer.heald_producer; name"),
        ("heald_producer.push", "import producer", "imports producer; name the package"),
        ("heald_producer.push", "from . import signals", "imports relatively; name the package"),
        ("heald_worker.brand_new", "", "has no floor yet"),
    ],
)
def test_a_violation_is_found(module: str, source: str, problem: str) -> None:
    found = complaints(module, source, KNOWN)
    assert len(found) == 1
    assert problem in found[0]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("heald_worker.core.recovery", "from heald_worker.core import log\nimport msgspec.structs"),
        ("heald_worker.cli.tail", "from heald_worker import keys\nimport time, redis"),
        ("heald_worker.ledger", "from heald_worker.artifacts import sweep"),
        ("heald_producer.push", "import redis, workers\nfrom heald_producer import signals"),
    ],
)
def test_what_is_allowed_is_not_complained_about(module: str, source: str) -> None:
    assert complaints(module, source, KNOWN) == []


def test_a_cycle_is_found_and_one_that_waits_for_a_call_is_none() -> None:
    eager = {"a": "from b import x", "b": "try:\n    import c\nfinally:\n    pass", "c": "import a"}
    assert cycles(eager) == [["a", "b", "c", "a"]]
    for lazy in ("def f():\n    import a", "if TYPE_CHECKING:\n    import a", "if typing.TYPE_CHECKING:\n    import a"):
        assert cycles({**eager, "c": lazy}) == []
