"""Accuracy over a designed grid of (α, β) at fixed η."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from indian_tune.analysis import Label, SurfaceDetails, SurfaceFit
from indian_tune.study.hypotheses import Surface

if TYPE_CHECKING:
    from indian_tune.analysis import Finding
    from tests.analysis.conftest import Study

ALPHAS, BETAS, ETAS = (0.1, 0.5, 2.0), (0.05, 0.2, 1.0), (0.1, 0.3)


def grid(slope: float, noise: float = 0.004, seeds: int = 4) -> pd.DataFrame:
    """Runs of a search over a grid; accuracy rises by ``slope`` per e-fold of β at equal η."""
    rng = np.random.default_rng(0)
    rows = []
    for trial, (alpha, beta, eta) in enumerate(product(ALPHAS, BETAS, ETAS)):
        for seed in range(seeds):
            level = 0.5 + 0.1 * np.log(eta) + slope * np.log(beta) + 0.02 * seed
            final = level + noise * rng.standard_normal()
            rows += [
                {
                    "study": "simulated",
                    "arm": "indian",
                    "phase": "tune",
                    "replicate": 0,
                    "trial": trial,
                    "seed": 100 + seed,
                    "epoch": epoch,
                    "train_loss": 2.0 * 0.6**epoch,
                    "test_accuracy": final - 0.02 * (8 - epoch),
                    "config.alpha": alpha,
                    "config.beta": beta,
                    "config.gamma0": eta * alpha,
                }
                for epoch in range(1, 9)
            ]
    return pd.DataFrame(rows)


def judged(study: Study, search: pd.DataFrame) -> Finding:
    study.claims = study.claims.model_copy(update={"h3a": Surface(arm="indian")})
    return study.judged(pd.concat([study.frame, search])).finding("H3a")


def final_fit(found: Finding) -> SurfaceFit:
    assert isinstance(found.details, SurfaceDetails)
    return found.details.surface


def test_a_surface_that_is_there_is_found_with_its_coefficients(gain: Study) -> None:
    found = judged(gain, grid(0.01))
    assert found.label is Label.EXPLORATORY
    final = final_fit(found)
    assert (final.metric, final.n) == ("test_accuracy", 4)
    slopes = {made.term: made for made in final.coefficients}
    assert slopes["log beta"].estimate == pytest.approx(0.01, abs=0.002)
    assert slopes["log beta"].p < 0.01 < slopes["log alpha"].p
    assert final.p == 1 / 2000
    assert final.p_friedman is not None
    assert final.p_friedman < 0.01
    assert final.largest == pytest.approx(0.01 * np.log(4), abs=0.006)


def test_the_coefficients_are_those_of_a_regression_with_a_level_for_every_rate(
    gain: Study,
) -> None:
    search = grid(0.01)
    final = final_fit(judged(gain, search))
    last = search[search["epoch"] == 8].groupby("trial").mean(numeric_only=True)
    a, b = (
        np.log(last[name]) - np.log(last[name]).mean() for name in ("config.alpha", "config.beta")
    )
    levels = pd.get_dummies((last["config.gamma0"] / last["config.alpha"]).round(6)).to_numpy(
        dtype=float
    )
    design = np.column_stack([a, b, a**2, b**2, a * b, levels])
    expected = np.linalg.lstsq(design, last["test_accuracy"].to_numpy(), rcond=None)[0][:5]
    assert [made.estimate for made in final.coefficients] == pytest.approx(list(expected))


def test_no_surface_is_as_chance_would_have_it(gain: Study) -> None:
    found = judged(gain, grid(0.0))
    assert final_fit(found).p > 0.05
    assert "chance alone gives it" in found.sentence


def test_a_search_that_is_no_grid_is_not_tested_and_says_what_to_add(gain: Study) -> None:
    search = grid(0.01)
    rng = np.random.default_rng(1)
    search["config.gamma0"] *= np.exp(rng.random(search["trial"].max() + 1))[search["trial"]]
    found = judged(gain, search)
    assert found.label is Label.NOT_TESTED
    assert "are not a grid of (alpha, beta) at equal eta" in found.sentence


def test_pruned_trials_leave_holes_and_are_told(gain: Study) -> None:
    search = grid(0.01)
    holes = (search["trial"] == 3) & (search["epoch"] > 2)
    found = judged(gain, search[~holes])
    assert found.label is Label.NOT_TESTED
    assert "arm 'indian' has 4 runs pruned or not finished" in found.sentence


def test_cells_of_which_a_run_failed_are_left_out_and_told(gain: Study) -> None:
    search = grid(0.01).assign(run_state="complete")
    gone = (search["trial"] == 3) & (search["epoch"] > 2)
    search.loc[search["trial"] == 3, "run_state"] = "diverged"
    found = judged(gain, search[~gone])
    assert isinstance(found.details, SurfaceDetails)
    assert len(found.details.failed) == 1
    assert len(final_fit(found).cells) == 17
    assert "1 cells with a failed run are excluded" in found.sentence
