"""Which format a report has, told by its content; its name only decides about TAP without a version and a plan."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from heald_producer.reports import dart, go_test, mocha, tap
from heald_producer.reports.decoding import decoded, encoding_of, lines
from heald_producer.reports.dotnet import NUnit2, NUnit3, Trx, XUnit
from heald_producer.reports.json_parts import BrokenJson
from heald_producer.reports.junit import JUnit
from heald_producer.reports.results import Results
from heald_producer.reports.snippet import Snippet, one_line
from heald_producer.reports.xml_stream import Broken, Counting, Refused, read_xml

HEAD_BYTES = 64 * 1024
"""What is looked at to tell a format."""

_TAP_LINE = re.compile(r"^(?:TAP version 1[234]\b|1\.\.\d+\s*(?:#.*)?$|(?:not )?ok \d+\b)", re.MULTILINE)
_TAP_POINT = re.compile(r"^(?:not )?ok\b", re.MULTILINE)
_MOCHA_KEYS = {"stats", "passes", "failures"}
_ROOTS: dict[str, Callable[[Results], JUnit | Trx | NUnit2 | NUnit3 | XUnit]] = {
    "testsuites": JUnit,
    "testsuite": JUnit,
    "testcase": JUnit,
    "TestRun": Trx,
    "test-run": NUnit3,
    "test-results": NUnit2,
    "assemblies": XUnit,
    "assembly": XUnit,
}

Parser = Callable[[Iterable[bytes]], None]


class NotAReport(Exception):
    """The file has no format that is read here: one clause what it is instead."""


def read_report(pieces: Iterable[bytes], head: bytes, name: str, results: Results) -> None:
    """Add what one file tells to the results; it begins with `head`, which is part of the pieces.

    Raises:
        NotAReport: nothing was added.
    """
    if not head.strip(b"\0 \t\r\n"):
        results.warn("it is empty")
        return
    texts = decoded(pieces, head)
    begin = _beginning(head)
    if begin.startswith("<"):
        _read_xml(texts, results)
        return
    form = _text_format(begin, name)
    if form is None:
        raise NotAReport("neither XML nor JSON nor TAP that is known here")
    results.count_file(form)
    if form == mocha.form:
        _read_mocha(texts, results)
    elif form == go_test.form:
        go_test.GoTest(results).read(lines(texts))
    elif form == dart.form:
        dart.Dart(results).read(lines(texts))
    else:
        tap.Tap(results).read(lines(texts))


def _beginning(head: bytes) -> str:
    encoding, mark = encoding_of(head)
    return head[mark:].decode(encoding, "replace").lstrip("\ufeff \t\r\n")


def _text_format(begin: str, name: str) -> str | None:
    for line in begin.splitlines():
        if line.startswith("{"):
            if go_test.event_of(line):
                return go_test.form
            if dart.event_of(line):
                return dart.form
    if begin.startswith("{") and _first_key(begin) in _MOCHA_KEYS:
        return mocha.form
    if _TAP_LINE.search(begin) or (name.lower().endswith((".tap", ".t")) and _TAP_POINT.search(begin)):
        return tap.form
    return None


def _first_key(begin: str) -> str:
    try:
        key: Any = json.JSONDecoder().raw_decode(begin[1:].lstrip())[0]
    except (ValueError, RecursionError):
        return ""
    return key if isinstance(key, str) else ""


def _read_mocha(texts: Iterable[str], results: Results) -> None:
    try:
        mocha.Mocha(results).read(texts)
    except BrokenJson as problem:
        results.warn(f"{problem}; what came before was read")


def _read_xml(texts: Iterable[str], results: Results) -> None:
    root = _Root(results)
    try:
        read_xml(texts, root)
    except (Broken, Refused) as problem:
        results.warn(f"{problem}; what came before was read" if root.reader else str(problem))
    if root.reader is not None:
        root.reader.close()


class _Root:
    """Lets the first element choose who reads the document."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self.reader: JUnit | Trx | NUnit2 | NUnit3 | XUnit | None = None

    def start(self, name: str, attributes: Mapping[str, str]) -> Snippet | None:
        if self.reader is None:
            if name not in _ROOTS:
                raise NotAReport(f"XML whose root is <{one_line(name, 80)}>")
            self.reader = _ROOTS[name](self._results)
            self._results.count_file(self.reader.form)
        return self.reader.start(name, attributes)

    def end(self, name: str) -> Counting | None:
        return None if self.reader is None else self.reader.end(name)
