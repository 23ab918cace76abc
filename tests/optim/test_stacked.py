from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from indian_tune.errors import HyperparameterError
from indian_tune.optim import FAMILIES, get_family
from indian_tune.optim.stacked import StackedOptimizer, StepSignature

Config = dict[str, float]
ROWS = 3
SIZE = 7
PACKED = [name for name, family in FAMILIES.items() if family.packed is not None]
DECAYS: dict[str, Config] = {
    "none": {},
    "decoupled": {"weight_decay": 0.1, "decoupled_weight_decay": 1.0},
    "coupled": {"weight_decay": 0.1, "decoupled_weight_decay": 0.0},
}
START = torch.linspace(-1, 1, ROWS * SIZE, dtype=torch.float64).view(ROWS, SIZE)


def configs(family: str, extra: Config) -> list[Config]:
    """A complete configuration per row, all different."""
    known = get_family(family).hyperparameters
    own = {
        "alpha": [0.3, 0.5, 1.2],
        "beta": [0.02, 0.1, 0.9],
        "gamma0": [0.1, 0.03, 0.3],
        "eta": [0.1, 0.03, 0.3],
        "ratio": [0.1, 0.03, 0.3],
        "sigma": [0.9, 0.999, 0.99],
        "momentum": [0.5, 0.9, 0.1],
        "nu": [0.7, 0.2, 1.0],
        "decay_power": [0.5, 0.0, 1.0],
        "beta1": [0.9, 0.5, 0.8],
        "beta2": [0.99, 0.9, 0.999],
        "eps": [1e-8, 1e-3, 1e-6],
        "level": [0.5, 1.0, 2.0],
        "initial_velocity": [0.1, 0.0, 2.0],
    }
    names = [name for name in own if name in known and name != "initial_velocity"]
    names += ["initial_velocity"] if "initial_velocity" in extra else []
    extra = {name: value for name, value in extra.items() if name in known and name not in names}
    return [
        get_family(family).complete({**extra, **{name: own[name][row] for name in names}})
        for row in range(ROWS)
    ]


class Solo:
    """The same rows by the family's own optimizer, each alone."""

    def __init__(self, family: str, config: Config, start: Tensor) -> None:
        self.param = nn.Parameter(start.clone())
        self.optimizer, self.scheduler = get_family(family).build([self.param], config)

    def step(self, grad: Tensor) -> None:
        self.param.grad = grad.clone()
        self.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()


def gradient(params: Tensor) -> Tensor:
    return params * 2 + params.sin()


def stacked(family: str, rows: list[Config], params: Tensor) -> StackedOptimizer:
    optimizer = StackedOptimizer(StepSignature.of(family, rows[0]), params)
    for row, config in enumerate(rows):
        optimizer.set_row(row, config, 0)
    return optimizer


def test_families_without_a_packed_step_and_other_optimizers_are_refused() -> None:
    assert FAMILIES.keys() - PACKED == {"nadamw", "muon", "schedule-free"}
    with pytest.raises(HyperparameterError, match=r"torch\.optim:RMSprop has no step for several"):
        stacked("torch.optim:RMSprop", [{"gamma0": 0.1}], START.clone())


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("family", PACKED)
def test_each_row_goes_where_the_family_s_own_optimizer_goes(family: str, decay: str) -> None:
    rows = configs(family, DECAYS[decay])
    params = START.clone()
    together = stacked(family, rows, params)
    alone = [Solo(family, config, start) for config, start in zip(rows, START, strict=True)]
    for _ in range(30):
        together.step(gradient(params))
        for solo in alone:
            solo.step(gradient(solo.param.detach()))
    for row, solo in zip(params, alone, strict=True):
        torch.testing.assert_close(row, solo.param.detach(), rtol=1e-12, atol=1e-14)
    assert not torch.equal(params, START)


@pytest.mark.parametrize("decay", DECAYS)
def test_indian_starts_with_the_velocity_it_is_given(decay: str) -> None:
    rows = configs("indian", {**DECAYS[decay], "initial_velocity": 0.0})
    params = START.clone()
    together = stacked("indian", rows, params)
    alone = [Solo("indian", config, start) for config, start in zip(rows, START, strict=True)]
    for _ in range(5):
        together.step(gradient(params))
        for solo in alone:
            solo.step(gradient(solo.param.detach()))
    for row, solo in zip(params, alone, strict=True):
        torch.testing.assert_close(row, solo.param.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("decay", ["none", "coupled"])
@pytest.mark.parametrize("family", PACKED)
def test_a_row_that_breaks_leaves_the_others_as_they_are_to_the_bit(
    family: str, decay: str
) -> None:
    rows = configs(family, DECAYS[decay])
    results = []
    for poison in (0.0, float("nan"), float("inf")):
        params = START.clone()
        together = stacked(family, rows, params)
        for _ in range(3):
            grads = gradient(params)
            grads[1] += poison
            together.step(grads)
        results.append(params[[0, 2]])
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("decay", DECAYS)
@pytest.mark.parametrize("family", PACKED)
def test_a_row_and_the_family_s_own_optimizer_take_over_from_each_other(
    family: str, decay: str
) -> None:
    rows = configs(family, DECAYS[decay])
    config = rows[0]
    expected, moving = (Solo(family, config, START[0]) for _ in range(2))
    for _ in range(12):
        expected.step(gradient(expected.param.detach()))

    def in_a_stack(count: int, steps: int) -> None:
        params = torch.zeros_like(START)
        together = StackedOptimizer(StepSignature.of(family, config), params)
        params[2] = moving.param.detach()
        together.set_row(2, config, count)
        for name, states in together.states.items():
            found = together.read(moving.optimizer, moving.param, name)
            if found is not None:
                states[2] = found
        for _ in range(steps):
            together.step(gradient(params))
        with torch.no_grad():
            moving.param.copy_(params[2])
        together.write(
            moving.optimizer,
            moving.scheduler,
            {moving.param: {name: states[2] for name, states in together.states.items()}},
            config=config,
            count=count + steps,
        )

    in_a_stack(0, 4)
    for _ in range(4):
        moving.step(gradient(moving.param.detach()))
    in_a_stack(8, 4)
    torch.testing.assert_close(moving.param, expected.param, rtol=1e-12, atol=1e-14)
    (group,), (reference,) = moving.optimizer.param_groups, expected.optimizer.param_groups
    assert group["lr"] == pytest.approx(reference["lr"], rel=1e-15)
    for solo in (moving, expected):
        solo.step(gradient(solo.param.detach()))
    torch.testing.assert_close(moving.param, expected.param, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kinds", [(0.0, 1.0, 2.0), (3.0, 4.0, 4.0)])
@pytest.mark.parametrize("family", ["indian", "momentum", "adam", "sgd-response"])
def test_rows_of_several_schedules_take_the_steps_of_their_own(
    family: str, kinds: tuple[float, ...]
) -> None:
    rows = [
        get_family(family).complete(
            {
                **config,
                "schedule": kind,
                "warmup": warmup,
                "floor": 0.1,
                "cooldown": 0.5,
                "cooldown_shape": shape,
                "schedule_steps": 40.0,
            }
        )
        for config, kind, warmup, shape in zip(
            configs(family, {}), kinds, (0.0, 0.2, 5.0), (0.0, 1.0, 2.0), strict=True
        )
    ]
    params = START.clone()
    together = stacked(family, rows, params)
    alone = [Solo(family, config, start) for config, start in zip(rows, START, strict=True)]
    for step in range(40):
        if step == 17:
            # The run continues in another stack, as after a checkpoint.
            states = together.states
            together = stacked(family, rows, params)
            for name, state in states.items():
                together.states[name].copy_(state)
            for row, config in enumerate(rows):
                together.set_row(row, config, step)
        together.step(gradient(params))
        for solo in alone:
            solo.step(gradient(solo.param.detach()))
    for row, solo, config in zip(params, alone, rows, strict=True):
        torch.testing.assert_close(row, solo.param.detach(), rtol=1e-11, atol=1e-13)
        moved = Solo(family, config, START[0])
        together.write(
            moved.optimizer,
            moved.scheduler,
            {moved.param: {name: state[0] for name, state in together.states.items()}},
            config=config,
            count=40,
        )
        (group,), (reference,) = moved.optimizer.param_groups, solo.optimizer.param_groups
        assert group["lr"] == pytest.approx(reference["lr"], rel=1e-15)
        assert group.get("memory") == reference.get("memory")


def test_a_row_that_is_cleared_stands_still() -> None:
    rows = configs("indian", {})
    params = START.clone()
    together = stacked("indian", rows, params)
    together.clear_row(1)
    together.step(gradient(params))
    assert torch.equal(params[1], START[1])
    assert not torch.equal(params[0], START[0])
