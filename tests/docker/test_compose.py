"""What the compose files say: valid, complete, closed to the network, without passwords."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCKER = ROOT / "docker"
FILES = ["compose.yaml", "cluster.yaml"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


@pytest.mark.parametrize("file", FILES)
def test_the_file_follows_the_compose_specification(file: str) -> None:
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "check_jsonschema"),
            *("--builtin-schema", "vendor.compose-spec", DOCKER / file),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_everything_that_is_referred_to_is_there(
    compose: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    volumes = set()
    for service in services.values():
        assert set(service.get("depends_on", {})) <= set(services)
        assert set(service.get("networks", ())) <= set(compose["networks"])
        assert set(service.get("secrets", ())) <= set(compose["secrets"])
        for mount in service.get("volumes", ()):
            source = mount.partition(":")[0]
            if source == "./studies":
                # up.sh makes it.
                assert (DOCKER / "up.sh").read_text(encoding="utf-8").count("mkdir studies") == 1
            elif source.startswith("."):
                assert (DOCKER / source).is_file()
            else:
                volumes.add(source)
        if "build" in service:
            context = DOCKER / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).is_file()
    # Nothing is declared in vain either.
    assert volumes == set(compose["volumes"])
    for kind in ("networks", "secrets"):
        used = {name for service in services.values() for name in service.get(kind, ())}
        assert used == set(compose[kind])


def test_the_second_file_names_networks_and_volumes_of_the_first(compose: dict[str, Any]) -> None:
    more = yaml.safe_load((DOCKER / "cluster.yaml").read_text(encoding="utf-8"))
    for kind in ("services", "networks"):
        assert set(more[kind]) <= set(compose[kind])
    # Its own volume takes the place of the folder of this machine, at the same path.
    assert set(more["volumes"]) == {"artifacts", "data", "studies"}
    for name, service in more["services"].items():
        (mount,) = service["volumes"]
        (replaced,) = [v for v in compose["services"][name]["volumes"] if "/studies" in v]
        assert mount == replaced.removeprefix("./")


def test_the_number_of_nodes_and_the_user_come_from_the_settings(
    services: dict[str, dict[str, Any]],
) -> None:
    assert services["ray-worker"]["deploy"]["replicas"] == "${RAY_WORKERS:-1}"
    for service in services.values():
        if "build" in service:
            assert service["build"]["args"]["UID"] == "${INDIAN_TUNE_UID:-1000}"
            assert service["build"]["args"]["GID"] == "${INDIAN_TUNE_GID:-1000}"


def test_own_modules_are_found_wherever_trials_run(services: dict[str, dict[str, Any]]) -> None:
    for name in ("ray-worker", "ray-worker-gpu", "search", "cli"):
        assert any(v.split(":")[1] == "/studies" for v in services[name]["volumes"])
        assert services[name]["environment"]["PYTHONPATH"] == "/studies"


def test_whoever_waits_for_a_service_to_be_healthy_or_to_end_can(
    services: dict[str, dict[str, Any]],
) -> None:
    for service in services.values():
        for name, on in service.get("depends_on", {}).items():
            awaited = services[name]
            if on["condition"] == "service_healthy":
                assert awaited["healthcheck"]["test"][0] == "CMD"
            else:
                assert on["condition"] == "service_completed_successfully"
                assert awaited["restart"] == "no"
            # A service of a profile may not be started.
            assert "profiles" not in awaited


def test_published_ports_are_bound_to_this_machine(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert ports
    assert all(str(port).startswith("127.0.0.1:") for port in ports)
    assert not [name for name, service in services.items() if "network_mode" in service]


@pytest.mark.parametrize("file", FILES)
def test_no_password_is_in_sight(file: str) -> None:
    text = (DOCKER / file).read_text(encoding="utf-8")
    # No address carries one, and each variable that means one names a file.
    assert not re.findall(r"://[^/\s@:]+:[^/\s@]+@", text)
    named = re.findall(r"^\s*(\w*(?:PASS|TOKEN|SECRET)\w*):\s*(\S+)", text, re.MULTILINE)
    assert all(value.startswith("/run/secrets/") for _, value in named), named


def test_secrets_are_files_that_neither_git_nor_the_image_gets(compose: dict[str, Any]) -> None:
    for secret in compose["secrets"].values():
        assert re.fullmatch(r"\./secrets/\w+", secret["file"])
    assert "docker/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = [line.removeprefix("!") for line in ignored if line.startswith("!")]
    assert "*" in ignored
    assert not [path for path in allowed if "secrets".startswith(path.rpartition("/")[2])]


def test_the_networks_keep_apart_what_need_not_meet(services: dict[str, dict[str, Any]]) -> None:
    on = {name: set(service["networks"]) for name, service in services.items()}
    # Code that runs in trials reaches no database; the dashboard reaches no node.
    for name in ("ray-head", "ray-worker", "ray-worker-gpu"):
        assert on[name] == {"ray"}
        assert not any("password" in secret for secret in services[name]["secrets"])
    assert "ray" not in on["dashboard"]
    assert services["dashboard"]["secrets"] == ["dashboard_password"]
    assert services["dashboard"]["environment"]["INDIAN_TUNE_STORAGE"].startswith(
        "postgresql+psycopg://dashboard@"
    )


def test_only_the_profile_asks_for_gpus(services: dict[str, dict[str, Any]]) -> None:
    asking = [name for name, s in services.items() if "resources" in s.get("deploy", {})]
    assert asking == ["ray-worker-gpu"]
    assert services["ray-worker-gpu"]["profiles"] == ["gpu"]


def test_our_containers_run_without_privileges(services: dict[str, dict[str, Any]]) -> None:
    ours = [service for service in services.values() if "build" in service]
    assert len(ours) == 7
    for service in ours:
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert not {"privileged", "user"} & set(service)
