"""The tests of the analysis on runs that were trained, with the labels of their arms exchanged.

Exchanged within a seed, labels mean nothing: whatever the arms really do, the null hypothesis is
true of every such study, and p-values must be uniform. The runs have what simulations lack: two of
the 20 seeds ended far below the others, so the differences have a heavy tail.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from indian_tune.analysis.estimates import bounds

if TYPE_CHECKING:
    from numpy.typing import NDArray

# What was trained, and how, stands in the file's first lines.
FILE = Path(__file__).with_name("aa_null.csv")
PERMUTATIONS = 200


@pytest.fixture(scope="module")
def accuracy() -> pd.DataFrame:
    """Final test accuracy, a row per seed, a column per arm."""
    runs = pd.read_csv(FILE, comment="#")
    return runs.pivot(index="seed", columns="arm", values="test_accuracy")


def permuted(accuracy: pd.DataFrame, count: int) -> NDArray[np.float64]:
    """Differences of two arms after their labels were exchanged at random, [count, seeds]."""
    exchanged = np.random.default_rng(0).random((count, len(accuracy))) < 0.5
    first, second = accuracy["indian"].to_numpy(), accuracy["sgd"].to_numpy()
    made: NDArray[np.float64] = np.where(exchanged, second, first) - np.where(
        exchanged, first, second
    )
    return made


def p_values(differences: NDArray[np.float64]) -> NDArray[np.float64]:
    """One-sided p-values of the t behind the bounds of a contrast."""
    made = bounds(differences, 0.05, 0.05)
    error = made.deviation / np.sqrt(differences.shape[-1])
    return np.asarray(stats.t.sf(made.mean / error, differences.shape[-1] - 1))


def test_the_file_holds_every_run_of_both_arms(accuracy: pd.DataFrame) -> None:
    assert accuracy.shape == (20, 2)
    assert accuracy.notna().all().all()


def test_t_p_values_are_uniform_where_no_seed_dominates(accuracy: pd.DataFrame) -> None:
    """On the logit scale the two seeds that failed weigh little more than others."""
    logits = pd.DataFrame(np.log(accuracy / (1 - accuracy)))
    found = p_values(permuted(logits, 1000))
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_the_t_test_does_not_exceed_its_level_where_two_seeds_dominate(
    accuracy: pd.DataFrame,
) -> None:
    """Its p-values are then not uniform, but it errs on the side of finding nothing."""
    found = p_values(permuted(accuracy, 1000))
    assert stats.kstest(found, "uniform").pvalue < 1e-6
    assert (found < 0.05).mean() <= 0.05
