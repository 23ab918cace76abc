"""Compares the package's kernels, on the GPU that is to run them, with the operations of torch."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from indian_tune.optim.families import FAMILIES
from indian_tune.optim.kernel_choice import kernels_assumed, leave_aside, uses_kernels
from indian_tune.optim.stacked import StackedOptimizer, StepSignature
from indian_tune.problems.models import build_model
from indian_tune.training.capture import on_capture_stream
from indian_tune.training.memory import is_out_of_memory
from indian_tune.training.precision import Precision
from indian_tune.training.stacked_forward import (
    CONVOLUTIONS,
    VmappedForward,
    drawing_layers,
    make_forward,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

log = logging.getLogger(__name__)

# So many images that several programs sum a bias's gradient, and numbers for several blocks.
LANES, IMAGES, SIZE = 2, 64, 3000
DECAYS: Mapping[str, Mapping[str, float]] = {
    "": {},
    " with weight decay": {"weight_decay": 0.1},
    " with coupled weight decay": {"weight_decay": 0.1, "decoupled_weight_decay": 0.0},
}
# The way of networks of any kind.
VMAP = "vmap"
# Of the largest number: sums are taken in another order, in bfloat16 after other roundings.
TOLERANCES = {"float32": 1e-3, "bfloat16": 0.1}


def kernel_fault(device: torch.device) -> str | None:
    """Return how a kernel differs from torch on a device; ``None`` if all agree.

    Args:
        device: with a Triton that starts there.

    Raises:
        RuntimeError: the memory does not suffice to compare them, or nothing can be computed on the
            device any more.
    """
    try:
        # On the stream of all captures: for another one cuBLAS would keep more memory.
        with on_capture_stream(device):
            return next(_differences(device), None)
    except Exception as error:
        # Triton raises anything, while it compiles as well.
        if is_out_of_memory(error) or isinstance(error, torch.AcceleratorError):
            raise
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


_compared: set[torch.device] = set()


def require_kernels(device: torch.device) -> None:
    """Compare the kernels with torch once in this process, and leave them aside if they differ.

    Where the memory does not suffice, as while another program uses it, the next call does it.

    Args:
        device: a GPU that packs are to be trained on.
    """
    if device in _compared or not uses_kernels(torch.empty(0, device=device)):
        return
    try:
        fault = kernel_fault(device)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        log.info("not enough memory to compare the kernels with torch: %s", error)
        return
    _compared.add(device)
    if fault is not None:
        leave_aside(fault)


def _differences(device: torch.device) -> Iterator[str]:
    for name, tolerance, pair in _pairs(device):
        for one, other in zip(*pair, strict=True):
            difference = float((one - other).abs().max() / other.abs().max())
            # What is not a number differs as well.
            if not difference <= tolerance:
                yield f"{name} differs from torch's by {difference:.2g} of its largest value"


def _pairs(device: torch.device) -> Iterator[tuple[str, float, list[list[Tensor]]]]:
    """Compute everything by kernels, then by torch: a name, a tolerance and both results."""
    rules: dict[str, str] = {}
    for name, known in FAMILIES.items():
        if known.packed is not None and known.packed.rule:
            rules.setdefault(known.packed.rule, name)
    for family in rules.values():
        # The kernel of a family is another one for every kind of weight decay.
        for title, extra in DECAYS.items():
            pair = [_stepped(family, extra, device, kernels=kernels) for kernels in (True, False)]
            yield f"the step of {family}{title}", TOLERANCES["float32"], pair
    for name, tolerance in TOLERANCES.items():
        for way in (*CONVOLUTIONS, VMAP):
            pair = [
                _gradients(Precision(name), way, device, kernels=kernels)
                for kernels in (True, False)
            ]
            yield f"a network in {name}, computed by {way},", tolerance, pair


def _stepped(
    family: str, extra: Mapping[str, float], device: torch.device, *, kernels: bool
) -> list[Tensor]:
    """Return parameters and states after two steps."""
    source = torch.Generator().manual_seed(0)
    params, *grads = torch.randn(3, LANES, SIZE, generator=source).to(device)
    known = FAMILIES[family]
    required = {name: 0.1 for name, each in known.hyperparameters.items() if each.required}
    known_extra = {name: each for name, each in extra.items() if name in known.hyperparameters}
    config = known.complete({**required, **known_extra})
    optimizer = StackedOptimizer(StepSignature.of(family, config), params)
    for lane in range(LANES):
        optimizer.set_row(lane, config, 0)
    with kernels_assumed(kernels):
        for grad in grads:
            optimizer.step(grad)
    return [params, *optimizer.states.values()]


def _gradients(
    precision: Precision, way: str, device: torch.device, *, kernels: bool
) -> list[Tensor]:
    """Return logits and gradients of a small network."""
    network = build_model("nin-small", seed=0, dropout=0.5, classes=10, channels=3, size=8)
    source = torch.Generator().manual_seed(0)
    images = torch.randn(LANES, IMAGES, 8, 8, 3, generator=source).to(device)
    shape = (len(drawing_layers(network.train())), 2, LANES, 1)
    keys = torch.randint(2**31, shape, dtype=torch.int32, generator=source).to(device)
    parameters = {
        name: torch.stack([each.detach().to(device)] * LANES).requires_grad_()
        for name, each in network.named_parameters()
    }
    with kernels_assumed(kernels), precision.arithmetic(device):
        with precision.forward(device):
            forward = VmappedForward(network) if way == VMAP else make_forward(network, way)
            logits = forward(parameters, {}, images, keys)
        loss = logits.float().logsumexp(2).sum()
        grads = torch.autograd.grad(loss, list(parameters.values()))
    return [logits.detach().float(), *grads]
