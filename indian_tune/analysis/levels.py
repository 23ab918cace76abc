"""The levels m that were tried and chosen for response-matched controls."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from indian_tune.analysis.ends import stuck
from indian_tune.analysis.frame import DIVERGED, trial_rows
from indian_tune.columns import config_column

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

LEVEL = config_column("level")
# log2 of the lowest and of the highest level that is tried.
LOWEST, HIGHEST = -2.0, 2.0


@dataclass(frozen=True)
class Levels:
    """The levels of one control, a value per search.

    Attributes:
        chosen: level of the runs on the fresh seeds; NaN where it is not known.
        trains: whether some level was tried at which every run trained; ``None`` where none was
            tried, as with αβ = 1, where the level is 1.
    """

    chosen: tuple[float, ...]
    trains: tuple[bool | None, ...]

    @property
    def places(self) -> tuple[float, ...]:
        """Where the levels lie in the range that is tried: 0 for ¼, 0.5 for 1, 1 for 4."""
        return tuple((math.log2(m) - LOWEST) / (HIGHEST - LOWEST) for m in self.chosen)


def read_levels(
    frame: pd.DataFrame, rows: pd.DataFrame, searches: Iterable[int], least: float | None
) -> dict[str, Levels]:
    """Return the levels of every arm that has some.

    Args:
        frame: of all phases.
        rows: those of the confirm phase.
        searches: numbers of the searches, in their order.
        least: training accuracy of a run that has trained; ``None`` where it is not known.

    Raises:
        InputError: an (arm, replicate, trial, seed, epoch) is given twice.
    """
    tried = trial_rows(frame, "match")
    trained = {}
    if LEVEL in tried and len(tried):
        runs = tried.sort_values("epoch").drop_duplicates(
            ["arm", "replicate", "trial", "seed"], keep="last"
        )
        failed = stuck(_column(runs, "train_accuracy"), least)
        for column in ("run_state", "trial_state"):
            if column in runs:
                failed |= runs[column].isin([DIVERGED, "failed"]).to_numpy()
        by_level = runs.assign(fails=failed).groupby(["arm", "replicate", LEVEL])["fails"].any()
        fails = by_level.groupby(["arm", "replicate"]).all().reset_index()
        for arm, replicate, all_fail in fails.itertuples(index=False, name=None):
            trained[str(arm), int(replicate)] = not all_fail
    chosen = {}
    if LEVEL in rows:
        known = rows[rows[LEVEL].notna()][["arm", "replicate", LEVEL]]
        for arm, replicate, level in known.itertuples(index=False, name=None):
            chosen[str(arm), int(replicate)] = float(level)
    order = tuple(searches)
    return {
        arm: Levels(
            tuple(chosen.get((arm, replicate), np.nan) for replicate in order),
            tuple(trained.get((arm, replicate)) for replicate in order),
        )
        for arm in dict.fromkeys(arm for arm, _ in (*trained, *chosen))
    }


def _column(rows: pd.DataFrame, name: str) -> np.ndarray:
    return rows[name].to_numpy(float) if name in rows else np.full(len(rows), np.nan)
