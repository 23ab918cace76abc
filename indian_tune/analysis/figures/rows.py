"""What every figure needs of a frame of epochs: its phases, its arms, its outcome, its ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from indian_tune.analysis.style import ArmStyle, arm_styles
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    import pandas as pd

# The outcome is the first of these that was measured.
OUTCOMES = ("test_accuracy", "validation_accuracy", "train_accuracy")
RUN = ["arm", "phase", "trial", "seed"]
METRICS = ("train_loss", *OUTCOMES, "validation_loss", "test_loss", "seconds", "epoch", "step")


def phase_rows(frame: pd.DataFrame, phase: str) -> pd.DataFrame:
    """Return the rows of a phase; a frame without that column is of the confirm phase.

    Raises:
        NoDataError: there are none.
    """
    if "phase" not in frame:
        rows = frame.assign(phase="confirm") if phase == "confirm" else frame.iloc[:0]
    else:
        rows = frame[frame["phase"] == phase]
    if rows.empty:
        raise NoDataError(f"the frame has no rows of the {phase} phase")
    return rows if "trial" in rows else rows.assign(trial=0)


def outcome_of(rows: pd.DataFrame) -> str:
    """Return the column of accuracies to show: of the test set if it is open.

    Raises:
        NoDataError: no accuracy was measured.
    """
    for column in OUTCOMES:
        if column in rows and rows[column].notna().any():
            return column
    raise NoDataError("the frame has no accuracy: none of test_, validation_ and train_accuracy")


def styles_of(frame: pd.DataFrame) -> dict[str, ArmStyle]:
    """Return how the arms of a frame are drawn, in the order in which they stand there."""
    names = frame.drop_duplicates("arm")
    optimizers = names["optimizer"] if "optimizer" in names else names["arm"]
    return arm_styles(dict(zip(names["arm"], optimizers.astype(str), strict=True)))


def diverged(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return for every row whether its run diverged."""
    if "run_state" in rows:
        return rows["run_state"] == "diverged"
    finite = np.isfinite(rows["train_loss"])
    whole: pd.Series[bool] = finite.groupby([rows[key] for key in RUN]).transform("all")
    return ~whole


def ends(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of every run, with a column that tells whether it diverged."""
    gone = rows.assign(diverged=diverged(rows))
    return gone.loc[gone.groupby(RUN, sort=False)["epoch"].idxmax()]


def trial_scores(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the trials of the search with their score, the mean over seeds at the last epoch.

    The score is the validation error, or the training loss where there is no validation part. A
    trial of which a run diverged, or which was not trained to its end, has none.

    Returns:
        Columns arm, trial, the hyperparameters, epochs (of all its runs), score, metric
        ("validation_error" or "train_loss") and diverged; by arm in the order of the frame, then
        by trial.

    Raises:
        NoDataError: the frame has no tune phase.
    """
    rows = phase_rows(frame, "tune")
    last = ends(rows)
    if "validation_accuracy" in last and last["validation_accuracy"].notna().any():
        last = last.assign(score=1 - last["validation_accuracy"], metric="validation_error")
    else:
        last = last.assign(score=last["train_loss"], metric="train_loss")
    lost = last["diverged"]
    if "trial_state" in last:
        lost |= last["trial_state"] != "complete"
    last.loc[lost, "score"] = np.nan
    named = {*RUN, "study", "optimizer", "trial_state", "run_state", *METRICS}
    others = [name for name in last.columns if name not in {*named, "score", "metric", "diverged"}]
    by_trial = last.groupby(["arm", "trial"], sort=False)
    made = by_trial[[*others, "metric"]].first()
    # The mean over seeds of a trial that lost one is no score.
    made["score"] = by_trial["score"].agg(lambda scores: scores.mean(skipna=False))
    made["diverged"] = by_trial["diverged"].any()
    made["epochs"] = rows.groupby(["arm", "trial"], sort=False).size()
    made = made.reset_index()
    order = {arm: place for place, arm in enumerate(dict.fromkeys(rows["arm"]))}
    made = made.assign(_place=made["arm"].map(order)).sort_values(["_place", "trial"])
    columns = ["arm", "trial", *others, "epochs", "score", "metric", "diverged"]
    return made[columns].reset_index(drop=True)
