"""Trials of a search from a frame of epochs: final results and scores."""

from __future__ import annotations

import numpy as np
import pandas as pd

from indian_tune.analysis.ends import stuck
from indian_tune.columns import config_columns

DIVERGED = "diverged"
TRIAL = ["arm", "replicate", "trial"]
RUN = [*TRIAL, "phase", "seed"]


def diverged(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return for every row whether its run diverged."""
    if "run_state" in rows:
        return rows["run_state"] == DIVERGED
    finite = np.isfinite(rows["train_loss"])
    whole: pd.Series[bool] = finite.groupby([rows[key] for key in RUN], dropna=False).transform(
        "all"
    )
    return ~whole


def with_failed(frame: pd.DataFrame, least: float | None) -> pd.DataFrame:
    """Return a frame in which runs on the fresh seeds that did not train count as diverged.

    Where none of them trained, the frame stays as it is: there is nothing to set them apart from.

    Args:
        frame: one row per run and epoch.
        least: training accuracy of a run that has trained; ``None`` where it is not known.
    """
    if least is None or "train_accuracy" not in frame:
        return frame
    keys = [key for key in RUN if key in frame]
    last = frame.loc[frame.groupby(keys, sort=False)["epoch"].idxmax()]
    if "phase" in last:
        last = last[last["phase"].isin(["confirm", "half"])]
    lost = last[stuck(last["train_accuracy"].to_numpy(float), least)]
    if len(lost) in (0, len(last)):
        return frame
    states = frame["run_state"] if "run_state" in frame else pd.Series("complete", frame.index)
    gone = pd.MultiIndex.from_frame(frame[keys]).isin(pd.MultiIndex.from_frame(lost[keys]))
    return frame.assign(run_state=states.mask(gone, DIVERGED))


def ends(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the last row of every run, with a column that tells whether it diverged."""
    gone = rows.assign(diverged=diverged(rows)).reset_index(drop=True)
    return gone.loc[gone.groupby(RUN, sort=False)["epoch"].idxmax()]


def trial_scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the trials of a search with the score that winners are chosen by, lower is better.

    That is the frame's own score. Where it has none, it is the mean over seeds of the validation
    error at the last epoch, or of the training loss where there is no validation part. A trial of
    which a run diverged, or which was not trained to its end, has none.

    Args:
        rows: one per run and epoch, of the tune phase.

    Returns:
        Columns arm, replicate, trial, the hyperparameters, epochs (of all its runs), score,
        objective (what the score is of, such as "validation_error"), diverged and pruned; by arm in
        the order of the frame, then by search and trial.
    """
    last = _scored(ends(rows))
    states = last["trial_state"] if "trial_state" in last else pd.Series("complete", last.index)
    pruned, lost = states == "pruned", last["diverged"] | (states != "complete")
    hyperparameters = config_columns(last.columns)
    by_trial = last.assign(pruned=pruned, _lost=lost).groupby(TRIAL, sort=False)
    trials = by_trial[[*hyperparameters, "score", "objective"]].first()
    trials["score"] = trials["score"].mask(by_trial["_lost"].any())
    trials[["diverged", "pruned"]] = by_trial[["diverged", "pruned"]].any()
    trials["epochs"] = rows.groupby(TRIAL, sort=False).size()
    trials = trials.reset_index()
    order = {arm: place for place, arm in enumerate(dict.fromkeys(rows["arm"]))}
    trials = trials.assign(_place=trials["arm"].map(order)).sort_values(
        ["_place", "replicate", "trial"]
    )
    columns = [*TRIAL, *hyperparameters, "epochs", "score", "objective", "diverged", "pruned"]
    return trials[columns].reset_index(drop=True)


def _scored(last: pd.DataFrame) -> pd.DataFrame:
    """Return the last rows of runs with the score of their trial and what it is of."""
    if "score" in last and last["score"].notna().any():
        named = "objective" in last and last["objective"].notna().all()
        return last if named else last.assign(objective="score")
    if "validation_accuracy" in last and last["validation_accuracy"].notna().any():
        scored = last.assign(score=1 - last["validation_accuracy"], objective="validation_error")
    else:
        scored = last.assign(score=last["train_loss"], objective="train_loss")
    scored["score"] = scored.groupby(TRIAL)["score"].transform("mean")
    return scored
