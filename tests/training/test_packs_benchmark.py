"""The benchmark for GPUs runs; what it measures on a CPU says nothing and is not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "packs.py"


@pytest.mark.slow
def test_the_benchmark_of_packs_fills_its_whole_table(tmp_path: Path) -> None:
    options = ["--device=cpu", "--model=nin-small", "--batches=2", "--rounds=1"]
    command = [sys.executable, str(SCRIPT), *options, "--lanes", "1", "2", "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True)
    report = json.loads((tmp_path / "packs.json").read_text())
    cells = [(row["precision"], row["convolutions"], row["runs"]) for row in report["rows"]]
    assert cells == list(product(["float32", "bfloat16"], ["grouped", "matmul"], [1, 2]))
    assert all(row["cell"]["images_per_second"] > 0 for row in report["rows"])
    table = (tmp_path / "packs.md").read_text()
    assert table.count("| float32 | grouped |") == 2
