"""Settings: four places that say something, one that wins, and complaints that name the key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from heald_worker.config import ConfigError, Limits, Settings, load, load_settings
from heald_worker.core.policy import Bounds, RecoveryAction, RecoveryPolicy, RetryTestsOn
from heald_worker.core.recovery import Ending
from heald_worker.playbook import (
    Case,
    CommandNotice,
    CommandRepair,
    PlaybookEntry,
    PythonRepair,
    RecordRepair,
    Repair,
    RepairMatch,
    WebhookNotice,
    one_for_all,
)


def settings_of(folder: Path, text: str, **environ: str) -> Settings:
    (folder / "heald.toml").write_text(text, "utf-8")
    return load_settings({}, environ, folder)


def complaint(folder: Path, text: str, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        settings_of(folder, text, **environ)
    return str(caught.value)


def test_without_any_source_the_defaults_hold(tmp_path: Path) -> None:
    settings = load_settings({}, {}, tmp_path)
    assert settings == Settings(artifacts=tmp_path / "heald-artifacts")
    assert settings.policies == {"default": RecoveryPolicy()}


def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    (tmp_path / "heald.toml").write_text('regression = "off"\ntaxonomy = "aivcs"\nfsync = false\ndry_run = true\n')
    environ = {"HEALD_REGRESSION": "enforce", "HEALD_FSYNC": "yes"}
    loaded = load({"regression": "observe"}, environ, tmp_path)
    assert (loaded.settings.regression, loaded.settings.fsync, loaded.settings.dry_run) == (
        "observe",
        True,
        True,
    )
    assert loaded.origins == {
        "regression": "--regression",
        "fsync": "HEALD_FSYNC",
        "dry_run": "heald.toml",
        "taxonomy": "heald.toml",
    }
    assert loaded.file == tmp_path / "heald.toml"


def test_heald_redis_url_beats_redis_url_and_both_beat_the_file(tmp_path: Path) -> None:
    file = 'redis_url = "redis://file/1"'
    assert settings_of(tmp_path, file).redis_url == "redis://file/1"
    assert settings_of(tmp_path, file, REDIS_URL="redis://common/2").redis_url == "redis://common/2"
    both = settings_of(tmp_path, file, REDIS_URL="redis://common/2", HEALD_REDIS_URL="redis://own/3")
    assert both.redis_url == "redis://own/3"


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    assert settings_of(tmp_path, 'redis_url = "redis://file/1"', REDIS_URL="").redis_url == "redis://file/1"


def test_relative_paths_start_at_the_file_for_the_file_and_at_the_current_folder_for_the_rest(
    tmp_path: Path,
) -> None:
    home, here = tmp_path / "etc", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    (home / "h.toml").write_text(
        'artifacts = "books"\n[repairs.retry]\nkind = "command"\ncommand = ["true"]\ncwd = "scripts"\n'
    )
    named = {"HEALD_CONFIG": "../etc/h.toml"}
    settings = load_settings({}, named, here)
    assert settings.artifacts.resolve() == home / "books"
    repair = settings.playbook.repair_for(RecoveryAction.RETRY, Case())
    assert isinstance(repair, CommandRepair)
    assert Path(repair.cwd or "").resolve() == home / "scripts"
    assert load_settings({"artifacts": "mine"}, named, here).artifacts == here / "mine"
    assert load_settings({}, named | {"HEALD_ARTIFACTS": "mine"}, here).artifacts == here / "mine"


def test_numbers_are_set_one_by_one_by_variables(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path, "[limits]\nmax_lineage = 4\n", HEALD_LIMITS_INTAKE_REPORTS="17", HEALD_TIMING_LEASE="2m"
    )
    assert settings.limits == Limits(intake_reports=17, max_lineage=4)
    assert settings.timing.lease == 120.0


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("45", 45),
        ("0.5", 0.5),
        ('"90"', 90),
        ('"90s"', 90),
        ('"15m"', 900),
        ('"2h"', 7200),
        ('"1.5 d"', 129_600),
    ],
)
def test_durations_are_seconds_or_text_with_a_unit(tmp_path: Path, written: str, seconds: float) -> None:
    settings = settings_of(tmp_path, f"[repairs.retry]\nkind = 'python'\ncall = 'a:b'\ntime_limit = {written}")
    assert settings.playbook.repair_for(RecoveryAction.RETRY, Case()) == PythonRepair("a:b", time_limit=seconds)


def test_policies_take_what_they_leave_out_from_the_reference(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path, "[policies.default]\nmax_attempts = 7\n[policies.'no touch']\nallow_rollback = false\n"
    )
    assert settings.policies == {
        "default": RecoveryPolicy(max_attempts=7),
        "no touch": RecoveryPolicy(allow_rollback=False),
    }


def test_heald_s_own_bounds_stand_beside_the_reference_s_four(tmp_path: Path) -> None:
    settings = settings_of(
        tmp_path,
        "[policies.default]\nmax_transient_retries = 0\nmin_confidence = 1\n"
        "[policies.calm]\nmax_attempts = 9\nretry_tests_on = 'all'\ndeploy_stages = ['Ship*']\n",
    )
    assert settings.policies == {"default": RecoveryPolicy(), "calm": RecoveryPolicy(max_attempts=9)}
    assert settings.bounds_of("default") == Bounds(max_transient_retries=0, min_confidence=1.0)
    assert settings.bounds_of("calm") == Bounds(retry_tests_on=RetryTestsOn.ALL, deploy_stages=("ship*",))
    assert settings.bounds_of("other") == Bounds()


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("min_confidence = 1.5", "min_confidence must be a number from 0 to 1, not 1.5"),
        ("min_confidence = true", "min_confidence must be a number from 0 to 1, not true"),
        ("retry_tests_on = 'main'", "retry_tests_on must be one of default_branch, all, none, not 'main'"),
        ("deploy_stages = 'deploy'", "deploy_stages must be a list of globs, not 'deploy'"),
        ("deploy_stages = [1]", "deploy_stages[0] must be text, not 1"),
        ("max_transient_retries = -1", "max_transient_retries must be at least 0, not -1"),
    ],
)
def test_a_bound_that_cannot_be_used_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"heald.toml: policies.calm.{complaint}")):
        settings_of(tmp_path, f"[policies.calm]\n{line}\n")


def test_remedies_are_the_reference_s_when_it_is_said_or_its_taxonomy_is_chosen(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "").has_remedies
    assert not settings_of(tmp_path, "remedies = 'aivcs'").has_remedies
    assert not settings_of(tmp_path, "taxonomy = 'aivcs'").has_remedies
    with pytest.raises(ConfigError, match="remedies must be one of heald, aivcs, not 'none'"):
        settings_of(tmp_path, "remedies = 'none'")


MINE = """
[[rule]]
name = "mine"
class = "integration"
match = "lic-[0-9]+ is away"
"""


def test_own_rules_come_from_files_in_their_order_and_then_from_the_file_itself(tmp_path: Path) -> None:
    (tmp_path / "rules").mkdir()
    for name in ("b", "a"):
        (tmp_path / "rules" / f"{name}.toml").write_text(MINE.replace("mine", name))
    (tmp_path / "first.toml").write_text(MINE)
    settings = settings_of(
        tmp_path,
        '[diagnosis]\nfiles = ["first.toml", "rules/*.toml"]\n' + MINE.replace("[[rule]]", "[[diagnosis.rule]]"),
    )
    names = [[rule.name for rule in pack.rules] for pack in settings.diagnosis]
    assert names == [["mine"], ["a"], ["b"], ["mine"]]
    assert settings.diagnosis[-1].name == "heald.toml"


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("file = ['x']", "heald.toml: diagnosis.file is not a known key; did you mean 'files'?"),
        ("files = 'rules.toml'", "diagnosis.files must be a list of files"),
        ("files = [7]", "diagnosis.files[0] must be text"),
        ("files = ['gone.toml']", "gone.toml cannot be read: No such file or directory"),
        ("files = ['gone/*.toml']", "diagnosis.files[0]: no file fits 'gone/*.toml'"),
        ("files = ['torn.toml']", "torn.toml: this is not TOML"),
        ("files = ['latin.toml']", "latin.toml cannot be read: it is not UTF-8"),
        ("files = ['huge.toml']", "huge.toml is larger than 1 MiB"),
        ("files = ['deep.toml']", "deep.toml: this is nested too deep"),
        ("rule = 7", "heald.toml: `rule` is no list"),
        (
            "[[diagnosis.rule]]\nname = 'a'\nclass = 'bulid'\nmatch = 'x'",
            "rule 'a': `class`: there is no class `bulid`",
        ),
        ("[[diagnosis.rule]]\nname = 'a'\nclass = 'test'\nmacth = 'x'", "did you mean `match`?"),
        ("[[diagnosis.rule]]\nname = 'a'\nclass = 'test'\nmatch = 'x(?=y)'", "rule 'a': `match` pattern 'x(?=y)'"),
        ("[[diagnosis.rule]]\nname = 'a'\nclass = 'test'\nmatch = ''", "rule 'a': `match` pattern '' matches an empty"),
        ("[[diagnosis.rule]]\nname='a'\nclass='test'\nmatch='x'\n" * 2, "rule 'a': a second rule has this name"),
    ],
)
def test_own_rules_that_cannot_be_used_are_refused_with_file_rule_and_key(
    tmp_path: Path, section: str, said: str
) -> None:
    (tmp_path / "torn.toml").write_text("[[rule]\n")
    (tmp_path / "latin.toml").write_bytes("# schön\n".encode("latin-1"))
    (tmp_path / "huge.toml").write_text("#" * 1_100_000)
    (tmp_path / "deep.toml").write_text("x = " + "[" * 100_000)
    assert said in complaint(tmp_path, section if section.startswith("[[") else f"[diagnosis]\n{section}\n")


def test_the_playbook_holds_every_kind_of_repair_and_notice(tmp_path: Path) -> None:
    playbook = settings_of(
        tmp_path,
        """
        [repairs.retry]
        kind = "command"
        command = ["make", "again"]
        env = { LEVEL = "1", EMPTY = "" }
        [repairs.patch_forward]
        kind = "python"
        call = "fixes.forward:patch"
        [repairs.rollback]
        kind = "record"
        succeed_from = 2
        [notices.on_escalated]
        kind = "webhook"
        url = "https://example.com/hook"
        headers = { X-Token = "$TOKEN" }
        forbid = ["loopback", "private"]
        [notices.on_exhausted]
        kind = "command"
        command = ["mail", "us"]
        """,
    ).playbook
    here = str(tmp_path)
    repairs: dict[RecoveryAction, Repair] = {
        RecoveryAction.RETRY: CommandRepair(("make", "again"), here, env={"LEVEL": "1", "EMPTY": ""}),
        RecoveryAction.PATCH_FORWARD: PythonRepair("fixes.forward:patch"),
        RecoveryAction.ROLLBACK: RecordRepair(succeed_from=2),
    }
    assert playbook.repairs == one_for_all(repairs)
    webhook = playbook.notices[Ending.ESCALATED]
    assert isinstance(webhook, WebhookNotice)
    assert (webhook.url, webhook.headers) == ("https://example.com/hook", {"X-Token": "$TOKEN"})
    assert playbook.notices[Ending.EXHAUSTED] == CommandNotice(("mail", "us"), here)


def test_several_repairs_of_an_action_are_read_in_their_order(tmp_path: Path) -> None:
    playbook = settings_of(
        tmp_path,
        """
        [[repairs]]
        action = "patch_forward"
        name = "formatters"
        match = { repository = "acme/*", class = "build", subclass = "lint", tool = "ruff" }
        kind = "command"
        command = ["./format.sh"]
        [[repairs]]
        action = "patch_forward"
        kind = "record"
        [[repairs]]
        action = "rollback"
        reverts = true
        kind = "command"
        command = ["./revert.sh"]
        cwd = "git"
        output_is_failure = true
        """,
    ).playbook
    patch, rollback = RecoveryAction.PATCH_FORWARD, RecoveryAction.ROLLBACK
    match = RepairMatch(repository="acme/*", failure_class="build", subclass="lint", tool="ruff")
    revert = CommandRepair(("./revert.sh",), str(tmp_path / "git"), output_is_failure=True)
    assert playbook.repairs == (
        PlaybookEntry(patch, CommandRepair(("./format.sh",), str(tmp_path)), match, "formatters"),
        PlaybookEntry(patch, RecordRepair(), name="repairs[1]"),
        PlaybookEntry(rollback, revert, name="repairs[2]", reverts=True),
    )


def test_a_repair_for_all_failures_may_revert(tmp_path: Path) -> None:
    [entry] = settings_of(tmp_path, "[repairs.rollback]\nkind='record'\nreverts=true").playbook.repairs
    assert entry == PlaybookEntry(RecoveryAction.ROLLBACK, RecordRepair(), name="rollback", reverts=True)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("kind='record'", "repairs[0].action is missing; possible: retry, patch_forward, rollback"),
        ("action='escalate'", "repairs[0].action cannot be: escalating repairs nothing"),
        (
            "action='patch'\nkind='record'",
            "action must be one of retry, patch_forward, rollback, not 'patch'",
        ),
        ("action=3\nkind='record'", "repairs[0].action must be one of"),
        ("action='retry'", "repairs[0].kind is missing"),
        ("action='retry'\nkind='record'\nreverts=true", "repairs[0].reverts is for rollback"),
        ("action='retry'\nkind='record'\nreverts=1", "repairs[0].reverts must be true or false"),
        ("action='retry'\nkind='record'\nmatch='x'", "repairs[0].match must be a table, not 'x'"),
        ("action='retry'\nkind='record'\nmatch={sub='x'}", "repairs[0].match.sub is not a known key"),
        ("action='retry'\nkind='record'\nmatch={failure_class='x'}", "match.failure_class is not a known key"),
        ("action='retry'\nkind='record'\nmatch={ref=3}", "repairs[0].match.ref must be text, not 3"),
        (
            "action='retry'\nkind='record'\nmatch={class='tests'}",
            "repairs[0].match.class names 'tests', which is no class of failures; did you mean 'test'?",
        ),
        ("action='retry'\nkind='record'\nname=''", "repairs[0].name must be text that is not empty"),
        (
            "action='retry'\nkind='record'\nname='x'\n[[repairs]]\naction='retry'\nkind='record'\nname='x'",
            "repairs[1].name: 'x' is the name of another repair",
        ),
        ("action='retry'\nkind='record'\nsucceeds=true", "repairs[0].succeeds is not a known key"),
    ],
)
def test_what_is_wrong_with_one_of_several_repairs_is_named(entry: str, said: str, tmp_path: Path) -> None:
    assert said in complaint(tmp_path, f"[[repairs]]\n{entry}")


@pytest.mark.parametrize("key", ["match = { stage = 'x' }", "name = 'x'", "action = 'retry'"])
def test_a_repair_for_all_failures_is_not_chosen(key: str, tmp_path: Path) -> None:
    assert "is for all failures; write it as [[repairs]]" in complaint(
        tmp_path, f"[repairs.retry]\nkind='record'\n{key}"
    )


@pytest.mark.parametrize("turned", [False, True])
def test_a_file_with_both_forms_of_repairs_says_which_to_use(turned: bool, tmp_path: Path) -> None:
    parts = ["[repairs.retry]\nkind = 'record'\n", "[[repairs]]\naction = 'rollback'\nkind = 'record'\n"]
    said = complaint(tmp_path, "".join(reversed(parts) if turned else parts))
    assert ("repairs[0] is followed by [repairs.retry]" if turned else "is not valid TOML") in said
    assert "[repairs.ACTION] or [[repairs]], not both; [[repairs]] without `match` is for all failures" in said


def test_commands_start_in_the_folder_of_the_file(tmp_path: Path) -> None:
    home, here = tmp_path / "etc", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    told = "kind = 'command'\ncommand = ['./x']\n"
    (home / "h.toml").write_text(f"[repairs.retry]\n{told}[notices.on_escalated]\n{told}")
    playbook = load_settings({"config": str(home / "h.toml")}, {}, here).playbook
    specs = [playbook.repair_for(RecoveryAction.RETRY, Case()), playbook.notices[Ending.ESCALATED]]
    assert [spec.cwd for spec in specs if isinstance(spec, CommandRepair | CommandNotice)] == [str(home)] * 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("artefacts = 'x'", "heald.toml: artefacts is not a known key; did you mean 'artifacts'?"),
        (
            "[limits]\nintake_report = 3",
            "heald.toml: limits.intake_report is not a known key; did you mean 'intake_reports'?",
        ),
        (
            "[policies.careful]\nmax_atempts = 3",
            "policies.careful.max_atempts is not a known key; did you mean 'max_attempts'?",
        ),
        ("repairs = 'all'", "repairs must be tables, not 'all'; begin each with [repairs.ACTION], or with [[repairs]]"),
        ("[repairs.retri]\nkind='record'", "repairs.retri is not a known key; did you mean 'retry'?"),
        (
            "[repairs.retry]\nkind='record'\nsucceeds=true",
            "repairs.retry.succeeds is not a known key; did you mean 'succeed'?",
        ),
        (
            "[notices.on_escalate]\nkind='command'",
            "notices.on_escalate is not a known key; did you mean 'on_escalated'?",
        ),
        ("[[rules]]\npolicy='default'\nrepo='x'", "rules[0].repo is not a known key"),
        ("zzz = 1", "heald.toml: zzz is not a known key; possible: redis_url, artifacts"),
    ],
)
def test_an_unknown_key_is_named_with_the_near_one(tmp_path: Path, text: str, said: str) -> None:
    assert said in complaint(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits]\nintake_reports = -1", "limits.intake_reports must be at least 1, not -1"),
        ("[limits]\nopen_nudges = 0", "limits.open_nudges must be at least 1, not 0"),
        ("[limits]\nmax_lineage = -1", "limits.max_lineage must be at least 0, not -1"),
        ("[limits]\nintake_bytes = 1000", "limits.intake_bytes must be at least 131,072, not 1000"),
        ("[limits]\ndead_letters = 1e3", "limits.dead_letters must be a whole number, not 1000.0"),
        ("[limits]\ndead_letters = true", "limits.dead_letters must be a whole number, not true"),
        ("[limits]\ndead_letters = '5'", "limits.dead_letters must be a whole number, not '5'"),
        ("limits = 5", "heald.toml: limits must be a table, not 5"),
        ("[timing]\nlease = -3", "timing.lease must be at least 0.001 s, not -3"),
        ("[timing]\nlease = 'soon'", "timing.lease must be a duration, not 'soon'; give seconds, or text"),
        ("[timing]\nlease = nan", "timing.lease must be a duration, not nan"),
        ("[timing]\nlease = inf", "timing.lease must be a duration, not inf"),
        ("[timing]\nlease = true", "timing.lease must be a duration, not true"),
        ("[retention]\nevents = '4000d'", "retention.events must be at most 3650d, not '4000d'"),
        (
            "[policies.wild]\nmax_attempts = 1001",
            "policies.wild.max_attempts must be at most 1,000, not 1001",
        ),
        (
            "[policies.wild]\nmax_flaky_retries = 4294967296",
            "max_flaky_retries must be at most 4,294,967,295",
        ),
        ("[policies.wild]\nmax_attempts = -1", "policies.wild.max_attempts must be at least 0, not -1"),
        ("[policies.wild]\nallow_rollback = 'no'", "allow_rollback must be true or false, not 'no'"),
        ("[policies]\nwild = 3", "policies.wild must be a table, not 3"),
        ("[policies.'']\n", "policies: a policy's name has 1 to 128 bytes"),
        (
            "regression = 'enforced'",
            "regression must be one of off, observe, enforce, not 'enforced'; did you mean 'enforce'?",
        ),
        ("taxonomy = 'aivc'", "taxonomy must be one of heald, aivcs, not 'aivc'; did you mean 'aivcs'?"),
        ("fsync = 1", "heald.toml: fsync must be true or false, not 1"),
        ("artifacts = ''", "artifacts must be text that is not empty"),
        ('artifacts = "a\\u0000b"', "artifacts must be text without NUL characters"),
        ("redis_url = 'http://host'", "redis_url is not a server's URL; write redis://host:6379/0"),
        ("redis_url = 'redis://host/main'", "redis_url is not a server's URL"),
        ("redis_url = 'redis://host:99999'", "redis_url is not a server's URL"),
        ("rules = 'all'", "rules must be a list of tables, not 'all'; begin each rule with [[rules]]"),
        ("[rules]\npolicy='default'", "rules must be a list of tables, not a table"),
        ("[[rules]]\nstage='x'", "rules[0].policy is missing"),
        ("[[rules]]\npolicy='default'\njob=3", "rules[0].job must be text, not 3"),
        (
            "[[rules]]\npolicy='defualt'",
            "rules[0].policy names 'defualt', which is not configured; did you mean 'default'?",
        ),
        (
            "[repairs.escalate]\nkind='record'",
            "repairs.escalate cannot be: escalating repairs nothing; tell somebody with",
        ),
        (
            "[repairs.retry]\ncommand=['x']",
            "repairs.retry.kind is missing; possible: command, python, record",
        ),
        ("[repairs.retry]\nkind='comand'", "did you mean 'command'?"),
        ("[repairs.retry]\nkind='command'", "repairs.retry.command is missing"),
        ("[repairs.retry]\nkind='command'\ncommand=[]", "repairs.retry.command must be a list of arguments"),
        ("[repairs.retry]\nkind='command'\ncommand=['a', 1]", "repairs.retry.command[1] must be text, not 1"),
        ("[repairs.retry]\nkind='command'\ncommand=['a']\nenv={A=1}", "repairs.retry.env.A must be text"),
        ("[repairs.retry]\nkind='command'\ncommand=['a']\nenv={'A=B'='1'}", "is not a variable's name"),
        (
            "[repairs.retry]\nkind='command'\ncommand=['a']\ntime_limit=0",
            "repairs.retry.time_limit must be at least",
        ),
        (
            "[repairs.retry]\nkind='python'\ncall='mend'",
            "repairs.retry.call must be a callable as module:name",
        ),
        ("[repairs.retry]\nkind='webhook'\nurl='http://x'", "repairs.retry.kind must be one of"),
        (
            "[notices.on_exhausted]\nkind='webhook'\nurl='ftp://x'",
            "notices.on_exhausted.url is not a web address",
        ),
        ("[notices.on_exhausted]\nkind='webhook'\nurl='http://x'\nheaders={'A b'='c'}", "is not a header"),
        ("[notices.on_exhausted]\nkind='webhook'\nurl='http://x'\nheaders={A=\"b\\nc\"}", "is not a header"),
        (
            "[notices.on_exhausted]\nkind='webhook'\nurl='http://x'\nforbid=['home']",
            "forbid[0] must be one of loopback",
        ),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_the_path_of_its_key(tmp_path: Path, text: str, said: str) -> None:
    assert said in complaint(tmp_path, text)


def test_a_command_written_as_one_text_is_refused_and_shown_as_a_list(tmp_path: Path) -> None:
    said = complaint(tmp_path, "[repairs.retry]\nkind = 'command'\ncommand = \"make fix 'two words'\"\n")
    assert "repairs.retry.command must be a list of arguments, not one text" in said
    assert 'write it as ["make", "fix", "two words"]' in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[timing]\nrenewal = 20", "timing.renewal must be at most half of timing.lease (30)"),
        ("[timing]\nretry_first = '2m'", "timing.retry_first must be at most timing.retry_most (60)"),
        ("[limits]\ninbox_refusal = 10", "limits.inbox_warning must be at most limits.inbox_refusal (10)"),
        ("[retention]\ntombstones = '1d'", "retention.spool must be at most retention.tombstones (86400)"),
    ],
)
def test_two_values_that_contradict_each_other_are_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in complaint(tmp_path, text)


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("HEALD_FSYNC", "perhaps", "HEALD_FSYNC must be true or false, not 'perhaps'"),
        ("HEALD_LIMITS_NOTICE_TRIES", "many", "HEALD_LIMITS_NOTICE_TRIES must be a whole number, not 'many'"),
        ("HEALD_LIMITS_NOTICE_TRIES", "0", "HEALD_LIMITS_NOTICE_TRIES must be at least 1"),
        ("HEALD_LIMITS_NOTICE_TRYS", "3", "did you mean 'HEALD_LIMITS_NOTICE_TRIES'?"),
        ("HEALD_TIMING_LEASE", "10y", "HEALD_TIMING_LEASE must be a duration"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL is not a server's URL"),
    ],
)
def test_a_variable_that_cannot_be_is_named_as_the_variable(
    tmp_path: Path, variable: str, value: str, said: str
) -> None:
    assert said in complaint(tmp_path, "", **{variable: value})


def test_variables_that_other_parts_of_heald_read_are_no_mistakes(tmp_path: Path) -> None:
    assert settings_of(tmp_path, "", HEALD_RUN_ID="x", HEALD_PARENT_RUN="y", HEALD_DEBUG="1")


def test_a_complaint_about_a_url_never_shows_its_password(tmp_path: Path) -> None:
    assert "hunter2" not in complaint(tmp_path, "redis_url = 'redis://me:hunter2@host:port/0'")
    assert "hunter2" not in complaint(tmp_path, "", REDIS_URL="rediz://me:hunter2@host/0")


def test_a_syntax_error_tells_the_line(tmp_path: Path) -> None:
    assert "heald.toml is not valid TOML" in complaint(tmp_path, "fsync = true\nlimits = \n")
    assert "line 2" in complaint(tmp_path, "fsync = true\nlimits = \n")
    assert "heald.toml is not valid TOML" in complaint(tmp_path, "fsync = " + "1" * 5000)


def test_a_file_that_is_not_utf_8_tells_the_line(tmp_path: Path) -> None:
    (tmp_path / "heald.toml").write_bytes(b"fsync = true\n\n# caf\xe9\n")
    with pytest.raises(ConfigError, match=r"not UTF-8 \(at line 3\)"):
        load_settings({}, {}, tmp_path)


@pytest.mark.parametrize("text", ["x = " + "[" * 50_000, "x = " + "{a=" * 50_000])
def test_a_file_that_is_nested_absurdly_deep_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    assert "heald.toml is n" in complaint(tmp_path, text)


def test_a_file_of_the_wrong_size_or_sort_is_refused(tmp_path: Path) -> None:
    assert "larger than 1 MiB" in complaint(tmp_path, "#" * 2_000_000)
    for name, reason in ((str(tmp_path), "Is a directory"), ("gone.toml", "No such file"), ("a\0b", "null")):
        with pytest.raises(ConfigError, match=reason):
            load_settings({"config": name}, {}, tmp_path)


SENTINEL = "[sentinel]\ninstances = [['s1', 26379], ['s2', 26380]]\nmaster_name = 'mymaster'\n"


def test_sentinel_is_read_as_rq_spells_it_and_its_password_may_stand_in_a_variable(tmp_path: Path) -> None:
    sentinel = settings_of(tmp_path, SENTINEL + "db = 2\npassword = 'a'\n", HEALD_SENTINEL_PASSWORD="b").sentinel
    assert sentinel is not None
    assert (tuple(sentinel.instances), sentinel.master_name) == ((("s1", 26379), ("s2", 26380)), "mymaster")
    assert (sentinel.db, sentinel.password) == (2, "b")


def test_a_url_from_the_environment_stands_above_sentinel_in_the_file(tmp_path: Path) -> None:
    assert settings_of(tmp_path, SENTINEL, REDIS_URL="redis://elsewhere/0").sentinel is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("redis_url = 'redis://h/0'\n" + SENTINEL, "has both redis_url and [sentinel]; keep the one"),
        ("[sentinel]\ninstances = ['s1:26379']", "sentinel.instances[0] must be a [host, port] pair"),
        ("[sentinel]\ninstances = [['s1', 0]]", "sentinel.instances[0] must be at least 1"),
        ("[sentinel]\nmaster = 'x'", "sentinel.master is not a known key; did you mean 'master_name'?"),
    ],
)
def test_a_sentinel_section_that_cannot_be_is_refused(tmp_path: Path, text: str, said: str) -> None:
    assert said in complaint(tmp_path, text)


def test_the_example_file_is_valid_and_shows_every_key_with_its_default() -> None:
    example = Path(__file__).parents[2] / "deploy" / "heald.example.toml"
    loaded = load({"config": str(example)}, {}, Path("/nowhere"))
    defaults = Settings()
    plain = ("redis_url", "fsync", "taxonomy", "remedies", "regression", "dry_run")
    for name in (*plain, "limits", "timing", "retention"):
        assert getattr(loaded.settings, name) == getattr(defaults, name), name
    groups = {"limits": defaults.limits, "timing": defaults.timing, "retention": defaults.retention}
    shown = {key for key in loaded.origins if "." in key}
    assert shown == {f"{group}.{name}" for group, numbers in groups.items() for name in numbers.__struct_fields__}
    assert loaded.settings.policies["default"] == RecoveryPolicy()
    assert loaded.settings.bounds_of("default") == Bounds()
