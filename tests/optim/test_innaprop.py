from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from indian_tune import Indian, Innaprop
from indian_tune.errors import HyperparameterError, InputError
from indian_tune.optim import FAMILIES, Qhm
from indian_tune.optim.lion import Lion
from indian_tune.optim.response import ResponseSgd
from indian_tune.optim.schedules import decay

STEPS = 1000
ROWS = np.random.default_rng(1).standard_normal((40, 6))
TARGETS = np.random.default_rng(2).standard_normal(40)


def gradient(theta: np.ndarray, step: int = 0) -> np.ndarray:
    """Of the mean of log cosh of a linear model's residuals, over a mini-batch of 8 of 40 rows.

    Full gradients vanish, and what is scaled by their size is chaotic there.
    """
    rows, targets = ROWS[step % 5 :: 5], TARGETS[step % 5 :: 5]
    found: np.ndarray = rows.T @ np.tanh(rows @ theta - targets) / len(rows)
    return found


def published(
    alpha: float,
    beta: float,
    gammas: list[float],
    *,
    sigma: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
) -> np.ndarray:
    """Algorithm 1 of the paper in θ and ψ, with its division by β - γ, in float64."""
    theta = np.linspace(-1, 1, 6)
    psi = (1 - alpha * beta) * theta
    square = np.zeros(6)
    for k, gamma in enumerate(gammas):
        grad = gradient(theta, k)
        theta = (1 - weight_decay * gamma) * theta
        square = sigma * square + (1 - sigma) * grad**2
        scaled = grad / (np.sqrt(square / (1 - sigma ** (k + 1))) + eps)
        psi = (1 - gamma / beta) * psi + gamma * (1 / beta - alpha) * theta
        theta = (
            (1 + gamma * (1 - alpha * beta) / (beta - gamma)) * theta
            - gamma / (beta - gamma) * psi
            - gamma * beta * scaled
        )
    return theta


def walked(gammas: list[float], **options: Any) -> np.ndarray:
    param = nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64))
    optimizer = Innaprop([param], **options)
    for k, gamma in enumerate(gammas):
        optimizer.param_groups[0]["lr"] = gamma
        param.grad = torch.from_numpy(gradient(param.detach().numpy(), k))
        optimizer.step()
    return param.detach().numpy()


@pytest.mark.parametrize(
    ("alpha", "beta", "power", "more"),
    [(0.1, 0.9, 0.0, {}), (2.0, 2.0, 0.5, {}), (0.5, 0.3, 0.0, {"sigma": 0.9, "eps": 1e-3})],
)
def test_1000_steps_are_those_of_the_published_recursion(
    alpha: float, beta: float, power: float, more: dict[str, float]
) -> None:
    gammas = [0.02 * decay(k, power) for k in range(STEPS)]
    expected = published(alpha, beta, gammas, **more)
    assert np.abs(walked(gammas, alpha=alpha, beta=beta, **more) - expected).max() < 1e-9
    assert np.abs(expected - np.linspace(-1, 1, 6)).max() > 0.1


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_at_alpha_beta_1_it_is_rmsprop_with_step_size_beta_gamma(weight_decay: float) -> None:
    # RMSprop with its mean corrected for the start at 0 is ADAM without a mean of gradients.
    gammas = [0.02 * decay(k, 0.5) for k in range(200)]
    param = nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64))
    reference = torch.optim.Adam([param], betas=(0.0, 0.999), weight_decay=weight_decay)
    for k, gamma in enumerate(gammas):
        reference.param_groups[0]["lr"] = 2.5 * gamma
        param.grad = torch.from_numpy(gradient(param.detach().numpy(), k))
        reference.step()
    coupled = {"weight_decay": weight_decay, "decoupled_weight_decay": False}
    found = walked(gammas, alpha=0.4, beta=2.5, **coupled)
    assert np.abs(found - param.detach().numpy()).max() < 1e-12


def test_published_weight_decay_shrinks_1_over_alpha_beta_times_as_much() -> None:
    alpha, beta, gammas = 0.5, 0.4, [0.05] * 1000
    # Steady states on a gradient that weighs against the decay: both balance.
    ours = walked(gammas, alpha=alpha, beta=beta, eps=10.0, weight_decay=0.05 / (alpha * beta))
    theirs = published(alpha, beta, gammas, eps=10.0, weight_decay=0.05)
    assert np.abs(ours - theirs).max() < 1e-3
    same = walked(gammas, alpha=alpha, beta=beta, eps=10.0, weight_decay=0.05)
    assert np.abs(same - theirs).max() > 0.05


def test_a_parameter_that_joins_later_has_a_count_of_its_own() -> None:
    first, later = (nn.Parameter(torch.ones(2)) for _ in range(2))
    optimizer = Innaprop([first, later], lr=0.1)
    first.grad = torch.ones(2)
    optimizer.step()
    before = first.detach().clone()
    later.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(later, before)
    assert not torch.equal(first, before)


def test_a_loaded_state_continues_to_the_last_bit() -> None:
    def step(optimizer: Innaprop, param: nn.Parameter) -> None:
        param.grad = param.detach().sin()
        optimizer.step()

    param = nn.Parameter(torch.linspace(1, 2, 5))
    optimizer = Innaprop([param], lr=0.1)
    step(optimizer, param)
    copy = nn.Parameter(param.detach().clone())
    other = Innaprop([copy], lr=0.3)
    other.load_state_dict(deepcopy(optimizer.state_dict()))
    for _ in range(3):
        step(optimizer, param)
        step(other, copy)
    assert torch.equal(param, copy)


def test_its_space_draws_no_step_size_above_beta() -> None:
    family = FAMILIES["innaprop"]
    complete = family.complete({"alpha": 0.2, "beta": 0.5, "ratio": 0.1})
    assert complete["gamma0"] == pytest.approx(0.05)
    assert family.dynamics(complete).momentum == pytest.approx(1 - 0.2 * 0.05)
    with pytest.raises(HyperparameterError, match=r"ratio of innaprop must be .* < 1, got 1\.0"):
        family.complete({"ratio": 1.0})
    with pytest.raises(HyperparameterError, match="accepts either ratio or the equivalents"):
        family.complete({"ratio": 0.5, "gamma0": 0.1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr of Innaprop must be"),
        ({"sigma": 1.0}, "sigma of Innaprop must be .* < 1, got 1.0"),
        ({"beta": -1.0}, "beta of Innaprop"),
    ],
)
def test_a_wrong_hyperparameter_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(HyperparameterError, match=message):
        Innaprop([nn.Parameter(torch.ones(2))], **options)


@pytest.mark.parametrize("optimizer", [Innaprop, Lion])
def test_a_complex_parameter_is_refused(optimizer: Any) -> None:
    made = optimizer([nn.Parameter(torch.ones(1))])
    group = {"params": [nn.Parameter(torch.ones(2, dtype=torch.complex64))]}
    message = f"{optimizer.__name__} accepts real parameters only, but parameter 0 .*view_as_real"
    with pytest.raises(InputError, match=message):
        optimizer(group["params"])
    with pytest.raises(InputError, match=message):
        made.add_param_group(group)
    assert len(made.param_groups) == 1


@pytest.mark.parametrize(
    ("optimizer", "of", "message"),
    [
        (Innaprop, torch.optim.Adam, "has no 'alpha', so it belongs to another optimizer than Inn"),
        (Innaprop, Indian, "has no 'sigma', .* load the state_dict\\(\\) of an Innaprop, or start"),
        (Indian, Innaprop, "has 'sigma', so it belongs to another optimizer than Indian: load"),
        (Indian, ResponseSgd, "has 'level', so it belongs"),
        (ResponseSgd, Indian, "has no 'level', so it belongs"),
        (Lion, torch.optim.Adam, r"has no 'beta1', .* of a Lion, or"),
        (Qhm, torch.optim.Adam, "has no 'momentum', so it belongs"),
    ],
)
def test_the_state_of_another_optimizer_is_refused(optimizer: Any, of: Any, message: str) -> None:
    param = nn.Parameter(torch.ones(2))
    other, made = of([param], lr=0.3), optimizer([param], lr=0.1)
    param.grad = torch.ones(2)
    other.step()
    with pytest.raises(InputError, match=f"this state {message}"):
        made.load_state_dict(other.state_dict())
    assert made.param_groups[0]["lr"] == 0.1
    made.step()


@pytest.mark.parametrize("optimizer", [Innaprop, Lion, Qhm])
def test_lr_may_be_a_tensor_as_for_torch(optimizer: Any) -> None:
    rates = [0.1, torch.tensor(0.1, dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64)]
    ends = []
    for rate in rates:
        param = nn.Parameter(torch.linspace(1, 2, 5))
        made = optimizer([param], lr=rate, weight_decay=0.1)
        schedule = torch.optim.lr_scheduler.ExponentialLR(made, 0.5)
        for _ in range(3):
            param.grad = param.detach().sin()
            made.step()
            schedule.step()
        ends.append(param.detach())
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])
    with pytest.raises(HyperparameterError, match=r"one element, got shape \(2,\)"):
        optimizer([param], lr=torch.ones(2))
    with pytest.raises(HyperparameterError, match=r"lr of \w+ must be a finite number > 0, got 0"):
        optimizer([param], lr=torch.tensor(0.0))


@pytest.mark.parametrize(("optimizer", "options"), [(Indian, {"decay_power": 0.0}), (Innaprop, {})])
def test_one_cycle_drives_the_step_size_without_momentum(
    optimizer: Any, options: dict[str, float]
) -> None:
    param = nn.Parameter(torch.ones(2))
    made = optimizer([param], **options)
    with pytest.raises(ValueError, match="cycle_momentum"):
        torch.optim.lr_scheduler.OneCycleLR(made, 0.1, total_steps=10)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        made, 0.1, total_steps=10, pct_start=0.5, cycle_momentum=False
    )
    rates = []
    for _ in range(9):
        rates.append(made.param_groups[0]["lr"])
        param.grad = param.detach().clone()
        made.step()
        schedule.step()
    assert max(rates) == pytest.approx(0.1)
    assert rates[0] < rates[3] > rates[8]
    assert (param < 1).all()


def test_a_sparse_gradient_is_refused() -> None:
    param = nn.Parameter(torch.ones(2))
    param.grad = torch.eye(2)[0].to_sparse()
    with pytest.raises(InputError, match="Innaprop accepts dense gradients only"):
        Innaprop([param]).step()
