"""Every gate stops a verdict that comes without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from indian_tune.analysis import Label

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from tests.analysis.conftest import Study


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


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("searches", four_searches),
        ("trains", lambda frame: fails(frame, "sgd", 2)),
        ("fails no more often", lambda frame: fails(frame, "full", 5)),
        ("range", no_gap),
        ("control", control_lost),
        ("budget", poor_half),
        ("budget", lambda frame: frame[frame["phase"] == "confirm"]),
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


def test_a_loser_at_the_edge_of_its_range_stops_support(gain: Study) -> None:
    middle = {arm: {"gamma0": [0.5] * 10} for arm in gain.frame["arm"].unique()}
    assert gain.judged(winners=middle).label is Label.SUPPORTED
    at_end = {**middle, "sgd": {"gamma0": [0.95] * 6 + [0.5] * 4}}
    verdict = gain.judged(winners=at_end)
    assert verdict.label is Label.INCONCLUSIVE
    assert verdict.hangs_on == "H3b, gate edge"
    half = {**middle, "sgd": {"gamma0": [0.95] * 5 + [0.5] * 5}}
    assert gain.judged(winners=half).label is Label.SUPPORTED


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
