"""A space as Optuna's distributions, and given points in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler

from indian_tune.study.file.space import Choices, Constant, Grid, Parameter, Range

if TYPE_CHECKING:
    from collections.abc import Mapping

    import optuna
    from optuna.trial import FrozenTrial

    from indian_tune.study.file.space import Space


def distributions(space: Space, *, grid: bool = False) -> dict[str, BaseDistribution]:
    """Return what Optuna needs to know of a space; constants are not its business.

    Args:
        space: of the arm.
        grid: whether its points are fixed by a grid. An ordered list then is a range to Optuna,
            which may grow when the grid is extended, and which it draws to scale.
    """
    return {
        name: _distribution(parameter, grid=grid)
        for name, parameter in space.items()
        if not isinstance(parameter, Constant)
    }


class IndexedSampler(BaseSampler):
    """Gives a point that was fixed by the trial's index.

    Optuna's own GridSampler and QMCSampler number their points by order of arrival, skip what
    failed and may hand out a point twice in parallel; a point tied to the slot cannot.
    """

    def __init__(self, point: Mapping[str, float]) -> None:
        self._point = point

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return nothing: every parameter is sampled on its own."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return nothing: every parameter is sampled on its own."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return the point's value."""
        return self._point[param_name]


def _distribution(parameter: Parameter, *, grid: bool) -> BaseDistribution:
    match parameter:
        case Grid(values) if grid:
            return FloatDistribution(values[0], values[-1], log=values[0] > 0)
        case Choices(values) | Grid(values):
            return CategoricalDistribution(values)
        case Range(integer=True):
            assert parameter.step is not None
            return IntDistribution(
                int(parameter.low),
                int(parameter.at_step(parameter.steps)),
                step=int(parameter.step),
            )
        case Range(step=step) if step is not None:
            # Optuna would cut the range to whole steps, with a warning.
            return FloatDistribution(parameter.low, parameter.at_step(parameter.steps), step=step)
        case Range():
            return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    raise AssertionError(f"{parameter} has no distribution")
