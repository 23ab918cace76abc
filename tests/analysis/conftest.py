"""Simulated studies with known truth, as the frames that the analysis reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from indian_tune.analysis import Registration, Scope, analyze
from indian_tune.analysis.simulation import (
    UNBOUNDED,
    WORLDS,
    direct,
    simulate,
    simulated_claims,
)
from tests.analysis.simulated import simulated_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

    from indian_tune.analysis import Verdict
    from indian_tune.analysis.simulation import World
    from indian_tune.study.claims import ClaimsSection


SCOPE = Scope("nin-small", "digits", 10, 3, 16, 3)


@dataclass
class Study:
    """A frame with what was registered about it."""

    frame: pd.DataFrame
    claims: ClaimsSection
    scope: Scope

    def judged(self, frame: pd.DataFrame | None = None, **changes: Any) -> Verdict:
        """Analyse the frame, or another one, under what was registered."""
        frame = self.frame if frame is None else frame
        seeds = tuple(sorted(int(seed) for seed in frame["seed"].unique()))
        given: dict[str, Any] = {
            "registration": Registration("honest", seeds),
            "scope": self.scope,
            "spaces": UNBOUNDED,
            **changes,
        }
        return analyze(frame, given.pop("claims", self.claims), **given)


def make_study(world: World, searches: int = 10, draw: int = 0) -> Study:
    return Study(
        frame=simulated_frame(simulate(world, searches, np.random.default_rng(draw))),
        claims=simulated_claims(),
        scope=SCOPE,
    )


@pytest.fixture
def simulated() -> Callable[..., Study]:
    """Draw a study of a world by its name; ``draw`` numbers the draws."""
    by_name = {world.name: world for world in WORLDS}
    return lambda name, searches=10, draw=0: make_study(by_name[name], searches, draw)


@pytest.fixture
def gain() -> Study:
    """A study in which tuning gains two points of test accuracy, and not by fit."""
    return make_study(direct(0.02))
