"""What every figure needs of a frame of epochs: its phases, its arms, its outcome, its scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.analysis.frame import with_config_columns
from indian_tune.analysis.style import ArmStyle, arm_styles
from indian_tune.errors import NoDataError
from indian_tune.study.description import SCORES

if TYPE_CHECKING:
    import pandas as pd

# The outcome is the first of these that was measured.
OUTCOMES = ("test_accuracy", "validation_accuracy", "train_accuracy")


def phase_rows(frame: pd.DataFrame, phase: str) -> pd.DataFrame:
    """Return the rows of a phase, hyperparameters in ``config.`` columns.

    A frame without a column ``phase`` is of the confirm phase; one without ``replicate`` holds one
    search of every arm, one without ``trial`` one configuration.

    Raises:
        NoDataError: there are none.
    """
    if "phase" not in frame:
        rows = frame.assign(phase="confirm") if phase == "confirm" else frame.iloc[:0]
    else:
        rows = frame[frame["phase"] == phase]
    if rows.empty:
        raise NoDataError(f"the frame has no rows of the {phase} phase")
    rows = with_config_columns(rows)
    return rows.assign(**{name: 0 for name in ("replicate", "trial") if name not in rows})


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


def score_words(objective: str) -> str:
    """Return what a score is of, in words."""
    return SCORES.get(objective, objective.replace("_", " "))


def score_axis(objective: str) -> tuple[str, float]:
    """Return what an axis of scores says, and the factor that its numbers take."""
    words = score_words(objective)
    return (f"{words}, %", 100) if objective.endswith("_error") else (words, 1)
