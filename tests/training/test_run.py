from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, replace
from math import inf, nan
from pathlib import Path
from typing import Any

import pytest
import torch

from indian_tune._version import __version__
from indian_tune.commit import commit_of
from indian_tune.errors import InputError
from indian_tune.training import EpochRecord, Provenance, Run

MakeRun = Callable[..., Run]

RECORD = EpochRecord(
    key="a",
    epoch=1,
    step=5,
    metrics={"train_loss": 1.0, "train_accuracy": 0.5},
    sealed={"test_loss": 1.0, "test_accuracy": 0.5},
    seconds=0.1,
)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": -1}, "seed = -1 is not allowed: it must be at least 0"),
        ({"epochs": 0}, "epochs = 0 is not allowed: it must be at least 1"),
        ({"batch_size": 0}, "batch_size = 0 is not allowed: it must be at least 1"),
        ({"dropout": 1.0}, r"dropout = 1\.0 is not allowed: it must be in \[0, 1\)"),
        ({"dropout": float("nan")}, "dropout = nan"),
    ],
    ids=str,
)
def test_values_out_of_range_are_refused_by_name(
    make_run: MakeRun, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        make_run(**changed)


def test_a_run_does_not_follow_later_changes_of_the_configuration_it_was_given(
    make_run: MakeRun,
) -> None:
    config = {"gamma0": 0.1}
    run = make_run(family="sgd", config=config)
    config["gamma0"] = 9.0
    assert run.config == {"gamma0": 0.1}


def test_runs_and_records_are_frozen_and_travel_between_processes(make_run: MakeRun) -> None:
    run = make_run()
    with pytest.raises(FrozenInstanceError):
        run.seed = 2  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(run)) == run
    assert pickle.loads(pickle.dumps(RECORD)) == RECORD


def test_records_are_equal_if_all_but_their_wall_time_are() -> None:
    assert replace(RECORD, seconds=9.0) == RECORD
    assert replace(RECORD, sealed={"test_loss": 1.1, "test_accuracy": 0.5}) != RECORD


def test_a_record_in_which_nothing_is_finite_is_that_of_a_diverged_run() -> None:
    assert not RECORD.diverged
    assert not replace(RECORD, metrics={"train_loss": 1.0, "validation_loss": inf}).diverged
    assert replace(RECORD, metrics={"train_loss": nan, "validation_loss": nan}).diverged


def test_provenance_says_what_the_bits_depend_on_and_names_no_machine() -> None:
    provenance = Provenance.of("cpu")
    assert asdict(provenance) == {
        "device": "cpu",
        "device_name": provenance.device_name,
        "torch_version": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "precision": "float32",
        "tf32": False,
        "execution": "loop",
        "version": __version__,
        "commit": commit_of(Path(__file__).parents[2]),
    }
    assert torch.backends.cpu.get_cpu_capability() in provenance.device_name


def test_what_was_recorded_is_read_without_torch() -> None:
    code = (
        "import sys, indian_tune, indian_tune.optim, indian_tune.problems\n"
        "import indian_tune.training.metrics\n"
        "assert 'torch' not in sys.modules\n"
        "assert indian_tune.training.Trainer\n"
        "assert 'torch' in sys.modules\n"
        "assert not {'ray', 'pandas', 'matplotlib', 'optuna', 'sqlalchemy'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
