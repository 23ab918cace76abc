"""Selections of a frame of epochs that figures share: phases, arms, outcome, scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.analysis.frame import judged_by, with_config_columns
from indian_tune.analysis.style import ArmStyle, accuracy_axis, arm_styles
from indian_tune.errors import NoDataError
from indian_tune.study.description import judged_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

    from indian_tune.outcome import Outcome

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
    """Return the column of scores to show: of the test set if it is open.

    Raises:
        NoDataError: no accuracy was measured.
    """
    for column in OUTCOMES:
        if column in rows and rows[column].notna().any():
            return column
    raise NoDataError("the frame has no accuracy: none of test_, validation_ and train_accuracy")


def measured_rows(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return rows with the metric itself in place of the scores of a column."""
    return rows.assign(**{column: judged_by(rows).measured(rows[column])})


def measured_scores(table: pd.DataFrame, columns: Sequence[str], outcome: Outcome) -> pd.DataFrame:
    """Return a table with the metric in place of scores that are the best value minus it.

    Args:
        table: with the column objective.
        columns: those of scores.
        outcome: what runs are judged by.
    """
    if not outcome.rises or table["objective"].iloc[0] != "validation_error":
        return table
    measured = {column: outcome.value(table[column]) for column in columns}
    return table.assign(**measured, objective=f"validation_{outcome.name}")


def is_rising(table: pd.DataFrame, outcome: Outcome) -> bool:
    """Return whether the scores of :func:`measured_scores` are to be large."""
    return outcome.rises and table["objective"].iloc[0] == f"validation_{outcome.name}"


def outcome_axis(axes: Axes, low: float, high: float, outcome: Outcome) -> None:
    """Give the vertical axis the metric that runs are judged by: of a share in percent.

    Args:
        axes: whose vertical axis it is.
        low: lowest value drawn, scaled.
        high: highest.
        outcome: whose values they are.
    """
    if outcome.share:
        accuracy_axis(axes, low, high)
        return
    margin = 0.04 * (high - low or 1)
    axes.set_ylim(low - margin, high + margin)


def styles_of(frame: pd.DataFrame) -> dict[str, ArmStyle]:
    """Return how the arms of a frame are drawn, in the order in which they stand there."""
    names = frame.drop_duplicates("arm")
    optimizers = names["optimizer"] if "optimizer" in names else names["arm"]
    return arm_styles(dict(zip(names["arm"], optimizers.astype(str), strict=True)))


def score_axis(objective: str, outcome: Outcome) -> tuple[str, float]:
    """Return what an axis of what trials are judged by says, and the factor of its numbers."""
    words = judged_words(objective, outcome)
    percent = outcome.share and objective.endswith("_error")
    return (f"{words}, %", 100) if percent else (words, 1)
