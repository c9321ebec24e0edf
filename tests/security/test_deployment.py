"""What is deployed has no more rights than it needs, and the page on security tells of every test here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
UNIT = (ROOT / "deploy" / "heald.service").read_text("utf-8")
PAGE = (ROOT / "docs" / "security.md").read_text("utf-8")


def mounts(name: str) -> list[tuple[str, str, bool]]:
    """What a service mounts, as source, target and whether it is read only; compose.yaml spells it in two ways."""
    found = []
    for volume in COMPOSE["services"][name]["volumes"]:
        if isinstance(volume, str):
            source, target, *flags = volume.split(":")
            found.append((source, target, flags == ["ro"]))
        else:
            found.append((volume["source"], volume["target"], volume.get("read_only", False)))
    return found


def test_the_image_ends_as_a_user_that_is_not_root() -> None:
    last_stage = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
    users = re.findall(r"^USER (.+)$", last_stage, re.MULTILINE)
    assert len(users) == 1
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[0]), "by number, so that a host can check it"
    after = last_stage[last_stage.index("USER ") :]
    assert not re.search(r"^(?:RUN|COPY|ADD) ", after, re.MULTILINE)


def test_the_image_holds_no_secret_and_fetches_nothing_by_url() -> None:
    assert not re.search(r"^(?:ENV|ARG) .*(?:PASSWORD|TOKEN|SECRET|REDIS_URL)", DOCKERFILE, re.MULTILINE)
    assert not re.search(r"https?://|^ADD |curl|wget", DOCKERFILE, re.MULTILINE)


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_every_container_has_a_read_only_root_and_no_way_to_more(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert "/tmp" in [mount.partition(":")[0] for mount in service["tmpfs"]]
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "network_mode", "pid", "ipc", "userns_mode", "devices"} & service.keys()
    assert str(service.get("user", "10001")) not in ("0", "root")
    assert not any("docker.sock" in source or source == "/" for source, _, _ in mounts(name))


@pytest.mark.parametrize("name", sorted(COMPOSE["services"]))
def test_only_artifacts_and_the_servers_data_are_written(name: str) -> None:
    writable = {target for _, target, read_only in mounts(name) if not read_only}
    assert writable <= {"/data", "/var/lib/heald/artifacts"}


def test_the_server_listens_on_loopback_unless_somebody_says_otherwise_and_refuses_huge_elements() -> None:
    server = COMPOSE["services"]["valkey"]
    assert server["ports"] == ["${HEALD_LISTEN:-127.0.0.1}:6379:6379"]
    script = server["command"][-1]
    [limit] = re.findall(r"--proto-max-bulk-len (\d+)mb", script)
    assert int(limit) < 512
    assert "--aclfile" in script
    assert "--requirepass" not in script


@pytest.mark.parametrize(
    "line",
    ["User=heald", "NoNewPrivileges=yes", "CapabilityBoundingSet=", "AmbientCapabilities=", "ProtectSystem=strict",
     "ProtectHome=yes", "PrivateTmp=yes", "RestrictSUIDSGID=yes", "RestrictNamespaces=yes", "LockPersonality=yes"],
)  # fmt: skip
def test_the_unit_bounds_the_worker_and_its_repairs(line: str) -> None:
    assert re.search(f"^{re.escape(line)}$", UNIT, re.MULTILINE)


def test_the_page_names_every_test_of_an_attack_and_no_other() -> None:
    named = set(re.findall(r"`(test_[a-z_]+\.py)`", PAGE))
    there = {path.name for path in Path(__file__).parent.glob("test_*.py")}
    assert there <= named
    assert all(list((ROOT / "tests").rglob(name)) for name in named)


def test_the_page_tells_the_bounds_that_are_tested() -> None:
    measure = (ROOT / "tests" / "unit" / "test_mask_measure.py").read_text("utf-8")
    assert "MOST_LEAKED, MOST_TOUCHED = 0.01, 0.001" in measure
    assert "99 % masked" in PAGE
    assert PAGE.count("0.1 % touched") == 2
    kinds = re.findall(r"secrets of (\d+) kinds", PAGE)
    from support.tokens import KINDS

    assert kinds == [str(len(KINDS))]
