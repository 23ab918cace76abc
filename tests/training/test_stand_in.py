"""That a packed step can be captured, and how many kernels it starts, without a GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# What a step comes to; to be replaced by what the test prints when a change is for the better.
FIGURES = Path(__file__).with_name("launches.json")
# What each planted fault must be called.
NAMES = {
    "item": "waits for the device or mixes devices: aten._local_scalar_dense",
    "nonzero": "waits for the device or mixes devices: aten.nonzero",
    "shape that depends on values": "waits for the device or mixes devices: aten.nonzero",
    "branch": "waits for the device or mixes devices: aten._local_scalar_dense",
    "host tensor": "touches the host's memory",
    "global generator": "native_dropout.default draws from the global generator",
    "atomic addition": "index_add.default is not deterministic",
    "scattered addition": "scatter_add.default is not deterministic",
    "parameters bound anew": "_params is another tensor after a step",
    "state bound anew": "_optimizer.states.velocity is another tensor after a step",
    "tensor kept": "_last is kept by a step",
    "number of the host": "steps differ",
}


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    """What a process of its own finds."""
    command = [sys.executable, "-m", "tests.training.stand_in_cases"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_packs_of_every_kind_can_be_captured_and_repeat_to_the_bit(
    report: dict[str, Any],
) -> None:
    assert {case: faults for case, faults in report["cases"].items() if faults} == {}
    # Every pair of a family with a decay, a schedule, a way, a task.
    assert len(report["cases"]) >= 30


def test_every_planted_fault_is_found_and_named(report: dict[str, Any]) -> None:
    assert report["planted"].keys() == NAMES.keys()
    for fault, name in NAMES.items():
        assert any(name in found for found in report["planted"][fault]), fault


def test_no_step_starts_more_kernels_or_moves_more_bytes_than_it_did(
    report: dict[str, Any],
) -> None:
    known, now = json.loads(FIGURES.read_text(encoding="utf-8")), report["counts"]
    print(json.dumps(now, indent=1))
    assert now.keys() == known.keys()
    worse = {
        f"{title}: {name}": f"{known[title][name]} before, {now[title][name]} now"
        for title in known
        for name in ("launches", "bytes")
        if now[title][name] > known[title][name]
    }
    assert worse == {}


def test_a_step_starts_few_kernels(report: dict[str, Any]) -> None:
    launches = {title: count["launches"] for title, count in report["counts"].items()}
    # By the operations of torch alone they are more.
    for title in launches:
        if "dropout 0.5" in title and "kernels" in title:
            assert launches[title] <= 110, title
    assert launches["nin-small, matmul, dropout 0, no crops, kernels"] <= 60
