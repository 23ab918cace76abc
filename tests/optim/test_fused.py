"""The step in one pass over memory against the step in four."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from indian_tune.optim import Indian


def parameter(dtype: torch.dtype = torch.float32, seed: int = 0) -> nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    return nn.Parameter(torch.randn(50, generator=generator, dtype=torch.float64).to(dtype))


def walk(optimizer: Indian, steps: range, seed: int = 0) -> Tensor:
    (theta,) = optimizer.param_groups[0]["params"]
    for step in steps:
        generator = torch.Generator().manual_seed(seed + step)
        theta.grad = torch.randn(50, generator=generator, dtype=torch.float64).to(theta.dtype)
        optimizer.step()
    result: Tensor = theta.detach().double()
    return result


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


def scale(optimizer: Indian) -> float:
    return float(optimizer.param_groups[0]["velocity_scale"])


exponents = st.floats(-3, 0.7)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    alpha=st.floats(-2, 0.7),
    beta=exponents,
    gamma0=exponents,
    decay_power=st.sampled_from([0.0, 0.3, 0.5, 1.0]),
    seed=st.integers(0, 2**31),
)
def test_one_pass_is_as_precise_as_four(
    alpha: float, beta: float, gamma0: float, decay_power: float, seed: int
) -> None:
    options: dict[str, Any] = {
        "alpha": 10**alpha,
        "beta": 10**beta,
        "lr": 10**gamma0,
        "decay_power": decay_power,
    }
    exact = walk(Indian([parameter(torch.float64)], **options), range(100), seed)
    assume(exact.abs().max() < 1e3)
    plain = walk(Indian([parameter()], foreach=True, **options), range(100), seed)
    fused = walk(Indian([parameter()], fused=True, **options), range(100), seed)
    assert error(fused, exact) <= 3 * error(plain, exact) + 1e-7


def test_is_the_default_for_single_precision() -> None:
    optimizers = [Indian([parameter()], lr=0.05, **options) for options in ({}, {"fused": True})]
    paths = [walk(optimizer, range(20)) for optimizer in optimizers]
    assert torch.equal(paths[0], paths[1])
    assert scale(optimizers[0]) != 1.0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_precisions_take_four_passes(dtype: torch.dtype) -> None:
    optimizers = [Indian([parameter(dtype)], **options) for options in ({}, {"foreach": True})]
    paths = [walk(optimizer, range(20)) for optimizer in optimizers]
    assert torch.equal(paths[0], paths[1])
    assert scale(optimizers[0]) == 1.0


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1, "beta": 0.1, "decay_power": 0.0},
        {"lr": 1.0, "alpha": 0.6, "beta": 0.1, "decay_power": 0.0},
    ],
)
def test_a_step_size_at_beta_or_a_large_friction_takes_four_passes(options: dict[str, Any]) -> None:
    one, other = Indian([parameter()], fused=True, **options), Indian([parameter()], **options)
    other.param_groups[0]["foreach"] = True
    assert torch.equal(walk(one, range(20)), walk(other, range(20)))
    assert scale(one) == 1.0


def test_step_sizes_that_pass_beta_change_the_sign_of_the_scale() -> None:
    options: dict[str, Any] = {"lr": 0.5, "alpha": 0.5, "beta": 0.1}
    optimizer, exact = (
        Indian([parameter()], **options),
        Indian([parameter(torch.float64)], **options),
    )
    walk(optimizer, range(10))
    assert scale(optimizer) > 0
    found = walk(optimizer, range(10, 100))
    assert scale(optimizer) < 0
    assert error(found, walk(exact, range(100))) < 1e-6
    velocity = exact.velocity(exact.param_groups[0]["params"][0])
    assert error(optimizer.velocity(optimizer.param_groups[0]["params"][0]), velocity) < 1e-6


@pytest.mark.parametrize("name", ["alpha", "beta", "lr"])
def test_changed_hyperparameters_and_overwritten_weights_make_no_jump(name: str) -> None:
    (theta,) = (parameter(),)
    optimizer = Indian([theta], lr=0.05, decay_power=0)
    walk(optimizer, range(30))
    assert scale(optimizer) != 1.0
    velocity = optimizer.velocity(theta)
    optimizer.param_groups[0][name] = 0.02
    with torch.no_grad():
        theta.fill_(3.0)
    theta.grad = torch.zeros_like(theta)
    optimizer.step()
    gamma = optimizer.param_groups[0]["lr"]
    torch.testing.assert_close(theta.detach(), 3.0 + gamma * velocity)
    torch.testing.assert_close(
        optimizer.velocity(theta), (1 - optimizer.param_groups[0]["alpha"] * gamma) * velocity
    )


def test_a_parameter_that_joins_or_rests_keeps_its_own_velocity() -> None:
    def train(**options: Any) -> tuple[Tensor, Tensor]:
        early, late = parameter(seed=1), parameter(seed=2)
        optimizer = Indian([early, late], lr=0.05, initial_velocity=0.3, **options)
        for step in range(40):
            early.grad = None if 20 <= step < 25 else torch.full((50,), float(step % 3) - 1)
            late.grad = None if step < 10 else torch.full((50,), float(step % 5) - 2)
            optimizer.step()
        return early.detach(), late.detach()

    for found, expected in zip(train(), train(foreach=True), strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-6, atol=2e-6)


def test_phase_variable_is_that_of_the_four_passes() -> None:
    thetas = [parameter(), parameter()]
    optimizers = [Indian([thetas[0]], lr=0.05), Indian([thetas[1]], lr=0.05, foreach=True)]
    for optimizer in optimizers:
        walk(optimizer, range(30))
    torch.testing.assert_close(
        optimizers[0].psi(thetas[0]), optimizers[1].psi(thetas[1]), rtol=1e-5, atol=1e-6
    )


def test_rounding_of_the_momentum_does_not_build_up() -> None:
    """With little friction, 1 - αγ rounded to single precision is wrong by 1e-4 of it."""
    options: dict[str, Any] = {"alpha": 0.01, "beta": 0.1, "lr": 0.02, "decay_power": 0}
    exact = walk(Indian([parameter(torch.float64)], **options), range(2000))
    plain = walk(Indian([parameter()], foreach=True, **options), range(2000))
    fused = walk(Indian([parameter()], **options), range(2000))
    assert error(fused, exact) < 2 * error(plain, exact)
