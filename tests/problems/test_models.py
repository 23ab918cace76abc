from __future__ import annotations

import os
import subprocess
import sys
from math import sqrt
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from indian_tune.errors import InputError
from indian_tune.problems.models import (
    CounterDropout,
    Pointwise,
    build_model,
    dropout_layers,
    replace_dropout,
)
from indian_tune.problems.randomness import generator


def build(name: str = "nin-small", **changed: Any) -> nn.Sequential:
    arguments: dict[str, Any] = {"classes": 10, "channels": 1, "size": 8, "seed": 0, "dropout": 0.5}
    if name == "nin":
        arguments |= {"classes": 100, "channels": 3, "size": 32}
    return build_model(name, **arguments | changed)


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def weights(model: nn.Module) -> list[Tensor]:
    return [each for name, each in model.named_parameters() if name.endswith("weight")]


def sides_after_each_change(model: nn.Module, images: Tensor) -> list[int]:
    """Heights of the images within the network, wherever the height changes."""
    sides = [images.shape[-1]]
    for block in model.children():
        for layer in block.children():
            images = layer(images)
            if images.shape[-1] != sides[-1]:
                sides.append(images.shape[-1])
    return sides


@pytest.mark.parametrize(("classes", "expected"), [(100, 994_456), (10, 967_096)])
def test_nin_has_the_published_number_of_parameters(classes: int, expected: int) -> None:
    assert parameters(build("nin", classes=classes)) == expected


def test_nin_has_the_published_spatial_sizes_and_layers() -> None:
    model = build("nin").eval()
    assert sides_after_each_change(model, torch.zeros(1, 3, 32, 32)) == [32, 28, 13, 9, 4, 2, 1]
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    kernels = [layer.kernel_size[0] for layer in convolutions]
    assert kernels == [5, 1, 1, 5, 1, 1, 3, 1, 1]
    widths = [layer.out_channels for layer in convolutions]
    assert widths == [192, 160, 96, 192, 192, 192, 192, 192, 100]
    kinds = [
        [type(layer) for layer in model.get_submodule(name).children()]
        for name in ("block1", "block2", "block3")
    ]
    assert [each[1:6:2] for each in kinds] == [[nn.ReLU] * 3] * 3
    assert kinds[0][6:] == [nn.MaxPool2d, CounterDropout]
    assert kinds[1][6:] == [nn.AvgPool2d, CounterDropout]
    assert kinds[2][6:] == [nn.AvgPool2d]
    assert isinstance(model.get_submodule("dense"), nn.Linear)


def test_the_small_network_fits_8_by_8_images() -> None:
    model = build().eval()
    assert parameters(model) == 24_410
    assert sides_after_each_change(model, torch.zeros(1, 1, 8, 8)) == [8, 6, 3, 1]
    assert model(torch.zeros(5, 1, 8, 8)).shape == (5, 10)


def test_the_width_multiplies_channels_but_not_classes() -> None:
    narrow = build("nin", width=0.25)
    widths = [layer.out_channels for layer in narrow.modules() if isinstance(layer, nn.Conv2d)]
    assert widths == [48, 40, 24, 48, 48, 48, 48, 48, 100]
    assert narrow.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 100)
    assert min(p.shape[0] for p in build(width=1e-6).parameters()) == 1


def test_the_perceptron_has_the_hidden_layers_that_are_given() -> None:
    model = build("mlp", size=14, widths=[96, 48], dropout=0.5)
    units = [each.weight.shape for each in model.modules() if isinstance(each, nn.Linear)]
    assert units == [(96, 196), (48, 96), (10, 48)]
    assert [layer.layer for layer in dropout_layers(model)] == [0, 1]
    assert model.eval()(torch.zeros(3, 1, 14, 14)).shape == (3, 10)
    first, same = (build("mlp", widths=[4], seed=5) for _ in range(2))
    assert all(map(torch.equal, first.parameters(), same.parameters()))


def test_he_normal_weights_have_the_spread_of_their_fan_in_and_zero_biases() -> None:
    model = build("nin")
    for weight in weights(model):
        expected = sqrt(2 / weight[0].numel())
        tolerance = 4 * expected / sqrt(2 * weight.numel())
        assert abs(weight.std().item() - expected) < tolerance
        assert abs(weight.mean().item()) < 4 * expected / sqrt(weight.numel())
    for name, parameter in model.named_parameters():
        assert not name.endswith("bias") or not parameter.any()


def test_normal_weights_have_the_given_spread_in_every_layer() -> None:
    for weight in weights(build("nin", init="normal", init_std=0.03)):
        assert abs(weight.std().item() / 0.03 - 1) < 4 / sqrt(2 * weight.numel())


def test_weights_are_a_function_of_the_seed_and_not_of_dropout() -> None:
    first, same, other = build(seed=1), build(seed=1, dropout=0), build(seed=2)
    assert all(map(torch.equal, first.parameters(), same.parameters()))
    assert not any(map(torch.equal, weights(first), weights(other)))


def test_building_neither_reads_nor_sets_the_global_generator() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert all(map(torch.equal, first.parameters(), build().parameters()))


def test_weights_have_the_same_bits_on_processors_with_other_vector_instructions() -> None:
    code = (
        "from indian_tune.problems.models import build_model\n"
        "model = build_model('nin-small', classes=10, channels=1, size=8, seed=0, dropout=0.5)\n"
        "print([p.flatten().tolist() for p in model.parameters()])\n"
    )
    there = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"ATEN_CPU_CAPABILITY": "default"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert there.strip() == str([p.flatten().tolist() for p in build().parameters()])


def test_networks_are_channels_last_float32_and_in_training_mode() -> None:
    model = build("nin")
    assert model.training
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        if parameter.dim() == 4:
            assert parameter.is_contiguous(memory_format=torch.channels_last)


def test_a_pointwise_convolution_is_the_convolution_it_stands_for() -> None:
    layer = next(each for each in build().modules() if isinstance(each, Pointwise))
    images = torch.randn(3, layer.in_channels, 4, 6, generator=generator("images"))
    expected = nn.functional.conv2d(images, layer.weight, layer.bias)
    torch.testing.assert_close(layer(images), expected, atol=1e-6, rtol=1e-6)


def test_dropout_leaves_everything_in_evaluation_mode_and_at_rate_0() -> None:
    values = torch.ones(2, 3, 4, 5)
    assert CounterDropout(0.5, layer=0).eval()(values) is values
    assert CounterDropout(0.0, layer=0)(values) is values


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_dropout_drops_at_its_rate_and_keeps_the_expectation(rate: float) -> None:
    layer = CounterDropout(rate, layer=0)
    layer.seek(1, 2)
    dropped = layer(torch.ones(100, 10, 10, 10))
    assert abs((dropped == 0).double().mean().item() - rate) < 0.01
    assert torch.equal(dropped.unique(), torch.tensor([0, 1 / (1 - rate)]))


def test_the_mask_is_a_function_of_seed_step_and_layer() -> None:
    values = torch.ones(4, 8, 5, 5)

    def mask(seed: int, step: int, layer: int) -> Tensor:
        dropout = CounterDropout(0.5, layer=layer)
        dropout.seek(seed, step)
        first: Tensor = dropout(values)
        assert torch.equal(dropout(values), first)
        return first

    first = mask(1, 2, 3)
    assert torch.equal(mask(1, 2, 3), first)
    for other in [(2, 2, 3), (1, 3, 3), (1, 2, 4)]:
        assert 0.3 < (mask(*other) == first).double().mean().item() < 0.7


def test_the_mask_of_an_image_does_not_depend_on_memory_format_or_on_later_images() -> None:
    dropout = CounterDropout(0.5, layer=0)
    dropout.seek(1, 2)
    values = torch.ones(4, 8, 5, 5)
    first = dropout(values)
    assert torch.equal(dropout(values.to(memory_format=torch.channels_last)), first)
    assert torch.equal(dropout(values[:2]), first[:2])


def test_dropout_works_on_features_without_height_and_width() -> None:
    dropout = CounterDropout(0.5, layer=0)
    dropout.seek(1, 2)
    assert 0.4 < (dropout(torch.ones(50, 40)) == 0).double().mean().item() < 0.6


def test_gradients_pass_only_where_values_were_kept() -> None:
    dropout = CounterDropout(0.5, layer=0)
    dropout.seek(1, 2)
    values = torch.ones(10, 10, requires_grad=True)
    kept = dropout(values)
    kept.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, kept.detach())


def test_runs_stacked_by_vmap_have_the_masks_they_have_alone() -> None:
    dropout = CounterDropout(0.5, layer=3)
    seeds, steps, values = torch.tensor([1, 9]), torch.tensor([4, 2]), torch.ones(2, 3, 4, 5, 5)

    def alone(seed: Any, step: Any, images: Tensor) -> Tensor:
        dropout.seek(seed, step)
        result: Tensor = dropout(images)
        return result

    together = torch.func.vmap(alone)(seeds, steps, values)
    assert torch.equal(together[0], alone(1, 4, values[0]))
    assert torch.equal(together[1], alone(9, 2, values[1]))


def test_training_without_a_position_is_refused_since_the_mask_would_never_change() -> None:
    with pytest.raises(InputError, match=r"seek\(seed, step\)"):
        build()(torch.zeros(1, 1, 8, 8))


def test_the_dropout_layers_of_a_network_are_numbered_and_found() -> None:
    assert [layer.layer for layer in dropout_layers(build("nin"))] == [0, 1]
    assert [layer.layer for layer in dropout_layers(build())] == [0]


def test_a_network_of_ordinary_modules_has_no_layers_to_position() -> None:
    assert dropout_layers(nn.Sequential(nn.Linear(2, 2), nn.Dropout())) == ()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "nim"}, "Did you mean 'nin'"),
        ({"width": 0}, "width = 0"),
        ({"width": float("inf")}, "width = inf"),
        ({"init": "xavier"}, "'he_normal' or 'normal'"),
        ({"init": "normal"}, "init_std = None"),
        ({"init": "normal", "init_std": -1.0}, r"init_std = -1\.0"),
        ({"init_std": 0.1}, "needs init = 'normal'"),
        ({"dropout": 1.0}, r"dropout = 1\.0"),
        ({"dropout": -0.1}, r"dropout = -0\.1"),
        ({"size": 4}, "size = 4 is too small"),
        ({"name": "nin", "size": 27}, "size = 27 is too small"),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_refused_by_name(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(**changed)


def test_nin_pads_images_of_28_pixels_as_the_catalog_does() -> None:
    given: dict[str, Any] = {"classes": 3, "channels": 1, "width": 0.05, "seed": 0, "dropout": 0.0}
    small, large = (build_model("nin", size=size, **given).eval() for size in (28, 32))
    images = torch.rand(2, 1, 28, 28)
    assert torch.equal(small(images), large(nn.functional.pad(images, (2, 2, 2, 2))))


def test_dropout_of_torch_is_replaced_wherever_it_is() -> None:
    shared = nn.Dropout(0.3)
    block = nn.ModuleDict({"dense": nn.Linear(2, 2), "drop": nn.Dropout(0.2)})
    network = nn.Sequential(shared, block, CounterDropout(0.1, layer=4), shared).eval()
    assert replace_dropout(network) is network
    assert [(each.rate, each.layer, each.training) for each in dropout_layers(network)] == [
        (0.3, 5, False),
        (0.2, 6, False),
        (0.1, 4, False),
    ]
    assert network[0] is network[3]
    alone = replace_dropout(nn.Dropout(0.3))
    assert isinstance(alone, CounterDropout)
    assert (alone.rate, alone.layer) == (0.3, 0)
    with pytest.raises(InputError, match=r"dropout = 1\.0"):
        replace_dropout(nn.Sequential(nn.Dropout(1.0)))
