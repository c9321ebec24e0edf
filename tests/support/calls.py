"""Calling `heald` verbs in this process, with settings of their own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from heald_worker.cli import main


class Answer(NamedTuple):
    """What a verb answered."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        """The lines of `--json`."""
        return [json.loads(line) for line in self.lines]


class Caller:
    """Calls verbs against one server."""

    def __init__(
        self, url: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._capsys = capsys
        for name in list(os.environ):
            if name.startswith("HEALD_") or name in ("REDIS_URL", "FORCE_COLOR"):
                monkeypatch.delenv(name)
        monkeypatch.chdir(folder)
        monkeypatch.setenv("HEALD_REDIS_URL", url)
        monkeypatch.setenv("HEALD_ARTIFACTS", str(folder / "artifacts"))

    def __call__(self, *argv: str) -> Answer:
        self._capsys.readouterr()
        code = main(list(argv))
        out, err = self._capsys.readouterr()
        return Answer(code, out, err)
