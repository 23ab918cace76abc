"""Studies whose effects and spreads are exact, each with the verdict that the rules ask for.

The noise between searches is orthonormal, so that a contrast of two arms of deviation s has exactly
the difference of their accuracies and a deviation of s·√2. Bounds of 10 searches are .58 (lower, at
.05) and .85 (upper, at .0125) of these deviations off.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

from indian_tune.analysis import Label
from indian_tune.analysis.ends import Ends, stuck
from indian_tune.analysis.simulation import ARMS, UNBOUNDED, simulated_claims
from indian_tune.analysis.verdict_text import head_lines, verdict_lines
from indian_tune.study.file.space import Range
from tests.analysis.conftest import SCOPE, Study
from tests.analysis.simulated import simulated_frame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from indian_tune.study.file.space import Space

SEARCHES, SEEDS = 10, 4
SGD, USUAL = 0.88, 0.025
NULL = {arm: SGD + USUAL * arm.endswith("usual") for arm in ARMS}
GAIN = {arm: NULL[arm] + 0.03 * arm.startswith("full") for arm in ARMS}
HARM = {arm: NULL[arm] - 0.03 * arm.startswith("full") for arm in ARMS}


@dataclass
class Truth:
    """What is true of a study, as shares, and what must be said of it."""

    label: Label
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    test: dict[str, float] = field(default_factory=lambda: NULL)
    train: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ARMS, 0.98))
    validation: dict[str, float] | None = None
    doubled: dict[str, float] = field(default_factory=dict)
    deviation: float = 0.001
    stuck: tuple[tuple[str, int, int], ...] = ()
    absent: tuple[str, ...] = ()
    at_end: int = 0

    def study(self) -> Study:
        """Return its frame under claims with δ = 1 point; winners of "rate" may lie at an end."""
        noise = dict(zip(ARMS, orthonormal(0), strict=True))
        luck = dict(zip(ARMS, orthonormal(1), strict=True))
        arms = {}
        for arm in ARMS:
            if arm in self.absent:
                continue
            failed = np.zeros((SEARCHES, SEEDS), dtype=bool)
            for name, search, seed in self.stuck:
                failed[search, seed] |= name == arm
            test, train, validation = (
                np.where(failed, 0.2, np.repeat((mean + spread)[:, None], SEEDS, axis=1))
                for mean, spread in (
                    (self.test[arm], self.deviation * noise[arm]),
                    (self.train[arm], 0.0005 * luck[arm]),
                    ((self.validation or self.test)[arm], 0.001 * luck[arm]),
                )
            )
            half = Ends(test - self.doubled.get(arm, 0.001), train, validation, failed)
            arms[arm] = Ends(test, train, validation, stuck(train, 0.1), half=half)
        frame = simulated_frame(arms)
        rate = np.where(frame["replicate"] < self.at_end, 0.9, 0.1)
        frame["config.gamma0"] = np.where(frame["arm"] == "rate", rate, np.nan)
        return Study(frame, simulated_claims().model_copy(update={"delta": 0.01}), SCOPE)


def orthonormal(seed: int) -> NDArray[np.float64]:
    """Return a row of mean 0 and deviation 1 for every arm, orthogonal to the others."""
    raw = np.random.default_rng(seed).normal(size=(SEARCHES, len(ARMS)))
    rows = np.linalg.qr(raw - raw.mean(axis=0))[0].T
    return np.asarray(rows / rows.std(axis=1, ddof=1, keepdims=True))


TRUTHS = {
    "no effect": Truth(Label.REFUTED, never=("negligible", "is worse")),
    "a gain by fit alone": Truth(
        Label.INCONCLUSIVE,
        ("the gain in test minus that in training accuracy is",),
        test=GAIN,
        train={arm: 0.94 + 0.035 * arm.startswith("full") for arm in ARMS},
    ),
    "a baseline that still gains by its budget": Truth(
        Label.INCONCLUSIVE, ("budget",), test=GAIN, doubled={"rate": 0.035}
    ),
    "overfits too little": Truth(
        Label.INCONCLUSIVE,
        ("range",),
        test=GAIN,
        train={arm: accuracy + 0.015 - 0.01 * (arm == "full") for arm, accuracy in GAIN.items()},
    ),
    "harm": Truth(
        Label.REFUTED, ("is worse than control by 3.00 points",), test=HARM, validation=NULL
    ),
    "a baseline at the edge": Truth(Label.INCONCLUSIVE, ("edge", "gamma0"), test=GAIN, at_end=8),
    "an insensitive assay": Truth(
        Label.INCONCLUSIVE,
        ("assay", "take a problem on which dropout and weight decay gain"),
        test={arm: SGD + 0.004 * arm.endswith("usual") for arm in ARMS},
    ),
    "a spread too wide for the upper bound": Truth(
        Label.INCONCLUSIVE, deviation=0.0145 / np.sqrt(2)
    ),
    "two failures of INDIAN alone": Truth(
        Label.SUPPORTED,
        ("failed in 2 pairs, only sgd in 0: p = 0.25",),
        test=GAIN,
        stuck=(("full", 0, 0), ("full", 5, 0)),
    ),
    "seven failures of INDIAN alone": Truth(
        Label.INCONCLUSIVE,
        ("not shown to fail more often (", "p = 0.0078"),
        test=GAIN,
        stuck=tuple(("full", search, 0) for search in range(7)),
    ),
    "an arm of which no run trained": Truth(
        Label.INCONCLUSIVE,
        ("trains", "full - rate: there is no pair in which both runs trained"),
        test=GAIN,
        stuck=tuple(("rate", *run) for run in np.ndindex(SEARCHES, SEEDS)),
    ),
    "a claimed arm without runs": Truth(
        Label.REFUTED,
        ("h4 not tested", "add runs of arm 'full-usual'"),
        never=("2×2×2",),
        absent=("full-usual",),
    ),
}


@pytest.mark.parametrize("name", TRUTHS)
def test_the_verdict_is_that_of_the_rules(name: str) -> None:
    truth = TRUTHS[name]
    spaces: dict[str, Space] = {**UNBOUNDED, "rate": {"gamma0": Range(0.01, 1.0, log=True)}}
    verdict = truth.study().judged(spaces=spaces)
    text = " ".join(" ".join(verdict_lines(verdict, details=True)).lower().split())
    # What `print(results.verdict())` shows: the claim first, then the arms.
    shown = str(verdict).splitlines()
    assert shown[: len(list(head_lines(verdict)))] == list(head_lines(verdict))
    assert [line.split()[1] for line in shown if re.match(r"\d+ +\S+ +[\d–]", line)] == [
        row.arm for row in verdict.trained
    ]
    assert verdict.label is truth.label, verdict.sentence
    assert [words for words in truth.says if words.lower() not in text] == []
    assert [words for words in truth.never if words in text] == []
