"""The objectives of the convergence experiment against automatic differentiation and sampling."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from indian_tune.reproduce.objectives import (
    AbsoluteRegression,
    ReluDifference,
    ReluNetwork,
    TameObjective,
    TwoKinks,
)
from indian_tune.reproduce.zonotope import Zonotope

if TYPE_CHECKING:
    from indian_tune.reproduce.recursion import Floats

OBJECTIVES: list[TameObjective] = [
    TwoKinks(),
    AbsoluteRegression.random(terms=30),
    ReluNetwork.random(terms=12),
    ReluDifference(),
]


def everything(objective: TameObjective, rows: int) -> np.ndarray:
    return np.tile(np.arange(objective.terms), (rows, 1))


def in_zonotope(zonotope: Zonotope, point: Floats) -> bool:
    shifted = replace(zonotope, center=zonotope.center - point)
    return shifted.distance_of_zero() < 1e-6


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: type(one).__name__)
def test_subgradients_are_the_slopes_where_the_objective_is_smooth(
    objective: TameObjective,
) -> None:
    generator = np.random.default_rng(0)
    points = objective.start + generator.standard_normal((20, objective.start.shape[0]))
    found = objective.subgradient(points, everything(objective, 20))
    nudge = 1e-6
    for axis in range(points.shape[1]):
        step = nudge * np.eye(points.shape[1])[axis]
        slope = (objective.value(points + step) - objective.value(points - step)) / (2 * nudge)
        np.testing.assert_allclose(found[:, axis], slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: type(one).__name__)
def test_mini_batch_subgradients_average_to_the_whole(objective: TameObjective) -> None:
    point = objective.start[np.newaxis] + 0.1
    parts = [objective.subgradient(point, np.array([[term]])) for term in range(objective.terms)]
    whole = objective.subgradient(point, everything(objective, 1))
    np.testing.assert_allclose(np.mean(parts, axis=0), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: type(one).__name__)
def test_critical_set_is_the_gradient_away_from_kinks(objective: TameObjective) -> None:
    generator = np.random.default_rng(1)
    point = objective.start + generator.standard_normal(objective.start.shape[0])
    gradient = objective.subgradient(point[np.newaxis], everything(objective, 1))[0]
    found = objective.critical_set(point, 0.0)
    assert found.generators.shape[0] == 0
    np.testing.assert_allclose(found.center, gradient, rtol=1e-10, atol=1e-12)


def point_with_kinks(objective: TameObjective) -> Floats:
    """Return a point on one kink at least."""
    if isinstance(objective, TwoKinks):
        return np.array([0.0, 0.7])
    if isinstance(objective, AbsoluteRegression):
        hit = np.linalg.lstsq(objective.inputs[:3], objective.targets[:3], rcond=None)[0]
        return np.asarray(hit)
    if isinstance(objective, ReluNetwork):
        point = objective.start.copy()
        # Unit 0 and unit 1 vanish on the first input.
        normal = np.array([objective.inputs[0, 1], -objective.inputs[0, 0]])
        point[0:2], point[2:4] = normal, -2 * normal
        return point
    return np.array([0.0, 0.0])


@pytest.mark.parametrize("objective", OBJECTIVES, ids=lambda one: type(one).__name__)
def test_critical_set_at_a_kink_holds_the_gradients_around_it(objective: TameObjective) -> None:
    generator = np.random.default_rng(2)
    point = point_with_kinks(objective)
    found = objective.critical_set(point, 1e-9)
    assert found.generators.shape[0] > 0
    nearby = point + 1e-10 * generator.standard_normal((50, point.shape[0]))
    gradients = objective.subgradient(nearby, everything(objective, 50))
    assert np.ptp(gradients, axis=0).max() > 1e-3
    for gradient in gradients:
        assert in_zonotope(found, gradient)
    assert not in_zonotope(found, gradients[0] + 100.0)


def test_radius_lets_the_kinks_within_it_count() -> None:
    point = np.array([0.98, 0.98])
    assert TwoKinks().critical_set(point, 0.01).distance_of_zero() == pytest.approx(1.0)
    assert TwoKinks().critical_set(point, 0.03).distance_of_zero() == pytest.approx(0.0)


def test_sum_of_subdifferentials_may_be_larger_than_clarkes() -> None:
    objective, origin = ReluDifference(), np.zeros(2)
    assert objective.critical_set(origin, 0.0).distance_of_zero() < 1e-12
    assert objective.clarke_set(origin, 0.0).distance_of_zero() == pytest.approx(0.5**0.5)
    minimum = np.array([-1.0, -1.0])
    assert objective.clarke_set(minimum, 0.0).distance_of_zero() < 1e-12
    assert objective.value(minimum[np.newaxis])[0] == objective.minimum


def test_minimum_of_the_regression_is_a_lower_bound_that_its_critical_points_reach() -> None:
    objective = AbsoluteRegression.random(terms=30, size=2)
    grid = np.stack(np.meshgrid(*[np.linspace(-4, 4, 401)] * 2), axis=-1).reshape(-1, 2)
    lowest = objective.value(grid).min()
    assert objective.minimum <= lowest <= objective.minimum + 0.02


def test_smallest_element_of_a_zonotope_is_found() -> None:
    square = Zonotope(np.array([3.0, 0.5]), np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    np.testing.assert_allclose(square.smallest_element(), [2.0, 0.0], atol=1e-12)
    alone = Zonotope(np.array([3.0, 4.0]), np.zeros((0, 2)))
    assert alone.distance_of_zero() == 5.0
    generator = np.random.default_rng(3)
    random = Zonotope(generator.standard_normal(3) * 4, generator.standard_normal((6, 3)))
    smallest = random.smallest_element()
    corners = random.center + generator.choice([-1.0, 1.0], (500, 6)) @ random.generators
    # The smallest element supports the set: no element lies nearer to 0 in its direction.
    assert (corners @ smallest >= smallest @ smallest - 1e-9).all()
    assert in_zonotope(random, smallest)
