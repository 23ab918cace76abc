"""The rivals of today: Lion, Muon, NAdamW and schedule-free ADAMW."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import nn

from indian_tune.errors import HyperparameterError, InputError
from indian_tune.optim import FAMILIES
from indian_tune.optim.lion import Lion
from indian_tune.optim.muon import MuonAdamW


def network() -> nn.Sequential:
    """A network with matrices, vectors and a 4-dimensional kernel."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)
        )


def step(model: nn.Module, *optimizers: torch.optim.Optimizer) -> float:
    inputs = torch.linspace(-1, 1, 6 * 16).sin().view(6, 1, 4, 4)
    model.zero_grad()
    loss = nn.functional.cross_entropy(model(inputs), torch.arange(6) % 3)
    loss.backward()  # type: ignore[no-untyped-call]
    for optimizer in optimizers:
        optimizer.step()
    return loss.item()


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in model.parameters()])


def test_lion_takes_the_steps_of_the_published_algorithm() -> None:
    param = nn.Parameter(torch.linspace(-1, 1, 5, dtype=torch.float64))
    optimizer = Lion([param], lr=0.01, beta1=0.8, beta2=0.95, weight_decay=0.1)
    theta, momentum = param.detach().clone(), torch.zeros(5, dtype=torch.float64)
    for _ in range(50):
        grad = theta.cos()
        theta = theta - 0.01 * ((0.8 * momentum + 0.2 * grad).sign() + 0.1 * theta)
        momentum = 0.95 * momentum + 0.05 * grad
        param.grad = param.detach().cos()
        optimizer.step()
    torch.testing.assert_close(param.detach(), theta, rtol=1e-12, atol=1e-14)
    with pytest.raises(HyperparameterError, match="beta2 of Lion must be"):
        Lion([param], beta2=1.0)


def test_muon_moves_matrices_and_adamw_the_rest_each_at_its_rate() -> None:
    ours, theirs = network(), network()
    config = {"gamma0": 0.05, "rest_gamma0": 0.01, "weight_decay": 0.1, "schedule": 2.0}
    optimizer, scheduler = FAMILIES["muon"].build(
        ours.parameters(), {**config, "schedule_steps": 10.0}
    )
    assert scheduler is not None
    params = list(theirs.parameters())
    parts = [
        torch.optim.Muon([p for p in params if p.dim() == 2], lr=0.05, weight_decay=0.1),
        torch.optim.AdamW([p for p in params if p.dim() != 2], lr=0.01, weight_decay=0.1),
    ]
    for k in range(5):
        for part, rate in zip(parts, (0.05, 0.01), strict=True):
            part.param_groups[0]["lr"] = rate * (1 - k / 10)
        step(theirs, *parts)
        step(ours, optimizer)
        scheduler.step()
    torch.testing.assert_close(weights(ours), weights(theirs))


def test_muon_continues_from_its_state_and_as_a_copy_to_the_last_bit() -> None:
    model = network()
    optimizer = MuonAdamW(model.parameters(), lr=0.05)
    step(model, optimizer)
    other = network()
    resumed = MuonAdamW(other.parameters(), lr=0.5)
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))
    copied, copy = deepcopy((model, optimizer))
    for each, its in ((model, optimizer), (other, resumed), (copied, copy)):
        for _ in range(2):
            step(each, its)
    assert torch.equal(weights(model), weights(other))
    assert torch.equal(weights(model), weights(copied))


def test_muon_takes_parameters_of_one_kind_and_no_groups() -> None:
    for shape in ((2, 3), (3,)):
        param = nn.Parameter(torch.ones(shape))
        param.grad = torch.ones(shape)
        MuonAdamW([param]).step()
        assert (param < 1).all()
    with pytest.raises(InputError, match="makes its groups by shape"):
        MuonAdamW([{"params": [param]}])  # type: ignore[list-item]


def test_nadamw_is_nadam_with_decoupled_weight_decay() -> None:
    optimizer, _ = FAMILIES["nadamw"].build([nn.Parameter(torch.ones(1))], {"gamma0": 0.1})
    assert isinstance(optimizer, torch.optim.NAdam)
    assert optimizer.param_groups[0]["decoupled_weight_decay"] is True


def test_a_package_that_is_absent_is_named_with_the_command_that_adds_it() -> None:
    absent = replace(FAMILIES["schedule-free"], requires="no_such_package")
    with pytest.raises(HyperparameterError, match=r"needs .* not installed: pip install no_such"):
        absent.build([nn.Parameter(torch.ones(1))], {"gamma0": 0.1})


def test_schedule_free_has_no_schedule_and_is_measured_at_its_average() -> None:
    family = FAMILIES["schedule-free"]
    with pytest.raises(HyperparameterError, match="cannot have schedule: it averages the weights"):
        family.complete({"gamma0": 0.1, "schedule": 3.0})
    with pytest.raises(HyperparameterError, match="decay_power of schedule-free must be"):
        family.complete({"gamma0": 0.1, "decay_power": 0.5})
    pytest.importorskip("schedulefree")
    model = network()
    optimizer, scheduler = family.build(model.parameters(), {"gamma0": 0.05, "warmup_steps": 2})
    assert scheduler is None
    optimizer.train()  # type: ignore[attr-defined]
    losses = [step(model, optimizer) for _ in range(40)]
    assert losses[-1] < 0.8 * losses[0]
    training = weights(model)
    optimizer.eval()  # type: ignore[attr-defined]
    assert not torch.equal(weights(model), training)
