from __future__ import annotations

import importlib
import math
from importlib.metadata import EntryPoint, EntryPoints
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from indian_tune.engines.own_code import try_optimizer
from indian_tune.errors import HyperparameterError, InputError
from indian_tune.imports import imports_allowed
from indian_tune.optim import get_family
from indian_tune.optim.optimizer_check import check_optimizer
from indian_tune.optim.own_family import ENTRY_POINTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODE = """
import torch
from indian_tune import Indian

class Plain(torch.optim.SGD):
    def __init__(self, params, lr, *, power: int = 2, betas=(0.5, 0.25), nesterov=False, **more):
        super().__init__(params, lr)
        self.seen = (lr, power, betas, nesterov)
        if power > 3:
            raise ValueError("power is too high")

class Own(Indian):
    pass

class NeedsClosure(torch.optim.LBFGS):
    pass

class Watched(torch.optim.SGD):
    steps = []
    def step(self):
        super().step()
        self.steps.append([(group["lr"], group["momentum"]) for group in self.param_groups])

class Bounded(torch.optim.SGD):
    def __init__(self, params, lr: float, growth_rate: float = float("inf"), mode: str = "plain",
                 floor: "float | None" = None, lags=(1, None), on: bool = True):
        super().__init__(params, lr)
        self.seen = (growth_rate, mode, floor, lags, on)

class Wrapper(torch.optim.SGD):
    def __init__(self, params, base_optimizer, lr: float = 0.1):
        super().__init__(params, lr)

class Ahead(torch.optim.SGD):
    def __init__(self, optimizer, k: int = 5):
        super().__init__(optimizer, 0.1)

class OfModel(torch.optim.SGD):
    def __init__(self, params, lr: float, model: torch.nn.Module):
        super().__init__(params, lr)

class SecondOrder(torch.optim.SGD):
    def step(self):
        raise RuntimeError("Gradient tensor 0 does not have grad_fn, use create_graph=True")

class FreeOfSchedules(torch.optim.SGD):
    modes = []
    def train(self):
        self.modes.append("train")
    def eval(self):
        self.modes.append("eval")

class OfNetwork(torch.optim.SGD):
    def __init__(self, model, lr: float):
        super().__init__(model.parameters(), lr)

class OwnGroups(torch.optim.SGD):
    def __init__(self, params, lr: float):
        super().__init__([each for group in params for each in group["members"]], lr)

class Lacking(torch.optim.SGD):
    def __init__(self, params, lr: float):
        raise ImportError("You need to install einops")

class Matrices(torch.optim.SGD):
    def step(self):
        assert all(each.dim() == 2 for group in self.param_groups for each in group["params"])

class Keeping(torch.optim.SGD):
    def step(self):
        self.state[self.param_groups[0]["params"][0]]["seen"] = {1, 2}

class MatricesOnly(torch.optim.Muon):
    pass

class Broken(torch.optim.SGD):
    def step(self):
        raise RuntimeError("no step")

def function(params, lr):
    return torch.optim.SGD(params, lr)
"""


@pytest.fixture(scope="module", autouse=True)
def allowed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_optimizers.py").write_text(CODE)
    with imports_allowed([str(folder)]):
        yield folder


def test_a_family_is_made_without_importing_anything() -> None:
    family = get_family("no_such_module:Class")
    assert (family.title, family.default_space) == ("Class", {})
    assert family.complete({"gamma0": 0.1, "tau": 3}) == {"gamma0": 0.1, "tau": 3.0}
    assert family.dynamics({"gamma0": 0.1}).momentum is None
    assert family.hyperparameter("tau").allows(-5)
    with pytest.raises(HyperparameterError, match="gamma0 of no_such_module:Class must be"):
        family.complete({"gamma0": -1.0})


def test_a_configuration_is_passed_by_name_in_the_types_of_the_signature() -> None:
    family = get_family("own_optimizers:Plain")
    parameter = nn.Parameter(torch.ones(2))
    optimizer, scheduler = family.build(
        [parameter], {"gamma0": 0.4, "power": 3.0, "beta2": 0.75, "nesterov": 1.0}
    )
    assert optimizer.seen == (0.4, 3, (0.5, 0.75), True)  # type: ignore[attr-defined]
    assert scheduler is None
    optimizer, scheduler = family.build([parameter], {"gamma0": 0.4, "decay_power": 0.5})
    assert scheduler is not None


def test_a_class_with_a_schedule_of_its_own_keeps_it() -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimizer, scheduler = get_family("own_optimizers:Own").build(
        [parameter], {"gamma0": 0.4, "alpha": 0.2, "beta": 0.1}
    )
    assert scheduler is None
    assert optimizer.param_groups[0]["decay_power"] == 0.5


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("own_optimizers:Plain", {"gamma0": 0.1, "pwer": 1}, "'pwer' is not known. Did you mean"),
        ("own_optimizers:Plain", {"power": 1}, "needs gamma0"),
        ("own_optimizers:Plain", {"gamma0": 0.1, "power": 1.5}, "must be a whole number"),
        ("own_optimizers:Plain", {"gamma0": 0.1, "power": 4}, "power is too high"),
        ("own_optimizers:NeedsClosure", {"gamma0": 0.1}, "cannot be tuned: it needs a closure"),
        ("own_optimizers:Wrapper", {"gamma0": 0.1}, "cannot be tuned: it wraps another optimizer"),
        ("own_optimizers:Ahead", {"k": 5}, "cannot be tuned: it wraps another optimizer"),
        ("own_optimizers:OfModel", {"gamma0": 0.1}, "its argument model has no default and is no"),
        ("own_optimizers:SecondOrder", {"gamma0": 0.1}, "it needs second derivatives of the loss"),
        ("own_optimizers:OfNetwork", {"gamma0": 0.1}, "it needs the network, but gets its"),
        (
            "own_optimizers:OwnGroups",
            {"gamma0": 0.1},
            "created from parameters and these arguments o",
        ),
        ("own_optimizers:Lacking", {"gamma0": 0.1}, "needs a package that is not installed: You "),
        (
            "own_optimizers:Matrices",
            {"gamma0": 0.1},
            "it accepts matrices only, but networks have b",
        ),
        (
            "own_optimizers:FreeOfSchedules",
            {"gamma0": 0.1, "ema_decay": 0.9},
            "averages the weights itself: remove ema_decay from its space",
        ),
        ("own_optimizers:Keeping", {"gamma0": 0.1}, "its state['state'][0]['seen'] is a set: only"),
        ("own_optimizers:MatricesOnly", {"gamma0": 0.1}, "Muon only supports 2D parameters"),
        (
            "own_optimizers:Bounded",
            {"gamma0": 0.1, "mode": 1},
            "mode of own_optimizers:Bounded must be a string",
        ),
        ("own_optimizers:Broken", {"gamma0": 0.1}, "taking a step failed with RuntimeError"),
        ("own_optimizers:function", {"gamma0": 0.1}, "must be a subclass of torch.optim.Opt"),
        ("own_optimizers:Sgd", {"gamma0": 0.1}, "has no 'Sgd'"),
        ("own_optimizrs:Plain", {"gamma0": 0.1}, "no module 'own_optimizrs'"),
    ],
)
def test_what_cannot_be_tuned_is_named_with_the_key_of_its_arm(
    name: str, config: dict[str, float], message: str
) -> None:
    with pytest.raises(InputError) as refused:
        try_optimizer(name, config, key="arms[2].optimizer")
    assert str(refused.value).startswith(f"arms[2].optimizer = '{name}'")
    assert message in str(refused.value)


def test_a_sound_optimizer_passes_after_two_steps_with_its_configuration() -> None:
    config = {"gamma0": 0.1, "momentum": 0.5}
    check_optimizer("own_optimizers:Watched", config, key="arms[1].optimizer")
    assert importlib.import_module("own_optimizers").Watched.steps == [[(0.1, 0.5)]] * 2


def test_what_a_class_takes_by_default_is_not_questioned() -> None:
    family = get_family("own_optimizers:Bounded")
    optimizer, _ = family.build([nn.Parameter(torch.ones(2))], {"gamma0": 0.1, "on": 0.0})
    assert optimizer.seen == (math.inf, "plain", None, (1, None), False)  # type: ignore[attr-defined]
    config = {"gamma0": 0.1, "growth_rate": 3.0, "floor": 0.5}
    optimizer, _ = family.build([nn.Parameter(torch.ones(2))], config)
    assert optimizer.seen == (3.0, "plain", 0.5, (1, None), True)  # type: ignore[attr-defined]
    check_optimizer("own_optimizers:Bounded", config, key="arms[1].optimizer")
    with pytest.raises(InputError, match="cannot have schedule: its own argument floor has the"):
        check_optimizer("own_optimizers:Bounded", {**config, "schedule": 3.0}, key="arms[1]")


def test_an_optimizer_with_modes_is_tried_in_both() -> None:
    check_optimizer("own_optimizers:FreeOfSchedules", {"gamma0": 0.1}, key="arms[1].optimizer")
    modes = importlib.import_module("own_optimizers").FreeOfSchedules.modes
    assert modes == ["train", "eval"]
    with pytest.raises(InputError, match="cannot have warmup: it averages the weights instead"):
        check_optimizer(
            "own_optimizers:FreeOfSchedules", {"gamma0": 0.1, "warmup": 5.0}, key="arms[1]"
        )


def test_an_installed_package_names_its_optimizers_without_permission(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point = EntryPoint("rprop", "torch.optim:Rprop", ENTRY_POINTS)

    def entry_points(**chosen: Any) -> EntryPoints:
        return EntryPoints([point]).select(**chosen)

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    with imports_allowed(None):
        check_optimizer("rprop", {"gamma0": 0.1, "eta2": 1.5}, key="arms[1].optimizer")
        optimizer, _ = get_family("rprop").build([nn.Parameter(torch.ones(1))], {"gamma0": 0.1})
    assert type(optimizer) is torch.optim.Rprop
    with pytest.raises(HyperparameterError, match="optimizer = 'rporp' is not known"):
        get_family("rporp")
