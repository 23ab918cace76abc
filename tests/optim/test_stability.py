from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from indian_tune.errors import HyperparameterError
from indian_tune.optim import get_family, indian_step, stability_limit, stable
from indian_tune.optim.stability import contracts


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
        excess = alpha * gamma - 2
        assert excess >= 0
        # With γ > 2β larger curvatures are stable again.
        again = 2 * excess / (gamma * (gamma - 2 * beta)) if gamma > 2 * beta else math.inf
        below = [curvature for k in range(-12, 12) if (curvature := 10.0**k) < 0.999 * again]
        assert not any(stable(alpha, beta, gamma, curvature) for curvature in below)
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


SPACES: dict[str, dict[str, tuple[float, float]]] = {
    "sgd": {"gamma0": (-2, 2)},
    "momentum": {"gamma0": (-2, 2), "momentum": (-1, -0.01)},
    "nesterov": {"gamma0": (-2, 2), "momentum": (-1, -0.01)},
    "qhm": {"gamma0": (-2, 2), "momentum": (-1, -0.01), "nu": (-1, 0)},
    "indian": {"gamma0": (-2, 1), "alpha": (-1, 1), "beta": (-1, 1)},
}


def spectral_radius(family: str, config: dict[str, float], curvature: float) -> float:
    """Of the recursion that the family's own optimizer follows on curvature * theta^2 / 2.

    Its iterates obey theta'' = T theta' - D theta, from which T and D are solved.
    """
    theta = torch.ones(1, dtype=torch.float64, requires_grad=True)
    optimizer, _ = get_family(family).build([theta], {**config, "decay_power": 0.0})
    path = [1.0]
    for _ in range(3):
        theta.grad = curvature * theta.detach()
        optimizer.step()
        path.append(theta.item())
    if family == "sgd":
        return abs(path[1] / path[0])
    trace, determinant = np.linalg.solve(
        [[path[1], -path[0]], [path[2], -path[1]]], [path[2], path[3]]
    )
    return float(np.abs(np.roots([1.0, -trace, determinant])).max())


@pytest.mark.parametrize("family", SPACES)
def test_a_configuration_contracts_as_its_own_optimizer_does(family: str) -> None:
    generator = np.random.default_rng(1)
    decided = contracting = 0
    for _ in range(300):
        config = {
            name: float(10 ** generator.uniform(*exponents))
            for name, exponents in SPACES[family].items()
        }
        curvature = float(10 ** generator.uniform(-1, 2))
        radius = spectral_radius(family, config, curvature)
        # Near the border, and where the iterates vanish at once, T and D have lost their digits.
        if abs(radius - 1) < 1e-3 or radius < 1e-2:
            continue
        found = contracts(get_family(family).dynamics(config), curvature)
        assert found is (radius < 1), (config, curvature, radius)
        decided += 1
        contracting += found
    assert decided > 250
    assert 20 < contracting < decided - 20


def test_what_contracts_agrees_with_the_predicate_of_indian() -> None:
    generator = np.random.default_rng(2)
    for _ in range(500):
        alpha, beta, gamma, curvature = (float(x) for x in 10 ** generator.uniform(-2, 2, 4))
        dynamics = get_family("indian").dynamics({"alpha": alpha, "beta": beta, "gamma0": gamma})
        assert contracts(dynamics, curvature) == stable(alpha, beta, gamma, curvature)


@pytest.mark.parametrize("family", ["adam", "adagrad", "adamw"])
def test_adaptive_families_have_no_recursion_to_judge(family: str) -> None:
    assert contracts(get_family(family).dynamics({"gamma0": 0.1}), 1.0) is None
