"""Winners at the end of their search range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from indian_tune.optim.families import get_family
from indian_tune.study.file.parameters import split_training_parameters
from indian_tune.study.file.space import Choices, Constant, Grid, Range, bounds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.optim.hyperparameters import Hyperparameter
    from indian_tune.study.file.space import Parameter

# How near an end counts as at the end, as a share of the range (of its logarithm where log); it is
# named in `Edge.place`.
MARGIN = 0.05
# How far the range to try next reaches beyond the old end on a log scale.
DECADE = 10.0


@dataclass(frozen=True)
class Edge:
    """A winner's value at an end of its range.

    Attributes:
        name: of the hyperparameter.
        value: the winner's.
        low: lower end of the range that was searched.
        high: upper end.
        next_low: lower end of the range to try next.
        next_high: upper end of the range to try next.
        scale: on which it was searched: ``linear``, ``log`` or ``grid``.
    """

    name: str
    value: float
    low: float
    high: float
    next_low: float
    next_high: float
    scale: Literal["linear", "log", "grid"]

    @property
    def place(self) -> str:
        """Where the value lies, in words that say what counts as an end."""
        if self.scale == "grid":
            return "at an end of its grid"
        part = "first" if self.next_low != self.low else "last"
        return f"in the {part} twentieth of its range"


def find_edges(
    optimizer: str, space: Mapping[str, Parameter], config: Mapping[str, float]
) -> list[Edge]:
    """Return which values of a configuration lie at an end of their range, see ``find_edge``.

    Args:
        optimizer: family of the arm.
        space: that the arm was searched over last. A winner from before an extension is judged by
            the wider space too: what lies beyond its own was tried since.
        config: the configuration of the winner.
    """
    own, _ = split_training_parameters(config)
    known = get_family(optimizer).hyperparameters
    found = [
        find_edge(known[name], space[name], value) for name, value in own.items() if name in space
    ]
    return [edge for edge in found if edge is not None]


def find_edge(hyperparameter: Hyperparameter, parameter: Parameter, value: float) -> Edge | None:
    """Return the end of its range at which a value lies, ``None`` when it lies at none.

    At an end is within 5 % of the range, of its logarithm where it is searched on a log scale. An
    end beyond which the hyperparameter has no meaning (a momentum of 0, say) is none.

    Args:
        hyperparameter: whose value it is.
        parameter: its part of the space.
        value: the winner's.
    """
    if isinstance(parameter, Constant | Choices):
        return None
    low, high = bounds(parameter)
    at_low, at_high = _ends(parameter, value)
    next_low, next_high = _beyond(parameter, low, high)
    at_low = at_low and hyperparameter.allows(next_low)
    at_high = at_high and hyperparameter.allows(next_high)
    if not at_low and not at_high:
        return None
    return Edge(
        hyperparameter.name,
        value,
        low,
        high,
        next_low if at_low else low,
        next_high if at_high else high,
        _scale(parameter),
    )


def place_of(hyperparameter: Hyperparameter | None, parameter: Range, value: float) -> float:
    """Return where a value lies in its range, in [0, 1]; 0.5 beside a natural end.

    One outside of the range lies at its end.

    Args:
        hyperparameter: whose value it is; ``None`` for one of training, of which 0 is natural.
        parameter: its part of the space.
        value: the winner's.
    """
    low, high = bounds(parameter)
    next_low, next_high = _beyond(parameter, low, high)
    value = min(max(value, low), high)
    if parameter.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    place = (value - low) / (high - low)
    below = next_low > 0 if hyperparameter is None else hyperparameter.allows(next_low)
    above = hyperparameter is None or hyperparameter.allows(next_high)
    return place if (below or place > 0.5) and (above or place < 0.5) else 0.5


def _ends(parameter: Parameter, value: float) -> tuple[bool, bool]:
    low, high = bounds(parameter)
    if isinstance(parameter, Grid):
        # Between two points nothing was tried, so only the outermost points are ends.
        return value == low, value == high and len(parameter.values) > 1
    if isinstance(parameter, Range) and parameter.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    margin = MARGIN * (high - low)
    return value <= low + margin, value >= high - margin


def _scale(parameter: Parameter) -> Literal["linear", "log", "grid"]:
    if isinstance(parameter, Range):
        return "log" if parameter.log else "linear"
    return "grid"


def _beyond(parameter: Parameter, low: float, high: float) -> tuple[float, float]:
    if isinstance(parameter, Range) and not parameter.log:
        width = high - low
        return low - width, high + width
    return low / DECADE, high * DECADE
