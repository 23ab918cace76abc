"""Which hyperparameters mattered in a search."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from indian_tune.analysis.importance import importances


def search(trials: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    alpha, beta = np.exp(rng.uniform(-3, 1, trials)), np.exp(rng.uniform(-3, 1, trials))
    return pd.DataFrame(
        {
            "arm": "indian",
            "phase": "tune",
            "replicate": 0,
            "trial": np.arange(trials),
            "seed": 0,
            "epoch": 1,
            "train_loss": 1.0,
            "validation_accuracy": 0.8 - 0.05 * (np.log(alpha) + 1) ** 2,
            "config.alpha": alpha,
            "config.beta": beta,
            "config.dropout": 0.5,
        }
    )


@pytest.mark.parametrize("method", ["PED-ANOVA", "fANOVA"])
def test_what_matters_comes_first(method: str) -> None:
    made = next(m for m in importances(search(60)) if m.method == method)
    assert [name for name, _ in made.shares] == ["alpha", "beta"]
    assert made.shares[0][1] > 0.7
    assert sum(share for _, share in made.shares) == pytest.approx(1)
    assert made.trials == 60


def test_hyperparameters_with_the_names_of_columns_are_among_them() -> None:
    named = {"config.alpha": "config.seed", "config.beta": "config.train_loss"}
    for before, after in zip(
        importances(search(20)), importances(search(20).rename(columns=named)), strict=True
    ):
        assert [name for name, _ in before.shares] == ["alpha", "beta"]
        assert [name for name, _ in after.shares] == ["seed", "train_loss"]
        assert [share for _, share in after.shares] == [share for _, share in before.shares]


def test_importance_is_for_the_score_that_winners_are_chosen_by() -> None:
    frame = search(60).assign(objective="validation_loss", trial_state="complete")
    frame["score"] = np.log(frame["config.beta"]) ** 2
    first, second = importances(frame)
    assert first.shares[0][0] == second.shares[0][0] == "beta"
    assert first.objective == second.objective == "validation_loss"
    frame.loc[frame["trial"] < 40, "trial_state"] = "pruned"
    assert {made.trials for made in importances(frame)} == {20}


def test_few_trials_say_nothing() -> None:
    assert importances(search(5)) == ()
