from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from indian_tune.errors import HyperparameterError
from indian_tune.optim import FAMILIES, Indian, Innaprop, Qhm, get_family
from indian_tune.optim.lion import Lion
from indian_tune.optim.muon import MuonAdamW
from indian_tune.optim.response import ResponseSgd

# Those whose class is here whatever is installed.
BUILT = [name for name, family in FAMILIES.items() if not family.requires]
ADAPTIVE = {"nadamw", "lion", "muon", "schedule-free", "innaprop"}
MINIMAL = {name: {"gamma0": 0.1} for name in FAMILIES}
MINIMAL |= {"indian-eta": {"eta": 0.2}, "indian-memory": {"eta": 0.1}}
MINIMAL |= {"muon": {"gamma0": 0.1, "rest_gamma0": 0.1}}
MINIMAL |= {"innaprop": {"beta": 0.5, "ratio": 0.2}}


def parameter_with_gradient(value: float = 1.0) -> nn.Parameter:
    parameter = nn.Parameter(torch.full((3,), value, dtype=torch.float64))
    parameter.grad = torch.ones_like(parameter)
    return parameter


def walk(name: str, config: dict[str, float], grads: list[float]) -> list[float]:
    """Return where each step leads a parameter that starts at 1."""
    parameter = parameter_with_gradient()
    optimizer, scheduler = get_family(name).build([parameter], config)
    path = []
    for grad in grads:
        parameter.grad = torch.full_like(parameter, grad)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        path.append(parameter[0].item())
    return path


def test_catalog_holds_indian_and_its_rivals() -> None:
    assert list(FAMILIES) == [
        "indian",
        "indian-eta",
        "indian-memory",
        "sgd",
        "momentum",
        "nesterov",
        "qhm",
        "adagrad",
        "adam",
        "adamw",
        "nadamw",
        "lion",
        "muon",
        "schedule-free",
        "innaprop",
        "sgd-response",
    ]
    assert all(family.name == name for name, family in FAMILIES.items())


def test_catalog_is_readable_without_torch() -> None:
    code = (
        "import sys\n"
        "from indian_tune.optim import get_family, stability_limit\n"
        "family = get_family('indian')\n"
        "family.dynamics(family.complete({'gamma0': 0.1}))\n"
        "stability_limit(0.5, 0.1, 0.1)\n"
        "assert not {'torch', 'numpy', 'ray', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_needs_torch_is_found_on_demand() -> None:
    import indian_tune.optim

    for name in indian_tune.optim.__all__:
        assert getattr(indian_tune.optim, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = indian_tune.optim.nothing


@pytest.mark.parametrize("name", BUILT)
def test_every_family_trains_a_parameter(name: str) -> None:
    parameter = parameter_with_gradient(5.0)
    optimizer, scheduler = FAMILIES[name].build([parameter], MINIMAL[name])
    for _ in range(200):
        parameter.grad = 2 * parameter.detach()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
    assert parameter.detach().abs().max() < 4.9


@pytest.mark.parametrize("name", FAMILIES)
def test_a_completed_configuration_is_taken_again_unchanged(name: str) -> None:
    family = FAMILIES[name]
    complete = family.complete(MINIMAL[name])
    assert family.complete(complete) == complete
    assert "gamma0" in complete
    assert all(isinstance(value, float) for value in complete.values())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_default_space_holds_allowed_values_of_known_names(name: str) -> None:
    family = FAMILIES[name]
    family.check_names(family.default_space)
    for key, space in family.default_space.items():
        assert isinstance(space, dict)
        assert space["low"] < space["high"]
        for end in ("low", "high"):
            assert family.hyperparameter(key).allows(space[end])


@pytest.mark.parametrize(
    ("name", "kind", "scheduled"),
    [
        ("indian", Indian, False),
        ("indian-eta", Indian, False),
        ("indian-memory", Indian, False),
        ("sgd", torch.optim.SGD, True),
        ("momentum", torch.optim.SGD, True),
        ("nesterov", torch.optim.SGD, True),
        ("qhm", Qhm, True),
        ("adagrad", torch.optim.Adagrad, False),
        ("adam", torch.optim.Adam, False),
        ("adamw", torch.optim.Adam, False),
        ("nadamw", torch.optim.NAdam, False),
        ("lion", Lion, False),
        ("muon", MuonAdamW, False),
        ("innaprop", Innaprop, False),
        ("sgd-response", ResponseSgd, False),
    ],
)
def test_step_sizes_decay_for_all_but_the_adaptive(name: str, kind: type, scheduled: bool) -> None:
    family = FAMILIES[name]
    optimizer, scheduler = family.build([parameter_with_gradient()], MINIMAL[name])
    assert isinstance(optimizer, kind)
    assert (scheduler is not None) == scheduled
    assert family.decay_power == (0.0 if name in ADAPTIVE or name.startswith("ada") else 0.5)
    if isinstance(optimizer, Indian):
        assert optimizer.param_groups[0]["decay_power"] == 0.5


def test_eta_is_the_effective_learning_rate() -> None:
    family = FAMILIES["indian-eta"]
    complete = family.complete({"alpha": 0.3, "beta": 0.2, "eta": 0.5})
    assert complete == FAMILIES["indian"].complete({"alpha": 0.3, "beta": 0.2, "gamma0": 0.15})
    assert family.dynamics(complete).effective_learning_rate == pytest.approx(0.5)
    with pytest.raises(HyperparameterError, match=r"got both: eta = 0\.5, gamma0 = 0\.1"):
        family.complete({"eta": 0.5, "gamma0": 0.1})
    with pytest.raises(HyperparameterError, match="indian-eta needs eta"):
        family.complete({"alpha": 0.5})


def test_rate_damping_and_memory_are_a_configuration_of_indian() -> None:
    family = FAMILIES["indian-memory"]
    # The default (α, β) at γ0 = 0.1.
    complete = family.complete({"eta": 0.2, "kappa": 0.05, "memory": 20.0})
    expected = FAMILIES["indian"].complete({"alpha": 0.5, "beta": 0.1, "gamma0": 0.1})
    assert complete == pytest.approx(expected, rel=1e-12)
    dynamics = family.dynamics({"eta": 0.3, "kappa": 0.25, "memory": 8.0})
    assert dynamics.effective_learning_rate == pytest.approx(0.3)
    assert dynamics.instantaneous_response == pytest.approx(0.3 * 0.25)
    assert dynamics.momentum == pytest.approx(1 - 1 / 8)
    with pytest.raises(HyperparameterError, match=r"got both: kappa = 0\.1, gamma0 = 0\.1"):
        family.complete({"kappa": 0.1, "gamma0": 0.1})
    with pytest.raises(HyperparameterError, match=r"memory of indian-memory must be .* >= 1, got"):
        family.complete({"eta": 0.1, "memory": 0.5})


@pytest.mark.parametrize("memory", [1.0, 7.0, 100.0])
@pytest.mark.parametrize(
    "more", [{}, {"weight_decay": 0.2}, {"weight_decay": 0.2, "decoupled_weight_decay": 0.0}]
)
def test_at_kappa_1_indian_is_sgd_at_the_same_rate(memory: float, more: dict[str, float]) -> None:
    grads = [1.0, -0.5, 2.0, 0.3]
    ours = walk("indian-memory", {"eta": 0.2, "kappa": 1.0, "memory": memory, **more}, grads)
    assert ours == pytest.approx(walk("sgd", {"gamma0": 0.2, **more}, grads), rel=1e-12)
    matched = FAMILIES["indian-memory"].match_rate
    assert matched is not None
    config = {"eta": 0.2, "kappa": 0.3, "memory": memory, "weight_decay": 0.2}
    assert matched(config) == pytest.approx({"gamma0": 0.2, "weight_decay": 0.2})


def test_indian_gets_every_hyperparameter() -> None:
    config = {
        "gamma0": 0.3,
        "alpha": 0.7,
        "beta": 0.2,
        "decay_power": 0.9,
        "initial_velocity": 0.4,
        "weight_decay": 0.01,
        "decoupled_weight_decay": 0.0,
    }
    optimizer, _ = FAMILIES["indian"].build([parameter_with_gradient()], config)
    group = optimizer.param_groups[0]
    assert {name: group[name] for name in config if name != "gamma0"} == {
        name: value for name, value in config.items() if name != "gamma0"
    }
    assert group["lr"] == 0.3


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("indian", {"gamma0": 0.1, "alpha": 0.4, "beta": 0.3}),
        ("sgd", {"gamma0": 0.1}),
        ("momentum", {"gamma0": 0.1, "momentum": 0.8}),
        ("nesterov", {"gamma0": 0.1, "momentum": 0.8}),
        ("qhm", {"gamma0": 0.1, "momentum": 0.8, "nu": 0.6}),
    ],
)
def test_meaning_is_what_the_optimizer_does(name: str, config: dict[str, float]) -> None:
    dynamics = FAMILIES[name].dynamics(config)
    assert dynamics.effective_learning_rate is not None
    assert dynamics.instantaneous_response is not None
    assert dynamics.momentum is not None
    constant = {**config, "decay_power": 0.0}

    steady = walk(name, constant, [1.0] * 400)
    assert steady[-2] - steady[-1] == pytest.approx(dynamics.effective_learning_rate)

    # A first gradient of 0 lets torch's SGD build its momentum buffer before the pulse.
    rest, pulse, tail, later = walk(name, constant, [0.0, 1.0, 0.0, 0.0])
    assert rest - pulse == pytest.approx(dynamics.instantaneous_response)
    if name != "sgd":
        assert (tail - later) / (pulse - tail) == pytest.approx(dynamics.momentum)


def test_adaptive_families_have_no_learning_rate_of_their_own() -> None:
    dynamics = FAMILIES["adam"].dynamics({"gamma0": 0.1, "beta1": 0.8})
    assert (dynamics.effective_learning_rate, dynamics.momentum) == (None, 0.8)
    assert dynamics.instantaneous_response is None


@pytest.mark.parametrize("name", BUILT)
def test_decoupled_weight_decay_shrinks_by_step_size_times_strength(name: str) -> None:
    config = {**MINIMAL[name], "weight_decay": 0.5}
    first, second = walk(name, config, [0.0, 0.0])
    gammas = [0.1, 0.1 / 2 ** FAMILIES[name].decay_power]
    assert first == pytest.approx(1 - 0.5 * gammas[0])
    assert second == pytest.approx(first * (1 - 0.5 * gammas[1]))


@pytest.mark.parametrize("name", sorted(set(BUILT) - {"adamw", "nadamw", "muon"}))
def test_coupled_weight_decay_is_added_to_the_gradient(name: str) -> None:
    base = {**MINIMAL[name], "decay_power": 0.0}
    decayed = walk(name, {**base, "weight_decay": 0.5, "decoupled_weight_decay": 0.0}, [0.0] * 5)
    parameter = parameter_with_gradient()
    optimizer, _ = FAMILIES[name].build([parameter], base)
    by_hand = []
    for _ in range(5):
        parameter.grad = 0.5 * parameter.detach()
        optimizer.step()
        by_hand.append(parameter[0].item())
    assert decayed == pytest.approx(by_hand)


def test_decoupled_decay_leaves_parameters_without_gradient_alone() -> None:
    still: Tensor = nn.Parameter(torch.ones(2))
    moving: Tensor = parameter_with_gradient()
    optimizer, _ = FAMILIES["sgd"].build([still, moving], {"gamma0": 0.1, "weight_decay": 0.5})
    optimizer.step()
    assert torch.equal(still, torch.ones(2))


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("indian", {}, r"indian needs gamma0 \(first step size\).*given: nothing"),
        ("indian", {"gamma0": 0.1, "alfa": 0.5}, "'alfa' is not known.* Did you mean 'alpha'"),
        ("indian", {"gamma0": 0.1, "alpha": 0.0}, "alpha of indian must be .* > 0, got 0.0"),
        ("indian", {"gamma0": 0.1, "beta": -1}, "beta of indian must be .* > 0, got -1"),
        ("indian", {"gamma0": True}, "gamma0 of indian must be .* got True"),
        ("indian", {"gamma0": 0.1, "initial_velocity": None}, "initial_velocity .* got None"),
        ("sgd", {"gamma0": 0.1, "alpha": 0.5}, "hyperparameter of sgd = 'alpha' is not known"),
        ("adam", {"lr": 0.1}, "gamma0.*. The step size is called gamma0 here"),
        ("momentum", {"gamma0": 0.1, "momentum": 1.0}, ">= 0 and < 1, got 1.0"),
        ("nesterov", {"gamma0": 0.1, "momentum": 0.0}, "> 0 and < 1, got 0.0"),
        ("adam", {"gamma0": 0.1, "beta2": 1.0}, "beta2 of adam"),
        ("adamw", {"gamma0": 0.1, "decoupled_weight_decay": 0}, "is not known"),
        ("sgd", {"gamma0": 0.1, "decoupled_weight_decay": 0.5}, r"true or false.*got 0\.5"),
    ],
)
def test_a_wrong_configuration_is_refused_with_the_way_on(
    name: str, config: dict[str, Any], message: str
) -> None:
    for use in (
        FAMILIES[name].complete,
        FAMILIES[name].dynamics,
        lambda wrong: FAMILIES[name].build([parameter_with_gradient()], wrong),
    ):
        with pytest.raises(HyperparameterError, match=message):
            use(config)


def test_an_unknown_family_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(HyperparameterError, match=r"Did you mean 'momentum'.*torch\.optim:Class"):
        get_family("momentun")
