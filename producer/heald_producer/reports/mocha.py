"""The JSON report of mocha: one document with `stats`, `tests`, `pending`, `failures` and `passes`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from heald_producer.reports.json_parts import parts
from heald_producer.reports.results import NO_FAILURE, Failure, Results, Verdict
from heald_producer.reports.snippet import bounded, one_line

form = "mocha JSON"


class Mocha:
    """Reads one document. `failures`, `passes` and `pending` count; what failed in a hook is in `failures` alone."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._claimed: dict[str, int] = {}
        self._counted = {"passes": 0, "failures": 0, "pending": 0}
        self._suspects: list[Failure] = []

    def read(self, texts: Iterable[str]) -> None:
        """Take the document.

        Raises:
            BrokenJson: it breaks off; what came before was told.
        """
        try:
            for key, value in parts(texts):
                self._take(key, value)
        finally:
            self._end()

    def _take(self, key: str, value: Any) -> None:
        if key == "stats" and isinstance(value, dict):
            self._claimed = {name: number for name, number in value.items() if isinstance(number, int)}
        elif key in self._counted and isinstance(value, dict):
            self._counted[key] += 1
            getattr(self, f"_{key}")(value)
        elif key == "tests" and isinstance(value, dict) and _error(value) and len(self._suspects) < 100:
            self._suspects.append(_failure(value))

    def _passes(self, test: dict[str, Any]) -> None:
        again = test.get("currentRetry")
        is_flaky = isinstance(again, int) and again > 0
        self._results.case(*(Verdict.FLAKY, _failure(test)) if is_flaky else (Verdict.PASSED, NO_FAILURE))

    def _pending(self, test: dict[str, Any]) -> None:
        self._results.case(Verdict.SKIPPED, NO_FAILURE)

    def _failures(self, test: dict[str, Any]) -> None:
        title = test.get("title")
        if isinstance(title, str) and title.startswith(('"before', '"after')):
            self._results.error(_failure(test))
        else:
            is_told = self._results.keeps(Verdict.FAILED)
            self._results.case(Verdict.FAILED, _failure(test) if is_told else NO_FAILURE)

    def _end(self) -> None:
        """A document that broke off before its failures has them among its tests."""
        if not any(self._counted.values()):
            for failure in self._suspects:
                self._results.case(Verdict.FAILED, failure)
        claimed = self._claimed.get("failures")
        if claimed is not None and any(self._counted.values()) and claimed != self._counted["failures"]:
            found = self._counted["failures"]
            self._results.warn(f"its statistics tell of {claimed:,} failures, {found:,} are there; these count")


def _error(test: dict[str, Any]) -> dict[str, Any]:
    error = test.get("err")
    return error if isinstance(error, dict) else {}


def _failure(test: dict[str, Any]) -> Failure:
    error = _error(test)
    texts = [error.get(name) for name in ("message", "stack")]
    message, stack = (text if isinstance(text, str) else "" for text in texts)
    if not message and error:
        message = ", ".join(f"{name}: {value}" for name, value in error.items() if isinstance(value, str | int))
    title = test.get("fullTitle") or test.get("title")
    file = test.get("file")
    return Failure(
        one_line(title) if isinstance(title, str) else "(a test without a name)",
        one_line(file) if isinstance(file, str) else "",
        bounded(message),
        bounded(stack),
    )
