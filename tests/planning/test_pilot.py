"""What a pilot of several searches tells of the study to come."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from indian_tune.analysis.power import power, upper_factor
from indian_tune.analysis.simulation import GAP, USUAL_GAIN, simulated_claims
from indian_tune.errors import InputError
from indian_tune.planning.allocation import allocations
from indian_tune.planning.pilot import Pilot, Price, Spread, read_pilot
from tests.searches import RUN, Searched, Setting, searched_frame, searches

CLAIMS = simulated_claims()
LARGE = {"replicates": 200, "trials": 16, "seeds": 4}


def drawn(replicates: int, trials: int, seeds: int) -> dict[str, Searched]:
    setting = Setting(replicates=replicates, trials=trials, seeds=seeds)
    return searches(setting, np.random.default_rng(5))


def simulated(replicates: int, trials: int, seeds: int) -> pd.DataFrame:
    return searched_frame(drawn(replicates, trials, seeds), epochs=2)


def lost(arm: Searched, trials: int) -> np.ndarray:
    """Return what the winner of the first trials of every search loses to the best there is."""
    best = arm.score[:, :trials].argmin(-1)
    return np.asarray(arm.loss[np.arange(len(best)), best])


@pytest.fixture(scope="module")
def pilot() -> Pilot:
    return read_pilot(simulated(**LARGE), CLAIMS, "pilot", 0.1)


def test_components_are_those_that_the_searches_were_drawn_with(pilot: Pilot) -> None:
    assert (pilot.searches, pilot.trials, pilot.metric) == (200, 16, "validation_accuracy")
    spreads = {spread.rival: spread for spread in pilot.spreads}
    assert list(spreads) == ["control", "rate", "sgd", "sgd-usual"]
    assert pilot.overfit == pytest.approx(GAP, abs=0.002)
    assert pilot.regularized == pytest.approx(USUAL_GAIN, abs=0.002)
    # A run and its validation examples vary, on either side.
    of_run = np.sqrt(2 * (RUN**2 + (0.5 * RUN) ** 2))
    assert spreads["rate"].within == pytest.approx(of_run, rel=0.1)
    assert spreads["rate"].between is not None
    assert spreads["control"].between is not None
    arms = drawn(**LARGE)
    difference = {b: lost(arms["full"], b) - lost(arms["rate"], b) for b in (8, 16)}
    assert spreads["rate"].between == pytest.approx(difference[16].std(ddof=1), rel=0.1)
    # The control loses what its source loses.
    assert spreads["control"].between < 0.2 * spreads["rate"].between
    assert spreads["control"].gated == {}
    ratio = difference[8].var() / difference[16].var()
    assert spreads["rate"].by_budget[16] == pytest.approx(1)
    assert spreads["rate"].by_budget[8] == pytest.approx(ratio, rel=0.1)
    for arm, sign in (("rate", 1), ("full", -1)):
        gain = lost(arms[arm], 8) - lost(arms[arm], 16)
        moved = (difference[16] + sign * gain).var() / difference[16].var()
        assert spreads["rate"].gated[arm][16] == pytest.approx((moved, gain.mean()), rel=0.1)


def test_the_price_is_what_the_pilot_took() -> None:
    frame = simulated(replicates=2, trials=4, seeds=3)
    # Five arms are searched, six confirmed; a run has 2 epochs of a second.
    price = read_pilot(frame, CLAIMS, "pilot").price
    assert (price.unit, price.trial, price.match) == ("seconds", 5 * 2, 0)
    assert price.seed == 5 * 2 * 2 + 2
    assert price.of(8, 3) == 8 * 10 + 3 * 22
    match = frame[frame["phase"] == "confirm"].assign(phase="match")
    with_match = read_pilot(
        pd.concat([frame, match]).drop(columns="seconds"), CLAIMS, "pilot"
    ).price
    assert (with_match.unit, with_match.match) == ("epochs", len(match) / 2)


def test_one_search_gives_its_seeds_and_no_allocation() -> None:
    pilot = read_pilot(simulated(replicates=1, trials=4, seeds=6), CLAIMS, "pilot")
    assert {(len(spread.units), spread.between) for spread in pilot.spreads} == {(6, None)}
    assert allocations(pilot, 0.005, 0.05, 4) == ()
    with pytest.raises(InputError, match="--pilot x: full and control have 1 pairs"):
        read_pilot(simulated(replicates=1, trials=4, seeds=1), CLAIMS, "x")
    frame = simulated(replicates=1, trials=4, seeds=2)
    with pytest.raises(InputError, match="--from x: it has no pair of an INDIAN arm and a rival"):
        read_pilot(frame[frame["arm"] == "sgd"], CLAIMS, "x", option="--from")


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("seed", None, "lacks the column seed"),
        ("seed", np.nan, "column seed has empty values"),
        ("epoch", np.nan, "column epoch has empty values"),
        ("arm", None, "column arm has empty values"),
        ("epoch", "last", "column epoch must contain whole numbers, got 'last'"),
        (
            "validation_accuracy",
            "good",
            "column validation_accuracy must contain numbers, got 'good'",
        ),
        ("replicate", 0.5, "column replicate must contain whole numbers, got 0.5"),
    ],
)
def test_a_pilot_whose_runs_cannot_be_told_apart_or_read_is_refused(
    column: str, values: object, message: str
) -> None:
    frame = simulated(replicates=1, trials=4, seeds=2)
    if (column, values) == ("seed", None):
        frame = frame.drop(columns=column)
    else:
        frame = frame.drop(columns=column).join(pd.Series(values, frame.index, name=column))
    with pytest.raises(InputError, match=message):
        read_pilot(frame, CLAIMS, "x", option="--from")


def spread(rival: str, gain: float, between: float = 0.002) -> Spread:
    side = {8: (2.0, 2 * gain), 16: (1.0, gain)}
    by_budget, level = {8: 2.0, 16: 1.0}, {8: (2.0, 0.0), 16: (1.0, 0.0)}
    return Spread("full", rival, (), between, 0.004, by_budget, {rival: side, "full": level})


def test_the_cheapest_allocation_is_the_least_cost_of_all_that_reach_delta() -> None:
    price = Price("seconds", 1.0, 4.0, 0.0)
    pilot = Pilot("p", "validation_accuracy", 5, 16, (spread("a", 0.001), spread("b", 0.0)), price)
    rows = allocations(pilot, 0.005, 0.05, 4)
    assert [row.goal for row in rows] == ["SUPPORTED"] * 2 + ["REFUTED"] * 2
    factor = upper_factor(4)
    for row in rows:
        supported = row.goal == "SUPPORTED"
        ratio = {8: 2.0, 16: 1.0}[row.trials]
        costs = {}
        for seeds in (1, 2, 3, 5, 10, 20):
            deviation = np.sqrt((factor * 0.002) ** 2 * ratio + 3 * 0.004**2 / seeds)
            effects = [0.005 - 0.001 * ratio, 0.005] if supported else [0.005]
            plans = [power(float(deviation), effect, 0.05, contrasts=4) for effect in effects]
            needed = (
                max(one.needed for one in plans)
                if supported
                else min(one.needed_to_refute for one in plans)
            )
            costs[seeds] = max(needed, 5) * (row.trials + 4 * seeds)
        assert row.cost == min(costs.values())
        assert row.seeds == min(costs, key=lambda seeds: costs[seeds])
    found = [row for row in rows if row.goal == "SUPPORTED"]
    assert found[0].cost is not None
    assert found[1].cost is not None
    assert found[0].cost <= found[1].cost
    assert {row.limit for row in found} == {"full - a"}


def test_what_still_gains_delta_by_a_doubling_is_out_of_reach() -> None:
    price = Price("epochs", 1.0, 4.0, 0.0)
    pilot = Pilot("p", "validation_accuracy", 5, 16, (spread("a", 0.004),), price)
    rows = {(row.goal, row.trials): row for row in allocations(pilot, 0.005, 0.05, 4)}
    assert rows["SUPPORTED", 8].searches is None
    assert rows["SUPPORTED", 8].gain == 0.008
    assert rows["SUPPORTED", 16].searches is not None
    assert rows["REFUTED", 8].searches is not None
