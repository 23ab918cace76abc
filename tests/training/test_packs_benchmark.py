"""The benchmark for GPUs runs; what it measures on a CPU says nothing and is not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "packs.py"


@pytest.mark.slow
def test_the_benchmark_of_packs_fills_its_whole_table(tmp_path: Path) -> None:
    options = ["--device=cpu", "--model=nin-small", "--batches=2", "--rounds=1"]
    command = [sys.executable, str(SCRIPT), *options, "--lanes", "1", "2", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    report = json.loads((tmp_path / "packs.json").read_text())
    cells = [(row["precision"], row["convolutions"], row["runs"]) for row in report["rows"]]
    expected = product(["bfloat16", "float32"], [1, 2], ["grouped", "matmul"])
    assert cells == [(precision, way, runs) for precision, runs, way in expected]
    assert all(row["cell"]["images_per_second"] > 0 for row in report["rows"])
    assert all(report["bits"].values())
    assert len(report["bits"]) == 4
    # A difference of times, which noise may make negative here.
    assert report["evaluation"] < 1
    table = (tmp_path / "packs.md").read_text()
    assert table.count("| float32 | grouped |") == 2


@pytest.mark.slow
def test_without_a_gpu_it_says_so_in_a_sentence_and_gives_an_estimate() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith("torch finds no CUDA device here: nothing is measured.")
    assert len(done.stderr.splitlines()) == 1
    command = [sys.executable, str(SCRIPT), "--estimate"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Estimated from counts, not measured" in done.stdout
    assert done.stdout.count("| nin-small, indian") == 1
