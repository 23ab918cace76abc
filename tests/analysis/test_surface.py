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
    return found.details.surfaces[0]


def test_a_surface_that_is_there_is_found_with_its_coefficients(direct: Study) -> None:
    found = judged(direct, grid(0.01))
    assert (found.label, found.strongly) == (Label.SUPPORTED, True)
    final = final_fit(found)
    assert (final.outcome, final.metric, final.n) == ("final", "test_accuracy", 4)
    slopes = {made.term: made for made in final.coefficients}
    assert slopes["log beta"].estimate == pytest.approx(0.01, abs=0.002)
    assert slopes["log beta"].p < 0.01 < slopes["log alpha"].p
    assert final.p == 1 / 2000
    assert final.p_friedman is not None
    assert final.p_friedman < 0.01
    assert found.estimate == pytest.approx(0.01 * np.log(4), abs=0.006)


def test_the_coefficients_are_those_of_a_regression_with_a_level_for_every_rate(
    direct: Study,
) -> None:
    search = grid(0.01)
    final = final_fit(judged(direct, search))
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


def test_no_surface_is_not_supported(direct: Study) -> None:
    found = judged(direct, grid(0.0))
    assert found.label in (Label.REFUTED, Label.INCONCLUSIVE)
    assert found.p is not None
    assert found.p > 0.05


def test_a_flat_surface_without_noise_to_speak_of_is_refuted(direct: Study) -> None:
    assert judged(direct, grid(0.0, noise=0.0005)).label is Label.REFUTED


def test_a_search_that_is_no_grid_is_not_tested_and_says_what_to_add(direct: Study) -> None:
    search = grid(0.01)
    rng = np.random.default_rng(1)
    search["config.gamma0"] *= np.exp(rng.random(search["trial"].max() + 1))[search["trial"]]
    found = judged(direct, search)
    assert found.label is Label.NOT_TESTED
    assert "are no grid of (alpha, beta) at equal eta" in found.sentence


def test_pruned_trials_leave_holes_and_are_told(direct: Study) -> None:
    search = grid(0.01)
    holes = (search["trial"] == 3) & (search["epoch"] > 2)
    found = judged(direct, search[~holes])
    assert found.label is Label.NOT_TESTED
    assert "4 runs of arm 'indian' were pruned or are not finished" in found.sentence


def test_cells_that_diverge_score_chance(direct: Study) -> None:
    search = grid(0.01).assign(run_state="complete")
    gone = (search["trial"] == 3) & (search["epoch"] > 2)
    search.loc[search["trial"] == 3, "run_state"] = "diverged"
    found = judged(direct, search[~gone])
    assert final_fit(found).means[3] == pytest.approx(0.1)
