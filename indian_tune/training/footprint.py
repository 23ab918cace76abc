"""Memory of a run, counted without measuring a device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from indian_tune.optim.families import get_family
from indian_tune.optim.own_family import set_mode
from indian_tune.problems.models import dropout_layers
from indian_tune.problems.task import get_task
from indian_tune.training.feed import IMAGE_RANK
from indian_tune.training.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import Tensor

    from indian_tune.problems.problem import ModelBuilder
    from indian_tune.problems.task import Task

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Footprint:
    """Bytes that a run holds in a training step; allocators and temporary results come on top.

    Attributes:
        parameters: of the network.
        gradients: of the parameters.
        optimizer: its state, and the average of the weights.
        activations: what the forward pass keeps for the backward pass, inputs included.
    """

    parameters: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """Sum of the parts."""
        return self.parameters + self.gradients + self.optimizer + self.activations


def footprint(
    build_model: ModelBuilder,
    *,
    shape: tuple[int, ...],
    whole: bool = False,
    family: str,
    config: Mapping[str, float],
    batch_size: int,
    dropout: float,
    averages: bool = False,
    precision: str = "float32",
    task: Task | str = "classification",
    labels: Tensor | None = None,
) -> Footprint:
    """Take one training step on blank inputs on the CPU, and count what it keeps.

    Args:
        build_model: makes the network.
        shape: of an input: channels, height and width of an image, features of a table.
        whole: whether inputs are int64, which stay as they are.
        family: name of the optimizer's family.
        config: of the optimizer.
        batch_size: inputs of the step.
        dropout: rate.
        averages: whether it keeps an average of the weights.
        precision: of the arithmetic, as the trainer names it.
        task: what is learned.
        labels: of one example, [1, …]; a class by default.
    """
    arithmetic = Precision(precision)
    model = build_model(seed=0, dropout=dropout).to(CPU, arithmetic.dtype)
    parameters = list(model.parameters())
    known = get_family(family)
    optimizer, _ = known.build(parameters, known.with_steps(config, 1))
    for layer in dropout_layers(model):
        layer.seek(0, 0)
    kept: dict[int, int] = {}
    own = {parameter.untyped_storage().data_ptr() for parameter in parameters}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    inputs = torch.zeros(batch_size, *shape, dtype=torch.int64 if whole else arithmetic.dtype)
    if inputs.dim() == IMAGE_RANK:
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    one = torch.zeros(1, dtype=torch.int64) if labels is None else labels
    targets = one[:1].repeat(batch_size, *[1] * (one.dim() - 1))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        arithmetic.forward(CPU),
    ):
        loss = get_task(task).loss(model(inputs), targets)
    loss.backward()  # type: ignore[no-untyped-call]
    set_mode(optimizer, training=True)
    optimizer.step()
    states = [
        value
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    ]
    return Footprint(
        parameters=_bytes(parameters),
        gradients=_bytes(each.grad for each in parameters if each.grad is not None),
        optimizer=_bytes(states) + averages * _bytes(parameters),
        activations=sum(kept.values()),
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
