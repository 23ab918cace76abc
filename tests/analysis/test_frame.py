"""What is refused of a data frame: a clear error, never a silent drop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from indian_tune.analysis import Registration, Scope, analyze, figures
from indian_tune.analysis.frame import trial_rows, with_config_columns
from indian_tune.columns import config_columns
from indian_tune.errors import InputError
from indian_tune.study.file.claims_file import load_claims

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.analysis.conftest import Study

    Change = Callable[[pd.DataFrame], pd.DataFrame]

EXPORTED = Path(__file__).parents[1] / "pins" / "exported"
# The same study as a version exported it whose hyperparameters had no prefix.
FORMER = Path(__file__).with_name("former_epochs.csv")


def at(frame: pd.DataFrame, arm: str = "sgd", seed: int = 4, epoch: int = 2) -> pd.Series[bool]:
    return (frame["arm"] == arm) & (frame["seed"] == seed) & (frame["epoch"] == epoch)


def changed(frame: pd.DataFrame, column: str, value: float) -> pd.DataFrame:
    frame.loc[at(frame), column] = value
    return frame


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f.drop(columns=["train_loss", "test_accuracy"]),
            "lacks the columns train_loss, test_accuracy; its columns are study, arm",
        ),
        (lambda f: f.assign(phase="tune", trial=0), "no rows of the confirm phase"),
        (lambda f: f[~((f["arm"] == "sgd") & (f["seed"] == 4))], "only one of them has seeds 4"),
        (
            lambda f: pd.concat([f, f.iloc[[7]]]),
            "occurs more than once",
        ),
        (lambda f: changed(f, "test_accuracy", np.nan), "test_accuracy of sgd 4 is not finite at"),
        (
            lambda f: changed(f, "train_loss", np.inf),
            "train_loss of sgd 4 is not finite at epoch 2",
        ),
        (
            lambda f: changed(f, "test_accuracy", 61.0),
            "test_accuracy = 61.0 (sgd 4) must be in [0, 1]",
        ),
        (lambda f: f[~at(f, epoch=3)], "arm 'sgd' seed 4 has 2 epochs, but the frame has 3"),
        (lambda f: f[~at(f)], "arm 'sgd' seed 4 has 2 epochs, but the frame has 3"),
        (
            lambda f: f.assign(seed=f["seed"] + 0.5),
            "column seed must contain whole numbers, got 0.5",
        ),
        (lambda f: f.assign(epoch="last"), "column epoch must contain whole numbers, got 'last'"),
        (
            lambda f: f.assign(study=np.where(f["arm"] == "sgd", "one", "two")),
            "several studies ('one', 'two')",
        ),
        (
            lambda f: f.assign(run_state=np.where(at(f), "failed", "complete")),
            "runs are failed (sgd 4)",
        ),
        (lambda f: f.assign(arm=f["arm"].where(~at(f))), "column arm has empty values"),
        (lambda f: f.iloc[:0], "the frame has no rows"),
        (lambda f: changed(f, "epoch", np.nan), "column epoch has empty values"),
        (
            lambda f: f.assign(test_accuracy="good"),
            "test_accuracy must contain numbers, got 'good'",
        ),
        # As a table of integers that fit into no number of the processor's is read.
        (
            lambda f: f.assign(epoch=pd.Series([10**400] * len(f), dtype=object)),
            "column epoch must contain whole numbers, got '1000",
        ),
    ],
)
def test_a_bad_frame_is_refused_with_what_is_wrong_and_where(
    gain: Study, change: Change, message: str
) -> None:
    with pytest.raises(InputError) as error:
        gain.judged(change(gain.frame.copy()))
    assert message in str(error.value)


def test_the_order_of_rows_and_arms_does_not_matter(gain: Study) -> None:
    shuffled = gain.frame.sample(frac=1, random_state=0)
    assert repr(gain.judged(shuffled)) == repr(gain.judged())


def test_columns_that_are_not_needed_may_be_absent(gain: Study) -> None:
    frame = gain.frame.drop(columns=["study", "validation_accuracy"])
    found = gain.judged(frame).finding("H3b")
    whole = gain.judged().finding("H3b")
    assert [made.test for made in found.contrasts] == [made.test for made in whole.contrasts]
    assert {made.validation for made in found.contrasts} == {None}


def test_a_former_export_gives_the_findings_of_the_present_one() -> None:
    former, present = pd.read_csv(FORMER), pd.read_csv(EXPORTED / "epochs.csv")
    assert {"alpha", "beta1"} <= set(former) - set(present)
    claims = load_claims(EXPORTED / "claims.json")
    assert claims.registration is not None
    registration = Registration("honest", tuple(claims.registration.seeds))
    first, second = (
        analyze(frame, claims.claims, registration=registration, scope=Scope(classes=10))
        for frame in (former, present)
    )
    assert repr(first) == repr(second)
    assert any(found.beside for found in first.findings)
    for table in (figures.step_size_table, figures.best_so_far_table):
        pd.testing.assert_frame_equal(table(former), table(present))


def test_without_a_prefix_every_other_column_of_numbers_is_a_hyperparameter() -> None:
    former = pd.read_csv(FORMER)
    names = ["alpha", "beta", "gamma0", "weight_decay", "beta1"]
    assert config_columns(trial_rows(former, "tune")) == [f"config.{name}" for name in names]
    more = former.assign(tau=1.0, remark="mine", threads=2, value=0.5)
    assert config_columns(with_config_columns(more))[-1] == "config.tau"


def test_where_one_column_has_the_prefix_the_others_are_no_hyperparameters(gain: Study) -> None:
    frame = gain.frame.assign(**{"config.seed": 0.1, "tau": 1.0})
    pd.testing.assert_frame_equal(with_config_columns(frame), frame)
    assert repr(gain.judged(frame)) == repr(gain.judged())
