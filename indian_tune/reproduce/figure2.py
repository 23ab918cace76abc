"""Figure 2 of the paper: training loss and test accuracy on CIFAR-100, run again.

The published end points (epoch 200, mean and range over 5 initialisations) were read off the
figure of the extended version by C. Castera, J. Bolte, C. Févotte and E. Pauwels, *An Inertial
Newton Algorithm for Deep Learning*, so they are good to about a line's width.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from indian_tune.analysis.figures import learning_curve_table, learning_curves
from indian_tune.reproduce.writers import write_canvas

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = ("train_loss", "test_accuracy")
_PUBLISHED = Path(__file__).parent / "published_cifar100.csv"


def published_end_points() -> pd.DataFrame:
    """Return the published end points.

    Returns:
        Columns arm (as in the study paper-figure2), metric, mean, min and max; losses are mean
        cross-entropies, accuracies shares.
    """
    rows = pd.read_csv(_PUBLISHED)
    arms = [
        f"indian-{row.alpha:g}-{row.beta:g}" if row.optimizer == "indian" else row.optimizer
        for row in rows.itertuples()
    ]
    parts = [
        pd.DataFrame(
            {
                "arm": arms,
                "metric": metric,
                **{name: rows[f"{metric}_{name}"] for name in ("mean", "min", "max")},
            }
        )
        for metric in METRICS
    ]
    return pd.concat(parts, ignore_index=True)


def end_points(frame: pd.DataFrame) -> pd.DataFrame:
    """Return what the arms of a study have come to at their last epoch.

    Args:
        frame: one row per run and epoch, test metrics included; the confirm phase counts.

    Returns:
        Columns arm, metric, mean, min, max, runs and diverged, over the runs that did not diverge.

    Raises:
        NoDataError: there is no confirm phase, or no accuracy in it.
    """
    table = learning_curve_table(frame)
    last = table[table["epoch"] == table.groupby(["arm", "metric"])["epoch"].transform("max")]
    columns = ["arm", "metric", "mean", "min", "max", "runs", "diverged"]
    return last[columns].reset_index(drop=True)


def run_ends(frame: pd.DataFrame) -> pd.DataFrame:
    """Return how every run of the confirm phase ended, as ``indian-tune compare`` reads it.

    Args:
        frame: one row per run and epoch, test metrics included.

    Returns:
        Columns arm, seed, epoch, run_state, train_loss and test_accuracy, a row per run.
    """
    rows = frame[frame["phase"] == "confirm"] if "phase" in frame else frame
    ends = rows.sort_values("epoch", kind="stable").groupby(["arm", "seed"], sort=False).tail(1)
    columns = ["arm", "seed", "epoch", "run_state", *METRICS]
    return ends.sort_index()[columns].reset_index(drop=True)


def draw_figure2(frame: pd.DataFrame, *, comparable: bool) -> Figure:
    """Draw training loss (log scale) and test accuracy: mean line, band from worst to best run.

    Args:
        frame: one row per run and epoch, test metrics included.
        comparable: whether the published end points belong beside ours, as they do for the
            published network on CIFAR-100 alone.
    """
    return learning_curves(frame, published=published_end_points() if comparable else None)


def write_figure2(frame: pd.DataFrame, folder: Path, *, comparable: bool) -> list[Path]:
    """Write the figure as SVG and PNG; its curves, the end points and every run's end as CSV.

    Returns:
        The files, in ``folder``, which is created if need be.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = write_canvas(draw_figure2(frame, comparable=comparable), folder, "figure2")
    for name, table in (
        ("figure2.csv", learning_curve_table(frame)),
        ("figure2-end-points.csv", end_points(frame)),
        ("figure2-runs.csv", run_ends(frame)),
    ):
        table.to_csv(folder / name, index=False)
        files.append(folder / name)
    return files
