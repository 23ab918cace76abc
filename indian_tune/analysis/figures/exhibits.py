"""All the figures that a study has the data for, each with its words and its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from indian_tune.analysis.figures.best_so_far import best_so_far, best_so_far_table
from indian_tune.analysis.figures.factorial import factorial_table, interactions
from indian_tune.analysis.figures.flatness import flatness_table, sharpness
from indian_tune.analysis.figures.forest import forest, forest_table
from indian_tune.analysis.figures.heatmaps import surface_maps, surface_table
from indian_tune.analysis.figures.importance import importance_table, importances
from indian_tune.analysis.figures.learning_curves import learning_curve_table, learning_curves
from indian_tune.analysis.figures.pairs import pair_table, paired_seeds
from indian_tune.analysis.figures.power_curve import power_curve, power_table
from indian_tune.analysis.figures.rows import outcome_of, phase_rows
from indian_tune.analysis.figures.step_size import step_size_table, step_sizes
from indian_tune.analysis.figures.thresholds import threshold_table, thresholds
from indian_tune.analysis.figures.trajectories import trajectories, trajectory_table
from indian_tune.analysis.flatness import summarise_flatness
from indian_tune.errors import NoDataError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import pandas as pd
    from matplotlib.figure import Figure

    from indian_tune.analysis.verdict import Verdict
    from indian_tune.study.claims import ClaimsSection


@dataclass(frozen=True)
class Exhibit:
    """A figure as a report shows it.

    Attributes:
        name: of its files.
        title: above it.
        caption: what to see in it.
        alt: what it shows, for those who cannot see it; with the numbers that matter.
        figure: the figure.
        table: the numbers behind it.
    """

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure
    table: pd.DataFrame


def exhibits(
    frame: pd.DataFrame,
    claims: ClaimsSection,
    verdict: Verdict | None = None,
    *,
    ranges: Mapping[str, tuple[float, float]] | None = None,
    published: pd.DataFrame | None = None,
    flatness: pd.DataFrame | None = None,
) -> Iterator[Exhibit]:
    """Yield every figure for which there are data, the most telling first.

    Args:
        frame: one row per run and epoch, as ``ledger.frames.epoch_frame`` returns it.
        claims: which arms the hypotheses compare.
        verdict: from ``analyze``; without one, the figures of contrasts are left out.
        ranges: arm → lowest and highest γ0 that was searched.
        published: published end points, as ``learning_curves`` takes them.
        flatness: one row per run, as ``flatness_table`` takes it.
    """
    parts: list[Callable[[], Exhibit]] = []
    if verdict is not None:
        parts.append(lambda: _forest(verdict))
    parts.append(lambda: _trajectories(frame, claims))
    if verdict is not None:
        parts.append(lambda: _thresholds(verdict))
    parts += [
        lambda: _learning_curves(frame, published),
        lambda: _intervals(frame),
        lambda: _pairs(frame, claims),
        lambda: _surface(frame, claims),
        lambda: _factorial(frame, claims),
        lambda: _step_sizes(frame, ranges),
        lambda: _best_so_far(frame),
    ]
    if verdict is not None:
        parts += [lambda: _importances(verdict), lambda: _power(verdict)]
    if flatness is not None:
        parts.append(lambda: _flatness(frame, flatness))
    for part in parts:
        try:
            yield part()
        except NoDataError:
            continue


def _forest(verdict: Verdict) -> Exhibit:
    table = forest_table(verdict)
    said = "; ".join(
        f"{row['hypothesis']} {row['contrast']}: {_points(row['estimate'])} "
        f"({_points(row['low'])} to {_points(row['high'])}), {row['label']}"
        for row in table.to_dict("records")
    )
    return Exhibit(
        name="contrasts",
        title="The contrasts that the verdict rests on",
        caption="Each line is one comparison, paired by seed: the dot is the mean difference in "
        "accuracy, the ends of the bar are its one-sided bounds. A bar right of zero supports the "
        "arm named first; one that ends left of the grey band's right edge rules out a difference "
        f"of δ = {100 * verdict.delta:g} points. The label says what that line shows alone.",
        alt=f"Differences in percentage points with bounds. {said}.",
        figure=forest(verdict),
        table=table,
    )


def _trajectories(frame: pd.DataFrame, claims: ClaimsSection) -> Exhibit:
    arms: list[str] | None = None
    taus: tuple[float, ...] = ()
    if claims.h2 is not None:
        named = (claims.h2.arm, claims.h2.baseline, claims.h2.matched_rate, *claims.h2.momentum)
        arms, taus = [name for name in named if name is not None], claims.taus
    table = trajectory_table(frame, arms)
    ends = table.groupby("arm", sort=False).tail(1)
    said = "; ".join(
        f"{row['arm']} ends at loss {row['train_loss']:.3g} with {100 * row['accuracy']:.2f} %"
        for row in ends.to_dict("records")
    )
    return Exhibit(
        name="accuracy-against-loss",
        title="Accuracy against training loss",
        caption="Each line is an arm's way through training, from left to right. A line that runs "
        "above another is more accurate at equal training loss, which is what a regularizer does; "
        "lines on top of each other differ only in how fast they get there. Dotted verticals are "
        "the training losses τ at which H2 compares; the mark is the end of training.",
        alt=f"Accuracy over training loss, a line per arm. {said}.",
        figure=trajectories(frame, taus, arms),
        table=table,
    )


def _thresholds(verdict: Verdict) -> Exhibit:
    table = threshold_table(verdict)
    kept = table[table["kept"]].to_dict("records")
    said = "; ".join(f"at τ = {row['tau']:.2g}: {_points(row['estimate'])}" for row in kept)
    return Exhibit(
        name="matched-loss",
        title="The difference at equal training loss",
        caption="The mean difference in accuracy at the moment when both arms first reach a "
        "training loss τ, with its bounds. Crosses are τ that were dropped because a run never "
        "crosses them.",
        alt=f"Differences in percentage points: {said}.",
        figure=thresholds(verdict),
        table=table,
    )


def _learning_curves(frame: pd.DataFrame, published: pd.DataFrame | None) -> Exhibit:
    overlaid = "" if published is None else " Bars at the right are the published end points."
    return Exhibit(
        name="learning-curves",
        title="Training loss and accuracy over epochs",
        caption="Means over seeds; bands reach from the worst to the best run. A band is no "
        "interval: it grows with the number of seeds." + overlaid,
        alt=_curve_words(frame),
        figure=learning_curves(frame, published=published),
        table=learning_curve_table(frame),
    )


def _intervals(frame: pd.DataFrame) -> Exhibit:
    table = learning_curve_table(frame)
    if table["low"].isna().all():
        raise NoDataError("one seed has no interval")
    return Exhibit(
        name="learning-curves-intervals",
        title="The same with intervals",
        caption="Bands are 95 % intervals of the mean over seeds. Whether two arms differ is not "
        "seen by overlap: the arms share their seeds, and the contrasts above are paired.",
        alt=_curve_words(frame),
        figure=learning_curves(frame, band="interval"),
        table=table,
    )


def _curve_words(frame: pd.DataFrame) -> str:
    table = learning_curve_table(frame)
    ends = table[table["epoch"] == table.groupby("arm")["epoch"].transform("max")]
    loss = ends[ends["metric"] == "train_loss"].set_index("arm")["mean"]
    outcome = outcome_of(phase_rows(frame, "confirm"))
    accuracy = ends[ends["metric"] == outcome].set_index("arm")["mean"]
    said = "; ".join(
        f"{arm} ends at loss {loss[arm]:.3g} with {100 * accuracy[arm]:.2f} %" for arm in loss.index
    )
    return f"Training loss and {outcome.replace('_', ' ')} over epochs, a line per arm. {said}."


def _pairs(frame: pd.DataFrame, claims: ClaimsSection) -> Exhibit:
    pairs = claims.pairs()
    table = pair_table(frame, pairs)
    ahead = table.assign(ahead=table["arm_accuracy"] > table["baseline_accuracy"])
    counts = ahead.groupby(["arm", "baseline"], sort=False)["ahead"].agg(["sum", "size"])
    said = "; ".join(
        f"{row['arm']} is ahead of {row['baseline']} on {row['sum']} of {row['size']} seeds"
        for row in counts.reset_index().to_dict("records")
    )
    return Exhibit(
        name="paired-seeds",
        title="Seed by seed",
        caption="Final accuracy of two arms that share initial weights and data order, a line per "
        "seed. Lines that all rise mean a difference that every seed shows; lines that cross mean "
        "that the seed decides.",
        alt=f"Final accuracies by seed. {said}.",
        figure=paired_seeds(frame, pairs),
        table=table,
    )


def _surface(frame: pd.DataFrame, claims: ClaimsSection) -> Exhibit:
    if claims.h3a is None:
        raise NoDataError("no arm was searched over a designed grid")
    arm, taus = claims.h3a.arm, claims.taus
    table = surface_table(frame, arm, taus)
    by_accuracy = table.sort_values("accuracy").dropna(subset=["accuracy"])
    worst, best = by_accuracy.iloc[0], by_accuracy.iloc[-1]
    return Exhibit(
        name="surface",
        title="Over the plane of (α, β)",
        caption="A column per effective learning rate η, the last one with the step size tuned in "
        "every cell. If (α, β) did nothing but set the learning rate, the maps at fixed η would "
        "have one colour. Hatched cells diverged; on the dashed curve, αβ = 1, INDIAN is SGD.",
        alt=f"Maps over alpha and beta. The highest accuracy, {100 * best['accuracy']:.2f} %, is "
        f"at alpha {best['alpha']:g}, beta {best['beta']:g} ({best['setting']}); the lowest, "
        f"{100 * worst['accuracy']:.2f} %, at alpha {worst['alpha']:g}, beta {worst['beta']:g} "
        f"({worst['setting']}).",
        figure=surface_maps(frame, arm, taus),
        table=table,
    )


def _factorial(frame: pd.DataFrame, claims: ClaimsSection) -> Exhibit:
    if claims.h4 is None:
        raise NoDataError("the study has no factorial design")
    table = factorial_table(frame, claims.h4)
    said = "; ".join(
        f"{'tuned' if row['tuned'] else 'default'}, dropout {_on(row['dropout'])}, weight decay "
        f"{_on(row['weight_decay'])}: {100 * row['mean']:.2f} %"
        for row in table.to_dict("records")
    )
    return Exhibit(
        name="factorial",
        title="Beside dropout and weight decay",
        caption="Final accuracy with default and tuned (α, β), a line per combination of the two "
        "usual regularizers, with 95 % intervals. A rising line is a gain from tuning; parallel "
        "lines mean that it adds to the others, a flatter line that the others had it already.",
        alt=f"Mean accuracies: {said}.",
        figure=interactions(frame, claims.h4),
        table=table,
    )


def _step_sizes(frame: pd.DataFrame, ranges: Mapping[str, tuple[float, float]] | None) -> Exhibit:
    table = step_size_table(frame, ranges)
    edges = table.loc[table["edge"], "arm"].unique()
    return Exhibit(
        name="step-size",
        title="Sensitivity to the step size",
        caption="Every trial of the search by its γ0; the ring is the best. Dotted verticals are "
        "the ends of the range: a ring at one of them means that better values may lie beyond. "
        "Crosses diverged, or were pruned.",
        alt="Scores over the first step size, a panel per arm. "
        + (f"Best at an end: {', '.join(edges)}." if len(edges) else "No best lies at an end."),
        figure=step_sizes(frame, ranges),
        table=table,
    )


def _best_so_far(frame: pd.DataFrame) -> Exhibit:
    table = best_so_far_table(frame)
    last = table.groupby("arm", sort=False).tail(1)
    said = "; ".join(
        f"{row['arm']} {row['best']:.4g} after {row['epochs']} epochs"
        for row in last.to_dict("records")
    )
    return Exhibit(
        name="best-so-far",
        title="What the search bought",
        caption="The best score so far against the epochs that an arm has trained. All arms had "
        "the same budget; one that still falls at its end may not have found its best.",
        alt=f"Best {table['metric'].iloc[0].replace('_', ' ')}: {said}.",
        figure=best_so_far(frame),
        table=table,
    )


def _importances(verdict: Verdict) -> Exhibit:
    table = importance_table(verdict)
    said = "; ".join(
        f"{row['arm']}, {row['method']}: {row['hyperparameter']} {row['share']:.2f}"
        for row in table.to_dict("records")
    )
    return Exhibit(
        name="importance",
        title="Which hyperparameters mattered",
        caption="The share of the variation between trials that each hyperparameter explains, by "
        "two methods. Descriptive: it depends on the ranges that were searched.",
        alt=f"Importance: {said}.",
        figure=importances(verdict),
        table=table,
    )


def _power(verdict: Verdict) -> Exhibit:
    table = power_table(verdict)
    here = table[table["present"]]
    said = "; ".join(
        f"{row['hypothesis']}: {row['power']:.2f} with {row['n']} seeds"
        for row in here.to_dict("records")
    )
    return Exhibit(
        name="power",
        title="How many seeds it takes",
        caption="The probability of finding an effect of exactly δ, if the differences spread as "
        "they do here; the dot is this study, the horizontal the usual 0.8.",
        alt=f"Power over seeds. {said}.",
        figure=power_curve(verdict),
        table=table,
    )


def _flatness(frame: pd.DataFrame, flatness: pd.DataFrame) -> Exhibit:
    said = "; ".join(
        f"{made.arm} {made.mean:.3g}"
        for made in summarise_flatness(flatness)
        if made.measure == "sharpness"
    )
    return Exhibit(
        name="sharpness",
        title="Sharpness and generalisation",
        caption="Every run on the fresh seeds at its end: how much the training loss rises within "
        "a small, relative distance of the weights (left, the same however a rectifier network is "
        "rescaled) and the largest curvature (right). Descriptive: sharpness follows the effective "
        "learning rate η of an arm, so only arms of about equal η compare, and no difference here "
        "explains one in accuracy.",
        alt=f"Error over sharpness, a point per run. Mean worst-case adaptive sharpness: {said}.",
        figure=sharpness(frame, flatness),
        table=flatness_table(frame, flatness),
    )


def _points(value: float) -> str:
    return f"{100 * value:+.2f}"


def _on(value: bool) -> str:
    return "on" if value else "off"
