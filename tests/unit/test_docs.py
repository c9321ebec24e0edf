"""The documentation says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from heald_producer.connection import Sentinel
from heald_worker.config import Limits, Retention, Settings, Timing, load_settings
from heald_worker.config_values import duration
from heald_worker.core.policy import Bounds, RecoveryPolicy
from heald_worker.playbook import CommandNotice, CommandRepair, PythonRepair, RecordRepair, RepairMatch, WebhookNotice
from heald_worker.policies import MatchRule

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text("utf-8")
ROWS = dict(re.findall(r"^\| `([a-zA-Z_.]+)` \| ?([^|]*) \|", CONFIGURATION, re.MULTILINE))
"""Key -> what its row gives as the default."""
GROUPS: dict[str, Any] = {"limits": Limits(), "timing": Timing(), "retention": Retention()}
INTERNAL = {"HEALD_SUPERVISED"}


def toml_blocks() -> list[Any]:
    blocks = []
    for page in PAGES:
        text = page.read_text("utf-8")
        for number, block in enumerate(
            re.findall(r"^```toml[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL), start=1
        ):
            blocks.append(pytest.param(block, id=f"{page.name}-{number}"))
    return blocks


@pytest.mark.parametrize("block", toml_blocks())
def test_every_toml_example_is_a_valid_configuration(block: str, tmp_path: Path) -> None:
    (tmp_path / "heald.toml").write_text(block, "utf-8")
    assert load_settings({}, {}, tmp_path)


def test_every_key_of_the_settings_is_described() -> None:
    plain = {"redis_url", "artifacts", "fsync", "taxonomy", "remedies", "flaky_learning", "regression", "dry_run"}
    sections = {"sentinel", "policies", "bounds", "rules", "diagnosis", "playbook", *GROUPS}
    assert plain | sections == set(Settings.__struct_fields__), "a new setting: describe it, and add it here"
    expected = plain | {f"{group}.{name}" for group, numbers in GROUPS.items() for name in numbers.__struct_fields__}
    expected |= {f"sentinel.{name}" for name in Sentinel.__struct_fields__}
    expected |= {f"policies.NAME.{name}" for name in RecoveryPolicy.__struct_fields__}
    expected |= {f"policies.NAME.{name}" for name in Bounds.__struct_fields__}
    expected |= {"diagnosis.files", "diagnosis.rule", "diagnosis.tool"}
    expected |= {f"rules.{name}" for name in MatchRule.__struct_fields__}
    for kind in (CommandRepair, PythonRepair, RecordRepair):
        expected |= {f"repairs.ACTION.{name}" for name in kind.__struct_fields__}
    expected |= {f"repairs.{name}" for name in ("action", "name", "match")} | {"repairs.ACTION.reverts"}
    matched = {"class" if name == "failure_class" else name for name in RepairMatch.__struct_fields__}
    expected |= {f"repairs.match.{name}" for name in matched}
    expected |= {f"notices.NAME.{name}" for name in (*WebhookNotice.__struct_fields__, "kind")}
    assert expected - set(ROWS) == set()
    assert set(CommandNotice.__struct_fields__) <= set(re.findall(r"[a-z_]+", CONFIGURATION))


@pytest.mark.parametrize("group", GROUPS)
def test_described_defaults_of_numbers_are_the_real_ones(group: str) -> None:
    seconds = duration().check
    for name in GROUPS[group].__struct_fields__:
        shown = ROWS[f"{group}.{name}"].strip("`")
        value = int(shown) if group == "limits" else seconds(shown, name)
        assert value == getattr(GROUPS[group], name), name


def test_described_defaults_of_the_rest_are_the_real_ones() -> None:
    settings, policy = Settings(), RecoveryPolicy()
    for name in ("redis_url", "artifacts", "fsync", "taxonomy", "remedies", "flaky_learning", "regression", "dry_run"):
        assert ROWS[name].strip("`") == _as_toml(getattr(settings, name)), name
    for name in RecoveryPolicy.__struct_fields__:
        assert ROWS[f"policies.NAME.{name}"].strip("`") == _as_toml(getattr(policy, name)), name
    for name in Bounds.__struct_fields__:
        assert ROWS[f"policies.NAME.{name}"].strip("`") == _as_toml(getattr(settings.bounds_of("any"), name)), name
    assert duration().check(ROWS["repairs.ACTION.time_limit"].strip("`"), "") == CommandRepair(("x",)).time_limit


def _as_toml(value: object) -> str:
    if isinstance(value, tuple):
        return str(list(value)).replace("'", '"')
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_every_variable_that_the_code_knows_is_described() -> None:
    sources = [*(ROOT / "producer").rglob("*.py"), *(ROOT / "worker").rglob("*.py")]
    known = {name for path in sources for name in re.findall(r"\bHEALD_[A-Z_]*[A-Z]\b", path.read_text("utf-8"))}
    described = {name for page in PAGES for name in re.findall(r"\bHEALD_[A-Z_]*[A-Z]\b", page.read_text("utf-8"))}
    assert known - described - INTERNAL == set()


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
