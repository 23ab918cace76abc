"""Bias and ReLU after a product as one kernel, and their gradients as another one.

``(values + bias).relu()`` of torch is the specification. The backward pass reads the outputs, from
which it knows what ReLU has cut off.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, library

ROWS, CHANNELS = 64, 32
# How values lie: [lanes, images, places, channels], [images, lanes, channels, places] or
# [images, places, lanes, channels], the last two as a convolution in K groups leaves them.
ROW_BY_ROW, CHANNELS_FIRST, SIDE_BY_SIDE = range(3)
# Triton reads numbers of the module only as constants of its own.
_CHANNELS_FIRST, _SIDE_BY_SIDE = tl.constexpr(CHANNELS_FIRST), tl.constexpr(SIDE_BY_SIDE)
# So many rows or fewer are summed by one program, more in parts of so many: few programs would
# leave most of the GPU idle.
WHOLE, PART = 2048, 512


@triton.jit  # type: ignore[untyped-decorator]
def _places_of(row, channel, lane, lanes, rows, places, channels, layout: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return where the values of some rows and channels of a lane lie."""
    at = (lane * rows + row) * channels + channel
    if layout == _CHANNELS_FIRST:
        image = row // places * lanes + lane
        at = image * channels * places + row % places + channel * places
    elif layout == _SIDE_BY_SIDE:
        at = (row * lanes + lane) * channels + channel
    return at


@triton.jit  # type: ignore[untyped-decorator]
def bias_relu_kernel(  # type: ignore[no-untyped-def]
    values_at,
    bias_at,
    out_at,
    lanes,
    rows,
    places,
    channels,
    bias_stride,
    layout: tl.constexpr,
    block_rows: tl.constexpr,
    block_channels: tl.constexpr,
):
    """Compute a block of a lane.

    Args:
        values_at: laid out as ``layout`` says.
        bias_at: float32 [lanes, channels].
        out_at: [lanes, rows, channels].
        lanes: K.
        rows: of a lane: images × places.
        places: of an image.
        channels: of a place.
        bias_stride: from a lane of ``bias_at`` to the next.
        layout: one of the above.
        block_rows: of a program.
        block_channels: likewise.
    """
    lane = tl.program_id(2).to(tl.int64)
    row = tl.program_id(0) * block_rows + tl.arange(0, block_rows)[:, None]
    channel = tl.program_id(1) * block_channels + tl.arange(0, block_channels)[None, :]
    inside = (row < rows) & (channel < channels)
    out = (lane * rows + row) * channels + channel
    at = _places_of(row, channel, lane, lanes, rows, places, channels, layout)
    values = tl.load(values_at + at, mask=inside)
    bias = tl.load(bias_at + lane * bias_stride + channel, mask=channel < channels)
    # In float32, as torch adds shorter numbers too.
    found = values.to(tl.float32) + bias
    # Not the larger of two numbers: what is not a number has to stay visible.
    tl.store(out_at + out, tl.where(found <= 0, 0.0, found).to(values.dtype), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def bias_relu_backward_kernel(  # type: ignore[no-untyped-def]
    grads_at,
    out_at,
    cut_at,
    sums_at,
    lanes,
    rows,
    places,
    channels,
    part,
    layout: tl.constexpr,
    block_rows: tl.constexpr,
    block_channels: tl.constexpr,
):
    """Compute the gradients of some rows of a lane, and their sum.

    Args:
        grads_at: of the outputs, [lanes, rows, channels].
        out_at: the outputs.
        cut_at: gradients of the values, laid out as these.
        sums_at: float32 [lanes, parts, channels].
        lanes: K.
        rows: of a lane.
        places: of an image.
        channels: of a place.
        part: rows of a program, a multiple of ``block_rows``.
        layout: one of the above, of ``cut_at``.
        block_rows: of a block.
        block_channels: of a program.
    """
    lane = tl.program_id(2).to(tl.int64)
    begin = tl.program_id(0) * part
    channel = tl.program_id(1) * block_channels + tl.arange(0, block_channels)[None, :]
    total = tl.zeros((1, block_channels), dtype=tl.float32)
    for number in range(part // block_rows):
        row = begin + number * block_rows + tl.arange(0, block_rows)[:, None]
        inside = (row < rows) & (channel < channels)
        out = (lane * rows + row) * channels + channel
        at = _places_of(row, channel, lane, lanes, rows, places, channels, layout)
        grads = tl.load(grads_at + out, mask=inside, other=0.0)
        kept = tl.load(out_at + out, mask=inside, other=0.0)
        cut = tl.where(kept <= 0, 0.0, grads.to(tl.float32))
        tl.store(cut_at + at, cut.to(grads.dtype), mask=inside)
        total += tl.sum(cut, axis=0, keep_dims=True)
    sums = (lane * tl.num_programs(0) + tl.program_id(0)) * channels + channel
    tl.store(sums_at + sums, total, mask=channel < channels)


def part_of(rows: int) -> int:
    """Return how many rows of a lane one program sums."""
    return triton.cdiv(rows, ROWS) * ROWS if rows <= WHOLE else PART


def _sizes(out: Tensor) -> tuple[int, int, int, int]:
    """Return lanes, rows, places of an image, and channels of [K, B, …, channels]."""
    lanes, images, *size, channels = out.shape
    places = 1
    for each in size:
        places *= each
    return lanes, images * places, places, channels


def _in_memory(values: Tensor, layout: int) -> Tensor:
    """Return [K, B, …, channels] with its dimensions in the order of a layout."""
    if layout == CHANNELS_FIRST:
        return values.movedim(-1, 2).transpose(0, 1)
    return values.movedim(0, -2) if layout == SIDE_BY_SIDE else values


def _as_values(lying: Tensor, layout: int) -> Tensor:
    """Undo :func:`_in_memory`."""
    if layout == CHANNELS_FIRST:
        return lying.transpose(0, 1).movedim(2, -1)
    return lying.movedim(-2, 0) if layout == SIDE_BY_SIDE else lying


def _layout_of(values: Tensor) -> int | None:
    """Return the layout of [K, B, …, channels], ``None`` for none of these."""
    layouts = (ROW_BY_ROW, CHANNELS_FIRST, SIDE_BY_SIDE)
    return next((each for each in layouts if _in_memory(values, each).is_contiguous()), None)


@library.custom_op("indian_tune::bias_relu", mutates_args=())
def _bias_relu(values: Tensor, bias: Tensor, layout: int) -> Tensor:
    out = torch.empty_like(values, memory_format=torch.contiguous_format)
    lanes, rows, places, channels = _sizes(values)
    # Triton starts kernels on the present device, wherever the tensors are.
    with torch.cuda.device_of(values):  # type: ignore[no-untyped-call]
        bias_relu_kernel[triton.cdiv(rows, ROWS), triton.cdiv(channels, CHANNELS), lanes](
            *(values, bias, out, lanes, rows, places, channels, bias.stride(0)),
            layout=layout,
            block_rows=ROWS,
            block_channels=CHANNELS,
        )
    return out


@_bias_relu.register_fake
def _(values: Tensor, bias: Tensor, layout: int) -> Tensor:
    del bias, layout
    return torch.empty_like(values, memory_format=torch.contiguous_format)


@library.custom_op("indian_tune::bias_relu_backward", mutates_args=())
def _bias_relu_backward(grads: Tensor, out: Tensor, layout: int) -> tuple[Tensor, Tensor]:
    cut, sums = _results(grads, layout)
    lanes, rows, places, channels = _sizes(out)
    with torch.cuda.device_of(grads):  # type: ignore[no-untyped-call]
        bias_relu_backward_kernel[sums.shape[1], triton.cdiv(channels, CHANNELS), lanes](
            *(grads, out, cut, sums, lanes, rows, places, channels, part_of(rows)),
            layout=layout,
            block_rows=ROWS,
            block_channels=CHANNELS,
        )
    return cut, sums


@_bias_relu_backward.register_fake
def _(grads: Tensor, out: Tensor, layout: int) -> tuple[Tensor, Tensor]:
    del out
    return _results(grads, layout)


def _results(grads: Tensor, layout: int) -> tuple[Tensor, Tensor]:
    """Return empty gradients of the values, and empty sums [K, parts, channels]."""
    lanes, rows, _, channels = _sizes(grads)
    lying = _in_memory(grads, layout)
    cut = torch.empty_like(lying, memory_format=torch.contiguous_format)
    shape = (lanes, triton.cdiv(rows, part_of(rows)), channels)
    return _as_values(cut, layout), grads.new_empty(shape, dtype=torch.float32)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, _, ctx.layout = inputs
    ctx.save_for_backward(output)


def _backward(ctx: Any, grads: Tensor) -> tuple[Tensor, Tensor, None]:
    (out,) = ctx.saved_tensors
    cut, sums = _bias_relu_backward(grads.contiguous(), out, ctx.layout)
    return cut, sums[:, 0] if sums.shape[1] == 1 else sums.sum(1), None


_bias_relu.register_autograd(_backward, setup_context=_keep)


def bias_relu(values: Tensor, bias: Tensor) -> Tensor:
    """Add a bias and cut off what is negative.

    Args:
        values: [K, B, …, channels], in one of the layouts; what lies otherwise is copied first.
        bias: float32 [K, channels], with any distance between lanes.
    """
    layout = _layout_of(values)
    if layout is None:
        # Here and not within the operation, whose copies nothing would count.
        values, layout = values.contiguous(), ROW_BY_ROW
    out: Tensor = _bias_relu(values, bias, layout)
    return out
