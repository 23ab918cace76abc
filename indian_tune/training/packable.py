"""Decides whether runs can be packed, without computing anything."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from indian_tune.optim.families import get_family
from indian_tune.problems.task import get_task
from indian_tune.training.feed import Feed
from indian_tune.training.pack import Pack
from indian_tune.training.stacked_forward import LayerwiseForward, make_forward

if TYPE_CHECKING:
    from indian_tune.training.live import Setup
    from indian_tune.training.pack import PackSignature

CPU = torch.device("cpu")
# One could be computed where several cannot.
LANES = 2


class HostCopies(TorchDispatchMode):
    """Finds operations that take tensors of two devices, or move one.

    Such as a tensor that a network makes in its forward pass from a list of numbers: the host waits
    for the device meanwhile, which a captured step cannot.

    Attributes:
        found: name of the last one; ``None`` if there is none.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: str | None = None

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        """Compute an operation and look at its devices."""
        del types
        result = func(*args, **(kwargs or {}))
        moves = func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
        # A number in a tensor of the host is given to a kernel by value.
        devices = {
            each.device.type
            for each in tree_leaves((args, kwargs, result if moves else None))
            if isinstance(each, Tensor) and (moves or each.dim() > 0)
        }
        if len(devices) > 1:
            self.found = str(func)
        return result


def packing_fault(signature: PackSignature, setup: Setup, convolutions: str) -> str | None:
    """Return why runs can only be trained one by one, ``None`` if they can be packed.

    A step is taken with tensors that have a shape and no values. What fails later, on the device,
    is therefore a fault of the device.

    Args:
        signature: of the runs.
        setup: what they share.
        convolutions: see :func:`make_forward`.
    """
    family = signature.step.family
    if get_family(family).packed is None:
        return f"Runs of {family} are trained one by one: it has no step for several runs at once"
    problem, precision = setup.problem, setup.precision
    # Outside of the mode: a user's code may compute with its weights.
    network = problem.build_model(seed=0, dropout=signature.dropout).to(CPU, precision.dtype)
    part = problem.train.first(signature.batch_size)
    task, on_gpu = get_task(problem.task), setup.device.type == "cuda"
    layerwise = isinstance(make_forward(network, convolutions, part.inputs.dim()), LayerwiseForward)
    # A loss of the user's own may do what a captured step cannot.
    if layerwise and not (on_gpu and not task.shipped):
        return None
    # Loads SymPy, which takes a second.
    from torch._subclasses.fake_tensor import FakeTensorMode

    copies = HostCopies()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            feed = Feed(part, problem, CPU, precision.dtype)
            fake = replace(
                setup,
                problem=replace(problem, build_model=lambda **_: network),
                device=CPU,
                train=feed,
                train_metrics=feed,
                validation=None,
                test=feed,
            )
            pack = Pack(signature, LANES, fake, convolutions)
            pack.dry_run(1)
            pack.dry_measure()
            if on_gpu:
                with copies:
                    pack.dry_losses(setup.device)
    except Exception as error:  # noqa: BLE001 - a network may raise anything, and is then looped
        reason = str(error).strip().partition("\n")[0]
        alone = f"Runs of model {problem.model!r} are trained one by one: "
        if "random operation" in reason:
            return (
                f"{alone}its forward pass draws from torch's global generator, as "
                "torch.nn.Dropout does. Return indian_tune.problems.replace_dropout(network) from "
                "build_model, or use CounterDropout(rate, layer=…) in its place"
            )
        return f"{alone}torch cannot compute it for several at once: {reason}"
    if copies.found is not None:
        return (
            f"Runs of model {problem.model!r} are trained one by one: its forward pass or loss "
            f"copies from the CPU's memory ({copies.found}), which a captured step cannot. Keep "
            "such tensors as buffers of the network"
        )
    return None
