"""INDIAN's place among the momentum methods, on random hyperparameters and gradients."""

from __future__ import annotations

import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from indian_tune.optim import Indian, Qhm, decay

STEPS = 40
positive = st.floats(0.01, 5.0)
seeds = st.integers(0, 2**31)


def trajectories(
    first: torch.optim.Optimizer,
    second: torch.optim.Optimizer,
    seed: int,
    schedulers: tuple[torch.optim.lr_scheduler.LRScheduler, ...] = (),
) -> tuple[Tensor, Tensor]:
    """Feed two optimizers of one parameter the same stream of gradients."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [optimizer.param_groups[0]["params"][0] for optimizer in (first, second)]
    paths: tuple[list[Tensor], list[Tensor]] = ([], [])
    for _ in range(STEPS):
        grad = torch.randn(4, generator=generator, dtype=torch.float64)
        for parameter in parameters:
            parameter.grad = grad
        first.step()
        second.step()
        for scheduler in schedulers:
            scheduler.step()
        for path, parameter in zip(paths, parameters, strict=True):
            path.append(parameter.detach().clone())
    return torch.stack(paths[0]), torch.stack(paths[1])


def zeros() -> nn.Parameter:
    return nn.Parameter(torch.zeros(4, dtype=torch.float64))


@settings(deadline=None, derandomize=True)
@given(alpha=positive, gamma0=positive, decay_power=st.floats(0, 1), seed=seeds)
def test_alpha_beta_one_is_plain_gradient_descent_under_any_schedule(
    alpha: float, gamma0: float, decay_power: float, seed: int
) -> None:
    # Beyond αγ = 2 the velocity, which is 0, is unstable: the rounding of 1/α would grow.
    assume(alpha * gamma0 < 2)
    indian = Indian([zeros()], gamma0, alpha, 1 / alpha, decay_power=decay_power)
    sgd = torch.optim.SGD([zeros()], lr=gamma0 / alpha)
    schedule = torch.optim.lr_scheduler.LambdaLR(sgd, lambda step: decay(step, decay_power))
    found, expected = trajectories(indian, sgd, seed, (schedule,))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-11 * gamma0 / alpha)


@settings(deadline=None, derandomize=True)
@given(alpha=positive, beta=positive, gamma=positive, seed=seeds)
def test_a_constant_step_size_is_quasi_hyperbolic_momentum(
    alpha: float, beta: float, gamma: float, seed: int
) -> None:
    assume(alpha * gamma < 0.99)
    indian = Indian([zeros()], gamma, alpha, beta, decay_power=0)
    momentum = 1 - alpha * gamma
    qhm = Qhm([zeros()], gamma / alpha, momentum, (1 - alpha * beta) / momentum)
    found, expected = trajectories(indian, qhm, seed)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10 * gamma / alpha)


@settings(deadline=None, derandomize=True)
@given(alpha=positive, gamma=positive, seed=seeds)
def test_beta_equal_to_gamma_is_the_heavy_ball(alpha: float, gamma: float, seed: int) -> None:
    assume(alpha * gamma < 0.99)
    indian = Indian([zeros()], gamma, alpha, gamma, decay_power=0)
    heavy_ball = torch.optim.SGD([zeros()], lr=gamma**2, momentum=1 - alpha * gamma)
    found, expected = trajectories(indian, heavy_ball, seed)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10 * gamma / alpha)


@settings(deadline=None, derandomize=True)
@given(alpha=positive, gamma=positive, seed=seeds)
def test_beta_two_gamma_minus_alpha_gamma_squared_is_nesterov(
    alpha: float, gamma: float, seed: int
) -> None:
    assume(alpha * gamma < 0.99)
    beta = 2 * gamma - alpha * gamma**2
    indian = Indian([zeros()], gamma, alpha, beta, decay_power=0)
    nesterov = torch.optim.SGD([zeros()], lr=gamma**2, momentum=1 - alpha * gamma, nesterov=True)
    found, expected = trajectories(indian, nesterov, seed)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10 * gamma / alpha)
