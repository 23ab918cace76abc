"""What a user's network must be and do before it is trained: with weights, and by these alone."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from indian_tune.errors import InputError
from indian_tune.imports import blamed
from indian_tune.problems.network_advice import warn
from indian_tune.problems.randomness import seeded_global_generator
from indian_tune.text import some

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "check_built",
    "check_repeats",
    "check_seeds",
    "check_trained",
    "graph_leaves",
    "same_values",
]

# Names of parameters that a message lists.
LISTED = 3


def check_built(built: Sequence[object], model: str, where: str) -> None:
    """Refuse networks whose weights are not there, are shared, or no function of the seed.

    Args:
        built: two networks of the same seed.
        model: their name.
        where: the key that names the problem, for the messages.

    Raises:
        InputError: they cannot be trained.
    """
    network, second = built
    if not isinstance(network, nn.Module) or not isinstance(second, nn.Module):
        raise InputError(
            f"{where}: its build_model must return a torch.nn.Module, got {type(network).__name__}"
        )
    _check_there(network, model, where)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise InputError(f"{where}: its model {model!r} has no parameters to train")
    if {id(each) for each in network.parameters()} & {id(each) for each in second.parameters()}:
        raise InputError(
            f"{where}: its build_model returns a network with the same parameters at every call, "
            "so trials would continue each other's training: create the network inside build_model"
        )
    if not _equal(network, second):
        raise InputError(
            f"{where}: its model {model!r} gets different weights when it is built twice "
            "with the same seed: draw them from torch's generator, or from one seeded with seed"
        )


def check_seeds(network: nn.Module, other: nn.Module, model: str, where: str) -> None:
    """Warn of a network whose weights are the same for every seed.

    Args:
        network: of a seed.
        other: of another one.
        model: their name.
        where: the key that names the problem, for the messages.
    """
    if _equal(network, other):
        warn(
            "%s: its model %r has the same weights for every seed, as a trained model has: if "
            "build_model draws them, remove torch.manual_seed from it, or runs of different seeds "
            "would be too alike",
            where,
            model,
        )


def _equal(network: nn.Module, other: nn.Module) -> bool:
    # A state may also hold what is no tensor, see `nn.Module.get_extra_state`.
    one, two = (
        {name: each for name, each in built.state_dict().items() if isinstance(each, Tensor)}
        for built in (network, other)
    )
    return one.keys() == two.keys() and all(
        same_values(each, two[name]) for name, each in one.items()
    )


def same_values(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors have the same values, or NaN in the same places."""
    if one.layout != torch.strided or other.layout != torch.strided:
        return one.layout == other.layout and same_values(one.to_dense(), other.to_dense())
    if torch.equal(one, other):
        return True
    if one.shape != other.shape:
        return False
    return bool(((one == other) | (one.isnan() & other.isnan())).all())


def _check_there(network: nn.Module, model: str, where: str) -> None:
    for layer in network.modules():
        for each in chain(layer.parameters(recurse=False), layer.buffers(recurse=False)):
            if is_lazy(each):
                raise InputError(
                    f"{where}: its model {model!r} has parameters without a shape "
                    f"({type(layer).__name__}): call it once with an example inside build_model"
                )
            if each.device.type != "cpu":
                raise InputError(
                    f"{where}: its model {model!r} has parameters on {each.device}: build it on "
                    "the CPU"
                )


def graph_leaves(outputs: Tensor) -> dict[int, Tensor] | None:
    """Return the tensors that a backward pass gives a gradient, by their identity.

    Args:
        outputs: of a network.

    Returns:
        ``None`` where the graph does not tell: a part of it is made in the backward pass.
    """
    found: dict[int, Tensor] = {}
    seen: set[object] = set()
    ahead = [outputs.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is None or node in seen:
            continue
        # Of torch.utils.checkpoint with use_reentrant=True.
        if node.name() == "CheckpointFunctionBackward":
            return None
        seen.add(node)
        leaf = getattr(node, "variable", None)
        if isinstance(leaf, Tensor):
            found[id(leaf)] = leaf
        ahead += [each for each, _ in node.next_functions]
    return found


def check_trained(
    network: nn.Module,
    leaves: Sequence[dict[int, Tensor] | None],
    inputs: Tensor,
    model: str,
    where: str,
) -> None:
    """Refuse a network that lacks parameters that it uses, and warn of those that it does not use.

    Args:
        network: which was given the inputs.
        leaves: of the outputs in training mode and in evaluation mode, see :func:`graph_leaves`.
        inputs: that it was given.
        model: its name.
        where: the key that names the problem, for the messages.

    Raises:
        InputError: it computes with what no optimizer would be given.
    """
    training, evaluation = leaves
    if training is None or evaluation is None:
        return
    names = {id(each): name for name, each in network.named_parameters() if each.requires_grad}
    for key, leaf in training.items():
        # A network may need gradients by its inputs, or by a tensor that it makes in each pass.
        lasting = isinstance(leaf, nn.Parameter) or (key in evaluation and leaf is not inputs)
        if key not in names and lasting:
            raise InputError(
                f"{where}: its model {model!r} computes with parameters that model.parameters() "
                f"does not contain (one of shape {list(leaf.shape)}), so they are not trained: "
                "keep layers in nn.ModuleList"
            )
    # A layer may be skipped at random in training mode.
    unused = [name for key, name in names.items() if key not in training.keys() | evaluation.keys()]
    if unused:
        warn(
            "%s: parameters of its model %r are not used by the forward pass, so they are not "
            "trained: %s",
            where,
            model,
            some(unused, LISTED),
        )


def check_repeats(
    network: nn.Module, other: nn.Module, inputs: Tensor, model: str, where: str
) -> None:
    """Warn of outputs that are not finite, or not a function of the inputs and the weights alone.

    Args:
        network: which was given the inputs in training mode.
        other: built in the same way; gets its weights.
        inputs: to compare the outputs for.
        model: name of the network.
        where: the key that names the problem, for the messages.

    Raises:
        InputError: the network cannot be evaluated without gradients, as the trainer does.
    """
    if any(type(layer).__name__ == "OptimizedModule" for layer in network.modules()):
        # torch.compile would take a minute more.
        return
    network.eval()
    with (
        torch.no_grad(),
        seeded_global_generator("problem"),
        blamed(where, f"evaluating its model {model!r}"),
    ):
        first, again = (network(inputs.clone()) for _ in range(2))
        finite, repeats = bool(first.isfinite().all()), _alike(first, again)
    if not finite:
        warn("%s: its model %r: its outputs are not finite before training", where, model)
    elif not repeats:
        warn(
            "%s: its model %r gives other outputs for the same inputs in eval mode, such as by "
            "functional.dropout without training=self.training, so results will not repeat",
            where,
            model,
        )
    elif _hidden_state(network, other, inputs, first):
        warn(
            "%s: its model %r: its outputs depend on something that is neither parameter nor "
            "buffer, which exported weights lack: use register_buffer",
            where,
            model,
        )


def _hidden_state(network: nn.Module, other: nn.Module, inputs: Tensor, outputs: Tensor) -> bool:
    try:
        other.load_state_dict(network.state_dict())
    except Exception:  # noqa: BLE001 - of the user's own network, which may not allow it
        return False
    try:
        with torch.no_grad(), seeded_global_generator("problem"):
            return not _alike(outputs, other.eval()(inputs.clone()))
    except Exception:  # noqa: BLE001 - what it lacks may be what the first has set in training
        return True


def _alike(one: Tensor, other: Tensor) -> bool:
    largest = float(one.abs().max())
    return one.shape == other.shape and torch.allclose(one, other, 1e-4, 1e-5 * largest)
