"""Decides whether runs can be packed, without computing anything."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from indian_tune.optim.families import get_family
from indian_tune.training.feed import Feed
from indian_tune.training.pack import Pack
from indian_tune.training.stacked_forward import LayerwiseForward, make_forward

if TYPE_CHECKING:
    from indian_tune.training.live import Setup
    from indian_tune.training.pack import PackSignature

CPU = torch.device("cpu")
# One could be computed where several cannot.
LANES = 2


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
    if isinstance(make_forward(network, convolutions, part.inputs.dim()), LayerwiseForward):
        return None
    # Loads SymPy, which takes a second.
    from torch._subclasses.fake_tensor import FakeTensorMode

    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            feed = Feed(part, problem, CPU, precision.dtype)
            alone = replace(
                setup,
                problem=replace(problem, build_model=lambda **_: network),
                device=CPU,
                train=feed,
                train_metrics=feed,
                validation=None,
                test=feed,
            )
            pack = Pack(signature, LANES, alone, convolutions)
            pack.dry_run(1)
            pack.dry_measure()
    except Exception as error:  # noqa: BLE001 - a network may raise anything, and is then looped
        reason = str(error).strip().partition("\n")[0]
        return (
            f"Runs of model {problem.model!r} are trained one by one: torch cannot compute it for "
            f"several at once: {reason}"
        )
    return None
