"""Where the winners of searches lie in their search ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from indian_tune.analysis.frame import with_config_columns
from indian_tune.analysis.trials import trial_scores
from indian_tune.columns import config_column, config_columns
from indian_tune.optim.families import FAMILIES
from indian_tune.study.edges import place_of
from indian_tune.study.file.space import Range

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.optim.hyperparameters import Hyperparameter
    from indian_tune.study.file.space import Space

SEARCH = ["arm", "replicate"]


def winner_places(
    rows: pd.DataFrame, search: pd.DataFrame, spaces: Mapping[str, Space]
) -> dict[str, dict[str, tuple[float, ...]]]:
    """Return where the winners of every arm lie in the ranges that they were searched over.

    A winner is what the confirm phase trained. Of a value that its rows do not hold, that of the
    best trial of the search counts.

    Args:
        rows: of the confirm phase.
        search: rows of the tune phase with a column ``replicate``; may be empty.
        spaces: arm → hyperparameter → what it was searched over.

    Returns:
        arm → hyperparameter → a place in [0, 1] on the scale of the search for the winner of each
        search. A place at an end beyond which the hyperparameter has no meaning is given as 0.5: it
        is at no edge. Arms of which a range or a winner's value is not known are left out.
    """
    winners = with_config_columns(rows).drop_duplicates(SEARCH).set_index(SEARCH)
    optimizers = winners["optimizer"] if "optimizer" in winners else pd.Series(dtype=object)
    configs = winners[config_columns(winners.columns)]
    if spaces and len(search):
        best = trial_scores(search).dropna(subset="score").sort_values(["score", "trial"])
        best = best.assign(arm=best["arm"].map(str)).drop_duplicates(SEARCH).set_index(SEARCH)
        best = best[config_columns(best.columns)].reindex(configs.index)
        configs = configs.combine_first(best)
    found = {}
    for arm in configs.index.unique("arm").intersection(list(spaces)):
        own = configs[configs.index.get_level_values("arm") == arm]
        ranges = {name: each for name, each in spaces[arm].items() if isinstance(each, Range)}
        values = own.reindex(columns=[config_column(name) for name in ranges])
        if values.notna().all(axis=None):
            optimizer = None if optimizers.empty else optimizers.xs(arm, level="arm").iloc[0]
            found[str(arm)] = {
                name: tuple(
                    place_of(_known(optimizer, name), each, float(value))
                    for value in values[config_column(name)]
                )
                for name, each in ranges.items()
            }
    return found


def _known(optimizer: str | None, name: str) -> Hyperparameter | None:
    """Return a hyperparameter of a family, or of the first that has one of this name."""
    families = [FAMILIES[optimizer]] if optimizer in FAMILIES else FAMILIES.values()
    own = (family.hyperparameters.get(name) for family in families)
    return next((each for each in own if each is not None), None)
