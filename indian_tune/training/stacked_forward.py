"""Forward passes of K networks of one shape at once, differentiable in all their parameters.

Two ways: ``LayerwiseForward`` knows the layers that Network in Network is made of and computes each
for all K networks by a few large operations; ``VmappedForward`` takes any network by
``torch.func``. In both nothing crosses between networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from indian_tune.optim.kernel_choice import uses_kernels
from indian_tune.problems.models import CounterDropout, Pointwise, dropout_layers
from indian_tune.problems.randomness import keep_threshold
from indian_tune.training.feed import IMAGE_RANK

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONVOLUTIONS = ("grouped", "matmul")
"""Ways to compute the spatial convolutions of K networks: one convolution in K groups, or one
batched matrix product over unfolded images."""


Named = Mapping[str, Tensor]
StackedForward = Callable[[Named, Named, Tensor, Tensor], Tensor]
"""Computes the logits [K, B, classes] of K networks. It takes

- parameters by name, [K, *shape];
- buffers by name, [K, *shape]; a network may change them in place;
- inputs [K, B, …, channels], such as images [K, B, height, width, channels];
- keys of the masks of each of :func:`drawing_layers`, int32 [layers, 2, K, 1]; see
  :func:`indian_tune.problems.randomness.stream_key`.
"""


def make_forward(
    network: nn.Module, convolutions: str, rank: int = IMAGE_RANK, *, training: bool = True
) -> StackedForward:
    """Return the best way for a network.

    Args:
        network: says the layers; its own parameters are not used.
        convolutions: one of :data:`CONVOLUTIONS`; without meaning for networks with layers that
            only ``torch.func`` can compute.
        rank: dimensions of a batch of inputs.
        training: whether values are dropped; without, keys have no meaning.
    """
    network = network.train(training)
    layers = list(_layers(network))
    if _is_plain(network, layers) and _fits_together([layer for _, layer in layers], rank):
        return LayerwiseForward(layers, convolutions, drawing_layers(network))
    return VmappedForward(network, training=training)


def convolves(network: nn.Module, rank: int = IMAGE_RANK) -> bool:
    """Whether :func:`make_forward` computes a network differently for each of CONVOLUTIONS."""
    layers = plain_layers(network, rank) or ()
    return any(isinstance(each, nn.Conv2d) and each.kernel_size != (1, 1) for each in layers)


def plain_layers(network: nn.Module, rank: int = IMAGE_RANK) -> list[nn.Module] | None:
    """Return the layers of a network that is nothing but known ones in turn, else ``None``.

    Args:
        network: in its present mode.
        rank: dimensions of a batch of inputs.
    """
    named = list(_layers(network))
    layers = [layer for _, layer in named]
    return layers if _is_plain(network, named) and _fits_together(layers, rank) else None


def drawing_layers(network: nn.Module) -> tuple[CounterDropout, ...]:
    """Return the layers of a network that draw masks in its present mode."""
    return tuple(layer for layer in dropout_layers(network) if layer.training and layer.rate > 0)


class VmappedForward:
    """Any network, by ``torch.func.functional_call`` under ``torch.func.vmap``.

    A network that draws from torch's global generator is refused by torch with a RuntimeError:
    its draws would depend on the other networks.

    Args:
        network: says what to compute.
        training: whether it is computed in training mode.
    """

    def __init__(self, network: nn.Module, *, training: bool = True) -> None:
        self._network = network.train(training)
        self._training = training
        self._dropouts = drawing_layers(network)
        self._vmapped = vmap(self._one, in_dims=(0, 0, 0, 2), randomness="error")

    def __call__(self, parameters: Named, buffers: Named, inputs: Tensor, keys: Tensor) -> Tensor:
        """See :data:`StackedForward`."""
        # The same network is computed in both modes.
        self._network.train(self._training)
        own = dict(parameters), dict(buffers)
        # Inputs that all networks share are copied: a network may change its own in place.
        logits: Tensor = self._vmapped(*own, inputs.contiguous().movedim(-1, 2), keys)
        return logits

    def _one(
        self,
        parameters: dict[str, Tensor],
        buffers: dict[str, Tensor],
        inputs: Tensor,
        keys: Tensor,
    ) -> Tensor:
        for layer, (first, second) in zip(self._dropouts, keys, strict=True):
            layer.seek_key((first, second))
        logits: Tensor = functional_call(self._network, (parameters, buffers), (inputs,))
        for layer in self._dropouts:
            # It means nothing outside of vmap.
            layer.seek_key(None)
        return logits


class LayerwiseForward:
    """A sequence of layers, each for all networks at once.

    Values are kept as [K, B, height, width, channels], so that 1×1 convolutions are batched matrix
    products of [pixels, channels] by [channels, channels].

    Args:
        layers: with their names, in the order in which they are applied.
        convolutions: one of :data:`CONVOLUTIONS`.
        dropouts: those of the layers that have keys, in the order of their keys.
    """

    def __init__(
        self,
        layers: list[tuple[str, nn.Module]],
        convolutions: str,
        dropouts: Sequence[CounterDropout] = (),
    ) -> None:
        assert convolutions in CONVOLUTIONS
        # With each layer whether it computes the ReLU after it as well.
        self._layers: list[tuple[str, nn.Module, bool]] = []
        for name, layer in layers:
            before = self._layers[-1] if self._layers else ("", None, False)
            if isinstance(layer, nn.ReLU) and isinstance(before[1], nn.Conv2d | nn.Linear):
                self._layers[-1] = before[0], before[1], True
            else:
                self._layers.append((name, layer, False))
        self._key_of = {id(layer): number for number, layer in enumerate(dropouts)}
        self._spatial = _grouped if convolutions == "grouped" else _unfolded

    def __call__(self, parameters: Named, buffers: Named, inputs: Tensor, keys: Tensor) -> Tensor:
        """See :data:`StackedForward`."""
        del buffers
        values = inputs
        for name, layer, rectified in self._layers:
            if isinstance(layer, nn.Conv2d | nn.Linear):
                spatial = isinstance(layer, nn.Conv2d) and layer.kernel_size != (1, 1)
                compute = self._spatial if spatial else _dense
                weight, bias = parameters[f"{name}.weight"], parameters.get(f"{name}.bias")
                values = _weighted(compute, values, weight, bias, rectified=rectified)
            elif isinstance(layer, nn.ReLU):
                values = values.relu()
            elif isinstance(layer, CounterDropout):
                if id(layer) in self._key_of:
                    values = _dropped(values, layer, keys[self._key_of[id(layer)]])
            elif isinstance(layer, nn.Flatten):
                if values.dim() == 5:
                    values = values.permute(0, 1, 4, 2, 3)
                values = values.flatten(2)
            else:
                values = _each_image(values, layer)
        return values


def _layers(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The layers of nested sequences as applied; what is not exactly a sequence is one layer."""
    if type(network) is not nn.Sequential:
        yield prefix, network
        return
    # Not named_children, which leaves a layer out that is applied for a second time.
    for name, child in network._modules.items():
        assert child is not None
        yield from _layers(child, f"{prefix}.{name}" if prefix else name)


def _is_plain(network: nn.Module, layers: list[tuple[str, nn.Module]]) -> bool:
    """Whether nothing happens but the layers, each with parameters of its own to be trained."""
    trained = {name for name, each in network.named_parameters() if each.requires_grad}
    needed = {
        f"{prefix}.{name}" if prefix else name
        for prefix, layer in layers
        for name, _ in layer.named_parameters()
    }
    hooked = any(
        each._forward_hooks or each._forward_pre_hooks or each._backward_hooks
        for each in network.modules()
    )
    return needed <= trained and not hooked


def _fits_together(layers: list[nn.Module], rank: int) -> bool:
    """Whether every layer is known, and gets what it is computed for: images, or flat values."""
    flat = rank == 2
    if not flat and rank != IMAGE_RANK:
        return False
    for layer in layers:
        if not _is_known(layer):
            return False
        if isinstance(layer, nn.Flatten):
            flat = True
        takes = {nn.Linear: True, nn.Conv2d: False, nn.MaxPool2d: False, nn.AvgPool2d: False}
        if any(isinstance(layer, kind) and flat is not wanted for kind, wanted in takes.items()):
            return False
    return True


def _is_known(layer: nn.Module) -> bool:
    if type(layer) in (nn.Conv2d, Pointwise):
        assert isinstance(layer, nn.Conv2d)
        plain = (layer.stride, layer.padding, layer.dilation, layer.groups)
        return plain == ((1, 1), (0, 0), (1, 1), 1)
    if type(layer) is nn.Flatten:
        return (layer.start_dim, layer.end_dim) == (1, -1)
    return type(layer) in (nn.ReLU, nn.Linear, nn.MaxPool2d, nn.AvgPool2d, CounterDropout)


def _dropped(values: Tensor, layer: CounterDropout, key: Tensor) -> Tensor:
    """Drop values, [K, …], by the keys of the lanes, int32 [2, K, 1]."""
    first, second = key
    if uses_kernels(values):
        from indian_tune.problems.mask_kernel import mask

        bits = first, second, keep_threshold(layer.rate)
        # Here and not within the operation, whose copies nothing would count.
        kept: Tensor = mask(values.contiguous(), *bits, 1 / (1 - layer.rate), False)
        return kept
    return values * layer.multiplier(values, tuple(values.shape[1:]), (first, second))


def _weighted(
    compute: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    values: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    rectified: bool,
) -> Tensor:
    """Compute a layer with weights, and its ReLU if it is followed by one."""
    if rectified and bias is not None and uses_kernels(values):
        from indian_tune.training.bias_kernel import bias_relu

        return bias_relu(compute(values, weight, None), bias)
    values = compute(values, weight, bias)
    return values.relu() if rectified else values


def _dense(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Map the last dimension.

    Args:
        values: [K, …, inputs].
        weight: [K, outputs, inputs], with dimensions of length 1 after them or not.
        bias: [K, outputs].
    """
    rows, weight = values.flatten(1, -2), weight.flatten(2)
    if uses_kernels(values):
        mapped: Tensor = _Product.apply(_cast(rows), _cast(weight))
        mapped = mapped if bias is None else mapped + bias.unsqueeze(1).to(mapped.dtype)
    elif bias is None:
        mapped = torch.bmm(rows, weight.transpose(1, 2))
    else:
        mapped = torch.baddbmm(bias.unsqueeze(1), rows, weight.transpose(1, 2))
    return mapped.view(*values.shape[:-1], -1)


class _Product(torch.autograd.Function):
    """Batched products by transposed weights, whose gradients lie as the weights do.

    torch's own lie transposed, and would be copied one by one.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weight)
        return torch.bmm(rows, weight.transpose(1, 2))

    @staticmethod
    def backward(ctx: Any, grads: Tensor) -> tuple[Tensor | None, Tensor]:
        rows, weight = ctx.saved_tensors
        of_rows = torch.bmm(grads, weight) if ctx.needs_input_grad[0] else None
        return of_rows, torch.bmm(grads.transpose(1, 2), rows)


def _cast(values: Tensor) -> Tensor:
    """Shorten values as autocast does before a product, which it does not do for own functions."""
    kind = values.device.type
    if torch.is_autocast_enabled(kind):
        return values.to(torch.get_autocast_dtype(kind))
    return values


def _grouped(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve as one convolution whose groups are the networks."""
    count = values.shape[0]
    side_by_side = values.permute(1, 2, 3, 0, 4).flatten(3).permute(0, 3, 1, 2)
    if uses_kernels(values):
        # Channels last as the values are: cuDNN would copy them a second time.
        kernels = weight.permute(0, 1, 3, 4, 2).flatten(0, 1).permute(0, 3, 1, 2)
    else:
        kernels = weight.flatten(0, 1)
    convolved = functional.conv2d(
        side_by_side,
        kernels,
        None if bias is None else bias.flatten(),
        groups=count,
    )
    batch, _, *size = convolved.shape
    return convolved.view(batch, count, -1, *size).permute(1, 0, 3, 4, 2)


def _unfolded(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve as a batched matrix product over the patches under the kernel."""
    patches = values.unfold(2, weight.shape[3], 1).unfold(3, weight.shape[4], 1)
    return _dense(patches.flatten(4), weight, bias)


def _each_image(values: Tensor, layer: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply to [K·B, channels, height, width] what does the same to every image."""
    mapped = layer(values.flatten(0, 1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return mapped.reshape(*values.shape[:2], *mapped.shape[1:])
