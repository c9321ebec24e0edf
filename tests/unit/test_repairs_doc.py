"""docs/repairs.md is true: its files are used as they stand there, its tables are compared with what happens."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from heald_producer.signals import Context, FailureSignal
from heald_worker.config import load_settings
from heald_worker.core.policy import RecoveryAction
from heald_worker.core.recovery import Ending
from heald_worker.core.taxonomy import FailureClass
from heald_worker.notices import deliver, notice_variables
from heald_worker.playbook import Case, CommandRepair, Playbook, Reach, WebhookNotice
from heald_worker.records import canonical_bytes, decode_log, digest_of
from heald_worker.repairs import RepairOrder, RepairReport, perform, resolve_callables
from heald_worker.repairs.facts import RepairResult, repair_variables
from support.web import WebServer, status

PAGE = (Path(__file__).parents[2] / "docs" / "repairs.md").read_text()
FILES = dict(re.findall(r"^```\w+ title=(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
needs_git = pytest.mark.skipif(not (shutil.which("git") and shutil.which("make")), reason="needs git and make")

MAKEFILE = "test:\n\ttest -e passes\nformat:\n\techo formatted > code.txt\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository whose `make test` passes when the file `passes` is there."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "code.txt").write_text("not formatted\n")
    git(folder, "init", "--quiet")
    git(folder, "config", "user.name", "Test")
    git(folder, "config", "user.email", "test@example.com")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "First")
    return folder


@pytest.fixture
def playbook(tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Playbook]:
    """The page's configuration, with its files beside it."""
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text.replace("/srv/checkouts/shop", str(checkout)))
        file.chmod(0o755)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield load_settings({}, {}, tmp_path).playbook
    sys.modules.pop("my_repairs", None)


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def documented(facts: Mapping[str, Any], **changes: Any) -> RepairOrder:
    """The order that the page's file of facts is about."""
    fields: dict[str, Any] = {
        "run_id": facts["run_id"],
        "attempt": facts["attempt"],
        "action": RecoveryAction(facts["action"]),
        "failure_class": FailureClass(facts["failure_class"]),
        "failure": msgspec.convert(facts["failure"], FailureSignal),
        "context": msgspec.convert(facts["context"], Context),
        "generation": facts["generation"],
        **{name: facts[name] for name in ("subclass", "rule", "evidence", "confidence")},
    }
    return RepairOrder(**(fields | changes))


def make(playbook: Playbook, action: RecoveryAction, order: RepairOrder, scratch: Path) -> RepairReport:
    environ = {**os.environ, "PATCH_BOT_TOKEN": "t"}
    repair = playbook.repair_for(action, Case())
    return perform(repair, order, scratch=scratch, stopping=lambda: False, environ=environ)


def table(after: str) -> list[list[str]]:
    """The cells of the first table behind a text."""
    lines = PAGE.partition(after)[2].splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_the_files_of_facts_look_as_the_page_shows_them(tmp_path: Path) -> None:
    shown = json.loads(FILES["facts.json"])
    out = tmp_path / "facts"
    repair = CommandRepair(("sh", "-c", 'cat "$HEALD_FACTS" > "$1"', "sh", str(out)))
    perform(repair, documented(shown), scratch=tmp_path, stopping=lambda: False)
    assert out.read_text() == FILES["facts.json"]


def test_the_pages_variables_are_those_that_are_set() -> None:
    rows = table("## What it is told")
    for_repairs = {row[0].strip("`") for row in rows if row[1] == "yes"} - {"HEALD_FACTS", "HEALD_RESULT"}
    for_notices = {row[0].strip("`") for row in rows if row[2] == "yes"} - {"HEALD_FACTS"}
    assert for_repairs == set(repair_variables(documented(json.loads(FILES["facts.json"]))))
    assert for_notices == set(notice_variables(json.loads(FILES["notice.json"])))


def test_the_pages_fields_of_a_result_are_those_that_are_read() -> None:
    rows = table("writes to `HEALD_RESULT`**, a JSON object")
    assert tuple(row[0].strip("`") for row in rows) == RepairResult.__struct_fields__


@needs_git
def test_the_pages_retry_runs_the_tests_again(playbook: Playbook, checkout: Path, tmp_path: Path) -> None:
    facts = json.loads(FILES["facts.json"])
    context = Context(commit=git(checkout, "rev-parse", "HEAD"))
    order = documented(facts, context=context, failure=FailureSignal("unit", "m", 1, True))
    report = make(playbook, RecoveryAction.RETRY, order, tmp_path)
    assert report.detail == "failed again, so it is not flaky"
    assert report.result.next_failure == FailureSignal("unit", "m", 1, False)
    assert "Error 1" in report.output
    (checkout / "passes").touch()
    assert make(playbook, RecoveryAction.RETRY, order, tmp_path).result.success


@needs_git
def test_the_pages_patch_is_made_once_however_often_it_runs(playbook: Playbook, checkout: Path, tmp_path: Path) -> None:
    order = documented(json.loads(FILES["facts.json"]), context=Context(commit=git(checkout, "rev-parse", "HEAD")))
    first = make(playbook, RecoveryAction.PATCH_FORWARD, order, tmp_path)
    branch = "heald/github-4711-1-unit-2"
    assert (first.result.success, first.detail) == (True, f"patched on {branch}")
    patched = git(checkout, "rev-parse", branch)
    again = make(playbook, RecoveryAction.PATCH_FORWARD, order, tmp_path)
    assert (again.result.success, again.detail) == (True, "the patch was there already")
    assert git(checkout, "rev-parse", branch) == patched
    assert git(checkout, "show", f"{branch}:code.txt") == "formatted"


@needs_git
@pytest.mark.parametrize("commit", [None, "--orphan=x", "main; touch pwned"])
def test_the_pages_repairs_refuse_a_commit_that_is_none(
    commit: str | None, playbook: Playbook, checkout: Path, tmp_path: Path
) -> None:
    before = git(checkout, "log", "--all", "--oneline")
    order = documented(json.loads(FILES["facts.json"]), context=Context(commit=commit))
    for action in (RecoveryAction.RETRY, RecoveryAction.PATCH_FORWARD):
        report = make(playbook, action, order, tmp_path)
        assert not report.result.success
        assert report.output.startswith("no commit to ")
    assert git(checkout, "log", "--all", "--oneline") == before


@needs_git
def test_the_pages_function_rolls_back(playbook: Playbook, tmp_path: Path) -> None:
    assert list(resolve_callables(playbook)) == ["my_repairs:rollback"]
    order = documented(json.loads(FILES["facts.json"]))
    report = make(playbook, RecoveryAction.ROLLBACK, order, tmp_path)
    assert (report.result.success, report.detail) == (True, "deployed v41 as github-4711-1-unit:2")
    unknown = make(
        playbook, RecoveryAction.ROLLBACK, documented(json.loads(FILES["facts.json"]), context=Context()), tmp_path
    )
    assert unknown.result.next_failure == FailureSignal("rollback", "no version before is known of None")


@needs_git
def test_the_pages_notices_go_out(playbook: Playbook, tmp_path: Path) -> None:
    told = json.loads(FILES["notice.json"])
    facts = {name: value for name, value in told.items() if name not in ("format", "idempotency_key")}
    assert deliver(playbook.notices[Ending.EXHAUSTED], facts, scratch=tmp_path).delivered
    hook = playbook.notices[Ending.ESCALATED]
    assert isinstance(hook, WebhookNotice)
    assert hook.forbid == tuple(Reach)
    with WebServer(status(204)) as server:
        local = WebhookNotice(server.url, hook.headers)
        assert deliver(local, facts, environ={"CHAT_TOKEN": "t"}).delivered
    assert json.loads(server.requests[0].body) == told
    assert server.requests[0].headers["authorization"] == "t"


def test_the_log_that_the_page_shows_is_a_recovery_log_with_its_digest() -> None:
    told = json.loads(FILES["notice.json"])
    data = json.dumps(told["log"], indent=2, ensure_ascii=False).encode()
    assert canonical_bytes(decode_log(data)) == data
    assert digest_of(data) == told["digest"]
