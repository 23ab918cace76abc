"""The benchmark for GPUs runs; what it measures on a CPU says nothing and is not looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.benchmarks import packs

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "tests" / "benchmarks" / "packs.py"
# Runs it where none of these packages are.
BARE = """
import runpy, sys

ABSENT = {"ray", "optuna", "alembic", "psycopg", "sqlalchemy", "pydantic", "psutil"}

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
runpy.run_module("tests.benchmarks.packs", run_name="__main__", alter_sys=True)
"""


def run_bare(tmp_path: Path, *options: str) -> dict[str, Any]:
    tried = ["--device=cpu", "--model=nin-small", "--batches=2", "--rounds=1"]
    command = [sys.executable, "-c", BARE, *tried, *options, "--out", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    report: dict[str, Any] = json.loads((tmp_path / "packs.json").read_text())
    return report


@pytest.mark.slow
def test_the_benchmark_of_packs_fills_its_whole_table(tmp_path: Path) -> None:
    report = run_bare(tmp_path, "--lanes", "1", "2")
    cells = [(row["precision"], row["convolutions"], row["runs"]) for row in report["rows"]]
    expected = product(["bfloat16", "float32"], [1, 2], ["grouped", "matmul"])
    assert cells == [(precision, way, runs) for precision, runs, way in expected]
    assert all(row["cell"]["images_per_second"] > 0 for row in report["rows"])
    assert list(report["bits"].values()) == [True] * 4
    # A difference of times, which noise may make negative here.
    assert report["evaluation"] < 1
    table = (tmp_path / "packs.md").read_text()
    assert table.count("| float32 | grouped |") == 2


def test_it_starts_with_few_packages_and_says_what_it_had_no_time_for(tmp_path: Path) -> None:
    report = run_bare(tmp_path, "--lanes", "1", "--seconds", "0")
    assert [row["cell"] for row in report["rows"]] == [packs.LEFT_OUT] * 4
    assert list(report["bits"].values()) == [packs.LEFT_OUT] * 4
    assert report["evaluation"] is None
    assert (tmp_path / "packs.md").read_text().count(packs.LEFT_OUT) == 9


def test_no_cell_is_begun_that_would_not_end_and_each_is_kept_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    seconds = iter([3.0, 1.0, 2.0])

    def measure_cell(*_: object) -> None:
        nonlocal now
        now += next(seconds)

    monkeypatch.setattr(packs, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(packs, "measure_cell", measure_cell)
    monkeypatch.setattr(packs, "eager_loop", lambda *_: SimpleNamespace())
    rows = packs.blank_rows("cuda", [1, 2])
    assert len(rows) == 12
    kept: list[int] = []

    def keep() -> None:
        kept.append(sum(row["cell"] != packs.LEFT_OUT for row in rows))

    problem: Any = None
    # After the third cell there are 2.5 seconds left, and the longest took 3.
    packs.measure(problem, "cuda", rows, 1, packs.Deadline(8.5), keep)
    assert kept == [1, 2, 3]


def test_a_kill_while_the_results_are_written_leaves_the_ones_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = {
        "setting": packs.describe("cpu", "nin", 2, 1),
        "tests": "none",
        "bits": {"float32, grouped": False},
        "rows": packs.blank_rows("cpu", [1]),
        "evaluation": 0.25,
    }
    packs.write(report, tmp_path)
    before = (tmp_path / "packs.json").read_text()
    assert "takes 25 % of an epoch" in (tmp_path / "packs.md").read_text()

    def killed(path: Path, text: str, **_: object) -> None:
        path.write_bytes(text[:10].encode())
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        packs.write(report, tmp_path)
    assert (tmp_path / "packs.json").read_text() == before


def test_the_tests_of_a_gpu_are_named_and_have_a_time_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], *, timeout: float, **_: object) -> None:
        commands.append(command)
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", run)
    assert packs.run_gpu_tests(7.0) == "ended after 7 s, as they would have taken longer"
    (command,) = commands
    named = command[command.index("gpu") + 1 :]
    assert "tests/training/test_gpu.py" in named
    assert "tests/optim/test_indian.py" in named
    assert all((ROOT / name).is_file() for name in named)


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
