"""A search with a loop of one's own, killed at many places: nothing is lost, nothing doubled."""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import indian_tune
from indian_tune.ledger import LedgerReader
from tests.engines import killed_loop

ROOT = Path(__file__).parents[2]
# Events between two deaths: more than what a trial repeats after one, so that each gets further.
LEAST, MOST = 28, 48


def record(storage: str) -> list[Any]:
    """Return all that was trained and what came out, in the order of the trials."""
    rows: list[Any] = []
    with LedgerReader.open(storage) as ledger:
        study = ledger.study("killed")
        for trial in ledger.trials(study.id):
            rows.append((trial.arm_id, trial.phase, trial.index, trial.state, trial.config))
            rows.append((trial.value, trial.told))
            rows += [(run.seed, run.state, ledger.epochs(run.id)) for run in ledger.runs(trial.id)]
        # Opened, to be compared.
        return [*rows, *sealed(storage)]


def sealed(storage: str) -> list[Any]:
    results = indian_tune.open_study(storage=storage)
    results.verdict()
    with LedgerReader.open(storage) as ledger:
        epochs = ledger.study_epochs(ledger.study("killed").id, sealed=True)
    return [[each.sealed for each in records] for _, records in sorted(epochs.items())]


@pytest.mark.parametrize(
    ("kills", "trials"),
    [
        pytest.param(5, 5, marks=pytest.mark.slow),
        pytest.param(50, 50, marks=pytest.mark.night),
    ],
)
def test_a_search_that_is_killed_leaves_the_record_of_one_that_is_not(
    kills: int, trials: int, tmp_path: Path
) -> None:
    chance = random.Random(kills)
    gaps = [chance.randint(LEAST, MOST) for _ in range(kills)]
    events = list(itertools.accumulate(gaps))
    storage = str(tmp_path / "killed.db")
    arguments = [storage, trials, tmp_path, *events]
    command = [sys.executable, "-m", "tests.engines.killed_loop", *map(str, arguments)]
    for _ in range(kills):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    whole = str(tmp_path / "whole.db")
    indian_tune.search(killed_loop.study(trials), storage=whole, engine="inline", progress=False)
    assert record(storage) == record(whole)
