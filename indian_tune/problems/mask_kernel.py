"""Dropout's mask and its product as one kernel, which keeps nothing for the backward pass.

The bits are those of :func:`indian_tune.problems.randomness.bits_of_key`, which is the
specification; the backward pass computes them once more.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, library

BLOCK = 1024
# Elements are numbered by 32 bits.
MOST = 2**31 - BLOCK

# Triton reads numbers of the module only as constants of its own.
_FIRST, _SECOND = tl.constexpr(0x7FEB352D), tl.constexpr(0x846CA68B - 2**32)


@triton.jit  # type: ignore[untyped-decorator]
def mask_kernel(  # type: ignore[no-untyped-def]
    values_at,
    out_at,
    before_at,
    between_at,
    size,
    places,
    channels,
    threshold,
    scale,
    first: tl.constexpr,
    block: tl.constexpr,
):
    """Mask a block of a lane.

    Args:
        values_at: [lanes, size].
        out_at: likewise.
        before_at: int32 [lanes], the first word of each key.
        between_at: the second.
        size: of a lane.
        places: of an image.
        channels: of a place.
        threshold: smallest bits that are kept.
        scale: that kept values are multiplied by, a number of their type.
        first: whether channels come before places: they are numbered as if after them.
        block: numbers of a program.
    """
    lane = tl.program_id(1).to(tl.int64)
    element = tl.program_id(0) * block + tl.arange(0, block)
    inside = element < size
    number = element
    if first:
        image = element // (places * channels) * (places * channels)
        number = image + element % places * channels + element // places % channels
    bits = number + tl.load(before_at + lane)
    bits = (bits ^ ((bits >> 16) & 0xFFFF)) * _FIRST
    bits = bits ^ tl.load(between_at + lane)
    bits = (bits ^ ((bits >> 15) & 0x1FFFF)) * _SECOND
    bits = bits ^ ((bits >> 16) & 0xFFFF)
    values = tl.load(values_at + lane * size + element, mask=inside)
    # In float32, as torch multiplies shorter numbers too.
    masked = values.to(tl.float32) * tl.where(bits >= threshold, scale, 0.0)
    tl.store(out_at + lane * size + element, masked.to(values.dtype), mask=inside)


@library.custom_op("indian_tune::mask", mutates_args=())
def mask(
    values: Tensor, before: Tensor, between: Tensor, threshold: int, scale: float, first: bool
) -> Tensor:
    """Return values of which some are 0.

    ``torch.vmap`` over lanes of [1, …] is computed as the same for all of them at once.

    Args:
        values: contiguous [K, …], each lane numbered row by row; or [K, B, channels, …].
        before: int32 [K, 1], the first word of each key.
        between: the second.
        threshold: smallest bits that are kept, see
            :func:`indian_tune.problems.randomness.keep_threshold`.
        scale: that kept values are multiplied by.
        first: whether channels come before the places of an image and are numbered after them.
    """
    out, size = torch.empty_like(values), values[0].numel()
    channels = values.shape[2] if first else 1
    places = values[0, 0, 0].numel() if first else 1
    if size > MOST:
        raise ValueError(f"a layer of {size} values in one run is larger than its masks can be")
    # On the CPU whatever own code has made the default device.
    scale = torch.tensor(scale, dtype=values.dtype, device="cpu").item()
    # Triton starts kernels on the present device, wherever the tensors are.
    with torch.cuda.device_of(values):  # type: ignore[no-untyped-call]
        mask_kernel[triton.cdiv(size, BLOCK), values.shape[0]](
            *(values, out, before.contiguous(), between.contiguous()),
            *(size, places, channels, threshold, scale),
            first=first,
            block=BLOCK,
        )
    return out


@mask.register_fake
def _(
    values: Tensor, before: Tensor, between: Tensor, threshold: int, scale: float, first: bool
) -> Tensor:
    del before, between, threshold, scale, first
    return torch.empty_like(values, memory_format=torch.contiguous_format)


@mask.register_vmap
def _(info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Tensor, int]:
    tensors = [
        each.expand(info.batch_size, *each.shape) if dim is None else each.movedim(dim, 0)
        for each, dim in zip(arguments[:3], in_dims, strict=False)
    ]
    values = tensors[0].flatten(0, 1).contiguous()
    keys = (each.flatten(0, 1).view(-1, 1) for each in tensors[1:])
    out: Tensor = mask(values, *keys, *arguments[3:])
    return out.unsqueeze(1), 0


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    del output
    _, before, between, *ctx.others = inputs
    ctx.save_for_backward(before, between)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    masked: Tensor = mask(grad.contiguous(), *ctx.saved_tensors, *ctx.others)
    return masked, None, None, None, None, None


mask.register_autograd(_backward, setup_context=_keep)
