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
from indian_tune.optim.stacked import StackedOptimizer, StepSignature
from indian_tune.problems.models import CounterDropout
from indian_tune.problems.randomness import keep_threshold, stream_key
from indian_tune.training import mask_kernel

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
    masked = mask_kernel.mask(values, first, second, keep_threshold(0.3), 1 / 0.7)
    expected = values * layer.multiplier(values, tuple(values.shape[1:]), (first, second))
    (one,) = torch.autograd.grad((masked * weights).sum(), values)
    (other,) = torch.autograd.grad((expected * weights).sum(), values)
    return {
        "values": _same(masked, expected),
        "gradients": _same(one, other),
        "some are dropped": 0.2 < float((masked == 0).float().mean()) < 0.4,
    }


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
    types = ("*fp32", "*fp32", "*i32", "*i32", "i32", "i32", "fp32", "constexpr")
    source = ASTSource(
        fn=mask_kernel.mask_kernel,
        signature=dict(zip(names, types, strict=True)),
        constexprs={(7,): mask_kernel.BLOCK},
    )
    sizes["mask"] = len(triton.compile(source, target=target).asm["cubin"])
    return sizes


def main() -> None:
    """Print what is found."""
    if os.environ.get("TRITON_INTERPRET"):
        json.dump(
            {
                "distances": distances(),
                "masks": {str(each): masks(each) for each in (torch.float32, torch.bfloat16)},
            },
            sys.stdout,
            indent=1,
        )
    else:
        json.dump({"compiled": compiled()}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
