"""The tests of the analysis on runs that were trained, with the labels of their arms exchanged.

Exchanged within a seed, labels mean nothing: whatever the arms really do, the null hypothesis is
true of every such study, and p-values must be uniform. The runs have what simulations lack: two of
the 20 seeds ended far below the others, so the differences have a heavy tail. Another study is put
through the whole verdict, with runs that did not learn.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from indian_tune.analysis import Label, Registration, Scope
from indian_tune.analysis.analysis import judge_evidence
from indian_tune.analysis.ends import Ends, stuck
from indian_tune.analysis.estimates import bounds
from indian_tune.analysis.evidence import Evidence
from indian_tune.analysis.simulation import ARMS, UNBOUNDED, simulated_claims

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from indian_tune.analysis import Verdict

# What was trained, and how, stands in the file's first lines.
FILE = Path(__file__).with_name("aa_null.csv")
STUDY = Path(__file__).with_name("regularization_cpu.csv")
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


@pytest.fixture(scope="module")
def permuted_verdicts() -> list[Verdict]:
    """Verdicts on a real study of 11 arms and 10 seeds after permuting all labels within a seed.

    Every seed stands for a search. Winners of half the budget are as good as those of the whole, so
    that the gate on budgets stops nothing.
    """
    runs = pd.read_csv(STUDY, comment="#").sort_values(["seed", "arm"])
    columns = ("test_accuracy", "train_accuracy", "validation_accuracy")
    tables = [runs[column].to_numpy().reshape(10, 11) for column in columns]
    random = np.random.default_rng(0)
    verdicts = []
    for _ in range(PERMUTATIONS):
        order = random.permuted(np.tile(np.arange(11), (10, 1)), axis=1)
        test, train, validation = (np.take_along_axis(table, order, 1) for table in tables)
        arms = {}
        for place, arm in enumerate(ARMS):
            at = slice(place, place + 1)
            ends = Ends(test[:, at], train[:, at], validation[:, at], stuck(train[:, at], 0.1))
            arms[arm] = Ends(ends.test, ends.train, ends.validation, ends.failed, half=ends)
        evidence = Evidence(simulated_claims(), arms, 0.1, winners=UNBOUNDED, thorough=False)
        verdicts.append(
            judge_evidence(
                evidence, study="permuted", scope=Scope(), registration=Registration("honest", ())
            )
        )
    return verdicts


def test_a_real_study_with_permuted_labels_is_not_supported_too_often(
    permuted_verdicts: list[Verdict],
) -> None:
    """Neither with the gates nor by the bounds alone, in all four contrasts or in one."""
    allowed = stats.binom.ppf(0.99, PERMUTATIONS, 0.05)
    labels = [verdict.label for verdict in permuted_verdicts]
    assert set(labels) <= {Label.SUPPORTED, Label.REFUTED, Label.INCONCLUSIVE}
    assert labels.count(Label.SUPPORTED) <= allowed
    lows = np.array(
        [
            [made.test.low for found in verdict.findings for made in found.contrasts]
            for verdict in permuted_verdicts
        ]
    )
    assert lows.shape == (PERMUTATIONS, 4)
    assert ((lows > 0).sum(0) <= allowed).all()
    assert (lows > 0).all(1).sum() <= allowed
    # Bounds that never were above 0 would pass as well.
    assert (lows > 0).any()
