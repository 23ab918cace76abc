from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from indian_tune.problems.models import CounterDropout, build_model, dropout_layers
from indian_tune.problems.randomness import generator, stream_key
from indian_tune.training.parameter_layout import ALIGNMENT, ParameterLayout
from indian_tune.training.stacked_forward import (
    CONVOLUTIONS,
    LayerwiseForward,
    VmappedForward,
    make_forward,
)

if TYPE_CHECKING:
    from indian_tune.training.stacked_forward import StackedForward

SEEDS = torch.tensor([3, 4])
STEPS = torch.tensor([0, 17])
# Of no layer that drops anything.
KEYS = torch.zeros(0, 2, 2, 1, dtype=torch.int32)
SHAPES = {"nin": (3, 32, 0.1), "nin-small": (1, 8, 0.5), "mlp": (2, 6, 1.0)}


def networks(name: str) -> list[nn.Module]:
    channels, size, width = SHAPES[name]
    return [
        build_model(
            name,
            classes=5,
            channels=channels,
            size=size,
            width=width,
            widths=(12, 7),
            seed=seed,
            dropout=0.4,
        ).double()
        for seed in SEEDS.tolist()
    ]


def images_for(name: str) -> Tensor:
    """Images of 2 runs, [2, 6, height, width, channels]."""
    channels, size, _ = SHAPES[name]
    shape = (2, 6, size, size, channels)
    return torch.randn(shape, generator=generator("images"), dtype=torch.float64)


def ways(network: nn.Module) -> dict[str, StackedForward]:
    found: dict[str, StackedForward] = {way: make_forward(network, way) for way in CONVOLUTIONS}
    assert all(type(each) is LayerwiseForward for each in found.values())
    return {**found, "vmap": VmappedForward(network)}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("way", [*CONVOLUTIONS, "vmap"])
def test_logits_and_gradients_are_those_of_each_network_alone(name: str, way: str) -> None:
    models, images = networks(name), images_for(name)
    names = [each for each, _ in models[0].named_parameters()]
    stacked = {
        each: torch.stack([model.get_parameter(each).detach() for model in models])
        .contiguous()
        .requires_grad_()
        for each in names
    }
    keys = [stream_key(SEEDS, STEPS, layer.layer) for layer in dropout_layers(models[0])]
    drawn = torch.stack([torch.stack([torch.as_tensor(half) for half in key]) for key in keys])
    logits = ways(networks(name)[0])[way](stacked, {}, images, drawn)
    weights = torch.randn(logits.shape, generator=generator("weights"), dtype=torch.float64)
    grads = torch.autograd.grad((logits * weights).sum(), list(stacked.values()))
    for row, model in enumerate(models):
        for layer in dropout_layers(model):
            layer.seek(int(SEEDS[row]), int(STEPS[row]))
        alone = model(images[row].permute(0, 3, 1, 2))
        torch.testing.assert_close(logits[row], alone, rtol=1e-12, atol=1e-12)
        (alone * weights[row]).sum().backward()
        for each, grad in zip(names, grads, strict=True):
            expected = model.get_parameter(each).grad
            assert expected is not None
            torch.testing.assert_close(grad[row], expected, rtol=1e-11, atol=1e-11)


def test_a_network_with_a_layer_of_another_kind_is_left_to_torch() -> None:
    padded = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(256, 3))

    class Own(nn.Sequential):
        pass

    for network in (padded, nn.Sequential(nn.Linear(4, 4), nn.Tanh()), Own(nn.Linear(4, 4))):
        assert type(make_forward(network, "matmul")) is VmappedForward
    plain = nn.Sequential(nn.Conv2d(1, 4, 3, bias=False), nn.Flatten(), nn.Linear(144, 3))
    assert type(make_forward(plain, "matmul")) is LayerwiseForward


def test_a_network_that_is_more_than_its_layers_is_left_to_torch() -> None:
    def made() -> nn.Sequential:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))

    frozen, hooked, tied, on_images = made(), made(), made(), nn.Sequential(nn.Linear(4, 4))
    frozen[1].requires_grad_(False)
    hooked[2].register_forward_hook(lambda *parts: parts[-1] + 1)
    tied[3] = tied[1]
    assert type(make_forward(made(), "matmul")) is LayerwiseForward
    for network in (frozen, hooked, tied, on_images):
        assert type(make_forward(network, "matmul")) is VmappedForward
    # A linear layer maps the features of a table, and the width of an image.
    assert type(make_forward(on_images, "matmul", rank=2)) is LayerwiseForward
    assert type(make_forward(made(), "matmul", rank=3)) is VmappedForward


def test_a_layer_that_is_applied_twice_is_computed_twice() -> None:
    double = CounterDropout(0.0, layer=0)
    half = nn.AvgPool2d(2)
    network = nn.Sequential(half, double, half, nn.Flatten(), nn.Linear(1, 1, bias=False)).double()
    images = torch.arange(32, dtype=torch.float64).view(2, 1, 4, 4, 1)
    forward = make_forward(network, "matmul")
    assert type(forward) is LayerwiseForward
    logits = forward({"4.weight": torch.ones(2, 1, 1).double()}, {}, images, KEYS)
    assert logits.flatten().tolist() == [7.5, 23.5]


def test_without_dropout_no_mask_is_drawn() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), CounterDropout(0.0, layer=0))
    parameters = {"1.weight": torch.ones(2, 3, 4), "1.bias": torch.zeros(2, 3)}
    images = torch.ones(2, 5, 2, 2, 1)
    logits = make_forward(network, "matmul")(parameters, {}, images, KEYS)
    assert torch.equal(logits, torch.full((2, 5, 3), 4.0))


def test_a_layout_gives_every_parameter_a_place_of_its_own_aligned_alike_in_every_row() -> None:
    shapes = {"a": (3, 5), "b": (), "c": (16,), "d": (2, 1, 3, 3)}
    layout = ParameterLayout({name: torch.zeros(shape) for name, shape in shapes.items()})
    assert layout.size % ALIGNMENT == 0
    rows = torch.zeros(4, layout.size)
    for number, view in enumerate(layout.views(rows).values(), start=1):
        view.fill_(number)
    assert rows.count_nonzero() == 4 * (15 + 1 + 16 + 18)
    for row in rows:
        views = layout.views(row)
        assert {name: tuple(view.shape) for name, view in views.items()} == shapes
        for number, view in enumerate(views.values(), start=1):
            assert (view == number).all()
            assert view.storage_offset() % ALIGNMENT == 0
