"""Points of a space: at quantiles of its parameters, and quasi-random ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from indian_tune.study.file.space import Choices, Constant, Grid, Parameter, Range

if TYPE_CHECKING:
    from indian_tune.study.file.space import Space


def sobol_points(space: Space, seed: int, count: int, *, start: int = 0) -> list[dict[str, float]]:
    """Return points of the scrambled Sobol sequence of a space, constants left out.

    Args:
        space: with at least one parameter to search.
        seed: of the scrambling.
        count: how many points.
        start: index of the first one.
    """
    from scipy.stats import qmc

    searched = {n: p for n, p in space.items() if not isinstance(p, Constant)}
    sequence = qmc.Sobol(len(searched), scramble=True, rng=np.random.default_rng(seed))
    if start:
        sequence.fast_forward(start)
    return [
        {
            name: at_quantile(parameter, float(u))
            for (name, parameter), u in zip(searched.items(), unit, strict=True)
        }
        for unit in sequence.random(count)
    ]


def at_quantile(parameter: Parameter, u: float) -> float:
    """Return the value at quantile ``u`` in [0, 1) of a parameter's uniform distribution."""
    match parameter:
        case Choices(values) | Grid(values):
            return values[int(u * len(values))]
        case Range(low, high, log=True):
            value = float(np.exp(np.log(low) + u * (np.log(high) - np.log(low))))
            return min(max(value, low), high)
        case Range(low, high, step=step) if step is not None:
            count = int((high - low) / step + 1e-9) + 1
            return low + step * int(u * count)
        case Range(low, high):
            return low + u * (high - low)
        case Constant(value):
            return value
