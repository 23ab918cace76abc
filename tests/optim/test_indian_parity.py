"""The ways of computing a step against the published recursion in (θ, ψ)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from indian_tune.optim import Indian, decay, indian_step, psi_form_step

SIZE = 12
STEPS = 500
Objective = Callable[[Tensor], Tensor]


def quadratic(seed: int) -> Objective:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(SIZE, SIZE, generator=generator, dtype=torch.float64) / SIZE**0.5
    linear = torch.randn(SIZE, generator=generator, dtype=torch.float64)

    def objective(theta: Tensor) -> Tensor:
        image = root.to(theta.dtype) @ theta
        value: Tensor = 0.5 * image.dot(image) + linear.to(theta.dtype).dot(theta)
        return value

    return objective


def logistic(seed: int) -> Objective:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(40, SIZE, generator=generator, dtype=torch.float64)

    def objective(theta: Tensor) -> Tensor:
        return torch.nn.functional.softplus(rows.to(theta.dtype) @ theta).mean()

    return objective


def absolute_regression(seed: int) -> Objective:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(40, SIZE, generator=generator, dtype=torch.float64)
    targets = torch.randn(40, generator=generator, dtype=torch.float64)

    def objective(theta: Tensor) -> Tensor:
        return (rows.to(theta.dtype) @ theta - targets.to(theta.dtype)).abs().mean()

    return objective


def start(dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(SIZE, generator=generator, dtype=torch.float64).to(dtype)


def gradient(objective: Objective, theta: Tensor) -> Tensor:
    leaf = theta.detach().clone().requires_grad_()
    (grad,) = torch.autograd.grad(objective(leaf), leaf)
    return grad


def run_psi_form(
    objective: Objective,
    *,
    dtype: torch.dtype = torch.float64,
    lr: float = 0.1,
    alpha: float = 0.5,
    beta: float = 0.1,
    decay_power: float = 0.5,
    steps: int = STEPS,
    **options: Any,
) -> Tensor:
    theta = start(dtype)
    psi = (1 - alpha * beta) * theta
    for step in range(steps):
        psi_form_step(
            theta,
            psi,
            gradient(objective, theta),
            gamma=lr * decay(step, decay_power),
            alpha=alpha,
            beta=beta,
            **options,
        )
    return theta.double()


def run_indian(
    objective: Objective, *, dtype: torch.dtype = torch.float64, steps: int = STEPS, **options: Any
) -> Tensor:
    theta = torch.nn.Parameter(start(dtype))
    optimizer = Indian([theta], **options)
    for _ in range(steps):
        optimizer.zero_grad()
        objective(theta).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return theta.detach().double()


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("alpha_beta", [(0.5, 0.1), (2.0, 0.5), (0.3, 5.0)])
@pytest.mark.parametrize(
    ("objective", "decay_power"),
    [
        *((quadratic, power) for power in (0.0, 0.3, 1.0)),
        (logistic, 0.5),
        (absolute_regression, 0.5),
    ],
)
def test_velocity_form_is_the_published_recursion(
    objective: Callable[[int], Objective], decay_power: float, alpha_beta: tuple[float, float]
) -> None:
    alpha, beta = alpha_beta
    options: dict[str, Any] = {"lr": 0.05, "alpha": alpha, "beta": beta, "decay_power": decay_power}
    published = run_psi_form(objective(0), **options)
    found = run_indian(objective(0), foreach=True, **options)
    assert distance(found, published) <= 1e-12
    assert torch.equal(found, run_indian(objective(0), foreach=False, **options))


@pytest.mark.parametrize("decoupled", [True, False])
@pytest.mark.parametrize("foreach", [True, False])
@pytest.mark.parametrize("capturable", [True, False])
def test_weight_decay_is_that_of_the_published_recursion(
    decoupled: bool, foreach: bool, capturable: bool
) -> None:
    options: dict[str, Any] = {"weight_decay": 0.1, "decoupled_weight_decay": decoupled}
    published = run_psi_form(quadratic(1), **options)
    found = run_indian(quadratic(1), foreach=foreach, capturable=capturable, **options)
    assert distance(found, published) <= 1e-12
    assert distance(found, run_psi_form(quadratic(1))) > 1e-3


@pytest.mark.parametrize("foreach", [True, False])
def test_a_capturable_step_is_the_published_recursion(foreach: bool) -> None:
    found = run_indian(logistic(2), foreach=foreach, capturable=True)
    assert distance(found, run_psi_form(logistic(2))) <= 1e-12


@pytest.mark.parametrize("implementation", [{"foreach": False}, {"foreach": True}, {"fused": True}])
@pytest.mark.parametrize("gamma", [0.01, 0.1, 0.9])
def test_float32_keeps_its_digits_when_beta_is_small(
    implementation: dict[str, bool], gamma: float
) -> None:
    options: dict[str, Any] = {"lr": gamma, "alpha": 0.5, "beta": 1e-3}
    exact = run_psi_form(logistic(3), **options)
    found = run_indian(logistic(3), dtype=torch.float32, **options, **implementation)
    error = distance(found, exact)
    assert error <= 1e-5
    assert error < 0.1 * distance(run_psi_form(logistic(3), dtype=torch.float32, **options), exact)


def test_initial_velocity_is_minus_s_times_the_first_gradient() -> None:
    alpha, beta, s = 0.5, 0.1, 0.7
    objective = quadratic(4)
    theta = start()
    grad = gradient(objective, theta)
    psi = (1 - alpha * beta) * theta - (beta**2 - beta * s) * grad
    velocity = (1 / beta - alpha) * theta - psi / beta - beta * grad
    torch.testing.assert_close(velocity, -s * grad, rtol=1e-12, atol=1e-13)
    for step in range(20):
        psi_form_step(
            theta,
            psi,
            gradient(objective, theta),
            gamma=0.1 * decay(step, 0.5),
            alpha=alpha,
            beta=beta,
        )
    assert distance(run_indian(objective, initial_velocity=s, steps=20), theta) <= 1e-13


@pytest.mark.parametrize("implementation", [{"foreach": False}, {"foreach": True}, {"fused": True}])
@pytest.mark.parametrize("decoupled", [True, False])
def test_maximizing_is_minimizing_the_negative(
    implementation: dict[str, bool], decoupled: bool
) -> None:
    options: dict[str, Any] = {
        "weight_decay": 0.1,
        "decoupled_weight_decay": decoupled,
        "initial_velocity": 0.3,
        "dtype": torch.float32,
        **implementation,
    }
    objective = logistic(5)
    climbed = run_indian(lambda theta: -objective(theta), maximize=True, steps=50, **options)
    assert torch.equal(climbed, run_indian(objective, steps=50, **options))


def test_the_sequential_variant_is_another_method() -> None:
    """Published values on J = 5θ²/2: spectral radius .9811, and .9466 with the new ψ in θ."""
    alpha, beta, gamma, curvature = 0.5, 0.1, 0.05, 5.0
    columns = []
    for theta_value, psi_value in [(1.0, 0.0), (0.0, 1.0)]:
        theta = torch.tensor([theta_value], dtype=torch.float64)
        psi = torch.tensor([psi_value], dtype=torch.float64)
        psi_form_step(theta, psi, curvature * theta, gamma=gamma, alpha=alpha, beta=beta)
        columns.append(torch.cat([theta, psi]))
    radius = torch.linalg.eigvals(torch.stack(columns, dim=1)).abs().max().item()
    assert radius == pytest.approx(0.9811, abs=5e-5)


def test_a_pack_takes_the_steps_of_its_runs() -> None:
    runs, size = 3, 40
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(runs, size, generator=generator, dtype=torch.float64)
    velocity = torch.zeros_like(theta)
    alpha = torch.tensor([[0.1], [0.5], [1.3]], dtype=torch.float64)
    beta = torch.tensor([[0.1], [0.5], [2.0]], dtype=torch.float64)
    gamma0 = torch.tensor([[0.3], [0.1], [0.02]], dtype=torch.float64)
    singles = [torch.nn.Parameter(row.clone()) for row in theta]
    optimizers = [
        Indian([single], gamma0[k].item(), alpha[k].item(), beta[k].item())
        for k, single in enumerate(singles)
    ]
    for step in range(30):
        grad = torch.randn(runs, size, generator=generator, dtype=torch.float64)
        indian_step(theta, velocity, grad, gamma0 * decay(step, 0.5), alpha, beta)
        for row, single, optimizer in zip(grad, singles, optimizers, strict=True):
            single.grad = row
            optimizer.step()
    for row, single in zip(theta, singles, strict=True):
        torch.testing.assert_close(row, single.detach(), rtol=1e-13, atol=1e-14)


def test_a_diverged_run_stays_in_its_row_of_the_pack() -> None:
    theta = torch.ones(2, 5)
    velocity = torch.zeros(2, 5)
    grad = torch.ones(2, 5)
    grad[0] = torch.nan
    hyperparameter = torch.full((2, 1), 0.1)
    for _ in range(3):
        indian_step(theta, velocity, grad, hyperparameter, hyperparameter, hyperparameter)
    assert theta[0].isnan().all()
    assert theta[1].isfinite().all()
    assert velocity[1].isfinite().all()
