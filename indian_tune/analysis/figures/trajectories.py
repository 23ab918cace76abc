"""Test error against training error during training, or a metric that is to be large likewise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.figures.rows import phase_rows, styles_of
from indian_tune.analysis.frame import judged_by
from indian_tune.analysis.style import INK, PALE, canvas, legend, tidy
from indian_tune.analysis.trials import diverged
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material
    from indian_tune.outcome import Outcome


def trajectory_table(frame: pd.DataFrame, arms: Sequence[str] | None = None) -> pd.DataFrame:
    """Return mean training and test error over runs, at every epoch of every arm.

    Args:
        frame: one row per run and epoch; the confirm phase is used, without runs that diverged.
        arms: which arms; all by default.

    Returns:
        Columns arm, epoch, train_error, test_error (shares, or errors of another task) and runs. Of
        a metric that is to be large, such as F1, the columns are train_f1 and test_f1.

    Raises:
        NoDataError: there is no confirm phase, or not both accuracies in it.
    """
    rows = phase_rows(frame, "confirm")
    if not {"train_accuracy", "test_accuracy"} <= set(rows):
        raise NoDataError("the frame has no train_accuracy and test_accuracy")
    rows = rows[~diverged(rows)].dropna(subset=["train_accuracy", "test_accuracy"])
    if arms is not None:
        rows = rows[rows["arm"].isin(arms)]
    if rows.empty:
        raise NoDataError("no run has training and test accuracies")
    outcome = judged_by(frame)
    train, test = _columns(outcome)
    measured = {
        train: outcome.shown(1 - rows["train_accuracy"]),
        test: outcome.shown(1 - rows["test_accuracy"]),
    }
    groups = rows.assign(**measured).groupby(["arm", "epoch"], sort=False)
    return groups.agg(
        **{train: (train, "mean"), test: (test, "mean")}, runs=("seed", "size")
    ).reset_index()


def trajectories(frame: pd.DataFrame, arms: Sequence[str] | None = None) -> Figure:
    """Draw every arm's way through training error (falling to the right) and test error.

    A metric that is to be large rises to the right instead. On the diagonal an arm is as good on
    test examples as on its training examples. The mark is the last epoch.

    Args:
        frame: one row per run and epoch; the confirm phase is drawn.
        arms: which arms; all by default.

    Raises:
        NoDataError: there is no confirm phase, or not both accuracies in it.
    """
    table = trajectory_table(frame, arms)
    styles = styles_of(frame)
    figure = canvas(3.5)
    axes = figure.subplots()
    outcome = judged_by(frame)
    scale, unit = outcome.scale, ", %" if outcome.share else ""
    for arm, line in table.groupby("arm", sort=False):
        style = styles[str(arm)]
        x, y = (scale * line[column] for column in _columns(outcome))
        axes.plot(x, y, color=style.color, linestyle=style.dashes, linewidth=1.6, label=str(arm))
        axes.plot(x.iloc[-1], y.iloc[-1], color=style.color, marker=style.marker, markersize=6)
    # Most of the way is the first epochs; what matters lies near its end.
    early = table["epoch"].min() + 0.1 * table["epoch"].nunique()
    late = table[table["epoch"] > min(early, table["epoch"].max() - 0.5)]
    train, test = (_with_margin(scale * late[column]) for column in _columns(outcome))
    axes.set_xlim(*(train if outcome.rises else reversed(train)))
    # No error is below 0.
    axes.set_ylim(test[0] if outcome.rises else max(0.0, test[0]), test[1])
    # It says how far apart the two are: the axes have ranges of their own.
    axes.axline((0, 0), slope=1, color=PALE, linewidth=1, zorder=0)
    moves = "rises" if outcome.rises else "falls"
    axes.set_xlabel(f"training {outcome.error_title}{unit} ({moves} to the right)", color=INK)
    axes.set_ylabel(f"test {outcome.error_title}{unit}", color=INK)
    tidy(axes)
    legend(figure)
    return figure


def _with_margin(values: pd.Series[float]) -> tuple[float, float]:
    known = values[values.abs() < math.inf]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.01 * abs(high) or 0.01
    return low - margin, high + margin


def _columns(outcome: Outcome) -> tuple[str, str]:
    return f"train_{outcome.error_column}", f"test_{outcome.error_column}"


def _exhibit(material: Material) -> Exhibit:
    arms: list[str] | None = None
    pairs = material.claims.pairs()
    decide = material.verdict and [
        arm
        for found in material.verdict.findings
        for made in found.contrasts
        for arm in (made.arm, made.baseline)
    ]
    if decide:
        arms = list(dict.fromkeys(decide))
    elif pairs:
        arms = list(dict.fromkeys(arm for pair in pairs for arm in pair))
    table, outcome = trajectory_table(material.frame, arms), judged_by(material.frame)
    train, test = _columns(outcome)
    name = outcome.title if outcome.rises else "error"
    lower, higher = ("higher", "lower") if outcome.rises else ("lower", "higher")
    said = "; ".join(
        f"{row['arm']} ends at {outcome.text(row[train])} training and "
        f"{outcome.text(row[test])} test {outcome.error_title}"
        for row in table.groupby("arm", sort=False).tail(1).to_dict("records")
    )
    return Exhibit(
        name="test-against-training-error",
        title=f"Test {name} against training {name}",
        caption="Each line shows an arm during training, from left to right, as a mean over runs "
        f"that trained; the mark is the last epoch. An arm whose mark is {lower} than another's, "
        f"but not further to the right, has a {lower} test {name} at the same or a {higher} "
        f"training {name}, as expected from a regularizer. Only the last epoch is judged: earlier "
        "points depend on how fast an arm trains. Each axis has its own range; on the "
        "grey line both are equal.",
        alt=f"Test {name} over training {name}, a line per arm. {said}.",
        figure=trajectories(material.frame, arms),
        table=table,
    )


EXHIBITS: Exhibits = {20: _exhibit}
