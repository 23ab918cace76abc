"""Gradients of small plain networks on a CPU, with explicit forward and backward passes.

A step of such a network is short, and most of it is not arithmetic: autograd's records, memory for
every result, the set-up of convolutions. Here all layers are matrix products into memory that is
kept, with rectifiers in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from indian_tune.problems.models import CounterDropout
from indian_tune.problems.randomness import host_bits, keep_threshold, stream_key
from indian_tune.training.feed import IMAGE_RANK
from indian_tune.training.stacked_forward import plain_layers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.problems.task import Task

STEPS = 16
"""Steps whose masks are drawn at once."""

aten = torch.ops.aten


class ByHand:
    """A network whose gradients are computed without autograd.

    The gradients of its parameters are tensors that are kept and overwritten by the next step.

    Args:
        layers: of the network, in turn; see :func:`by_hand`.
        seed: of the run, for its masks; ``None`` to drop nothing and have no gradients.
    """

    def __init__(self, layers: Sequence[_Layer], seed: int | None) -> None:
        self._layers = layers
        trained = [isinstance(layer, _Product) for layer in layers].index(True)
        self._backwards = layers[: trained - 1 if trained else None : -1]
        self._dropouts = [layer for layer in layers if isinstance(layer, _Dropout)]
        self._seed = seed

    @torch.no_grad()
    def gradients(self, inputs: Tensor, labels: Tensor, task: Task, step: int) -> Tensor:
        """Set the gradients of a batch, and return its loss.

        Args:
            inputs: images in channels-last format, or rows.
            labels: of them.
            task: says what the loss is.
            step: steps that the run has taken so far.
        """
        assert self._seed is not None
        for dropout in self._dropouts:
            dropout.seek(self._seed, step)
        outputs = self.outputs(inputs).detach().requires_grad_()
        with torch.enable_grad():
            loss = task.loss(outputs, labels)
            (grad,) = torch.autograd.grad(loss, outputs)
        for layer in self._backwards:
            grad = layer.backward(grad)
        return loss.detach()

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return the outputs of a batch, in memory that the next batch overwrites.

        Args:
            inputs: images in channels-last format, or rows.
        """
        values = inputs.permute(0, 2, 3, 1) if inputs.dim() == IMAGE_RANK else inputs
        for layer in self._layers:
            values = layer.forward(values)
        return values


class Measured(nn.Module):
    """A network that is measured by hand.

    Args:
        by_hand: of the network, without a seed.
    """

    def __init__(self, by_hand: ByHand) -> None:
        super().__init__()
        self._by_hand = by_hand

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the outputs of a batch."""
        return self._by_hand.outputs(inputs)


class _Layer:
    """A layer: takes and returns values [N, …, channels]."""

    def forward(self, values: Tensor) -> Tensor:
        raise NotImplementedError

    def backward(self, grad: Tensor) -> Tensor:
        raise NotImplementedError


class _Scratch:
    """Two pieces of memory that the gradients of values take turns in."""

    def __init__(self) -> None:
        self._pieces = [torch.empty(0), torch.empty(0)]

    def of(self, rows: int, columns: int, like: Tensor) -> Tensor:
        """Return [rows, columns] that the last but one may have used."""
        count = rows * columns
        self._pieces.reverse()
        if self._pieces[0].numel() < count:
            self._pieces[0] = like.new_empty(count)
        return self._pieces[0][:count].view(rows, columns)


class _Product(_Layer):
    """A convolution or a linear layer, and the rectifier after it."""

    def __init__(
        self,
        layer: nn.Conv2d | nn.Linear,
        scratch: _Scratch,
        *,
        rectified: bool,
        first: bool,
        trained: bool,
    ) -> None:
        weight = layer.weight
        self._kernel = layer.kernel_size[0] if isinstance(layer, nn.Conv2d) else 1
        assert layer.bias is not None
        self._weight, self._bias = _matrix(weight.detach()), layer.bias.detach()
        self._turned = self._weight.t()
        if trained:
            weight.grad, layer.bias.grad = torch.empty_like(weight), torch.empty_like(layer.bias)
            self._weight_grad, self._bias_grad = _matrix(weight.grad), layer.bias.grad
        self._rectified, self._first = rectified, first
        self._places: Tensor | None = None
        self._outs: dict[int, Tensor] = {}
        self._scratch = scratch

    def forward(self, values: Tensor) -> Tensor:
        rows = self._rows(values)
        out = self._outs.get(len(rows))
        if out is None:
            out = self._outs[len(rows)] = rows.new_empty(len(rows), len(self._weight))
        torch.addmm(self._bias, rows, self._turned, out=out)
        if self._rectified:
            out.relu_()
        self._kept, self._out = rows, out
        self._shape = values.shape
        if values.dim() == 2:
            return out
        return out.view(values.shape[0], *self._size(values), -1)

    def backward(self, grad: Tensor) -> Tensor:
        grad = grad.reshape(self._out.shape)
        if self._rectified:
            # In place: memory that is used again is still in the cache.
            aten.threshold_backward.grad_input(grad, self._out, 0, grad_input=grad)
        torch.mm(grad.t(), self._kept, out=self._weight_grad)
        torch.sum(grad, 0, out=self._bias_grad)
        if self._first:
            return grad
        changed = self._scratch.of(len(grad), self._weight.shape[1], grad)
        return torch.mm(grad, self._weight, out=changed).view(self._shape)

    def _size(self, values: Tensor) -> tuple[int, int]:
        return values.shape[1] - self._kernel + 1, values.shape[2] - self._kernel + 1

    def _rows(self, values: Tensor) -> Tensor:
        if values.dim() == 2:
            return values
        if self._kernel == 1:
            return values.flatten(0, -2)
        if self._kernel == values.shape[1] == values.shape[2]:
            return values.flatten(1)
        if self._places is None:
            self._places = _patch_places(values.shape[1], values.shape[2], self._kernel)
        # Much faster than a copy of strided windows.
        patches = values.flatten(1, 2).index_select(1, self._places)
        return patches.view(-1, self._weight.shape[1])


def _patch_places(height: int, width: int, kernel: int) -> Tensor:
    """Return the pixels of the patches under a kernel, int64 [patches × kernel²], row by row."""
    pixels = torch.arange(height * width).view(height, width)
    return pixels.unfold(0, kernel, 1).unfold(1, kernel, 1).flatten()


def _matrix(weight: Tensor) -> Tensor:
    """Return weights as a view [outputs, kernel height × width × inputs]."""
    return weight if weight.dim() == 2 else weight.permute(0, 2, 3, 1).view(len(weight), -1)


class _MaxPool(_Layer):
    def __init__(self, size: int, stride: int) -> None:
        self._size, self._stride = [size] * 2, [stride] * 2

    def forward(self, values: Tensor) -> Tensor:
        self._values = values.permute(0, 3, 1, 2)
        out: Tensor
        out, self._places = aten.max_pool2d_with_indices(self._values, self._size, self._stride)
        return out.permute(0, 2, 3, 1)

    def backward(self, grad: Tensor) -> Tensor:
        changed: Tensor = aten.max_pool2d_with_indices_backward(
            grad.permute(0, 3, 1, 2),
            self._values,
            self._size,
            self._stride,
            [0, 0],
            [1, 1],
            False,
            self._places,
        )
        return changed.permute(0, 2, 3, 1)


class _Dropout(_Layer):
    """Masks of several steps, drawn at once."""

    def __init__(self, layer: CounterDropout) -> None:
        self._layer = layer
        self._masks = torch.empty(0, 0)
        self._begun = 0

    def seek(self, seed: int, step: int) -> None:
        self._seed, self._step = seed, step

    def forward(self, values: Tensor) -> Tensor:
        place = self._step - self._begun
        if not (place < len(self._masks) and len(values) <= self._masks.shape[1]):
            self._begun, place = self._step, 0
            self._masks = self._drawn(values)
        # Elements are numbered with the examples running slowest: those of fewer are the first.
        self._mask = self._masks[place, : len(values)]
        return values * self._mask

    def _drawn(self, values: Tensor) -> Tensor:
        layer = self._layer
        bits = host_bits(
            tuple(values.shape),
            [stream_key(self._seed, self._step + step, layer.layer) for step in range(STEPS)],
        )
        kept = bits >= keep_threshold(layer.rate)
        return kept.to(values.dtype).mul_(1 / (1 - layer.rate))

    def backward(self, grad: Tensor) -> Tensor:
        return grad * self._mask


class _Flatten(_Layer):
    def forward(self, values: Tensor) -> Tensor:
        self._shape = values.shape
        return values.permute(0, 3, 1, 2).flatten(1)

    def backward(self, grad: Tensor) -> Tensor:
        count, *size, channels = self._shape
        return grad.view(count, channels, *size).permute(0, 2, 3, 1)


def by_hand(network: nn.Module, shape: Sequence[int], seed: int | None) -> ByHand | None:
    """Return a network's gradients by hand, ``None`` if they are left to autograd.

    Args:
        network: in training mode, float32 or float64, on the CPU.
        shape: of an input: channels, height and width, or features.
        seed: of the run; ``None`` to measure only.
    """
    layers = plain_layers(network, len(shape) + 1)
    if layers is None:
        return None
    side = shape[-1] if len(shape) == 3 and shape[-1] == shape[-2] else 0
    made: list[_Layer] = []
    scratch = _Scratch()
    before, following = [None, *layers[:-1]], [*layers[1:], None]
    for previous, layer, after in zip(before, layers, following, strict=True):
        first = not any(isinstance(each, _Product) for each in made)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            if layer.bias is None:
                return None
            if isinstance(layer, nn.Conv2d):
                kernel = layer.kernel_size[0]
                fits = kernel == layer.kernel_size[1] and (first or kernel in (1, side))
                if not fits or not side:
                    return None
                side -= kernel - 1
            rectified = isinstance(after, nn.ReLU)
            made.append(
                _Product(layer, scratch, rectified=rectified, first=first, trained=seed is not None)
            )
        elif isinstance(layer, nn.MaxPool2d):
            size, stride = layer.kernel_size, layer.stride
            plain = (layer.padding, layer.dilation, layer.ceil_mode) == (0, 1, False)
            if not (plain and isinstance(size, int) and isinstance(stride, int)):
                return None
            made.append(_MaxPool(size, stride))
            side = (side - size) // stride + 1
        elif isinstance(layer, CounterDropout):
            if layer.rate > 0 and seed is not None:
                made.append(_Dropout(layer))
        elif isinstance(layer, nn.Flatten):
            if len(shape) == 3:
                made.append(_Flatten())
        # A rectifier is part of the product before it.
        elif not (isinstance(layer, nn.ReLU) and isinstance(previous, nn.Conv2d | nn.Linear)):
            return None
    return ByHand(made, seed) if any(isinstance(each, _Product) for each in made) else None
