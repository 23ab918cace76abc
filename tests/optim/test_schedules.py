from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    SequentialLR,
)

from indian_tune.errors import HyperparameterError
from indian_tune.optim import admissible, decay, get_family, power_decay
from indian_tune.optim.schedules import Schedule

if TYPE_CHECKING:
    from collections.abc import Callable


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


def sizes(schedule: Schedule, steps: int) -> list[float]:
    """The step sizes of a run at γ0 = 0.3, by its scheduler."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.3)
    return driven(optimizer, schedule.scheduler(optimizer), steps)


def driven(optimizer: torch.optim.Optimizer, scheduler: LRScheduler, steps: int) -> list[float]:
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def scheduled(**config: Any) -> Schedule:
    family = get_family("sgd")
    schedule = Schedule.of(family.complete({"gamma0": 0.3, "schedule_steps": 200, **config}))
    assert schedule is not None
    return schedule


@pytest.mark.parametrize(
    ("config", "make"),
    [
        ({"schedule": "constant"}, lambda o: ConstantLR(o, factor=1.0)),
        (
            {"schedule": "linear", "floor": 0.1},
            lambda o: LinearLR(o, start_factor=1.0, end_factor=0.1, total_iters=200),
        ),
        (
            {"schedule": "cosine", "floor": 0.05},
            lambda o: CosineAnnealingLR(o, T_max=200, eta_min=0.3 * 0.05),
        ),
        (
            {"schedule": "cosine", "warmup": 0.1},
            lambda o: SequentialLR(
                o,
                [
                    LinearLR(o, start_factor=1 / 20, total_iters=19),
                    CosineAnnealingLR(o, T_max=180),
                ],
                milestones=[20],
            ),
        ),
        (
            {"schedule": "wsd", "warmup": 10, "cooldown": 0.25, "floor": 0.2},
            lambda o: SequentialLR(
                o,
                [
                    LinearLR(o, start_factor=1 / 10, total_iters=9),
                    ConstantLR(o, factor=1.0),
                    LinearLR(o, start_factor=1.0, end_factor=0.2, total_iters=50),
                ],
                milestones=[10, 150],
            ),
        ),
        (
            {"warmup": 1, "decay_power": 0.7},
            lambda o: LambdaLR(o, lambda k: 1.0 if k == 0 else float(k) ** -0.7),
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
def test_schedules_are_those_of_torch(
    config: dict[str, Any], make: Callable[[torch.optim.Optimizer], LRScheduler]
) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.3)
    expected = driven(optimizer, make(optimizer), 200)
    found = sizes(scheduled(**config), 200)
    assert found == pytest.approx(expected, rel=0, abs=1e-12)
    assert max(found) == pytest.approx(0.3)
    assert min(found) > 0


@pytest.mark.parametrize(
    ("shape", "middle"), [("linear", 0.5), ("cosine", 0.5), ("sqrt", 1 - math.sqrt(0.5))]
)
def test_a_cooldown_falls_in_its_shape_to_the_floor(shape: str, middle: float) -> None:
    schedule = scheduled(schedule="wsd", cooldown=0.2, cooldown_shape=shape, floor=0.1)
    assert [schedule.factor(k) for k in (0, 160, 180, 200, 300)] == pytest.approx(
        [1.0, 1.0, 0.1 + 0.9 * middle, 0.1, 0.1]
    )


def test_a_schedule_that_depends_on_the_length_of_the_run_needs_it() -> None:
    family = get_family("sgd")
    configs: list[dict[str, Any]] = [{"schedule": "cosine"}, {"warmup": 0.1}]
    for config in configs:
        complete = family.complete({"gamma0": 0.1, **config})
        with pytest.raises(HyperparameterError, match=r"its steps \(batches per epoch × epochs\)"):
            Schedule.of(complete)
    assert Schedule.of(family.complete({"gamma0": 0.1, "warmup": 5})) is not None
    assert Schedule.of(family.complete({"gamma0": 0.1, "decay_power": 0.3})) is None
    with pytest.raises(HyperparameterError, match="schedule of sgd must be one of 'power', 'const"):
        family.complete({"gamma0": 0.1, "schedule": 5.0})


def test_power_as_a_schedule_takes_the_steps_of_the_default_to_the_bit() -> None:
    for name in ("indian", "sgd", "sgd-response"):
        paths = []
        configs: list[dict[str, float]] = [{}, {"schedule": 0.0}]
        for more in configs:
            param = nn.Parameter(torch.linspace(-1, 1, 5))
            optimizer, scheduler = get_family(name).build([param], {"gamma0": 0.3, **more})
            for _ in range(20):
                param.grad = param.detach().sin()
                optimizer.step()
                if scheduler is not None:
                    scheduler.step()
            paths.append(param.detach())
        assert torch.equal(*paths)
