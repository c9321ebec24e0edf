"""`.ci/programs` installs what it can, starts nothing, and never fails; with every program of the system made up."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci" / "programs"
BASH = shutil.which("bash")
REAL = ("timeout", "rm", "chmod")
WANTED = ["redis-server", "chromium", "git", "bubblewrap"]

pytestmark = pytest.mark.skipif(not BASH or not shutil.which("timeout"), reason="needs bash and timeout")


class Machine:
    """A machine that has the programs that it is given, and notes what was asked of them."""

    def __init__(self, folder: Path) -> None:
        self.programs, self.noted, self.policy = folder / "bin", folder / "noted", folder / "policy-rc.d"
        self.programs.mkdir()
        for name in REAL:
            found = shutil.which(name)
            assert found
            (self.programs / name).symlink_to(found)

    def has(self, name: str, script: str = "") -> None:
        program = self.programs / name
        program.write_text(f'#!{BASH}\necho "{name} $*" >> {self.noted}\n{script}\n')
        program.chmod(0o755)

    def install(self) -> subprocess.CompletedProcess[str]:
        env = {"PATH": str(self.programs), "POLICY": str(self.policy)}
        return subprocess.run([str(BASH), SCRIPT], env=env, capture_output=True, text=True, timeout=60, check=False)

    def asked(self, program: str) -> list[str]:
        lines = self.noted.read_text().splitlines() if self.noted.exists() else []
        return [line for line in lines if line.startswith(program)]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_what_is_missing_is_installed_one_by_one_and_no_service_may_start(machine: Machine) -> None:
    machine.has("id", "echo 0")
    machine.has("git")
    machine.has("apt-get", f'"{machine.policy}" redis-server start; echo "policy $?" >> {machine.noted}')
    machine.has("service", "exit 1")
    machine.has("update-rc.d")
    done = machine.install()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    installed = [line.split()[-1] for line in machine.asked("apt-get") if "install --yes" in line]
    assert installed == [name for name in WANTED if name != "git"]
    assert set(machine.asked("policy")) == {"policy 101"}
    assert machine.asked("service") == ["service redis-server stop"]
    assert machine.asked("update-rc.d") == ["update-rc.d redis-server disable"]
    assert not machine.policy.exists()


def test_what_cannot_be_had_is_named_and_nothing_fails(machine: Machine) -> None:
    machine.has("id", "echo 0")
    machine.has("apt-get", "exit 100")
    done = machine.install()
    assert done.returncode == 0
    assert [line for line in WANTED if f"cannot be installed, so some tests skip: {line}\n" in done.stdout] == WANTED
    assert not machine.policy.exists()


def test_a_machines_own_policy_stays(machine: Machine) -> None:
    machine.has("id", "echo 0")
    machine.has("apt-get")
    machine.policy.write_text("#!/bin/sh\nexit 0\n")
    machine.install()
    assert machine.policy.read_text() == "#!/bin/sh\nexit 0\n"


@pytest.mark.parametrize(("user", "apt"), [(1000, True), (0, False)], ids=["not root", "no apt-get"])
def test_nothing_is_touched_where_nothing_can_be_installed(machine: Machine, user: int, apt: bool) -> None:
    machine.has("id", f"echo {user}")
    if apt:
        machine.has("apt-get")
    done = machine.install()
    assert done.returncode == 0
    assert done.stdout.startswith(f"not on this machine, so some tests skip: {' '.join(WANTED)}")
    assert machine.asked("apt-get") == []


def test_a_machine_that_has_everything_is_left_alone(machine: Machine) -> None:
    for name in ("redis-server", "chromium", "git", "bwrap", "apt-get", "id"):
        machine.has(name)
    done = machine.install()
    assert (done.returncode, done.stdout, machine.asked("apt-get")) == (0, "", [])
