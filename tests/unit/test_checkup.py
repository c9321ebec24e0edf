"""The doctor's judgement, on what servers and machines may say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from heald_producer.spool import Spool
from heald_worker.cli.checkup import (
    Level,
    check_artifacts,
    check_configuration,
    check_playbook,
    check_spool,
    missing_of,
)
from heald_worker.cli.describe import repair_words
from heald_worker.cli.health import Thresholds, complaints
from heald_worker.cli.playbook_checkup import check_choice, check_folders
from heald_worker.cli.replay_checkup import check_replay, needs_rights
from heald_worker.cli.server_checkup import Backlog, check_persistence, check_server, check_work
from heald_worker.cli.vitals import Vitals
from heald_worker.config import Limits, Settings, load
from heald_worker.playbook import CommandNotice, CommandRepair, PythonRepair, RecordRepair, WebhookNotice
from heald_worker.rulebook import shipped_rulebook

SOUND = {"redis_version": "7.2.4", "role": "master", "maxmemory_policy": "noeviction", "used_memory": 5, "maxmemory": 0}
QUIET = Vitals(0, None, 0, 0, 0.0, 0, 0, None, repairs=0, control_alive=True, repairs_alive=True, control_workers=1)
BUSY = Backlog({"heald-decide": 3}, workers=2)


def worst(info: dict[str, Any]) -> str:
    return "; ".join(each.detail for each in check_server(SOUND | info) if each.level is not Level.OK)


def test_a_sound_server_gives_no_complaint() -> None:
    assert worst({}) == ""
    assert worst({"valkey_version": "8.0.1"}) == ""
    assert worst({"redis_version": "10.0"}) == ""


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"redis_version": "6.2.14"}, "Redis 6.2.14 is too old"),
        ({"valkey_version": "7.2.8"}, "Valkey 7.2.8 is too old"),
        ({"cluster_enabled": 1}, "it is a Redis Cluster"),
        ({"role": "slave"}, "it is a replica and refuses writes"),
        ({"maxmemory_policy": "allkeys-lru"}, "allkeys-lru: a full server would drop runs"),
        ({"maxmemory_policy": None}, "does not tell its eviction policy"),
        ({"used_memory": 95, "maxmemory": 100}, "95% of maxmemory is used"),
    ],
)
def test_a_server_that_would_lose_or_refuse_something_is_told_so(info: dict[str, Any], said: str) -> None:
    assert said in worst(info)


@pytest.mark.parametrize(
    ("info", "fsync", "level"),
    [
        ({"aof_enabled": 1}, "always", Level.OK),
        ({"aof_enabled": 1}, "everysec", Level.OK),
        ({"aof_enabled": 1}, None, Level.OK),
        ({"aof_enabled": 1}, "no", Level.WARN),
        ({"aof_enabled": 0}, "everysec", Level.WARN),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, "always", Level.BAD),
    ],
)
def test_persistence_is_judged_by_what_a_crash_would_lose(
    info: dict[str, Any], fsync: str | None, level: Level
) -> None:
    assert check_persistence(info, fsync).level is level


@pytest.mark.parametrize(
    ("version", "needed"),
    [
        ({"redis_version": "7.0.15"}, True),
        ({"redis_version": "8.4.1"}, True),
        ({"redis_version": "8.6.0"}, False),
        ({"redis_version": "7.2.4", "valkey_version": "8.0.1"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.1"}, True),
        ({"redis_version": "7.2.4", "valkey_version": "9.1.2"}, False),
        ({"redis_version": "7.2.4", "valkey_version": "10.0.0"}, False),
    ],
)
def test_only_servers_that_are_not_known_to_replay_freely_need_the_default_users_rights(
    version: dict[str, str], needed: bool
) -> None:
    assert needs_rights({"aof_enabled": 1} | version) is needed
    assert needs_rights({"aof_enabled": 0} | version) is False


@pytest.mark.parametrize(("everything", "level"), [(True, Level.OK), (None, Level.WARN), (False, Level.BAD)])
def test_a_default_user_without_rights_is_bad_and_an_unseen_one_a_warning(
    everything: bool | None, level: Level
) -> None:
    finding = check_replay({"redis_version": "7.0.15", "aof_enabled": 1}, everything)
    assert finding.level is level
    assert "Redis 7.0.15" in finding.detail
    assert level is Level.OK or "user default off resetpass ~* &* +@all" in finding.advice


def vitals(**changes: Any) -> Vitals:
    from msgspec.structs import replace

    return replace(QUIET, **changes)


@pytest.mark.parametrize(
    ("seen", "check", "level"),
    [
        (vitals(), "inbox", Level.OK),
        (vitals(inbox=200_000, oldest=90.0), "inbox", Level.WARN),
        (vitals(inbox=2_000_000), "inbox", Level.BAD),
        (vitals(agenda=9, overdue=4, lag=300.0), "agenda", Level.WARN),
        (vitals(agenda=9, overdue=4, lag=1.0), "agenda", Level.OK),
        (vitals(paused="a release"), "paused", Level.WARN),
        (vitals(dead=1), "dead letters", Level.WARN),
        (vitals(unheard=1), "notices", Level.BAD),
        (vitals(), "notices", Level.OK),
        (vitals(unclosed=2, closing=900.0), "closing", Level.WARN),
    ],
)
def test_work_that_stands_still_is_seen(seen: Vitals, check: str, level: Level) -> None:
    assert {each.check: each.level for each in check_work(seen, BUSY, Limits())}[check] is level


def test_a_service_without_workers_is_seen() -> None:
    found = {each.check: each for each in check_work(QUIET, Backlog({}, workers=0), Limits())}
    assert found["workers"].advice == "start one with `heald worker`"


LIMITS = Thresholds(max_inbox=10, max_age=60, max_lag=60, max_parked=0)


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (vitals(inbox=10, oldest=60.0, lag=60.0), []),
        (vitals(inbox=11), ["reports in the inbox: 11 (at most 10)"]),
        (vitals(oldest=61.0), ["the oldest report waits for 1m (at most 1m)"]),
        (vitals(overdue=3, lag=3600.0), ["overdue runs: 3, the worst by 1h (at most 1m)"]),
        (vitals(overdue=3, lag=3600.0, paused="by me"), []),
        (vitals(parked=1), ["parked runs: 1 (at most 0); `heald doctor` lists them"]),
        (vitals(inbox=11, parked=1, dead=9), ["inbox: 11", "parked runs: 1"]),
        (vitals(control_workers=0), ["control processes alive: 0 (at least 1); start one with `heald worker`"]),
        (vitals(control_workers=0, paused="by me"), []),
        (vitals(unclosed=3, closing=599.0), []),
        (vitals(unclosed=3, closing=900.0), ["runs that cannot end: 3, the longest for 15m (at most 10m)"]),
        (vitals(unclosed=3, closing=900.0, paused="by me"), []),
        (vitals(unheard=1), ["notices that nobody got: 1; `heald notices list` tells why"]),
    ],
)
def test_health_complains_about_what_is_beyond_its_threshold_and_nothing_else(seen: Vitals, said: list[str]) -> None:
    found = complaints(seen, LIMITS)
    assert len(found) == len(said)
    assert all(part in sentence for part, sentence in zip(said, found, strict=True))


def test_configuration_is_shown_with_its_origin_and_without_its_secrets(tmp_path: Path) -> None:
    (tmp_path / "heald.toml").write_text(
        """
        artifacts = "books"
        [policies.tight]
        max_attempts = 1
        [[rules]]
        stage = "deploy"
        policy = "tight"
        [repairs.retry]
        kind = "command"
        command = ["make"]
        env = { TOKEN = "hunter1" }
        [notices.on_escalated]
        kind = "webhook"
        url = "https://user:hunter2@example.com/hooks/hunter3?key=hunter4"
        headers = { Authorization = "hunter5" }
        [timing]
        lease = 5
        renewal = 1
        """
    )
    environ = {"REDIS_URL": "redis://me:hunter6@host/0", "HEALD_DRY_RUN": "yes"}
    found = list(check_configuration(load({}, environ, tmp_path)))
    shown = "\n".join(each.detail for each in found)
    assert "hunter" not in shown
    for part in (
        "heald.toml",
        "redis_url = redis://me:***@host/0 (REDIS_URL)",
        "rules = stage 'deploy' -> tight (heald.toml)",
        "timing.lease = 5s (heald.toml)",
        "dry_run = true (HEALD_DRY_RUN)",
        "dry_run is set: nothing is repaired",
        "a busy machine may lose repairs",
    ):
        assert part in shown


def test_what_the_playbook_names_and_this_machine_lacks_is_told(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    path = {"PATH": os.environ["PATH"]}
    assert missing_of(CommandRepair(("sh", "-c", "x")), path) == ""
    assert "the program no-such-tool is not found" in missing_of(CommandRepair(("no-such-tool",)), path)
    assert "may not be run" in missing_of(CommandRepair(("./tool",), cwd=str(tmp_path)), path)
    tool.chmod(0o755)
    assert missing_of(CommandRepair(("./tool",), cwd=str(tmp_path)), path) == ""
    assert missing_of(CommandRepair(("tool",), env={"PATH": str(tmp_path)}), path) == ""
    assert "is not there" in missing_of(CommandNotice(("sh",), cwd=str(tmp_path / "gone")), path)
    assert missing_of(PythonRepair("json:loads"), path) == ""
    assert missing_of(PythonRepair("no_such_package.x:f"), path) == "the module no_such_package is not found"
    assert missing_of(RecordRepair(), path) == ""
    webhook = WebhookNotice("https://x/", headers={"A": "$TOKEN", "B": "plain"})
    assert "headers.A takes its value from $TOKEN, which is not set" in missing_of(webhook, path)
    assert "env.X takes its value from $GONE" in missing_of(CommandRepair(("sh",), env={"X": "$GONE"}), path)
    assert missing_of(webhook, {"TOKEN": "x"}) == ""


def test_an_action_without_a_repair_is_told() -> None:
    warned = [each.detail for each in check_playbook(Settings(), {})]
    assert warned == [
        f"no repair for {action}: that is never decided on, unless another worker has one"
        for action in ("retry", "patch_forward", "rollback")
    ]


def choices(tmp_path: Path, text: str, **environ: str) -> list[str]:
    (tmp_path / "heald.toml").write_text(text)
    return [f"{each.detail}; {each.advice}" for each in check_choice(load({}, environ, tmp_path).settings)]


def test_a_repair_behind_one_for_all_failures_is_told(tmp_path: Path) -> None:
    patch = "[[repairs]]\naction = 'patch_forward'\nkind = 'record'\n"
    retry = "[[repairs]]\naction = 'retry'\nkind = 'record'\n"
    lint = patch + "match = { stage = 'lint' }\n"
    assert choices(tmp_path, lint + patch + retry) == []
    [told] = choices(tmp_path, patch + retry + lint)
    assert told.startswith("repairs[2] is never made: repairs[0], before it, is for all failures")


def test_a_repair_for_what_no_rule_says_is_told(tmp_path: Path) -> None:
    repair = "[[repairs]]\naction = 'retry'\nkind = 'record'\nmatch = {{ {} }}\n"
    rule = next(rule for rule in shipped_rulebook().rules if rule.subclass)
    fine = f"rule = '{rule.name}', subclass = '{rule.subclass[:1]}*'"
    assert choices(tmp_path, repair.format(fine)) == []
    [told] = choices(tmp_path, repair.format("subclass = 'lints'"))
    assert told.startswith("repairs[0] is never made: the rules know no subclass 'lints'")
    [told] = choices(tmp_path, repair.format(fine), HEALD_TAXONOMY="aivcs")
    assert "the rules know no subclass" in told


def test_relative_paths_that_used_to_lead_elsewhere_are_told(tmp_path: Path) -> None:
    home, here = tmp_path / "etc", tmp_path / "here"
    for folder in (home, here):
        (folder / "fixes").mkdir(parents=True)
    told = "kind = 'command'\ncommand = {}\n"
    (home / "h.toml").write_text(
        f"[repairs.retry]\n{told.format(['./again.sh'])}[repairs.rollback]\n{told.format(['sh', 'back.sh'])}"
        f"[repairs.patch_forward]\ncwd = '{here}'\n{told.format(['./fix.sh'])}"
    )
    loaded = load({"config": str(home / "h.toml")}, {}, here)
    assert list(check_folders(loaded, here)) == []
    (here / "fix.sh").touch()
    (home / "again.sh").touch()
    (home / "sh").touch()
    assert list(check_folders(loaded, here)) == []
    (here / "again.sh").touch()
    (here / "back.sh").touch()
    warned = [each.detail for each in check_folders(loaded, here)]
    assert warned == [
        f"{name}: {path} is looked for in {home}; {here}, where heald is started, has another"
        for name, path in (("repairs.retry", "./again.sh"), ("repairs.rollback", "back.sh"))
    ]
    assert list(check_folders(load({"config": str(home / "h.toml")}, {}, home), home)) == []
    (home / "again.sh").unlink()
    (home / "again.sh").symlink_to(here / "again.sh")
    assert [each.detail[:16] for each in check_folders(loaded, here)] == ["repairs.rollback"]


def test_an_artifact_folder_is_tried_and_nothing_is_left_behind(tmp_path: Path) -> None:
    assert check_artifacts(tmp_path).level is Level.OK
    assert "the first recovery makes it" in check_artifacts(tmp_path / "a" / "b").detail
    (tmp_path / "file").write_text("x")
    assert check_artifacts(tmp_path / "file").level is Level.BAD
    assert check_artifacts(tmp_path / "file" / "sub").level is Level.BAD
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_artifact_folder_that_cannot_be_written_is_told() -> None:
    place = Path("/proc/self/fd")
    if not place.exists():
        pytest.skip("needs /proc")
    assert "cannot be written" in check_artifacts(place / "x").detail


def test_a_spool_that_holds_reports_is_told(tmp_path: Path) -> None:
    assert check_spool(tmp_path / "none").level is Level.OK
    Spool(tmp_path).keep(b"{}", now=1.0, token="t", warn=pytest.fail)
    found = check_spool(tmp_path)
    assert (found.level, found.advice) == (Level.WARN, "`heald push --spool` sends them")


def test_a_sentinel_that_is_set_aside_shows_no_password(tmp_path: Path) -> None:
    (tmp_path / "heald.toml").write_text("[sentinel]\nmaster_name = 'ci'\npassword = 'hunter1'\n")
    for environ, said in (({}, "ci (Sentinel)"), ({"REDIS_URL": "redis://:hunter2@h/0"}, "set aside")):
        shown = "\n".join(each.detail for each in check_configuration(load({}, environ, tmp_path)))
        assert said in shown
        assert "hunter" not in shown


def test_secrets_in_a_command_are_masked() -> None:
    token = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"
    shown = repair_words(CommandRepair(("curl", "-H", f"Authorization: Bearer {token}", "--password", "hunter22")))
    assert token not in shown
    assert "curl" in shown
