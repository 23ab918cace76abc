from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from indian_tune.errors import HyperparameterError
from indian_tune.optim import indian_step, stability_limit, stable


def spectral_radii(alpha: float, beta: float, gamma: float, curvatures: np.ndarray) -> np.ndarray:
    """Of one step on J = curvature * theta^2 / 2, through the optimizer's own arithmetic."""
    curvature = torch.from_numpy(curvatures)
    hyperparameters = [torch.tensor(x, dtype=torch.float64) for x in (gamma, alpha, beta)]
    columns = []
    for theta_value, velocity_value in [(1.0, 0.0), (0.0, 1.0)]:
        theta = torch.full_like(curvature, theta_value)
        velocity = torch.full_like(curvature, velocity_value)
        indian_step(theta, velocity, curvature * theta, *hyperparameters)
        columns.append(torch.stack([theta, velocity], dim=1))
    matrices = torch.stack(columns, dim=2).numpy()
    radii: np.ndarray = np.abs(np.linalg.eigvals(matrices)).max(axis=1)
    return radii


def test_predicate_agrees_with_the_eigenvalues_on_random_draws() -> None:
    generator = np.random.default_rng(0)
    decided = stables = 0
    for _ in range(400):
        alpha, beta, gamma = 10 ** generator.uniform(-2, 1, 3)
        limit = stability_limit(alpha, beta, gamma) or 1.0
        curvatures = limit * 10 ** generator.uniform(-3, 3, 30)
        curvatures[::10] *= -1
        radii = spectral_radii(alpha, beta, gamma, curvatures)
        for curvature, radius in zip(curvatures, radii, strict=True):
            # On the border itself the eigenvalues are not computed to the last digit.
            if abs(radius - 1) > 1e-9:
                decided += 1
                found = stable(alpha, beta, gamma, curvature)
                stables += found
                assert found == (radius < 1), (alpha, beta, gamma, curvature, radius)
    assert decided > 11_000
    assert 0.2 < stables / decided < 0.8


@settings(deadline=None, derandomize=True, max_examples=500)
@example(alpha=math.nextafter(10, 0), beta=1.0, gamma=0.2)
@given(alpha=st.floats(0.01, 10), beta=st.floats(0.01, 10), gamma=st.floats(0.01, 10))
def test_limit_is_where_stability_ends(alpha: float, beta: float, gamma: float) -> None:
    limit = stability_limit(alpha, beta, gamma)
    if limit == 0:
        assert alpha * gamma >= 2
        assert not any(stable(alpha, beta, gamma, 10.0**k) for k in range(-12, 12))
    else:
        assert stable(alpha, beta, gamma, limit * (1 - 1e-9))
        assert stable(alpha, beta, gamma, limit * 1e-3)
        assert not stable(alpha, beta, gamma, limit * (1 + 1e-9))


@pytest.mark.parametrize(
    ("alpha", "beta", "gamma", "limit"),
    [
        (0.5, 0.1, 0.1, 390),
        (0.5, 0.1, 0.2, 5.0),
        (0.1, 0.1, 0.05, 532),
        (0.1, 0.1, 0.2, 1.0),
        (0.5, 1.0, 0.1, 20.5),
        (4.0, 0.1, 0.5, 0.0),
    ],
)
def test_limit_has_its_published_values(
    alpha: float, beta: float, gamma: float, limit: float
) -> None:
    assert stability_limit(alpha, beta, gamma) == pytest.approx(limit, rel=2e-3)


@pytest.mark.parametrize("curvature", [0.0, -1.0])
def test_no_curvature_or_a_negative_one_is_unstable(curvature: float) -> None:
    assert not stable(0.5, 0.1, 0.1, curvature)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_wrong_arguments_are_refused(value: float) -> None:
    with pytest.raises(HyperparameterError, match="alpha must be"):
        stability_limit(value, 0.1, 0.1)
    with pytest.raises(HyperparameterError, match="beta must be"):
        stable(0.5, value, 0.1, 1.0)
    with pytest.raises(HyperparameterError, match="gamma must be"):
        stability_limit(0.5, 0.1, value)
    if not math.isfinite(value):
        with pytest.raises(HyperparameterError, match="curvature must be"):
            stable(0.5, 0.1, 0.1, value)
