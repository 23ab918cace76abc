from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from indian_tune.optim import Indian
from indian_tune.reproduce import compare_with_din, indian_path, solve_din

if TYPE_CHECKING:
    from indian_tune.reproduce.recursion import Floats, Gradient

MATRIX = np.array([[3.0, 1.0], [1.0, 1.0]])
START = np.array([1.0, -2.0])


def quadratic(theta: Floats) -> Floats:
    grad: Floats = theta @ MATRIX
    return grad


def quartic(theta: Floats) -> Floats:
    """Of Rosenbrock's function (1 - θ1)² + 2 (θ2 - θ1²)²."""
    first, second = theta[:, 0], theta[:, 1]
    valley = 4 * (second - first**2)
    return np.stack([2 * (first - 1) - 2 * first * valley, valley], axis=1)


@pytest.mark.parametrize("gradient", [quadratic, quartic])
def test_solution_satisfies_the_equation_of_second_order(gradient: Gradient) -> None:
    alpha, beta, speed, spacing = 0.7, 0.3, 0.4, 1e-3
    times = np.arange(0, 2, spacing)
    theta, velocity = solve_din(gradient, START, times, alpha=alpha, beta=beta, speed=speed)
    grads = gradient(theta)
    np.testing.assert_allclose(velocity[0] - beta * grads[0], -speed * grads[0], rtol=1e-12)

    first = np.gradient(theta, spacing, axis=0, edge_order=2)
    second = np.gradient(first, spacing, axis=0, edge_order=2)
    # The Hessian acts on θ' as the time derivative of the gradient along the path.
    hessian_term = np.gradient(grads, spacing, axis=0, edge_order=2)
    residual = second + alpha * first + beta * hessian_term + grads
    assert np.abs(residual[5:-5]).max() < 1e-3 * np.abs(second).max()


@pytest.mark.parametrize("gradient", [quadratic, quartic])
@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 0.1), (1.3, 0.5), (0.3, 4.0)])
def test_indian_converges_to_the_equation_at_first_order(
    gradient: Gradient, alpha: float, beta: float
) -> None:
    found = compare_with_din(
        gradient,
        np.array([0.5, -0.5]),
        alpha=alpha,
        beta=beta,
        speed=1.0,
        gammas=[4e-3, 2e-3, 1e-3, 5e-4],
        horizon=2.0,
    )
    assert found.order == pytest.approx(1.0, abs=0.05)
    assert list(found.errors) == sorted(found.errors, reverse=True)


def test_paths_are_those_of_the_optimizer() -> None:
    alpha, beta, gamma, speed = 0.5, 0.1, 0.05, 0.3
    path = indian_path(
        quadratic,
        np.stack([START, -START]),
        alpha=np.array([[alpha], [2.0]]),
        beta=beta,
        gamma=gamma,
        steps=50,
        speed=speed,
    )
    theta = torch.nn.Parameter(torch.from_numpy(START.copy()))
    optimizer = Indian([theta], gamma, alpha, beta, decay_power=0, initial_velocity=speed)
    for step in range(50):
        np.testing.assert_allclose(path[step, 0], theta.detach().numpy(), rtol=1e-12, atol=1e-14)
        theta.grad = torch.from_numpy(quadratic(theta.detach().numpy()[np.newaxis])[0])
        optimizer.step()
    assert path.shape == (51, 2, 2)
    assert not np.allclose(path[-1, 0], -path[-1, 1])
