"""Extending a space beyond the ends at which a winner lies."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from indian_tune.optim.families import get_family
from indian_tune.study.file.space import Grid, Range, grid_points, parse_space

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from indian_tune.study.edges import Edge

# Points that a grid gets beyond an end.
NEW_POINTS = 2


def extended_space(
    optimizer: str, raw: Mapping[str, Any], edges: Sequence[Edge], *, grid: bool
) -> dict[str, Any] | None:
    """Return a space that reaches beyond the ends of ``edges``, ``None`` when there is none.

    A range takes the ends that the edges propose. A grid is continued at the spacing of its
    outermost points, as far as the hyperparameter has a meaning. A list that an adaptive or random
    sampler draws from cannot change within one Optuna study, and is left.

    Args:
        optimizer: family of the arm.
        raw: the space as in a study file.
        edges: of the winner.
        grid: whether the search is a grid.
    """
    space = parse_space(raw, "space")
    known = get_family(optimizer).hyperparameters
    extended = dict(raw)
    for edge in edges:
        match space[edge.name]:
            case Range(low, high, log, step) as searched:
                below, above = edge.next_low, edge.next_high
                if step is not None:
                    # The old values must stay values.
                    below = searched.at_step(-math.floor((low - below) / step))
                    beyond = math.floor((above - high) / step)
                    above = searched.at_step(searched.steps + beyond)
                given = {"low": below, "high": above, **({"log": True} if log else {})}
                extended[edge.name] = given if step is None else {**given, "step": step}
            case Grid(values) if grid:
                points = list(values)
                if edge.next_low < edge.low:
                    points = [*reversed(_beyond(points[0], points[1])), *points]
                if edge.next_high > edge.high:
                    points = [*points, *_beyond(points[-1], points[-2])]
                allows = known[edge.name].allows
                extended[edge.name] = {"grid": [point for point in points if allows(point)]}
    return extended if extended != dict(raw) else None


def new_cells(before: Mapping[str, Any], after: Mapping[str, Any]) -> int:
    """Return how many cells an extended grid has more."""
    old, new = (grid_points(parse_space(raw, "space"), "space") for raw in (before, after))
    return sum(cell not in old for cell in new)


def _beyond(end: float, inner: float) -> list[float]:
    """Return the next points outwards from an end of a grid, in order."""
    if end > 0 and inner > 0:
        # Rounded, so that 0.1 is followed by 0.01 and not by 0.010000000000000002.
        return [float(f"{end * (end / inner) ** k:.6g}") for k in range(1, NEW_POINTS + 1)]
    return [float(f"{end + (end - inner) * k:.6g}") for k in range(1, NEW_POINTS + 1)]
