"""Two arms seed by seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from indian_tune.analysis.figures.exhibit import Exhibit
from indian_tune.analysis.figures.rows import (
    measured_rows,
    outcome_axis,
    outcome_of,
    phase_rows,
    styles_of,
)
from indian_tune.analysis.frame import judged_by
from indian_tune.analysis.style import PALE, canvas, tidy, title
from indian_tune.analysis.trials import ends
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.figure import Figure

    from indian_tune.analysis.figures.exhibit import Exhibits, Material

COLUMNS = 2


def pair_table(frame: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Return the final accuracies of pairs of arms, seed by seed; of several searches, one by one.

    Args:
        frame: one row per run and epoch; the confirm phase is used.
        pairs: arm and baseline.

    Returns:
        Columns arm, baseline, seed (or replicate, with means over the pairs of which both runs
        trained), arm_accuracy, baseline_accuracy (shares; another task has its own metric, such as
        arm_mse; NaN for a run that diverged). Pairs of
        which no two runs trained, and seeds that only one arm has, are left out.

    Raises:
        NoDataError: no pair has two runs that trained.
    """
    rows = phase_rows(frame, "confirm")
    outcome = outcome_of(rows)
    last = measured_rows(ends(rows), outcome)
    last.loc[last["diverged"], outcome] = float("nan")
    keys = ["replicate", "seed"]
    unit = keys[0] if last["replicate"].nunique() > 1 else keys[1]
    accuracy = {arm: part.set_index(keys)[outcome] for arm, part in last.groupby("arm")}
    names = _columns(frame)
    parts = []
    for arm, baseline in pairs:
        if arm in accuracy and baseline in accuracy:
            sides = {names[0]: accuracy[arm], names[1]: accuracy[baseline]}
            both: pd.DataFrame = pd.concat(sides, axis=1, join="inner")
            trained = both.dropna()
            if trained.empty:
                continue
            if unit == "replicate":
                both = trained.groupby("replicate").mean()
            parts.append(both.reset_index().assign(arm=arm, baseline=baseline))
    if not parts:
        raise NoDataError(
            "none of the pairs of arms has two runs of the confirm phase that trained"
        )
    columns = ["arm", "baseline", unit, *names]
    return pd.concat(parts, ignore_index=True)[columns]


def paired_seeds(frame: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> Figure:
    """Draw final accuracies of pairs of arms, a line per seed or search, the baseline first.

    Args:
        frame: one row per run and epoch; the confirm phase is drawn.
        pairs: arm and baseline.

    Raises:
        NoDataError: no pair has two runs that trained.
    """
    table = pair_table(frame, pairs)
    styles, outcome = styles_of(frame), judged_by(frame)
    scale, (first, second) = outcome.scale, _columns(frame)
    groups = list(table.groupby(["arm", "baseline"], sort=False))
    lines = -(-len(groups) // COLUMNS)
    figure = canvas(0.4 + 1.35 * lines)
    grid = figure.subplots(lines, min(COLUMNS, len(groups)), squeeze=False, sharey=True)
    for axes in grid.flat[len(groups) :]:
        axes.set_visible(False)
    for axes, ((arm, baseline), part) in zip(grid.flat, groups, strict=False):
        for values in part[[second, first]].to_numpy():
            axes.plot([0, 1], scale * values, color=PALE, linewidth=1, zorder=1)
        for place, (name, column) in enumerate(((baseline, second), (arm, first))):
            style = styles[str(name)]
            axes.plot(
                [place] * len(part),
                scale * part[column],
                linestyle="",
                marker=style.marker,
                color=style.color,
                markersize=4,
                zorder=2,
            )
        # Names of arms are longer than a panel is wide.
        axes.set_xticks([0, 1], [str(name).replace("-", "-\n") for name in (baseline, arm)])
        axes.set_xlim(-0.4, 1.4)
        ahead = int(_ahead(part, frame).sum())
        title(axes, f"right is better: {ahead} of {len(part)}")
        tidy(axes)
    both = scale * table[[first, second]]
    outcome_axis(grid[0, 0], float(both.min().min()), float(both.max().max()), outcome)
    figure.supylabel(outcome.label(outcome_of(phase_rows(frame, "confirm"))), fontsize=9)
    return figure


def _columns(frame: pd.DataFrame) -> tuple[str, str]:
    name = judged_by(frame).name
    return f"arm_{name}", f"baseline_{name}"


def _ahead(table: pd.DataFrame, frame: pd.DataFrame) -> pd.Series[bool]:
    """Return where the arm is better than the baseline."""
    first, second = (table[name] for name in _columns(frame))
    return first > second if judged_by(frame).greater_is_better else first < second


def _exhibit(material: Material) -> Exhibit:
    pairs = material.claims.pairs()
    table = pair_table(material.frame, pairs)
    ahead = table.assign(ahead=_ahead(table, material.frame))
    one, units = ("search", "searches") if "replicate" in table else ("seed", "seeds")
    counts = ahead.groupby(["arm", "baseline"], sort=False)["ahead"].agg(["sum", "size"])
    said = "; ".join(
        f"{row['arm']} is ahead of {row['baseline']} on {row['sum']} of {row['size']} {units}"
        for row in counts.reset_index().to_dict("records")
    )
    return Exhibit(
        name="paired-seeds",
        title=f"{one.capitalize()} by {one}",
        caption=f"Final {judged_by(material.frame).title} of two arms that share initial weights "
        f"and data order, one line per {one}. If all lines rise, or all fall, every {one} shows "
        f"the difference; if lines cross, the difference depends on the {one}.",
        alt=f"Final {judged_by(material.frame).title} by {one}. {said}.",
        figure=paired_seeds(material.frame, pairs),
        table=table,
    )


EXHIBITS: Exhibits = {60: _exhibit}
