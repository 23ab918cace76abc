"""Forward and backward passes that are written out compute what autograd does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from indian_tune.problems.models import Pointwise, build_model, dropout_layers
from indian_tune.problems.randomness import bits_of_key, generator, host_bits, stream_key
from indian_tune.problems.task import get_task
from indian_tune.training.by_hand import Measured, by_hand

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

TASK = get_task("classification")
SHAPES = {"nin-small": (1, 8, 8), "mlp": (2, 6, 6)}


def network_of(name: str, dropout: float = 0.4) -> nn.Sequential:
    channels, size, _ = SHAPES[name]
    model = build_model(
        name,
        classes=5,
        channels=channels,
        size=size,
        widths=(12, 7) if name == "mlp" else (),
        seed=3,
        dropout=dropout,
    )
    return model.double().train()


def batch_of(name: str, count: int) -> tuple[Tensor, Tensor]:
    source = generator("images")
    images = torch.randn(count, *SHAPES[name], generator=source, dtype=torch.float64)
    labels = torch.randint(0, 5, (count,), generator=source)
    return images.contiguous(memory_format=torch.channels_last), labels


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_gradients_are_those_of_autograd(name: str, dropout: float) -> None:
    network, reference = network_of(name, dropout), network_of(name, dropout)
    written_out = by_hand(network, SHAPES[name], seed=11)
    assert written_out is not None
    # More steps than masks are drawn for at once, and a smaller batch at the end of an epoch.
    for step in (0, 1, 15, 16, 40):
        images, labels = batch_of(name, 3 if step == 15 else 6)
        loss = written_out.gradients(images, labels, TASK, step)
        for layer in dropout_layers(reference):
            layer.seek(11, step)
        reference.zero_grad()
        expected = TASK.loss(reference(images), labels)
        expected.backward()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(loss, expected.detach())
        for ours, own in zip(network.parameters(), reference.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, own.grad)
            assert ours.grad is not None
            # An optimizer walks through both at once.
            assert ours.grad.stride() == ours.stride()


def test_a_batch_that_grows_again_is_dropped_by_its_own_masks() -> None:
    network = network_of("nin-small")
    written_out = by_hand(network, SHAPES["nin-small"], seed=11)
    assert written_out is not None
    images, labels = batch_of("nin-small", 6)
    whole = written_out.gradients(images, labels, TASK, 1)
    other = by_hand(network, SHAPES["nin-small"], seed=11)
    assert other is not None
    other.gradients(images[:2], labels[:2], TASK, 0)
    assert torch.equal(other.gradients(images, labels, TASK, 1), whole)


@pytest.mark.parametrize("name", SHAPES)
def test_it_is_measured_as_the_network_is(name: str) -> None:
    network = network_of(name)
    measured = by_hand(network, SHAPES[name], seed=None)
    assert measured is not None
    for count in (6, 3):
        images, _ = batch_of(name, count)
        with torch.inference_mode():
            torch.testing.assert_close(Measured(measured)(images), network.eval()(images))
        network.train()
    assert all(each.grad is None for each in network.parameters())


@pytest.mark.parametrize("shape", [(7,), (3, 2, 5)])
def test_masks_of_many_steps_have_the_bits_of_each(shape: tuple[int, ...]) -> None:
    keys = [stream_key(2**40 + 3, step, 1) for step in range(5)]
    each = torch.stack([bits_of_key(shape, key) for key in keys])
    assert torch.equal(host_bits(shape, keys), each)


def twice() -> nn.Module:
    layer = Pointwise(1, 1)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.Flatten(), nn.Linear(64, 2))


def hooked() -> nn.Module:
    network = network_of("nin-small")
    network[0].register_forward_hook(lambda *_: None)
    return network


def frozen() -> nn.Module:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    network[1].requires_grad_(False)
    return network


LEFT: dict[str, Callable[[], nn.Module]] = {
    "a layer that is applied twice": twice,
    "a layer with a hook": hooked,
    "a layer that is not known": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2), nn.Tanh()),
    "a convolution in the middle": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(64, 2)
    ),
    "no bias": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 2, bias=False)),
    "a frozen layer": frozen,
}


@pytest.mark.parametrize("kind", LEFT)
def test_what_is_not_plain_is_left_to_autograd(kind: str) -> None:
    assert by_hand(LEFT[kind](), (1, 8, 8), seed=0) is None


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(1, 4, 3), nn.MaxPool2d(2, 2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3)),
        (nn.Flatten(), nn.ReLU(), nn.Linear(64, 3)),
        (nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.ReLU(), nn.Linear(8, 3)),
    ],
)
def test_a_rectifier_that_no_product_precedes_is_left_to_autograd(
    layers: tuple[nn.Module, ...],
) -> None:
    assert by_hand(nn.Sequential(*layers), (1, 8, 8), seed=0) is None
