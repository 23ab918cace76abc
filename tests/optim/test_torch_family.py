from __future__ import annotations

import pytest
import torch
from torch import nn

from indian_tune.errors import HyperparameterError
from indian_tune.optim import get_family
from indian_tune.optim.optimizer_check import check_optimizer
from indian_tune.optim.torch_family import UNFIT

NAMES = [
    "ASGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "NAdam",
    "RAdam",
    "RMSprop",
    "Rprop",
    "SGD",
]


@pytest.mark.parametrize("name", NAMES)
def test_every_dense_optimizer_of_torch_is_a_family(name: str) -> None:
    family = get_family(f"torch.optim:{name}")
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    optimizer, scheduler = family.build([parameter], {"gamma0": 0.1})
    assert type(optimizer) is getattr(torch.optim, name)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert scheduler is None
    optimizer.step()
    # The first step of ASGD and its like keeps step size 0.1; all go downhill.
    assert (parameter < 1).all()
    family.check_names(family.default_space)
    for gamma0 in (1e-4, 1.0):
        check_optimizer(f"torch.optim:{name}", {"gamma0": gamma0}, key="arms[1].optimizer")


def test_every_other_class_of_torch_is_refused_with_the_reason() -> None:
    classes = {
        name
        for name, each in vars(torch.optim).items()
        if isinstance(each, type) and issubclass(each, torch.optim.Optimizer)
    }
    assert classes == {*NAMES, *UNFIT}
    for name, reason in UNFIT.items():
        with pytest.raises(HyperparameterError, match=f"cannot be tuned: {reason}"):
            get_family(f"torch.optim:{name}")


def test_hyperparameters_are_the_numbers_of_the_signature() -> None:
    family = get_family("torch.optim:NAdam")
    assert family.complete({"gamma0": 0.01}) == {
        "gamma0": 0.01,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum_decay": 0.004,
        "decoupled_weight_decay": 0.0,
        "decay_power": 0.0,
    }
    optimizer, _ = family.build(
        [nn.Parameter(torch.ones(1))],
        {"gamma0": 0.01, "beta1": 0.7, "decoupled_weight_decay": True},
    )
    group = optimizer.param_groups[0]
    assert group["betas"] == (0.7, 0.999)
    assert group["decoupled_weight_decay"] is True
    assert family.dynamics({"gamma0": 0.01}).effective_learning_rate is None


def test_a_decay_power_gives_any_optimizer_the_schedule() -> None:
    family = get_family("torch.optim:RMSprop")
    optimizer, scheduler = family.build(
        [nn.Parameter(torch.ones(1))], {"gamma0": 0.4, "decay_power": 0.5}
    )
    assert scheduler is not None
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torch.optim:Adm", "optimizer of torch.optim = 'Adm' is not known"),
        ("torch.optim:lr_scheduler", "is not known"),
        ("os system", "or package.module:Class for your own"),
    ],
)
def test_what_is_no_tunable_optimizer_is_refused(name: str, message: str) -> None:
    with pytest.raises(HyperparameterError, match=message):
        get_family(name)


def test_a_value_that_torch_refuses_is_the_users_error() -> None:
    family = get_family("torch.optim:Adamax")
    with pytest.raises(HyperparameterError, match=r"torch.optim:Adamax refused .*betas=\(2.0"):
        family.build([nn.Parameter(torch.ones(1))], {"gamma0": 0.1, "beta1": 2.0})
