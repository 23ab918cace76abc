"""The package's kernels, in Triton's interpreter or compiled for a GPU that is not there.

    TRITON_INTERPRET=1 python -m tests.training.kernels
    python -m tests.training.kernels

Prints JSON: how far each kernel is from its specification in torch, or what it is compiled to. In
processes of their own, as Triton decides once whether it interprets.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import torch

from indian_tune.optim import FAMILIES, get_family, packed_kernel
from indian_tune.optim import stacked as stacking
from indian_tune.optim.kernel_choice import kernels_assumed
from indian_tune.optim.stacked import StackedOptimizer, StepSignature
from indian_tune.problems import mask_kernel
from indian_tune.problems.models import CounterDropout, build_model
from indian_tune.problems.randomness import keep_threshold, stream_key
from indian_tune.training import bias_kernel, kernel_check, stacked_forward

ROWS, SIZE, STEPS = 3, 1500, 4
EXTRAS: dict[str, dict[str, float]] = {
    "none": {},
    "decoupled": {"weight_decay": 0.1, "decoupled_weight_decay": 1.0},
    "coupled": {"weight_decay": 0.1, "decoupled_weight_decay": 0.0},
    "start": {"initial_velocity": 0.05},
}


def config_of(family: str, extra: dict[str, float], row: int) -> dict[str, Any]:
    """Return a complete configuration, another one for every row."""
    known = get_family(family)
    config = {
        name: (0.05 if each.default is None else float(each.default)) * (1 + row / 10)
        for name, each in known.hyperparameters.items()
        if each.required
    }
    config |= {name: value for name, value in extra.items() if name in known.hyperparameters}
    return known.complete(config)


def stepped(family: str, extra: dict[str, float], *, kernels: bool) -> list[torch.Tensor]:
    """Return parameters and states after some steps, with one lane broken at last."""
    stacking.uses_kernels = lambda _: kernels  # type: ignore[assignment,attr-defined]
    source = torch.Generator().manual_seed(1)
    params = torch.randn(ROWS, SIZE, generator=source)
    configs = [config_of(family, extra, row) for row in range(ROWS)]
    optimizer = StackedOptimizer(StepSignature.of(family, configs[0]), params)
    for row, config in enumerate(configs):
        optimizer.set_row(row, config, 0)
    for number in range(STEPS):
        grads = torch.randn(ROWS, SIZE, generator=source)
        if number == STEPS - 1:
            grads[1] = float("nan")
        optimizer.step(grads)
    return [params, *optimizer.states.values()]


def distances() -> dict[str, float]:
    """Return how far each family's kernel is from its packed step at most, in the sound rows."""
    found = {}
    for family, known in FAMILIES.items():
        for title, extra in EXTRAS.items():
            if known.packed is None or extra.keys() - known.hyperparameters.keys():
                continue
            pairs = zip(
                stepped(family, extra, kernels=True),
                stepped(family, extra, kernels=False),
                strict=True,
            )
            found[f"{family}, {title}"] = max(
                float((one - other)[[0, 2]].abs().max() / other[[0, 2]].abs().max())
                for one, other in pairs
            )
    return found


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether numbers are equal; of bfloat16 nearly, as the interpreter cuts where GPUs round."""
    if one.dtype == torch.float32:
        return torch.equal(one, other)
    return torch.allclose(one, other, rtol=2**-7, atol=0.0)


def masks(dtype: torch.dtype) -> dict[str, bool]:
    """Return whether masked values and their gradients are those of torch."""
    layer = CounterDropout(0.3, layer=2)
    seeds, steps = torch.tensor([5, 2**40, 7]), torch.tensor([0, 9, 2**31])
    first, second = stream_key(seeds, steps, layer.layer)
    assert isinstance(first, torch.Tensor)
    assert isinstance(second, torch.Tensor)
    values = torch.randn(3, 4, 5, 5, 16, dtype=dtype).requires_grad_()
    weights = torch.randn_like(values)
    masked = mask_kernel.mask(values, first, second, keep_threshold(0.3), 1 / 0.7, False)
    expected = values * layer.multiplier(values, tuple(values.shape[1:]), (first, second))
    (one,) = torch.autograd.grad((masked * weights).sum(), values)
    (other,) = torch.autograd.grad((expected * weights).sum(), values)
    return {
        "values": _same(masked, expected),
        "gradients": _same(one, other),
        "some are dropped": 0.2 < float((masked == 0).float().mean()) < 0.4,
    }


def biased(dtype: torch.dtype, rows: int, layout: int) -> dict[str, bool]:
    """Return whether values with a bias, cut off below 0, and their gradients are those of torch.

    Args:
        dtype: of the values.
        rows: images of each lane, of 6 places and 5 channels.
        layout: of the values.
    """
    source = torch.Generator().manual_seed(2)
    values = torch.randn(2, rows, 2, 3, 5, dtype=dtype, generator=source)
    values = bias_kernel._as_values(bias_kernel._in_memory(values, layout).contiguous(), layout)
    assert bias_kernel._layout_of(values) == layout
    values[0, 1, 0, 2, 3] = float("nan")
    values.requires_grad_()
    # A view with a distance between lanes, as parameters are.
    bias = torch.randn(2, 16, generator=source)[:, :5].requires_grad_()
    weights = torch.randn(values.shape, generator=source).to(dtype)
    found = bias_kernel.bias_relu(values, bias)
    expected = (values.float() + bias.view(2, 1, 1, 1, 5)).relu().to(dtype)
    one = torch.autograd.grad(found, [values, bias], weights)
    other = torch.autograd.grad(expected, [values, bias], weights)
    return {
        "values": _same(found.nan_to_num(nan=7.0), expected.nan_to_num(nan=7.0)),
        "what is not a number": bool(found[0, 1, 0, 2, 3].isnan())
        and int(found.isnan().sum()) == 1,
        "contiguous": found.is_contiguous(),
        "gradients": _same(one[0], other[0]),
        "as the values": one[0].stride() == values.stride(),
        "bias": torch.allclose(one[1], other[1], rtol=1e-5, atol=1e-4),
    }


def networks(way: str) -> float:
    """Return how far logits and gradients of networks by kernels are from those of torch.

    Args:
        way: of convolving, or ``vmap``.
    """
    network = build_model("nin-small", seed=0, dropout=0.5, classes=10, channels=3, size=8)
    forward: Any = stacked_forward.VmappedForward(network)
    if way != "vmap":
        forward = stacked_forward.make_forward(network, way)
    source = torch.Generator().manual_seed(3)
    images = torch.randn(2, 2, 8, 8, 3, generator=source)
    layers = stacked_forward.drawing_layers(network)
    keys = torch.randint(-(2**31), 2**31, (len(layers), 2, 2, 1), generator=source)
    results = []
    for kernels in (True, False):
        parameters = {
            name: torch.stack([each.detach()] * 2).requires_grad_()
            for name, each in network.named_parameters()
        }
        with kernels_assumed(kernels):
            logits = forward(parameters, {}, images, keys.int())
        grads = torch.autograd.grad(logits.square().sum(), list(parameters.values()))
        results.append([logits.detach(), *grads])
    # What else is copied before it is gathered; how a convolution leaves its own is not known.
    assert way != "matmul" or all(each.is_contiguous() for each in results[0])
    pairs = zip(*results, strict=True)
    return max(float((one - other).abs().max() / other.abs().max()) for one, other in pairs)


def checks() -> dict[str, str | None]:
    """Return what the check of a GPU finds, as they are and with a fault in one of them."""
    device = torch.device("cpu")
    # The interpreter is slow.
    kernel_check.IMAGES = 4
    found = {"none": kernel_check.kernel_fault(device)}
    for module, name, wrong in (
        (packed_kernel, "packed_step", lambda *_: None),
        (mask_kernel, "mask", lambda values, *_: values),
        (bias_kernel, "bias_relu", lambda values, bias: values + bias[:, None, None, None]),
        (bias_kernel, "_bias_relu", lambda *_: 1 / 0),
    ):
        right = getattr(module, name)
        setattr(module, name, wrong)
        found[name] = kernel_check.kernel_fault(device)
        setattr(module, name, right)
    return found


def compiled() -> dict[str, int]:
    """Compile every kernel for an H100 and return the sizes of their machine code."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    target = GPUTarget("cuda", 90, 32)
    names = list(packed_kernel.step_kernel.arg_names)
    pointers = dict.fromkeys(names[:5], "*fp32") | dict.fromkeys(names[6:8], "i32")
    sizes = {}
    for rule in range(len(packed_kernel.RULES)):
        for decay in range(len(packed_kernel.DECAYS)):
            values = (rule, decay, 9, False, packed_kernel.BLOCK)
            pointers["step_at"] = "*i64"
            source = ASTSource(
                fn=packed_kernel.step_kernel,
                signature=pointers | dict.fromkeys(names[8:], "constexpr"),
                constexprs={(8 + place,): value for place, value in enumerate(values)},
            )
            code = triton.compile(source, target=target).asm["cubin"]
            sizes[f"{packed_kernel.RULES[rule]}, {packed_kernel.DECAYS[decay]}"] = len(code)
    names = list(mask_kernel.mask_kernel.arg_names)
    types = ("*fp32", "*fp32", "*i32", "*i32", *["i32"] * 4, "fp32", "constexpr", "constexpr")
    for first in (False, True):
        source = ASTSource(
            fn=mask_kernel.mask_kernel,
            signature=dict(zip(names, types, strict=True)),
            constexprs={(9,): first, (10,): mask_kernel.BLOCK},
        )
        sizes[f"mask, {first}"] = len(triton.compile(source, target=target).asm["cubin"])
    for kernel, numbers in (
        (bias_kernel.bias_relu_kernel, ("*bf16", "*fp32", "*bf16", *["i32"] * 5)),
        (bias_kernel.bias_relu_backward_kernel, (*["*bf16"] * 3, "*fp32", *["i32"] * 5)),
    ):
        for layout in range(3):
            constants = (layout, bias_kernel.ROWS, bias_kernel.CHANNELS)
            source = ASTSource(
                fn=kernel,
                signature=dict(zip(kernel.arg_names, (*numbers, *["constexpr"] * 3), strict=True)),
                constexprs={(len(numbers) + place,): each for place, each in enumerate(constants)},
            )
            code = triton.compile(source, target=target).asm["cubin"]
            sizes[f"{kernel.__name__}, {layout}"] = len(code)
    return sizes


def main() -> None:
    """Print what is found."""
    if os.environ.get("TRITON_INTERPRET"):
        json.dump(
            {
                # Before the others, which decide for themselves what is used.
                "checks": checks(),
                "distances": distances(),
                "biases": {
                    f"{dtype}, {rows}, {layout}": biased(dtype, rows, layout)
                    for dtype in (torch.float32, torch.bfloat16)
                    for rows in (3, 400)
                    for layout in range(3)
                },
                "networks": {way: networks(way) for way in (*stacked_forward.CONVOLUTIONS, "vmap")},
                "masks": {str(each): masks(each) for each in (torch.float32, torch.bfloat16)},
            },
            sys.stdout,
            indent=1,
        )
    else:
        json.dump({"compiled": compiled()}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
