"""The guide for users of Optuna: its programs run, and its table names what exists."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

import indian_tune
from tests.service.test_python import SCRIPTS, SMALL, points

GUIDE = (Path(__file__).parents[2] / "studies/guides/optuna.md").read_text(encoding="utf-8")


def test_it_begins_with_a_program_that_runs() -> None:
    """The script is run by another test."""
    text = (SCRIPTS / "plain_optuna.py").read_text(encoding="utf-8")
    assert f"```python\n{text}```" in GUIDE


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_optuna_reads_the_arm_of_a_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    space = {"gamma0": indian_tune.Range(0.01, 1.0, log=True)}
    begun = {"first": [{"gamma0": 0.1}]}
    search = {"trials": 2, "sampler": {"name": "tpe", "n_startup_trials": 20}}
    study = indian_tune.Study(
        "own", [indian_tune.Arm("sgd", space, options=begun)], points, SMALL["protocol"], search
    )
    results = indian_tune.search(study, engine="inline", progress=False)
    (block,) = re.findall(r"```python\n([^`]*load_study.*?)```", GUIDE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(block, "guide", "exec"), names)
    assert names["study"].best_params == {"gamma0": results.best("sgd")["gamma0"]}
    assert names["study"].trials[0].params == {"gamma0": 0.1}
