"""Estimates from a pilot: spread between searches and seeds, and costs.

A pilot is a frame of a study that was run: a row per run and epoch, as ``epoch_frame`` returns it.
Its test results are not looked at where it has validation accuracies.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from indian_tune.analysis.budget import accuracies_found
from indian_tune.analysis.frame import check_columns, scored
from indian_tune.analysis.trials import with_failed
from indian_tune.errors import InputError
from indian_tune.optim.families import role_of
from indian_tune.outcome import ACCURACY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from indian_tune.outcome import Outcome
    from indian_tune.study.claims import ClaimsSection

METRICS = ("validation_accuracy", "test_accuracy")
# A budget of fewer trials is no search.
FEWEST_TRIALS = 4


@dataclass(frozen=True)
class Spread:
    """How far the difference of two arms varies; accuracies as shares.

    Attributes:
        arm: of INDIAN.
        rival: the other arm.
        units: differences: means of searches; of one search, those of its seeds.
        between: standard deviation between searches that were confirmed on endless seeds; ``None``
            with one search.
        within: that between the seeds of a search; 0 where every search has one.
        by_budget: trials → variance between searches of the difference of what they found, as a
            multiple of that at the whole budget.
        gated: side (the rival, or the arm) → trials → the same of the difference after that side
            has gained once more what the last doubling gave it, and that gain; none where the
            rival is not searched.
    """

    arm: str
    rival: str
    units: tuple[float, ...]
    between: float | None
    within: float
    by_budget: Mapping[int, float]
    gated: Mapping[str, Mapping[int, tuple[float, float]]]


@dataclass(frozen=True)
class Price:
    """What one search of every arm costs; of runs one after the other.

    Attributes:
        unit: seconds, or epochs where no times were recorded.
        trial: a trial of every arm that is searched.
        seed: a fresh seed: the winner of every arm, and that of half the budget of those searched.
        match: what controls cost per search.
    """

    unit: Literal["seconds", "epochs"]
    trial: float
    seed: float
    match: float

    def of(self, trials: int, seeds: int) -> float:
        """Return what a search of so many trials, confirmed on so many seeds, costs."""
        return trials * self.trial + seeds * self.seed + self.match


@dataclass(frozen=True)
class Pilot:
    """A study that was run, as a plan reads it.

    Attributes:
        name: of the study or file.
        metric: "validation_accuracy" or "test_accuracy".
        searches: of every arm.
        trials: of a search; 0 where none is in the frame.
        spreads: of the pairs of arms that the claim compares, or of every pair.
        price: what it cost.
        overfit: by how much tuned SGD is better on its training examples than by ``metric``;
            ``None`` where it was not run or its training accuracy is not known.
        regularized: what tuned SGD gains from dropout and weight decay; likewise.
    """

    name: str
    metric: str
    searches: int
    trials: int
    spreads: tuple[Spread, ...]
    price: Price
    overfit: float | None = None
    regularized: float | None = None


def read_pilot(
    frame: pd.DataFrame,
    claims: ClaimsSection,
    name: str,
    least: float | None = None,
    *,
    option: str = "--pilot",
    outcome: Outcome = ACCURACY,
) -> Pilot:
    """Return what a frame tells of a study with these claims.

    Args:
        frame: one row per run and epoch.
        claims: of the study that is planned; where the frame has none of the arms that they
            compare, every arm of INDIAN is compared with every other.
        name: of the pilot.
        least: training accuracy of a run that has trained; those below it are in no mean.
        option: with which it was given, for messages.
        outcome: what runs are judged by.

    Raises:
        InputError: the frame has no pair of arms, or no accuracies, on fresh seeds.
    """
    frame = scored(frame, outcome)
    check_columns(frame)
    if "replicate" not in frame:
        frame = frame.assign(replicate=0)
    if "trial" not in frame:
        frame = frame.assign(trial=0)
    rows = _phase(frame, "confirm")
    pairs = _pairs(rows, claims)
    metric = next((each for each in METRICS if each in rows and rows[each].notna().any()), None)
    if not pairs or metric is None:
        raise InputError(
            f"{option} {name}: it has no pair of an INDIAN arm and a rival with validation "
            f"{outcome.title} on fresh seeds: give a study with mode = 'honest' and confirmed "
            "winners, or use --sd"
        )
    search = _phase(frame, "tune")
    found = accuracies_found(search, METRICS) if len(search) else None
    values = {} if found is None else found[1]
    rows = with_failed(rows, least)
    accuracies = _accuracies(rows, metric)
    overfit = regularized = None
    usual = None if claims.h4 is None else claims.h4.baseline
    plain = next((name for name in claims.plain if name in accuracies), None)
    if plain is not None:
        if "train_accuracy" in rows:
            own = _accuracies(rows, "train_accuracy")[plain]
            overfit = _mean_difference(own, accuracies[plain])
        if usual in accuracies:
            regularized = _mean_difference(accuracies[usual], accuracies[plain])
    return Pilot(
        name=name,
        metric=metric,
        searches=rows["replicate"].nunique(),
        trials=max((table.shape[1] for table in values.values()), default=0),
        spreads=tuple(_spread(accuracies, values, *pair, f"{option} {name}") for pair in pairs),
        price=_price(frame, rows["replicate"].nunique()),
        overfit=overfit,
        regularized=regularized,
    )


def _phase(frame: pd.DataFrame, phase: str) -> pd.DataFrame:
    if "phase" not in frame:
        return frame if phase == "confirm" else frame.iloc[:0]
    return frame[frame["phase"] == phase]


def _pairs(rows: pd.DataFrame, claims: ClaimsSection) -> list[tuple[str, str]]:
    """Return the pairs of the claim that there are, else every INDIAN arm with every rival."""
    there = dict.fromkeys(map(str, rows["arm"]))
    wanted: list[tuple[str, str | None]] = []
    if claims.h2 is not None:
        wanted.append((claims.h2.arm, claims.h2.matched_rate))
    if claims.h3b is not None:
        wanted += claims.h3b.pairs()
        if claims.h3b.baseline is None and claims.h2 is not None:
            wanted.append((claims.h3b.full, claims.h2.baseline))
    if claims.h4 is not None and claims.h4.regularized is not None:
        wanted.append((claims.h4.regularized, claims.h4.baseline))
    pairs = [(arm, str(rival)) for arm, rival in wanted if {arm, rival} <= set(there)]
    if pairs or "optimizer" not in rows:
        return pairs
    optimizers = dict(zip(rows["arm"].map(str), rows["optimizer"], strict=True))
    ours = [arm for arm in there if role_of(optimizers[arm]) == "ours"]
    return [(arm, rival) for arm in ours for rival in there if rival not in ours]


def _accuracies(rows: pd.DataFrame, metric: str) -> dict[str, dict[int, dict[int, float]]]:
    """Return arm → search → seed → accuracy at the last epoch, NaN of a run that failed."""
    last = rows.loc[rows.groupby(["arm", "replicate", "seed"])["epoch"].idxmax()]
    values = last[metric].to_numpy(float)
    if "run_state" in last:
        values = np.where(last["run_state"] == "diverged", np.nan, values)
    made: dict[str, dict[int, dict[int, float]]] = {}
    for arm, replicate, seed, value in zip(
        last["arm"].map(str), last["replicate"], last["seed"], values, strict=True
    ):
        made.setdefault(arm, {}).setdefault(int(replicate), {})[int(seed)] = float(value)
    return made


def _paired(
    first: Mapping[int, Mapping[int, float]], second: Mapping[int, Mapping[int, float]]
) -> list[NDArray[np.float64]]:
    """Return the differences paired by seed of every search, of pairs in which both trained."""
    groups = []
    for replicate, own in sorted(first.items()):
        other = second.get(replicate, {})
        group = np.array([own[seed] - other[seed] for seed in sorted(own.keys() & other.keys())])
        if len(group := group[np.isfinite(group)]):
            groups.append(group)
    return groups


def _mean_difference(
    first: Mapping[int, Mapping[int, float]], second: Mapping[int, Mapping[int, float]]
) -> float | None:
    groups = _paired(first, second)
    return float(np.mean([group.mean() for group in groups])) if groups else None


def _spread(
    accuracies: Mapping[str, Mapping[int, Mapping[int, float]]],
    found: Mapping[str, NDArray[np.float64]],
    arm: str,
    rival: str,
    given: str,
) -> Spread:
    groups = _paired(accuracies[arm], accuracies[rival])
    pairs = sum(map(len, groups))
    if pairs < 2:
        raise InputError(
            f"{given}: {arm} and {rival} have {pairs} pairs of runs that trained, but a standard "
            "deviation needs 2: use --sd instead"
        )
    within = _within(groups)
    means = np.array([group.mean() for group in groups])
    several = len(groups) > 1
    mean_seeds = len(groups) / sum(1 / len(group) for group in groups)
    gated: dict[str, dict[int, tuple[float, float]]] = {}
    by_budget: dict[int, float] = {}
    if several and arm in found and rival in found:
        difference = found[arm] - found[rival]
        whole = _variance(difference[:, -1]) or math.nan
        budgets = list(_budgets(difference.shape[1]))
        by_budget = {b: _variance(difference[:, b - 1]) / whole for b in budgets}
        for side, sign in ((rival, -1.0), (arm, 1.0)):
            gated[side] = {}
            for b in budgets:
                gain = found[side][:, b - 1] - found[side][:, b // 2 - 1]
                moved = difference[:, b - 1] + sign * gain
                gained = max(0.0, float(np.nanmean(gain)))
                gated[side][b] = (_variance(moved) / whole, gained)
    return Spread(
        arm=arm,
        rival=rival,
        units=tuple((means if several else groups[0]).tolist()),
        between=float(np.sqrt(max(0.0, means.var(ddof=1) - within**2 / mean_seeds)))
        if several
        else None,
        within=within,
        by_budget=by_budget,
        gated=gated,
    )


def _within(groups: Sequence[NDArray[np.float64]]) -> float:
    """Return the pooled standard deviation of groups; 0 where every one has one value."""
    freedom = sum(len(group) - 1 for group in groups)
    if freedom == 0:
        return 0.0
    return float(np.sqrt(sum(((group - group.mean()) ** 2).sum() for group in groups) / freedom))


def _variance(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.var(ddof=1)) if len(known) > 1 else math.nan


def _budgets(trials: int) -> Iterator[int]:
    """Yield the budgets that a pilot can tell of: halves of its own, and their halves."""
    while trials >= FEWEST_TRIALS:
        yield trials
        trials //= 2


def _price(frame: pd.DataFrame, searches: int) -> Price:
    timed = "seconds" in frame and bool(frame["seconds"].notna().all())
    frame = frame.assign(_cost=frame["seconds"] if timed else 1.0)
    tune, confirm = _phase(frame, "tune"), _phase(frame, "confirm")
    seed = trial = 0.0
    for arm, part in confirm.groupby("arm"):
        run = part["_cost"].sum() / len(part[["replicate", "seed"]].drop_duplicates())
        own = tune[tune["arm"] == arm]
        if len(own):
            trial += own["_cost"].sum() / len(own[["replicate", "trial"]].drop_duplicates())
        # The winner of half the budget is confirmed too.
        seed += run * (2 if len(own) else 1)
    match = float(_phase(frame, "match")["_cost"].sum()) / searches
    return Price("seconds" if timed else "epochs", float(trial), float(seed), match)
