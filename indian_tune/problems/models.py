"""The networks: Network in Network as published and in small for 8×8 images, and a perceptron.

All convolutions are valid-padded and followed by a rectifier; there is no batch normalisation (the
network of the experiments in Castera, Bolte, Févotte and Pauwels, 2021, after Lin, Chen and Yan,
2014).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite, prod, sqrt
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from indian_tune.errors import InputError, unknown_name
from indian_tune.optim.kernel_choice import uses_kernels
from indian_tune.problems.catalog import get_model_info
from indian_tune.problems.randomness import bits_of_key, generator, keep_threshold, stream_key

if TYPE_CHECKING:
    from collections.abc import Sequence


class CounterDropout(nn.Module):
    """Dropout whose mask is a function of (seed, step, layer, element) and nothing else.

    Before each training step the position is set with ``seek``; in evaluation mode, or at rate 0,
    the input passes unchanged. Kept values are divided by ``1 - rate``.

    The elements of images, [N, channels, height, width], are numbered with the channel running
    fastest, as they lie in memory in the channels-last format; those of any other shape row by row.

    Args:
        rate: probability that a value is dropped, in [0, 1).
        layer: tells apart the dropout layers of one network.

    Raises:
        InputError: the rate is outside [0, 1).
    """

    def __init__(self, rate: float, *, layer: int) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise InputError(f"dropout = {rate!r} is not allowed: it must be in [0, 1)")
        self.rate = rate
        self.layer = layer
        self._key: tuple[int | Tensor, int | Tensor] | None = None

    def seek(self, seed: int | Tensor, step: int | Tensor) -> None:
        """Set the position that the next forward pass draws its mask for.

        Args:
            seed: the run's.
            step: number of optimizer steps that the run has taken so far.
        """
        self._key = stream_key(seed, step, self.layer)

    def seek_key(self, key: tuple[int | Tensor, int | Tensor] | None) -> None:
        """Set the position by what :meth:`seek` would make of it.

        Args:
            key: of :func:`indian_tune.problems.randomness.stream_key`; ``None`` forgets the last.
        """
        self._key = key

    def forward(self, values: Tensor) -> Tensor:
        """Drop values if in training mode.

        Raises:
            InputError: no position was ever set; a mask that never changes would go unnoticed.
        """
        if not self.training or self.rate == 0:
            return values
        if self._key is None:
            raise InputError(
                "this network's dropout needs to know the step: call seek(seed, step) on each of "
                "dropout_layers(network) before a training step, or network.eval()"
            )
        first, second = self._key
        # Those of a pack are on the device.
        if isinstance(first, Tensor) and uses_kernels(values):
            from indian_tune.problems.mask_kernel import mask

            bits = first, second, keep_threshold(self.rate), 1 / (1 - self.rate)
            kept: Tensor = mask(values.contiguous().unsqueeze(0), *bits, values.dim() == 4)
            return kept.squeeze(0)
        if values.dim() != 4:
            return values * self.multiplier(values, tuple(values.shape), self._key)
        pixels = values.permute(0, 2, 3, 1)
        multiplier = self.multiplier(values, tuple(pixels.shape), self._key)
        return values * multiplier.permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        """Show the arguments in ``repr``."""
        return f"{self.rate}, layer={self.layer}"

    def multiplier(
        self, like: Tensor, shape: tuple[int, ...], key: tuple[int | Tensor, int | Tensor]
    ) -> Tensor:
        """Return 0 where a value is dropped and 1 / (1 - rate) elsewhere.

        Args:
            like: gives type and device.
            shape: of a batch of one run, in the order in which elements are numbered.
            key: of the step, see :func:`indian_tune.problems.randomness.stream_key`; of shape
                [K, 1] for K runs.

        Returns:
            ``shape``, or [K, *shape].
        """
        bits = bits_of_key(shape, key, like.device)
        return (bits >= keep_threshold(self.rate)).to(like.dtype).mul_(1 / (1 - self.rate))


def dropout_layers(model: nn.Module) -> tuple[CounterDropout, ...]:
    """Return the layers of a network that need ``seek`` before each step; maybe none."""
    return tuple(each for each in model.modules() if isinstance(each, CounterDropout))


def replace_dropout(network: nn.Module) -> nn.Module:
    """Replace every ``torch.nn.Dropout`` of a network, so that runs of it can be packed on a GPU.

    Args:
        network: changed in place: its layers get the numbers 0, 1, … in the order of
            ``network.modules()``, after those that a :class:`CounterDropout` has already.

    Returns:
        The network.

    Raises:
        InputError: a rate is 1.
    """
    if type(network) is nn.Dropout:
        return CounterDropout(network.p, layer=0).train(network.training)
    last = max((each.layer for each in dropout_layers(network)), default=-1)
    replaced: dict[nn.Module, CounterDropout] = {}
    for parent in list(network.modules()):
        for name, child in parent._modules.items():
            if type(child) is nn.Dropout:
                if child not in replaced:
                    new = CounterDropout(child.p, layer=last + 1 + len(replaced))
                    replaced[child] = new.train(child.training)
                parent._modules[name] = replaced[child]
    return network


class Pointwise(nn.Conv2d):
    """A 1×1 convolution computed as a matrix product over the channels.

    For narrow layers this saves the set-up of a convolution kernel, which on a CPU costs more than
    the arithmetic: a quarter of a training step of ``nin-small``.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Map [N, in_channels, H, W] to [N, out_channels, H, W]."""
        pixels = images.permute(0, 2, 3, 1)
        return functional.linear(pixels, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


@dataclass(frozen=True)
class _Pool:
    kind: type[nn.MaxPool2d | nn.AvgPool2d]
    size: int
    stride: int


@dataclass(frozen=True)
class _Block:
    """A spatial convolution and two 1×1 convolutions; a width of None is the number of classes."""

    kernel: int
    widths: tuple[int, int, int | None]
    pool: _Pool | None


PERCEPTRON = "mlp"

_LAYOUTS: dict[str, tuple[_Block, ...]] = {
    "nin": (
        _Block(5, (192, 160, 96), _Pool(nn.MaxPool2d, 3, 2)),
        _Block(5, (192, 192, 192), _Pool(nn.AvgPool2d, 3, 2)),
        _Block(3, (192, 192, None), _Pool(nn.AvgPool2d, 2, 1)),
    ),
    # Two blocks are what 8×8 pixels have room for. There is no narrowing to one channel per class:
    # with a single pixel left, a channel that the rectifier silences would take its class along.
    "nin-small": (
        _Block(3, (48, 48, 32), _Pool(nn.MaxPool2d, 2, 2)),
        _Block(3, (48, 48, 64), None),
    ),
}


def build_model(
    name: str,
    *,
    classes: int,
    channels: int,
    size: int,
    width: float = 1.0,
    widths: Sequence[int] = (),
    init: str = "he_normal",
    init_std: float | None = None,
    seed: int,
    dropout: float,
) -> nn.Sequential:
    """Build a network whose initial weights are a function of its arguments.

    At the published shape (``nin``, 3 channels of 32×32) it has 994,456 parameters for 100 classes
    and 967,096 for 10; ``nin-small`` on 8×8 grey images of 10 classes has 24,410.

    Args:
        name: ``nin``, ``nin-small`` or ``mlp``.
        classes: number of classes C; the network returns logits of shape [N, C].
        channels: of the images.
        size: height and width of the images, in pixels; ``nin`` pads those of 28 to 31 with zeros
            on all sides to the 32 that it takes.
        width: factor on the numbers of channels inside the network; not for ``mlp``.
        widths: units of each hidden layer of ``mlp``, in turn.
        init: ``he_normal`` draws weights from N(0, 2 / fan-in), ``normal`` from N(0, init_std²);
            biases start at 0.
        init_std: standard deviation for ``normal``.
        seed: of the initial weights.
        dropout: rate of the dropout after all blocks but the last, or after every hidden layer of
            ``mlp``; in [0, 1).

    Returns:
        The network on the CPU, float32, channels-last, in training mode.

    Raises:
        InputError: an argument is out of its range or the images are too small for the network.
    """
    if name not in (*_LAYOUTS, PERCEPTRON):
        raise InputError(unknown_name("model", name, (*_LAYOUTS, PERCEPTRON)))
    if not (width > 0 and isfinite(width)):
        raise InputError(f"width = {width!r} is not allowed: it must be finite and above 0")
    std = _checked_std(init, init_std)
    # torch's layers draw weights of their own, from the global generator, unless on "meta".
    with torch.device("meta"):
        if name == PERCEPTRON:
            model = _perceptron([channels * size**2, *widths], classes, dropout)
        else:
            model = _network(name, classes, channels, size, width, dropout)
    _allocate(model)
    _draw_weights(model, seed, std)
    return model.to(memory_format=torch.channels_last)


def _allocate(model: nn.Module) -> None:
    """Give a network on "meta" weights of its own on the CPU, without values."""
    # What Module.to_empty does, but to make a tensor like one on "meta" imports SymPy, which takes
    # every worker a quarter of a second.
    for module in model.modules():
        for name, weights in module.named_parameters(recurse=False):
            module.register_parameter(name, nn.Parameter(torch.empty(weights.shape, device="cpu")))


def _network(
    name: str, classes: int, channels: int, size: int, width: float, dropout: float
) -> nn.Sequential:
    layout = _LAYOUTS[name]
    side = size
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    taken = get_model_info(name)
    if taken.size is not None and taken.smallest_size <= size < taken.size:
        side = taken.size
        parts["padding"] = _padding(side - size)
    for index, block in enumerate(layout):
        layers: list[nn.Module] = []
        for depth, published in enumerate(block.widths):
            wide = classes if published is None else max(1, round(width * published))
            kernel = block.kernel if depth == 0 else 1
            layers += [_convolution(channels, wide, kernel), nn.ReLU()]
            channels = wide
        side -= block.kernel - 1
        if block.pool is not None:
            layers.append(block.pool.kind(block.pool.size, block.pool.stride))
            side = (side - block.pool.size) // block.pool.stride + 1
        if side < 1:
            raise InputError(
                f"size = {size} is too small for model = {name!r}: the image is empty after block "
                f"{index + 1}. Use larger images or a smaller model"
            )
        if index < len(layout) - 1:
            layers.append(CounterDropout(dropout, layer=index))
        parts[f"block{index + 1}"] = nn.Sequential(*layers)
    parts["flatten"] = nn.Flatten()
    parts["dense"] = nn.Linear(channels * side**2, classes)
    return nn.Sequential(parts)


def _padding(missing: int) -> nn.Module:
    before = missing // 2
    after = missing - before
    return nn.ZeroPad2d((before, after, before, after))


def _perceptron(widths: Sequence[int], classes: int, dropout: float) -> nn.Sequential:
    parts: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for index, (inputs, units) in enumerate(pairwise(widths)):
        parts[f"block{index + 1}"] = nn.Sequential(
            nn.Linear(inputs, units), nn.ReLU(), CounterDropout(dropout, layer=index)
        )
    parts["dense"] = nn.Linear(widths[-1], classes)
    return nn.Sequential(parts)


def _convolution(in_channels: int, out_channels: int, kernel: int) -> nn.Conv2d:
    narrow = max(in_channels, out_channels) <= 64
    if kernel == 1 and narrow:
        return Pointwise(in_channels, out_channels)
    return nn.Conv2d(in_channels, out_channels, kernel)


def _checked_std(init: str, init_std: float | None) -> float | None:
    """Return the standard deviation of all weights, ``None`` if it follows the fan-in."""
    if init == "he_normal":
        if init_std is not None:
            raise InputError(f"init_std = {init_std!r} needs init = 'normal'")
        return None
    if init != "normal":
        raise InputError(f"init = {init!r} is not known: use 'he_normal' or 'normal'")
    if init_std is None or not (init_std > 0 and isfinite(init_std)):
        raise InputError(f"init_std = {init_std!r}: init = 'normal' needs a number above 0")
    return init_std


@torch.no_grad()
def _draw_weights(model: nn.Module, seed: int, std: float | None) -> None:
    source = generator("initial weights", seed)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()
            continue
        fan_in = prod(parameter.shape[1:])
        # In float64 because torch's float32 normals differ in the last bit between CPUs.
        drawn = torch.randn(parameter.shape, generator=source, dtype=torch.float64)
        parameter.copy_(drawn.mul_(sqrt(2 / fan_in) if std is None else std))
