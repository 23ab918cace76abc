"""What to change where a user's network cannot be built as the trainer does, or take its inputs."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from contextlib import contextmanager
from multiprocessing import parent_process
from typing import TYPE_CHECKING

import torch
from torch import nn

from indian_tune.errors import InputError
from indian_tune.problems.models import dropout_layers
from indian_tune.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

__all__ = ["channel_advice", "check_call", "check_masks", "dtype_advice", "warn"]

log = logging.getLogger(__name__)


def warn(message: str, *values: object) -> None:
    """Warn of a network, except in a worker: the command that started it has done so."""
    if parent_process() is None:
        log.warning(message, *values)


def check_call(build: Callable[..., object], where: str) -> None:
    """Refuse what takes other arguments than a network's, such as the network's class itself.

    Args:
        build: ``build_model`` of a problem.
        where: the key that names the problem, for the message.

    Raises:
        InputError: it cannot be called with ``seed`` and ``dropout``.
    """
    if isinstance(build, nn.Module):
        raise InputError(
            f"{where}: its build_model is a network: give a function that builds one, "
            "`lambda seed, dropout: Net()`"
        )
    try:
        taken = inspect.signature(build)
    except (TypeError, ValueError):
        # Of what is written in C, only the call itself tells.
        return
    try:
        taken.bind(seed=0, dropout=0.0)
    except TypeError as error:
        name = getattr(build, "__name__", "")
        needed = any(
            each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
            for each in taken.parameters.values()
        )
        call = f"{name if name.isidentifier() else 'Net'}({'…' if needed else ''})"
        raise InputError(
            f"{where}: its build_model is called with seed= and dropout=, which it does not take "
            f"({error}): write `lambda seed, dropout: {call}`"
        ) from error


def channel_advice(network: nn.Module, inputs: Tensor) -> str:
    """Return how to give inputs the axis of channels that convolutions take, where they lack it.

    Args:
        network: which could not take them.
        inputs: [N, ...].
    """
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    layer = next((each for each in network.modules() if isinstance(each, convolutions)), None)
    if layer is None:
        return ""
    axes = len(layer.kernel_size) + 2
    shape = ["N", *map(str, inputs.shape[1:])]
    given = f"[{', '.join(shape)}]"
    if inputs.dim() == axes - 1:
        return (
            f". Its inputs of shape {given} have no axis of channels, which the network's "
            f"{type(layer).__name__} needs: give it [N, 1, {', '.join(shape[1:])}], by "
            "inputs.unsqueeze(1)"
        )
    channels = layer.in_channels
    if inputs.dim() == axes and inputs.shape[-1] == channels != inputs.shape[1]:
        return (
            f". Its inputs of shape {given} have their channels last, but the network's "
            f"{type(layer).__name__} takes them first: give it [N, {channels}, "
            f"{', '.join(shape[1:-1])}], by inputs.movedim(-1, 1)"
        )
    return ""


def dtype_advice(network: nn.Module) -> str:
    """Return which floating point parameters must have, where a network has other ones.

    Args:
        network: which could not take inputs of float32.
    """
    found = (each.dtype for each in network.parameters() if each.is_floating_point())
    other = next((each for each in found if each != torch.float32), None)
    if other is None:
        return ""
    name = str(other).removeprefix("torch.")
    return f". Its parameters are {name}: build_model must return float32"


@contextmanager
def check_masks(network: nn.Module, where: str) -> Iterator[None]:
    """Refuse dropout layers of equal masks, and warn of one that is applied more than once.

    Args:
        network: is given inputs within the block, in training mode once.
        where: the key that names the problem, for the messages.

    Raises:
        InputError: two layers have the same number.
    """
    names = {layer: name for name, layer in network.named_modules()}
    numbers: dict[int, str] = {}
    for layer in dropout_layers(network):
        if layer.layer in numbers:
            raise InputError(
                f"{where}: its dropout layers {numbers[layer.layer]!r} and {names[layer]!r} both "
                f"have layer = {layer.layer}, so their masks would be the same: give each a number "
                "of its own"
            )
        numbers[layer.layer] = names[layer]
    applied: Counter[nn.Module] = Counter()

    def count(layer: nn.Module, *_: object) -> None:
        applied[layer] += layer.training

    hooks = [layer.register_forward_hook(count) for layer in dropout_layers(network)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
    for repeated, times in applied.items():
        if times > 1:
            warn(
                "%s: its dropout layer %r is applied %s in one forward pass, each time with the "
                "same mask. For other masks create a layer for each place",
                where,
                names[repeated],
                counted(times, "time"),
            )
