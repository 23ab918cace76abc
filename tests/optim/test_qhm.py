from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from indian_tune.errors import HyperparameterError, InputError
from indian_tune.optim import Qhm


def walk(optimizer: torch.optim.Optimizer, grads: list[float]) -> list[float]:
    parameter = optimizer.param_groups[0]["params"][0]
    path = []
    for grad in grads:
        parameter.grad = torch.full_like(parameter, grad)
        optimizer.step()
        path.append(parameter.item())
    return path


def one() -> nn.Parameter:
    return nn.Parameter(torch.ones(1, dtype=torch.float64))


def test_steps_are_those_of_the_published_algorithm() -> None:
    lr, momentum, nu = 0.3, 0.8, 0.6
    grads = [1.0, -2.0, 0.5, 3.0]
    theta, buffer, expected = 1.0, 0.0, []
    for grad in grads:
        buffer = momentum * buffer + (1 - momentum) * grad
        theta -= lr * ((1 - nu) * grad + nu * buffer)
        expected.append(theta)
    assert walk(Qhm([one()], lr, momentum, nu), grads) == pytest.approx(expected)


def test_nu_zero_is_plain_gradient_descent() -> None:
    grads = [1.0, -2.0, 0.5]
    sgd = torch.optim.SGD([one()], lr=0.3)
    assert walk(Qhm([one()], 0.3, 0.9, 0.0), grads) == pytest.approx(walk(sgd, grads))


def test_weight_decay_is_added_to_the_gradient() -> None:
    assert walk(Qhm([one()], 0.1, 0.5, 0.0, weight_decay=0.5), [1.0]) == pytest.approx([0.85])


def test_a_loaded_state_continues_to_the_last_bit() -> None:
    optimizer, resumed = Qhm([one()], 0.3, 0.9, 0.7), Qhm([one()])
    walk(optimizer, [1.0, -0.3, 0.7])
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    with torch.no_grad():
        resumed.param_groups[0]["params"][0].copy_(optimizer.param_groups[0]["params"][0])
    assert walk(resumed, [0.1, 0.2]) == walk(optimizer, [0.1, 0.2])


def test_step_returns_what_the_closure_returns_and_skips_what_has_no_gradient() -> None:
    parameter = one()
    assert Qhm([parameter]).step(lambda: 2.5) == 2.5
    assert parameter.item() == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr of Qhm"),
        ({"momentum": 1.0}, "momentum of Qhm"),
        ({"nu": float("nan")}, "nu of Qhm"),
        ({"weight_decay": -1.0}, "weight_decay of Qhm"),
    ],
)
def test_a_wrong_hyperparameter_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(HyperparameterError, match=message):
        Qhm([one()], **options)


def test_a_sparse_gradient_is_refused() -> None:
    embedding = nn.Embedding(5, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="dense gradients only"):
        Qhm(embedding.parameters()).step()
