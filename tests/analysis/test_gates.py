"""Every gate stops a verdict that comes without it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from indian_tune.analysis import Label
from indian_tune.analysis.gates import EDGE, edge_width, trains
from indian_tune.analysis.simulation import UNBOUNDED
from indian_tune.outcome import ACCURACY
from indian_tune.study.file.space import Range

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from indian_tune.analysis.evidence import Evidence
    from indian_tune.study.file.space import Space
    from tests.analysis.conftest import Study


LEVELS = (0.25, 0.5, 1.0, 2.0, 4.0)


def stopping(verdict: Any) -> set[str]:
    return {gate.name for gate in verdict.gates if gate.passed is False}


def four_searches(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["replicate"] < 4]


def fails(frame: pd.DataFrame, arm: str, every: int) -> pd.DataFrame:
    frame = frame.copy()
    gone = (frame["arm"] == arm) & (frame["seed"] % 100 % every == 0)
    frame.loc[gone, ["train_accuracy", "test_accuracy"]] = 0.1
    return frame


def no_gap(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.copy()
    frame["train_accuracy"] = frame["test_accuracy"] + 0.005
    # Δ is left as it is, and not by fit.
    frame.loc[frame["arm"].str.startswith("full"), "train_accuracy"] -= 0.02
    return frame


def control_lost(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.copy()
    gone = (frame["arm"] == "control") & (frame["replicate"] == 2)
    frame.loc[gone, ["train_accuracy", "test_accuracy"]] = 0.1
    return frame


def poor_half(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.copy()
    frame.loc[(frame["phase"] == "half") & (frame["arm"] == "rate"), "test_accuracy"] -= 0.05
    return frame


def half_lost(frame: pd.DataFrame) -> pd.DataFrame:
    """Fail the winners of half the budget in one search."""
    frame = frame.copy()
    lost = (frame["phase"] == "half") & (frame["arm"] == "rate") & (frame["replicate"] == 3)
    frame.loc[lost, ["train_accuracy", "test_accuracy"]] = 0.1
    return frame


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("searches", four_searches),
        ("trains", lambda frame: fails(frame, "sgd", 2)),
        ("not shown to fail more often", lambda frame: fails(frame, "full", 5)),
        ("range", no_gap),
        ("control", control_lost),
        ("budget", poor_half),
        ("budget", lambda frame: frame[frame["phase"] == "confirm"]),
        ("budget", half_lost),
    ],
)
def test_it_stops_support(
    gain: Study, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    assert gain.judged().label is Label.SUPPORTED
    verdict = gain.judged(change(gain.frame))
    assert verdict.label is Label.INCONCLUSIVE
    assert name in stopping(verdict)
    assert f"gate {name}" in str(verdict.hangs_on) or name == "control"
    gate = next(gate for gate in verdict.gates if gate.name == name and gate.passed is False)
    assert gate.figure
    assert gate.advice


@pytest.mark.parametrize(
    ("pairs", "left_out", "empty", "passed"),
    [(1, 0, 0, True), (10, 2, 0, True), (10, 3, 0, False), (10, 0, 1, False), (0, 0, 0, False)],
)
def test_at_most_a_fifth_of_the_pairs_may_be_left_out_and_some_must_be_there(
    gain: Study, pairs: int, left_out: int, empty: int, passed: bool
) -> None:
    whole = next(each for each in gain.judged().findings if each.contrasts).contrasts[0]
    made = replace(
        whole, pairs=pairs, left_out=left_out, empty=empty, arm_failed=0, baseline_failed=0
    )
    # Nothing of the evidence is asked where no arm fails more often.
    (gate,) = trains(cast("Evidence", None), made)
    assert gate.passed is passed


def test_a_loser_at_the_edge_of_its_range_stops_support(gain: Study) -> None:
    spaces = {**UNBOUNDED, "sgd": {"gamma0": Range(0.01, 1.0, log=True), "momentum": Range(0, 0.9)}}
    assert gain.judged(searched(gain.frame, 0), spaces=spaces).label is Label.SUPPORTED
    verdict = gain.judged(searched(gain.frame, 6), spaces=spaces)
    assert (verdict.label, verdict.hangs_on) == (Label.INCONCLUSIVE, "H3b, gate edge")
    assert "6 of 10 winners of sgd at the upper end of gamma0" in verdict.sentence
    assert gain.judged(searched(gain.frame, 5), spaces=spaces).label is Label.SUPPORTED


def searched(frame: pd.DataFrame, at_end: int) -> pd.DataFrame:
    """Add what SGD's searches found: a high rate in some, and momentum 0, a natural end."""
    rate = np.where(frame["replicate"] < at_end, 0.7, 0.1)
    own = frame["arm"] == "sgd"
    return frame.assign(
        **{
            "config.gamma0": np.where(own, rate, np.nan),
            "config.momentum": np.where(own, 0, np.nan),
        }
    )


def test_what_the_winners_rows_do_not_hold_is_read_of_the_search(gain: Study) -> None:
    spaces = {**UNBOUNDED, "sgd": {"gamma0": Range(0.01, 1.0, log=True)}}
    own = gain.frame[(gain.frame["arm"] == "sgd") & (gain.frame["phase"] == "confirm")]
    trials = pd.DataFrame({"trial": [0, 1], "config.gamma0": [0.1, 0.7], "score": [0.2, 0.1]})
    tune = own[own["seed"] % 100 == 0].assign(phase="tune").merge(trials, how="cross")
    verdict = gain.judged(pd.concat([gain.frame, tune], ignore_index=True), spaces=spaces)
    assert "10 of 10 winners of sgd at the upper end of gamma0" in verdict.sentence


@pytest.mark.parametrize("spaces", [{}, {**UNBOUNDED, "rate": {"gamma0": Range(0.01, 1.0)}}])
def test_a_loser_whose_ranges_or_winners_are_not_known_stops_support(
    gain: Study, spaces: dict[str, Space]
) -> None:
    verdict = gain.judged(spaces=spaces)
    assert (verdict.label, "gate edge" in str(verdict.hangs_on)) == (Label.INCONCLUSIVE, True)
    assert 'scope.spaces."' + ("rate" if spaces else "control") in verdict.sentence


def matched(
    frame: pd.DataFrame, chosen: Sequence[float], fails: Callable[[pd.DataFrame], Any]
) -> pd.DataFrame:
    """Add levels: the chosen ones of every search, and their match phase of five levels each.

    Args:
        frame: without levels.
        chosen: m, a value per search; without one the search confirms no control.
        fails: which match runs failed, of a frame with the columns replicate, level and seed.
    """
    control = frame[(frame["arm"] == "control") & (frame["phase"] == "confirm")]
    levels = pd.DataFrame({"config.level": LEVELS, "trial": range(len(LEVELS))})
    tried = control[control["seed"] % 100 < 2].merge(levels, how="cross")
    tried = tried.assign(phase="match", test_accuracy=np.nan)
    tried.loc[fails(tried), "train_accuracy"] = 0.1
    level = frame["replicate"].map(dict(enumerate(chosen))).where(frame["arm"] == "control")
    own = frame.assign(**{"config.level": level})
    return pd.concat([own[level.notna() | (own["arm"] != "control")], tried], ignore_index=True)


def test_the_control_must_train_at_some_level_of_every_search(gain: Study) -> None:
    one = matched(gain.frame, [1.0] * 10, lambda runs: runs["config.level"] > 0.25)
    verdict = gain.judged(one)
    assert verdict.label is Label.SUPPORTED
    (gate,) = [gate for gate in verdict.gates if gate.name == "control"]
    assert gate.figure.startswith(
        "control trains at some level in 10 of 10 searches; chosen levels m (¼ to 4): "
    )
    lost = matched(gain.frame, [1.0] * 9 + [np.nan], lambda runs: runs["replicate"] == 9)
    verdict = gain.judged(lost)
    assert (verdict.label, verdict.hangs_on) == (Label.INCONCLUSIVE, "H2, gate control")
    assert "trains at some level in 9 of 10 searches" in verdict.sentence


def test_a_control_with_a_failed_run_at_every_level_isolates_nothing(gain: Study) -> None:
    frame = matched(gain.frame, [np.nan] * 10, lambda runs: runs["seed"] % 100 == 1)
    verdict = gain.judged(frame)
    assert (verdict.label, verdict.hangs_on) == (Label.INCONCLUSIVE, "H2, gate control")
    assert verdict.sentence.startswith("Not isolated: no level of control trains in any search.")
    assert verdict.finding("H2").label is Label.INCONCLUSIVE


@pytest.mark.parametrize(("at_end", "level"), [(6, 4.0), (6, 0.25), (5, 4.0)])
def test_levels_at_the_end_of_their_range_are_an_edge(
    gain: Study, at_end: int, level: float
) -> None:
    chosen = [level] * at_end + [2.0] * (10 - at_end)
    verdict = gain.judged(matched(gain.frame, chosen, lambda runs: runs["seed"] < 0))
    if at_end <= 5:
        assert verdict.label is Label.SUPPORTED
        return
    assert (verdict.label, verdict.hangs_on) == (Label.INCONCLUSIVE, "H2, gate edge")
    end = "upper" if level > 1 else "lower"
    assert f"6 of 10 winners of control at the {end} end of the levels m" in verdict.sentence


def test_a_control_that_is_best_at_other_rates_than_the_arm_was_searched_at_does_not_refute(
    simulated: Callable[..., Study],
) -> None:
    study = simulated("null", draw=3)
    study.frame.loc[study.frame["arm"] == "control", "test_accuracy"] += 0.02
    for arms in (["full"], ["full-usual"]):
        # So that no other contrast refutes.
        half = (study.frame["phase"] == "half") & study.frame["arm"].isin(arms)
        study.frame.loc[half, "test_accuracy"] -= 0.04 * (arms == ["full-usual"])
    chosen = {name: [level] * 6 + [1.0] * 4 for name, level in (("end", 4.0), ("inside", 2.0))}
    found = {
        name: study.judged(matched(study.frame, levels, lambda runs: runs["seed"] < 0))
        for name, levels in chosen.items()
    }
    gates = {
        name: [
            gate.passed
            for gate in verdict.finding("H2").gates
            if gate.name == "edge" and gate.stops == (Label.REFUTED,)
        ]
        for name, verdict in found.items()
    }
    assert gates == {"end": [False, True], "inside": [True, True]}
    assert (found["inside"].label, found["inside"].hangs_on) == (Label.REFUTED, "H2")
    assert found["end"].hangs_on != "H2"


@pytest.mark.parametrize(("trials", "width"), [(1, 0.5), (4, 0.16), (64, 0.1)])
def test_of_few_trials_a_larger_part_of_a_range_is_its_edge(trials: int, width: float) -> None:
    search = pd.DataFrame({"arm": "full", "trial": range(trials)})
    evidence = cast("Evidence", SimpleNamespace(search=search))
    assert edge_width(evidence, "full") == pytest.approx(width, abs=0.005)
    assert edge_width(evidence, "absent") == EDGE


@pytest.mark.parametrize(
    ("world", "label", "arms", "gain"),
    [
        ("direct effect of 2 points", Label.SUPPORTED, ["rate", "sgd", "sgd-usual"], 0.03),
        ("null", Label.REFUTED, ["full", "full-usual"], 0.01),
    ],
)
def test_the_budget_is_asked_of_the_side_that_the_verdict_speaks_against(
    simulated: Callable[..., Study], world: str, label: Label, arms: list[str], gain: float
) -> None:
    study = simulated(world, draw=3)
    # H2 would refute or be open by itself: here its control trains less well.
    study.frame.loc[study.frame["arm"] == "control", "test_accuracy"] -= 0.01
    half = study.frame["phase"] == "half"
    of_arms = half & study.frame["arm"].isin(arms)
    others = half & ~study.frame["arm"].isin(arms)

    def gained(rows: pd.Series) -> pd.DataFrame:
        frame = study.frame.copy()
        frame.loc[rows, "test_accuracy"] -= gain
        return frame

    assert study.judged().label is label
    assert study.judged(gained(others)).label is label
    stopped = study.judged(gained(of_arms))
    assert stopped.label is Label.INCONCLUSIVE
    gates = [gate for gate in stopped.gates if gate.name == "budget" and gate.passed is False]
    assert {label} == {one for gate in gates for one in gate.stops}
    # The figure is the bound of Δ - g or Δ + g over searches, g paired with Δ.
    made = next(
        made
        for found in stopped.findings
        for made in found.contrasts
        if made.name == gates[0].contrast
    )
    frame = gained(of_arms)
    ends = frame[frame["epoch"] == frame["epoch"].max()].pivot_table(
        index="replicate", columns=["phase", "arm"], values="test_accuracy"
    )
    arm = made.arm if label is Label.REFUTED else made.baseline
    g = ends["confirm", arm] - ends["half", arm]
    delta = ends["confirm", made.arm] - ends["confirm", made.baseline]
    moved = delta + g if label is Label.REFUTED else delta - g
    level = 0.05 / 4 if label is Label.REFUTED else 0.05
    reach = stats.t.isf(level, 9) * moved.std(ddof=1) / np.sqrt(10)
    bound = moved.mean() + (reach if label is Label.REFUTED else -reach)
    assert ACCURACY.signed(bound) in gates[0].figure
    assert ACCURACY.signed(g.mean()) in gates[0].figure


def test_a_control_does_not_refute_an_arm_that_more_trials_would_bring_ahead(
    simulated: Callable[..., Study],
) -> None:
    """A control is chosen among more runs than the winner of a short search."""
    study = simulated("null", draw=3)
    study.frame.loc[study.frame["arm"] == "control", "test_accuracy"] += 0.02
    verdict = study.judged()
    assert (verdict.label, verdict.hangs_on) == (Label.REFUTED, "H2")
    frame = study.frame.copy()
    searched = (frame["phase"] == "half") & frame["arm"].isin(["full", "full-usual"])
    frame.loc[searched, "test_accuracy"] -= 0.04
    verdict = study.judged(frame)
    assert (verdict.label, verdict.hangs_on) == (Label.INCONCLUSIVE, "H2, gate budget")
    assert "With 10 searches this contrast alone finds an effect of" in verdict.sentence
    assert "The bounds alone, without gates, would say REFUTED." in verdict.sentence
    (gate,) = (each for each in verdict.finding("H2").gates if each.name == "budget")
    assert (gate.passed, gate.stops) == (False, (Label.REFUTED,))
    assert gate.figure.startswith("full gained +4.")


def test_a_control_has_no_budget_of_its_own_that_support_would_ask_for(gain: Study) -> None:
    verdict = gain.judged()
    assert verdict.label is Label.SUPPORTED
    assert "budget" not in [gate.name for gate in verdict.finding("H2").gates]


def test_the_budget_counts_what_the_test_examples_add(gain: Study) -> None:
    rng = np.random.default_rng(0)
    runs = gain.frame[gain.frame["epoch"] == gain.frame["epoch"].max()]
    # Every example is an example for all runs of an arm and phase: they vary by little else.
    own = {key: rng.random(40) < 0.7 for key in product(("confirm", "half"), runs["arm"].unique())}
    examples = runs[["arm", "phase", "replicate", "seed"]].assign(
        correct=[
            own[phase, arm] ^ (rng.random(40) < 0.05)
            for phase, arm in zip(runs["phase"], runs["arm"], strict=True)
        ]
    )

    def bound(known: pd.DataFrame | None) -> float:
        gates = gain.judged(examples=known).gates
        made = next(each for each in gates if each.name == "budget")
        return float(made.figure.rsplit(" ", 1)[1].replace("−", "-"))

    confirmed = examples[examples["phase"] == "confirm"]
    assert bound(None) > bound(confirmed) > bound(examples)


def test_an_insensitive_assay_stops_refutation(simulated: Callable[..., Study]) -> None:
    study = simulated("null", draw=3)
    assert study.judged().label is Label.REFUTED
    frame = study.frame.copy()
    usual = frame["arm"].str.endswith("usual")
    frame.loc[usual, "test_accuracy"] -= 0.03
    verdict = study.judged(frame)
    assert verdict.label is Label.INCONCLUSIVE
    assert "assay" in stopping(verdict)


def test_an_arm_shown_worse_than_one_that_its_space_contains_is_under_tuned(
    simulated: Callable[..., Study],
) -> None:
    study = simulated("T2 under-tuned")
    verdict = study.judged()
    assert verdict.label is Label.INCONCLUSIVE
    assert "UNDER-TUNED" in verdict.sentence
    frame = study.frame.assign(validation_accuracy=np.nan)
    assert study.judged(frame).label is Label.REFUTED
