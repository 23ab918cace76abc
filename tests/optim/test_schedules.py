from __future__ import annotations

import pytest
import torch
from torch import nn

from indian_tune.errors import HyperparameterError
from indian_tune.optim import admissible, decay, power_decay


def test_decay_is_the_power_of_the_step_counted_from_one() -> None:
    assert [decay(step, 0.5) for step in (0, 3, 99)] == pytest.approx([1.0, 0.5, 0.1])
    assert decay(10**6, 0) == 1.0


@pytest.mark.parametrize(
    ("decay_power", "expected"),
    [(0.0, False), (0.01, True), (0.5, True), (1.0, True), (1.1, False)],
)
def test_admissible_powers_are_those_of_the_theorem(decay_power: float, expected: bool) -> None:
    assert admissible(decay_power) is expected


def make_sgd() -> torch.optim.SGD:
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.ones(1)
    return torch.optim.SGD([parameter], lr=0.3)


def test_scheduler_sets_the_step_size_of_every_mini_batch() -> None:
    optimizer = make_sgd()
    scheduler = power_decay(optimizer, 0.5)
    assert scheduler is not None
    for step in range(10):
        assert optimizer.param_groups[0]["lr"] == 0.3 * (step + 1) ** -0.5
        optimizer.step()
        scheduler.step()


def test_resumed_schedule_is_exact() -> None:
    optimizer = make_sgd()
    scheduler = power_decay(optimizer, 0.7)
    assert scheduler is not None
    for _ in range(1000):
        optimizer.step()
        scheduler.step()
    resumed_optimizer = make_sgd()
    resumed = power_decay(resumed_optimizer, 0.7)
    assert resumed is not None
    resumed.load_state_dict(scheduler.state_dict())
    resumed_optimizer.load_state_dict(optimizer.state_dict())
    for _ in range(2):
        assert resumed_optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"]
        for one in (optimizer, scheduler, resumed_optimizer, resumed):
            one.step()


def test_a_constant_step_size_needs_no_scheduler() -> None:
    assert power_decay(make_sgd(), 0.0) is None


def test_powers_outside_the_unit_interval_are_refused() -> None:
    with pytest.raises(HyperparameterError, match=r"decay_power must be .* got 1\.5"):
        power_decay(make_sgd(), 1.5)
