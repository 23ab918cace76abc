"""H3a: whether accuracy depends on (α, β) at a fixed effective learning rate.

A designed grid over (α, β, η) from the search: per-seed regressions of accuracy on log α, log β,
their squares and their product, within every η. Cells of which a run failed are left out. A table:
it gates nothing. Each coefficient has a t over seeds, all of them
together a permutation of cells within seed and η.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special, stats

from indian_tune.analysis.ends import stuck
from indian_tune.analysis.estimates import bounds
from indian_tune.analysis.evidence import exploratory, not_tested
from indian_tune.analysis.frame import DIVERGED
from indian_tune.analysis.verdict import Details
from indian_tune.columns import config_column
from indian_tune.study.hypotheses.surface import ADD_GRID
from indian_tune.text import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from indian_tune.analysis.evidence import Evidence
    from indian_tune.analysis.verdict import Finding
    from indian_tune.study.hypotheses import Surface

TERMS = ("log alpha", "log beta", "log alpha^2", "log beta^2", "log alpha log beta")
PERMUTATIONS = 1_999
ALPHA, BETA, GAMMA0, ETA = map(config_column, ("alpha", "beta", "gamma0", "eta"))


@dataclass(frozen=True)
class Coefficient:
    """One coefficient of the surface of H3a, averaged over per-seed regressions.

    Attributes:
        term: "log alpha", "log beta", "log alpha^2", "log beta^2" or "log alpha log beta", with
            logarithms centred over the grid.
        estimate: change in accuracy per unit of the term.
        low: lower bound.
        high: upper bound.
        p: two-sided p-value of a one-sample t over seeds.
    """

    term: str
    estimate: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class SurfaceFit:
    """The accuracy of one arm over a designed grid of (α, β) at fixed effective learning rates.

    Attributes:
        metric: column that was fitted, such as "test_accuracy".
        cells: (alpha, beta, eta) of every cell of the grid.
        means: mean accuracy of every cell over seeds.
        coefficients: of the regression.
        largest: largest deviation of the fitted surface from its mean at the same η.
        low: lower bound of it, simultaneous over cells.
        high: upper bound of it.
        p: joint p-value of all coefficients, cells permuted within seeds.
        p_friedman: of Friedman's rank test; ``None`` with fewer than three cells.
        n: number of seeds.
    """

    metric: str
    cells: tuple[tuple[float, float, float], ...]
    means: tuple[float, ...]
    coefficients: tuple[Coefficient, ...]
    largest: float
    low: float
    high: float
    p: float
    p_friedman: float | None
    n: int


@dataclass(frozen=True)
class SurfaceDetails(Details):
    """The fit of H3a, and the cells that failed, as (alpha, beta, eta)."""

    surface: SurfaceFit
    failed: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Grid:
    """The runs of a designed grid.

    Attributes:
        cells: (alpha, beta, eta), float64 [cells, 3].
        strata: which η a cell has, int [cells].
        final: accuracy at the end [seeds, cells].
        metric: column of the accuracies.
        failed: (alpha, beta, eta) of the cells that are left out, since a run failed there.
    """

    cells: NDArray[np.float64]
    strata: NDArray[np.int64]
    final: NDArray[np.float64]
    metric: str
    failed: tuple[tuple[float, ...], ...] = ()


def find(evidence: Evidence, claim: Surface) -> Finding:
    """Describe H3a by the largest deviation of the fitted surface."""
    grid = _grid(evidence, claim.arm)
    if isinstance(grid, str):
        return not_tested(claim, [ADD_GRID.format(arm=claim.arm), f"but now {grid}"])
    fit = fit_surface(grid, grid.final, evidence.claims.alpha)
    outcome = evidence.outcome
    if not outcome.share:
        means = tuple(outcome.measured(score) for score in fit.means)
        fit = replace(fit, metric=outcome.column(fit.metric), means=means)
    seen = (
        "chance alone gives it in" if fit.p > evidence.claims.alpha else "chance gives it in only"
    )
    lost = f" {len(grid.failed)} cells with a failed run are excluded." if grid.failed else ""
    return exploratory(
        claim,
        (),
        f"At a fixed effective learning rate the fitted surface over (α, β) deviates by up to "
        f"{outcome.size(fit.largest)} {outcome.unit} ({seen} {100 * fit.p:.2g} % of cases).{lost}",
        details=SurfaceDetails(fit, grid.failed),
    )


def fit_surface(grid: Grid, accuracy: NDArray[np.float64], alpha: float) -> SurfaceFit:
    """Fit the quadratic surface seed by seed.

    Args:
        grid: the design.
        accuracy: [seeds, cells].
        alpha: one-sided level.
    """
    n, cells = accuracy.shape
    design = quadratic_design(grid.cells, grid.strata)
    centred = _within(accuracy, grid.strata)
    slopes = np.asarray(np.linalg.lstsq(design, centred.T, rcond=None)[0].T, dtype=np.float64)
    fitted = slopes @ design.T
    made = bounds(fitted.T, alpha, alpha)
    error = made.deviation / math.sqrt(n)
    reach = special.stdtrit(n - 1, 1 - alpha / (2 * cells)) * error
    coefficients = bounds(slopes.T, alpha, alpha)
    spread = coefficients.deviation / math.sqrt(n)
    t = np.abs(coefficients.mean) / np.where(spread == 0, 1.0, spread)
    two_sided = np.where(spread == 0, 1.0, 2 * special.stdtr(n - 1, -t))
    return SurfaceFit(
        metric=grid.metric,
        cells=tuple((float(a), float(b), float(e)) for a, b, e in grid.cells),
        means=tuple(accuracy.mean(0).tolist()),
        coefficients=tuple(
            Coefficient(term, float(mean), float(low), float(high), float(p))
            for term, mean, low, high, p in zip(
                TERMS,
                coefficients.mean,
                coefficients.low,
                coefficients.high,
                two_sided,
                strict=True,
            )
        ),
        largest=float(np.abs(made.mean).max()),
        low=max(0.0, float((np.abs(made.mean) - reach).max())),
        high=float(np.maximum(made.high, -made.low).max()),
        p=joint_p(design, centred, grid.strata),
        p_friedman=_friedman(grid, accuracy),
        n=n,
    )


def quadratic_design(cells: NDArray[np.float64], strata: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the terms of the surface, centred within η, [cells, terms].

    Args:
        cells: (alpha, beta, eta) of every cell, [cells, 3]; logarithms are centred over the grid.
        strata: which η a cell has, [cells].
    """
    a, b = (np.log(cells[:, k]) - np.log(cells[:, k]).mean() for k in (0, 1))
    return _within(np.stack([a, b, a**2, b**2, a * b]), strata).T


def joint_p(
    design: NDArray[np.float64],
    centred: NDArray[np.float64],
    strata: NDArray[np.int64],
) -> float:
    """Return the joint p-value of all coefficients by permuting cells within seed and η.

    The statistic is the sum of squares that the surface explains of the mean over seeds; the total
    is the same under every permutation, so that this orders as the F statistic does.

    Args:
        design: terms centred within η, [cells, terms].
        centred: accuracies centred within seed and η, [seeds, cells].
        strata: which η a cell has, [cells].
    """
    basis = np.linalg.qr(design)[0]
    rng = np.random.default_rng(0)
    shuffled = np.empty((PERMUTATIONS, *centred.shape))
    for stratum in np.unique(strata):
        own = strata == stratum
        block = np.broadcast_to(centred[:, own], (PERMUTATIONS, len(centred), own.sum()))
        shuffled[..., own] = rng.permuted(block, axis=-1)
    explained = ((shuffled.mean(1) @ basis) ** 2).sum(-1)
    observed = float(((centred.mean(0) @ basis) ** 2).sum())
    # Equal up to rounding counts as at least as large.
    above = int((explained >= observed * (1 - 1e-9)).sum())
    return (1 + above) / (1 + PERMUTATIONS)


def _grid(evidence: Evidence, arm: str) -> Grid | str:
    """Return the grid of an arm, or in words why there is none."""
    search = evidence.search
    rows = None if search is None else search[search["arm"] == arm]
    if rows is None or rows.empty:
        return f"the search of arm {arm!r} is not in the frame"
    for name in (ALPHA, BETA):
        if name not in rows or rows[name].isna().any():
            return f"the search of arm {arm!r} has no column {name}"
    metric = next(
        (
            name
            for name in ("test_accuracy", "validation_accuracy")
            if name in rows and rows[name].notna().any()
        ),
        None,
    )
    if metric is None:
        return f"the search of arm {arm!r} has no accuracies"
    rate = _rate(rows)
    if rate is None:
        return f"the search of arm {arm!r} has neither eta nor gamma0"
    rows = rows.assign(_rate=rate).sort_values(["trial", "seed", "epoch"])
    trials, seeds = np.sort(rows["trial"].unique()), np.sort(rows["seed"].unique())
    if len(seeds) < 2:
        return f"the search of arm {arm!r} has one tuning seed"
    last = rows[rows["epoch"] == rows["epoch"].max()]
    index = pd.MultiIndex.from_product([seeds, trials])
    last = last.set_index(["seed", "trial"]).reindex(index)
    shape = (len(seeds), len(trials))
    final = last[metric].to_numpy(dtype=np.float64).reshape(shape)
    state = rows.get("run_state")
    gone = set() if state is None else _pairs(rows[state == DIVERGED])
    bad = np.array([[(int(s), int(t)) in gone for t in trials] for s in seeds])
    short = np.isnan(final) & ~bad
    if short.any():
        return f"arm {arm!r} has {counted(int(short.sum()), 'run')} pruned or not finished"
    if "train_accuracy" in rows:
        train = last["train_accuracy"].to_numpy(dtype=np.float64).reshape(shape)
        bad |= stuck(train, evidence.least)
    whole = ~bad.any(0)
    first = rows.drop_duplicates("trial").set_index("trial").loc[trials]
    cells = first[[ALPHA, BETA, "_rate"]].to_numpy(dtype=np.float64)
    lost = tuple(tuple(map(float, cell)) for cell in cells[~whole])
    cells, final = cells[whole], final[:, whole]
    if not len(cells):
        return f"every cell of arm {arm!r} has a run that failed"
    strata = np.unique(np.round(np.log(cells[:, 2]), 6), return_inverse=True)[1]
    design = quadratic_design(cells, strata)
    freedom = len(cells) - (strata.max() + 1) - len(TERMS)
    if np.linalg.matrix_rank(design) < len(TERMS) or freedom < 1:
        number = counted(len(cells), "trial")
        return f"the {number} of arm {arm!r} are not a grid of (alpha, beta) at equal eta"
    return Grid(cells, strata, final, metric, lost)


def _rate(rows: pd.DataFrame) -> pd.Series | None:
    """Return the effective learning rate of every row: η, or γ0 / α."""
    if ETA in rows and rows[ETA].notna().all():
        return rows[ETA]
    if GAMMA0 in rows and rows[GAMMA0].notna().all():
        return rows[GAMMA0] / rows[ALPHA]
    return None


def _pairs(rows: pd.DataFrame) -> set[tuple[int, int]]:
    return {(seed, trial) for seed, trial in zip(rows["seed"], rows["trial"], strict=True)}


def _within(values: NDArray[np.float64], strata: NDArray[np.int64]) -> NDArray[np.float64]:
    """Take the mean of every stratum off, [..., cells]."""
    centred = values.copy()
    for stratum in np.unique(strata):
        own = strata == stratum
        centred[..., own] -= values[..., own].mean(-1, keepdims=True)
    return centred


def _friedman(grid: Grid, accuracy: NDArray[np.float64]) -> float | None:
    """Return Friedman's p-value over (α, β), every η averaged; ``None`` unless all η have all."""
    pairs = np.unique(np.round(np.log(grid.cells[:, :2]), 6), axis=0, return_inverse=True)[1]
    pairs = pairs.reshape(-1)
    counts = np.bincount(pairs)
    if len(counts) < 3 or (counts != grid.strata.max() + 1).any():
        return None
    means = [accuracy[:, pairs == pair].mean(1) for pair in range(len(counts))]
    if np.ptp(means, axis=0).max() == 0:
        return 1.0
    return float(stats.friedmanchisquare(*means).pvalue)
