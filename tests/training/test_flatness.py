"""Flatness against dense Hessians, closed forms and the symmetries of rectifier networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from indian_tune.errors import InputError
from indian_tune.problems.problem import Problem, Split
from indian_tune.problems.randomness import generator
from indian_tune.training.feed import Feed
from indian_tune.training.flatness import BATCH, Flatness, FlatnessSettings, measure_flatness

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

FEATURES, HIDDEN, CLASSES = 4, 6, 3
CPU = torch.device("cpu")


def network(*, dropout: float = 0.0, seed: int = 0) -> nn.Sequential:
    """Two layers with a rectifier between them, in float64."""
    model = nn.Sequential(
        nn.Linear(FEATURES, HIDDEN), nn.ReLU(), nn.Dropout(dropout), nn.Linear(HIDDEN, CLASSES)
    ).double()
    source = generator("weights", seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=source, dtype=torch.float64))
    return model


def layer(model: nn.Sequential, place: int) -> nn.Linear:
    found = model[place]
    assert isinstance(found, nn.Linear)
    return found


def rows(count: int = BATCH + 30) -> Feed:
    """A table, more rows than one pass takes, so that the mean is over passes of two sizes."""
    source = generator("rows")
    split = Split(
        inputs=torch.randn(count, FEATURES, generator=source, dtype=torch.float64),
        labels=torch.randint(0, CLASSES, (count,), generator=source),
    )
    problem = Problem("rows", "small", CLASSES, split, split, build_model=lambda **_: network())
    return Feed(split, problem, CPU, torch.float64)


def flat_loss(model: nn.Module, feed: Feed) -> tuple[Callable[[Tensor], Tensor], Tensor]:
    """The mean loss as a function of all weights in one vector, and the weights."""
    inputs, labels = feed.gather(slice(None))
    named = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def loss(weights: Tensor) -> Tensor:
        parts = torch.split(weights, [each.numel() for each in named.values()])
        given = {
            name: part.view(each.shape)
            for (name, each), part in zip(named.items(), parts, strict=True)
        }
        logits = torch.func.functional_call(model.eval(), given, (inputs,))
        return functional.cross_entropy(logits, labels)

    return loss, torch.cat([each.reshape(-1) for each in named.values()])


@pytest.fixture(scope="module")
def hessian() -> np.ndarray:
    loss, weights = flat_loss(network(), rows())
    dense: Tensor = torch.autograd.functional.hessian(loss, weights)  # type: ignore[no-untyped-call]
    return dense.numpy()


def test_the_largest_eigenvalue_is_that_of_the_dense_hessian(hessian: np.ndarray) -> None:
    found = measure_flatness(network(), rows())
    assert found.top_eigenvalue == pytest.approx(np.linalg.eigvalsh(hessian)[-1], rel=1e-4)


def test_the_trace_is_that_of_the_dense_hessian_within_its_standard_error(
    hessian: np.ndarray,
) -> None:
    """With random signs the variance of a probe is 2·(‖H‖² - Σ Hᵢᵢ²), so the error is known too."""
    probes = 500
    found = measure_flatness(network(), rows(), FlatnessSettings(probes=probes))
    spread = np.sqrt(2 * (np.sum(hessian**2) - np.sum(np.diag(hessian) ** 2)) / probes)
    assert found.trace_error == pytest.approx(spread, rel=0.1)
    assert abs(found.trace - np.trace(hessian)) < 3 * found.trace_error


def test_the_largest_eigenvalue_is_algebraic_and_not_the_one_furthest_from_0() -> None:
    """At a maximum of the loss in some direction the Hessian has large negative eigenvalues."""
    model = network(seed=3)
    with torch.no_grad():
        layer(model, 3).weight.mul_(8)
    loss, weights = flat_loss(model, rows())
    dense: Tensor = torch.autograd.functional.hessian(loss, weights)  # type: ignore[no-untyped-call]
    eigenvalues = np.linalg.eigvalsh(dense.numpy())
    assert eigenvalues[0] < 0
    found = measure_flatness(model, rows())
    assert found.top_eigenvalue == pytest.approx(eigenvalues[-1], rel=1e-4)


def test_worst_case_sharpness_is_no_less_than_that_of_any_move_tried() -> None:
    model, feed, radius = network(), rows(), 0.05
    found = measure_flatness(model, feed, FlatnessSettings(radius=radius, ascents=50))
    loss, weights = flat_loss(model, feed)
    here = loss(weights)
    source = generator("moves")
    tried = []
    for _ in range(500):
        move = torch.randn(weights.shape, generator=source, dtype=torch.float64)
        tried.append(loss(weights + weights.abs() * radius * move / move.norm()) - here)
    assert found.sharpness > float(max(tried))
    # For a small radius it is the length of the scaled gradient, and half its curvature at most.
    slope = weights.abs() * torch.func.grad(loss)(weights)
    assert found.sharpness == pytest.approx(radius * float(slope.norm()), rel=0.1)


def test_average_sharpness_is_half_the_scaled_trace_for_little_noise(hessian: np.ndarray) -> None:
    """E[L(w + |w|σu) - L(w)] = σ²/2 · Σ wᵢ² Hᵢᵢ + O(σ⁴), as the first order has mean 0."""
    noise = 0.01
    found = measure_flatness(network(), rows(), FlatnessSettings(noise=noise, probes=400))
    _, weights = flat_loss(network(), rows())
    wanted = noise**2 / 2 * float(np.sum(weights.numpy() ** 2 * np.diag(hessian)))
    assert abs(found.average_sharpness - wanted) < 3 * found.average_error
    assert found.average_error < abs(wanted) / 5


def test_adaptive_measures_survive_rescaling_a_rectifier_network_and_the_others_do_not() -> None:
    plain, rescaled, feed = network(), network(), rows()
    with torch.no_grad():
        layer(rescaled, 0).weight.mul_(10)
        layer(rescaled, 0).bias.mul_(10)
        layer(rescaled, 3).weight.div_(10)
    before, after = measure_flatness(plain, feed), measure_flatness(rescaled, feed)
    assert after.loss == pytest.approx(before.loss, rel=1e-12)
    assert after.sharpness == pytest.approx(before.sharpness, rel=1e-9)
    assert after.average_sharpness == pytest.approx(before.average_sharpness, rel=1e-9)
    assert after.top_eigenvalue > 5 * before.top_eigenvalue
    assert after.trace > 5 * before.trace


def test_the_same_seed_gives_the_same_bits_and_leaves_everything_as_it_was() -> None:
    model, plain, feed = network(dropout=0.5).train(), network(), rows()
    weights = [parameter.clone() for parameter in model.parameters()]
    state = torch.random.get_rng_state()
    found = measure_flatness(model, feed)
    assert measure_flatness(model, feed) == found
    assert measure_flatness(plain, feed) == found, "dropout is off"
    other = measure_flatness(model, feed, FlatnessSettings(seed=1))
    assert other.trace != found.trace
    assert other.top_eigenvalue == pytest.approx(found.top_eigenvalue, rel=1e-4)
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(map(torch.equal, weights, model.parameters()))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_weights_that_have_no_finite_loss_are_refused() -> None:
    model = network()
    with torch.no_grad():
        layer(model, 0).weight.fill_(float("nan"))
    with pytest.raises(InputError, match="the loss at these weights is nan"):
        measure_flatness(model, rows())


@pytest.mark.parametrize(
    ("name", "value"), [("probes", 1), ("ascents", 0), ("radius", 0.0), ("noise", float("inf"))]
)
def test_settings_out_of_range_are_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{name} = {value!r} is not allowed"):
        FlatnessSettings(**{name: value})  # type: ignore[arg-type]


def test_a_network_at_a_perfect_fit_is_flat() -> None:
    """With logits that are all equal and no inputs the loss is constant in the first layer."""
    model = network()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    found = measure_flatness(model, rows())
    assert isinstance(found, Flatness)
    assert (found.sharpness, found.average_sharpness) == (0.0, 0.0)
    assert found.loss == pytest.approx(np.log(CLASSES))
