"""What a search could have known before it trains leaves nothing behind, with status 2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import to_toml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Ended

REFUSALS = {
    "a GPU share on a machine without GPUs": (
        ["--engine", "ray", "--gpus-per-trial", "0.5"],
        "--gpus-per-trial = 0.5 is more than the 0 GPUs of this machine",
    ),
    "more cores for a trial than there are": (
        ["--engine", "ray", "--threads-per-worker", "4096"],
        "--threads-per-worker = 4096 is more than the",
    ),
    "a cluster that is not there": (
        ["--engine", "ray", "--ray-address", "auto"],
        "Start it with `ray start --head`",
    ),
    "a port at which nothing listens": (
        ["--engine", "ray", "--ray-address", "127.0.0.1:9"],
        "Start it with `ray start --head`",
    ),
    "artifacts below a file": (["--artifacts", "tiny.toml/below"], "tiny.toml is not a folder"),
    "a device that is not here": (["--devices", "cuda:7"], "cuda:7 does not exist"),
    "a database that cannot be made": (["--storage", "sqlite:////proc/study.db"], "/proc/study.db"),
}


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_search_that_cannot_work_is_refused_and_writes_nothing(
    refusal: str,
    tmp_path: Path,
    tiny_toml: str,
    command: Callable[..., Ended],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options, message = REFUSALS[refusal]
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # nvidia-smi is not found, whatever this machine has.
    monkeypatch.setattr("indian_tune.engines.devices.shutil.which", lambda tool: None)
    (tmp_path / "tiny.toml").write_text(tiny_toml)
    ended = command("search", "tiny.toml", *options)
    assert ended.status == 2, ended.err
    assert message in " ".join(ended.err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]


def test_data_and_a_network_that_fit_into_no_memory_are_refused(
    tmp_path: Path, tiny: dict[str, Any], command: Callable[..., Ended]
) -> None:
    tiny["problem"] = {
        **{key: value for key, value in tiny["problem"].items() if key != "width"},
        **{"model": "mlp", "size": 4096, "widths": [16384] * 32},
    }
    (tmp_path / "tiny.toml").write_text(to_toml(tiny), encoding="utf-8")
    ended = command("search", "tiny.toml")
    assert ended.status == 2
    assert "need at least 3,429 GB of memory" in " ".join(ended.err.split())
    assert "lower problem.size and problem.widths" in " ".join(ended.err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.toml"]
