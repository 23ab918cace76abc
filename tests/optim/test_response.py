"""SGD at INDIAN's response: the same steps on a steady gradient, and what else the two share."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from indian_tune.errors import HyperparameterError, InputError
from indian_tune.optim import FAMILIES, Indian, get_family
from indian_tune.optim.hyperparameters import SCHEDULE
from indian_tune.optim.response import ResponseSgd
from indian_tune.optim.stacked import StackedOptimizer, StepSignature

if TYPE_CHECKING:
    from torch.optim import Optimizer

SPACE = FAMILIES["indian"].default_space
Config = dict[str, float]


def drawn(source: random.Random) -> Config:
    """Return a configuration out of INDIAN's default space, under any of its schedules."""
    config = {}
    for name, span in SPACE.items():
        assert isinstance(span, dict)
        config[name] = span["low"] * (span["high"] / span["low"]) ** source.random()
    config["decay_power"] = source.choice([0.0, 0.5, 1.0, source.random()])
    if source.random() < 0.3:
        config["initial_velocity"] = source.uniform(0, 2)
    return config


def weights(size: int = 1) -> nn.Parameter:
    return nn.Parameter(torch.linspace(-1, 1, size, dtype=torch.float64))


def made(family: str, config: Config, parameter: nn.Parameter) -> Optimizer:
    optimizer, scheduler = get_family(family).build([parameter], config)
    assert scheduler is None
    return optimizer


def step(optimizer: Optimizer, parameter: nn.Parameter, grad: torch.Tensor) -> None:
    parameter.grad = grad.clone()
    optimizer.step()


def test_on_a_constant_gradient_it_goes_where_indian_goes_in_every_step() -> None:
    source = random.Random(0)
    for _ in range(200):
        config, grad = drawn(source), torch.tensor([source.gauss(0, 1)], dtype=torch.float64)
        ours, control = weights(), weights()
        indian, matched = made("indian", config, ours), made("sgd-response", config, control)
        for _ in range(40):
            step(indian, ours, grad)
            step(matched, control, grad)
            torch.testing.assert_close(control, ours, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULE.labels)
def test_on_a_constant_gradient_it_goes_where_indian_goes_under_every_schedule(
    schedule: str,
) -> None:
    source = random.Random(1)
    for warmup in (0.0, 0.2, 7.0):
        config = {
            **drawn(source),
            "schedule": float(SCHEDULE.labels.index(schedule)),
            "warmup": warmup,
            "floor": 0.1,
            "schedule_steps": 60.0,
        }
        grad = torch.tensor([source.gauss(0, 1)], dtype=torch.float64)
        ours, control = weights(), weights()
        pairs = [
            (get_family(name).build([parameter], config), parameter)
            for name, parameter in (("indian", ours), ("sgd-response", control))
        ]
        for _ in range(60):
            for (optimizer, scheduler), parameter in pairs:
                step(optimizer, parameter, grad)
                assert scheduler is not None
                scheduler.step()
            torch.testing.assert_close(control, ours, rtol=1e-9, atol=1e-12)


def test_the_steps_are_those_of_the_formula() -> None:
    config = {"alpha": 0.5, "beta": 0.1, "gamma0": 0.2, "level": 0.5, "decay_power": 0.5}
    parameter = weights()
    optimizer = made("sgd-response", config, parameter)
    memory = 0.0
    for k in range(20):
        gamma = 0.2 / (k + 1) ** 0.5
        before = parameter.item()
        step(optimizer, parameter, torch.ones(1, dtype=torch.float64))
        assert before - parameter.item() == pytest.approx(0.5 * gamma * (0.1 + memory), rel=1e-9)
        memory = (1 - 0.5 * gamma) * memory + gamma * (1 - 0.5 * 0.1)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_where_alpha_beta_is_1_it_is_indian_to_the_bit_on_any_gradients(decay: float) -> None:
    config = {"alpha": 0.5, "beta": 2.0, "gamma0": 0.3, "weight_decay": decay}
    ours, control = (nn.Parameter(torch.linspace(-1, 1, 64)) for _ in range(2))
    indian = Indian([ours], lr=0.3, alpha=0.5, beta=2.0, weight_decay=decay, fused=False)
    matched = made("sgd-response", config, control)
    for _ in range(30):
        step(indian, ours, ours.detach().sin())
        step(matched, control, control.detach().sin())
        assert torch.equal(ours, control)


def test_its_level_multiplies_the_steps_and_not_the_decoupled_weight_decay() -> None:
    config = {"alpha": 0.5, "beta": 0.1, "gamma0": 0.2, "weight_decay": 0.3}
    moves = []
    for level in (1.0, 4.0):
        parameter = weights(5)
        optimizer = made("sgd-response", {**config, "level": level}, parameter)
        before = parameter.detach().clone()
        step(optimizer, parameter, torch.zeros(5, dtype=torch.float64))
        torch.testing.assert_close(parameter.detach(), before * (1 - 0.2 * 0.3))
        before = parameter.detach().clone()
        step(optimizer, parameter, torch.ones(5, dtype=torch.float64))
        moves.append(before * (1 - 0.2 / 2**0.5 * 0.3) - parameter.detach())
    torch.testing.assert_close(moves[1], 4 * moves[0])


def test_it_goes_on_from_its_saved_state_to_the_bit() -> None:
    config = {"alpha": 0.3, "beta": 0.7, "gamma0": 0.2, "initial_velocity": 0.4}
    parameter = weights(5)
    whole = made("sgd-response", config, parameter)
    for _ in range(7):
        step(whole, parameter, parameter.detach().cos())
    other = nn.Parameter(parameter.detach().clone())
    resumed = made("sgd-response", config, other)
    resumed.load_state_dict(whole.state_dict())
    for _ in range(7):
        step(whole, parameter, parameter.detach().cos())
        step(resumed, other, other.detach().cos())
    assert torch.equal(parameter, other)


@pytest.mark.parametrize("extra", [{}, {"initial_velocity": 0.4}])
def test_a_stack_takes_the_same_steps_and_leaves_the_same_memory(extra: Config) -> None:
    config = get_family("sgd-response").complete(
        {"alpha": 0.3, "beta": 0.7, "gamma0": 0.2, "level": 2.0, **extra}
    )
    parameter = weights(5)
    alone = made("sgd-response", config, parameter)
    params = torch.stack([parameter.detach()] * 2)
    stack = StackedOptimizer(StepSignature.of("sgd-response", config), params)
    moved = made("sgd-response", config, weights(5))
    for epoch in range(3):
        for row in range(2):
            stack.set_row(row, config, 10 * epoch)
        for _ in range(10):
            stack.step(params.cos())
            step(alone, parameter, parameter.detach().cos())
        stack.write(moved, None, {}, config=config, count=10 * (epoch + 1))
        # A function of the steps taken, so that a pack and a loop resume each other's runs.
        assert moved.param_groups[0]["memory"] == alone.param_groups[0]["memory"]
        assert moved.param_groups[0]["step"] == alone.param_groups[0]["step"]
    torch.testing.assert_close(params[0], parameter.detach(), rtol=1e-14, atol=1e-15)
    assert torch.equal(params[0], params[1])


def test_a_closure_is_evaluated_and_a_sparse_gradient_refused() -> None:
    parameter = weights(3)

    def closure() -> float:
        parameter.grad = torch.ones_like(parameter)
        return 7.0

    assert ResponseSgd([parameter]).step(closure) == 7.0
    table = nn.Embedding(4, 2, sparse=True)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="ResponseSgd accepts dense gradients only"):
        ResponseSgd(table.parameters()).step()


def test_a_group_that_is_added_starts_at_rest() -> None:
    first, second = weights(), weights()
    optimizer = ResponseSgd([first], lr=0.2)
    step(optimizer, first, torch.ones(1, dtype=torch.float64))
    optimizer.add_param_group({"params": [second]})
    before = second.item()
    step(optimizer, second, torch.ones(1, dtype=torch.float64))
    assert before - second.item() == pytest.approx(0.2 * 0.1)


def test_what_it_does_is_told_without_a_momentum() -> None:
    family = get_family("sgd-response")
    dynamics = family.dynamics({"alpha": 0.5, "beta": 0.1, "gamma0": 0.2, "level": 2.0})
    assert dynamics.effective_learning_rate == pytest.approx(0.8)
    assert dynamics.instantaneous_response == pytest.approx(0.04)
    assert dynamics.momentum is None
    with pytest.raises(HyperparameterError, match=r"level of sgd-response must be .* > 0"):
        family.complete({"gamma0": 0.1, "level": 0.0})
