"""A Ray of our own: who reaches it, what it leaves behind, what is said if it does not start."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from ray.util import get_node_ip_address

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended

LISTENING = """
import os, sys
import psutil
from indian_tune.engines.ray.engine import RayEngine

def look(*_):
    own = psutil.Process()
    pids = {own.pid, *(child.pid for child in own.children(recursive=True))}
    for each in psutil.net_connections("tcp"):
        if each.status == psutil.CONN_LISTEN and each.pid in pids:
            print("listens", each.laddr.ip)
    address = __import__("ray").get_runtime_context().gcs_address
    code = f"import ray; ray.init(address={address!r}, logging_level='ERROR'); print('joined')"
    stranger = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    stranger["HOME"] = os.environ["HOME"] + "-of-another"
    import subprocess
    for token in ("", "0" * 64):
        env = {**stranger, **({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {})}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
        print("stranger", "joined" in done.stdout)

RayEngine._tune = look
from indian_tune.cli import main
sys.argv = ["indian-tune", "search", "tiny.toml", "--engine", "ray", "--workers", "1"]
main()
"""


@pytest.mark.slow
def test_a_ray_of_our_own_is_reached_by_nobody_else(tmp_path: Path, tiny_toml: str) -> None:
    (tmp_path / "tiny.toml").write_text(tiny_toml, encoding="utf-8")
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", LISTENING],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    addresses = {line.split()[1] for line in lines if line.startswith("listens")}
    assert addresses, done.stderr
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}
    assert [line for line in lines if line.startswith("stranger")] == ["stranger False"] * 2
    assert (home / ".ray/auth_token").stat().st_mode & 0o777 == 0o600


def test_a_ray_that_does_not_start_in_time_is_one_sentence(
    command: Callable[..., Ended],
    tmp_path: Path,
    tiny_toml: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def late(**_options: object) -> None:
        raise Exception("The current node timed out during startup.")

    monkeypatch.setattr("ray.init", late)
    (tmp_path / "tiny.toml").write_text(tiny_toml, encoding="utf-8")
    ended = command("search", "tiny.toml", "--engine", "ray")
    assert ended.status == 1
    said = " ".join(ended.err.split())
    assert "Error: Ray cannot be reached at this machine: The current node timed out" in said
    assert "Traceback" not in said


def test_a_cluster_that_never_answers_is_refused_in_time(
    command: Callable[..., Ended],
    tmp_path: Path,
    tiny_toml: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("indian_tune.engines.ray.engine.PROBE_SECONDS", 4.0)
    (tmp_path / "tiny.toml").write_text(tiny_toml, encoding="utf-8")
    # Its kernel takes connections, and nobody reads from them. Ray turns 127.0.0.1 into this one.
    node: str = get_node_ip_address()  # type: ignore[no-untyped-call]
    with socket.create_server((node, 0)) as mute:
        address = f"{node}:{mute.getsockname()[1]}"
        ended = command("search", "tiny.toml", "--engine", "ray", "--ray-address", address)
    assert ended.status == 2
    assert f"Ray cannot be reached at {address}: no answer within 4 s" in " ".join(
        ended.err.split()
    )
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


@pytest.mark.slow
def test_the_address_auto_of_a_cluster_that_is_gone_is_refused_at_once(
    command: Callable[..., Ended],
    tmp_path: Path,
    tiny_toml: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    (tmp_path / "tiny.toml").write_text(tiny_toml, encoding="utf-8")
    ended = command("search", "tiny.toml", "--engine", "ray", "--ray-address", "auto")
    assert ended.status == 2
    # Ray turns 127.0.0.1 into the address of this node, where that has one.
    assert re.search(r"nothing answers at [\d.]+:9 ", " ".join(ended.err.split()))
    assert "Start it with `ray start --head`" in " ".join(ended.err.split())
