"""Two optimizers by shape: one for matrices, another one for the rest."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from indian_tune import Indian
from indian_tune.errors import HyperparameterError, InputError, StudyFileError
from indian_tune.optim import get_family
from indian_tune.optim.by_shape import ByShape
from indian_tune.optim.optimizer_check import check_optimizer
from indian_tune.optim.own_family import is_own
from indian_tune.study.file.spec import parse_study
from tests.conftest import TINY
from tests.optim.test_rivals import network, step, weights

NAME = "matrices=torch.optim:Muon,rest=indian"
CONFIG = {"gamma0": 0.05, "rest_gamma0": 0.2, "rest_alpha": 0.7, "rest_weight_decay": 0.1}


def study(**arm: Any) -> dict[str, Any]:
    return {**TINY, "arms": [{"name": "both", **arm}]}


@pytest.mark.parametrize(
    ("schedule", "factor"),
    [
        ({"decay_power": 0.5}, lambda k: (k + 1) ** -0.5),
        ({"schedule": 2.0, "schedule_steps": 10.0}, lambda k: 1 - k / 10),
    ],
)
def test_each_part_moves_its_own_as_it_would_alone_and_both_follow_the_schedule(
    schedule: dict[str, float], factor: Any
) -> None:
    ours, theirs = network(), network()
    optimizer, scheduler = get_family(NAME).build(ours.parameters(), {**CONFIG, **schedule})
    assert scheduler is not None
    params = list(theirs.parameters())
    parts = [
        torch.optim.Muon([p for p in params if p.dim() == 2], lr=0.05),
        Indian(
            [p for p in params if p.dim() != 2], 0.2, alpha=0.7, weight_decay=0.1, decay_power=0
        ),
    ]
    for k in range(5):
        for part, rate in zip(parts, (0.05, 0.2), strict=True):
            part.param_groups[0]["lr"] = rate * factor(k)
        step(theirs, *parts)
        step(ours, optimizer)
        scheduler.step()
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("rest", ["indian", "innaprop", "sgd", "torch.optim:RMSprop"])
def test_a_state_and_a_copy_go_on_to_the_last_bit(rest: str) -> None:
    family = get_family(f"matrices=torch.optim:Muon,rest={rest}")
    rate = {"rest_ratio": 0.01} if rest == "innaprop" else {"rest_gamma0": 0.01}
    config = {"gamma0": 0.05, **rate, "decay_power": 0.3}
    model, other = network(), network()
    optimizer, scheduler = family.build(model.parameters(), config)
    resumed, its = family.build(other.parameters(), config)
    assert scheduler is not None
    assert its is not None
    for _ in range(3):
        step(model, optimizer)
        scheduler.step()
    other.load_state_dict(model.state_dict())
    resumed.load_state_dict(deepcopy(optimizer.state_dict()))
    its.load_state_dict(scheduler.state_dict())
    copied, copy = deepcopy((model, optimizer))
    step(copied, copy)
    for _ in range(2):
        for each, one, schedule in ((model, optimizer, scheduler), (other, resumed, its)):
            step(each, one)
            schedule.step()
    assert torch.equal(weights(model), weights(other))
    step(copied, copy)
    assert set(optimizer.state) >= {each for each in model.parameters() if each.dim() == 2}


def test_a_study_file_names_both_and_their_spaces() -> None:
    space = {"rest_gamma0": 0.1, "nesterov": {"choices": [True, False]}}
    spec = parse_study(study(matrices="torch.optim:Muon", rest="indian", space=space), source="s")
    (arm,) = spec.arms
    assert arm.optimizer == NAME
    assert arm.space.keys() == {"gamma0", "nesterov", "rest_gamma0", "rest_alpha", "rest_beta"}
    assert arm.family.rates == ("gamma0", "rest_gamma0")
    assert arm.family.title == "Muon for matrices, INDIAN for the rest"
    again = parse_study(spec.canonical(), source="s")
    assert again.digest == spec.digest
    assert not is_own(NAME, {})
    check_optimizer(NAME, {"gamma0": 0.1, "rest_gamma0": 0.1}, key="arms[1].optimizer")


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (
            {"matrices": "torch.optim:Muon"},
            "arms[1] has matrices = 'torch.optim:Muon': give matric",
        ),
        ({"matrices": "sgd", "rest": "sgd", "optimizer": "sgd"}, "or optimizer alone"),
        ({"matrices": 1, "rest": "sgd"}, "arms[1] has matrices = 1, rest = 'sgd'"),
        ({"matrices": "sgdd", "rest": "sgd"}, "matrices = 'sgdd' is not known. Did you mean 'sgd'"),
        ({"matrices": "muon", "rest": "sgd"}, "it already has an optimizer for the rest"),
        ({"matrices": "sgd", "rest": "schedule-free"}, "both parts use the same schedule"),
        ({"matrices": "sgd", "rest": "torch.optim:Muon"}, "it accepts matrices only"),
        (
            {"matrices": "sgd", "rest": "mine:Class"},
            "for two of your own, write a class that contains",
        ),
        (
            {"matrices": "sgd", "rest": "sgd", "space": {"rest_gama0": 0.1}},
            "hyperparameter of matrices=sgd,rest=sgd = 'rest_gama0' is not known. Did you mean 're",
        ),
        (
            {"matrices": "sgd", "rest": "sgd", "space": {"rest_gamma0": -1}},
            "rest_gamma0 must be a finite number > 0, got -1",
        ),
    ],
)
def test_what_cannot_be_is_refused(arm: dict[str, Any], message: str) -> None:
    with pytest.raises(StudyFileError) as refused:
        parse_study(study(**arm), source="study")
    assert message in str(refused.value)


def test_groups_are_refused_and_a_network_without_one_shape_has_one_part() -> None:
    family = get_family(NAME)
    with pytest.raises(InputError, match="ByShape makes its groups by shape"):
        family.build([{"params": [nn.Parameter(torch.ones(2))]}], CONFIG)
    with pytest.raises(HyperparameterError, match="alpha of indian must be"):
        family.complete({**CONFIG, "rest_alpha": 0.0})
    optimizer, _ = family.build([nn.Parameter(torch.ones(2))], CONFIG)
    assert isinstance(optimizer, ByShape)
    assert list(optimizer.parts) == ["rest"]
