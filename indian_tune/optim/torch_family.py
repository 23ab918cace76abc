"""Any torch optimizer as a family, derived from its signature."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from indian_tune.errors import HyperparameterError, unknown_name
from indian_tune.optim.family import Family
from indian_tune.optim.hyperparameters import (
    CONSTANT_STEP,
    GAMMA0,
    SCHEDULE_PARAMETERS,
    Hyperparameter,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from indian_tune.optim.hyperparameters import Kind

__all__ = ["CLOSURE", "family_of", "torch_family"]

MODULE = "torch.optim"
# How a step is computed, not what it computes.
IMPLEMENTATION = frozenset({"capturable", "differentiable", "foreach", "fused", "maximize"})
TUPLES = frozenset({"tuple", "Tuple", "list", "List", "Sequence"})
# What an annotation names where the argument is no value that a study file can give.
OBJECTS = frozenset({"dict", "Dict", "Mapping", "Callable", "Iterable", "Module", "Optimizer"})
CLOSURE = "it needs a closure in every step, which computes the loss once more"
ONLY_MATRICES = "it accepts matrices only, but networks have biases"
MATRICES = f"{ONLY_MATRICES}: name it as matrices, and as rest an optimizer for all others"
NETWORK = "it needs the network, but gets its parameters only"
WRAPS = "it wraps another optimizer, which a study file cannot give"
UNFIT = {
    "LBFGS": CLOSURE,
    "Muon": MATRICES,
    "Optimizer": "it is the base class",
    "SparseAdam": "it accepts sparse gradients only",
}


def torch_family(name: str, *, matrices: bool = False) -> Family:
    """Return the family of ``torch.optim:Class``, see :func:`family_of`.

    Args:
        name: of the family.
        matrices: whether it gets matrices only.

    Raises:
        HyperparameterError: ``name`` is no optimizer of torch, or one that cannot be tuned.
    """
    class_name = name.partition(":")[2]
    classes = {
        key: value
        for key, value in vars(torch.optim).items()
        if inspect.isclass(value) and issubclass(value, torch.optim.Optimizer)
    }
    if class_name not in classes:
        raise HyperparameterError(
            unknown_name(f"optimizer of {MODULE}", class_name, classes.keys() - UNFIT.keys())
        )
    if class_name in UNFIT and not (matrices and UNFIT[class_name] == MATRICES):
        raise HyperparameterError(f"optimizer = {name!r} cannot be tuned: {UNFIT[class_name]}")
    own = family_of(name, classes[class_name])
    return replace(own, default_space={"gamma0": {"low": 1e-4, "high": 1.0, "log": True}})


def family_of(
    name: str, optimizer: type[torch.optim.Optimizer], *, key: str = "optimizer"
) -> Family:
    """Return the family of a class of optimizers.

    Every argument after the parameters is a hyperparameter under its own name, except ``lr``,
    which is ``gamma0``: a number, a truth value, a text or a tuple, as its default and its
    annotation say, and any of them if they say nothing. A pair such as ``betas`` is given whole or
    as ``beta1`` and ``beta2``. What else has a default, such as a function, keeps it.
    ``weight_decay`` is what the class takes it for. The intervals are unknown here, so a value out
    of range is refused by the class when it is built. A class with an argument ``decay_power`` sees
    to its schedule itself.

    Args:
        name: of the family.
        optimizer: the class.
        key: of the study file that names it, for messages.

    Raises:
        HyperparameterError: it cannot be built from parameters and numbers.
    """
    own: dict[str, Hyperparameter] = {}
    first, *parameters = inspect.signature(optimizer).parameters.values()
    if first.name == "model":
        raise HyperparameterError(f"{key} = {name!r} cannot be tuned: {NETWORK}")
    if "optimizer" in first.name:
        raise HyperparameterError(f"{key} = {name!r} cannot be tuned: {WRAPS}")
    for parameter in parameters:
        various = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if parameter.name in IMPLEMENTATION or various:
            continue
        found = {each.name: each for each in _read_off(parameter, name)}
        if not found and parameter.default is parameter.empty:
            reason = (
                WRAPS
                if "optimizer" in parameter.name
                else f"its argument {parameter.name} has no default and is not a number"
            )
            raise HyperparameterError(f"{key} = {name!r} cannot be tuned: {reason}")
        own |= found
    schedule = {each.name: each for each in SCHEDULE_PARAMETERS}
    unscheduled = ""
    averages = all(callable(getattr(optimizer, mode, None)) for mode in ("train", "eval"))
    if averages:
        unscheduled = "it averages the weights instead of using a schedule"
    elif taken := sorted(own.keys() & schedule):
        unscheduled = f"its own argument {taken[0]} has the name of a schedule argument"
    return Family(
        name,
        optimizer.__name__,
        {
            **({} if unscheduled else schedule),
            **own,
            "decay_power": own.get("decay_power", CONSTANT_STEP),
        },
        {},
        optimizer,
        schedules_itself="decay_power" in own,
        unscheduled=unscheduled,
        averages=averages,
    )


def _read_off(parameter: inspect.Parameter, owner: str) -> Iterator[Hyperparameter]:
    """Yield the hyperparameters of an argument: none if it is no value that a file can give."""
    name, default = parameter.name, parameter.default
    if name == "lr":
        yield GAMMA0
        return
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else str(annotation)
    words = set() if annotation is parameter.empty else set(re.findall(r"\w+", text))
    optional = default is None or not words.isdisjoint({"None", "Optional", "NoneType"})
    each = Hyperparameter(
        name,
        f"{name} of {owner.replace(':', '.')}",
        required=default is parameter.empty,
        optional=optional,
    )
    if isinstance(default, bool):
        yield replace(each, default=float(default), kind="bool")
    elif isinstance(default, (int, float)):
        whole = annotation in (int, "int") and float(default).is_integer()
        kind: Kind | None = "any" if words & {"str", "Literal"} else "int" if whole else "float"
        assert kind is not None
        yield replace(each, default=float(default), kind=kind)
    elif isinstance(default, str):
        yield replace(each, default=default, kind="text")
    elif isinstance(default, (tuple, list)):
        # An annotation may allow None in the tuple.
        each = replace(each, optional=False)
        numbers = bool(default) and all(isinstance(part, (int, float)) for part in default)
        if numbers:
            for place, part in enumerate(default, start=1):
                yield replace(
                    each,
                    name=f"{name.removesuffix('s')}{place}",
                    default=float(part),
                    argument=name,
                )
        # Some take tuples of two lengths.
        sized = numbers and len(re.findall(r"\btuple\b", text, re.IGNORECASE)) <= 1
        yield replace(each, kind="tuple", size=len(default) if sized else 0)
    elif default is None or default is parameter.empty:
        kind = _kind(words, name)
        if kind is not None:
            yield replace(each, kind=kind)


def _kind(words: set[str], name: str) -> Kind | None:
    """Return the kind of an argument without a default by its annotation, ``None`` for no value."""
    if words & OBJECTS or "optimizer" in name:
        return None
    if not words:
        return "any"
    if words & TUPLES:
        return "tuple"
    number, text = bool(words & {"float", "int"}), bool(words & {"str", "Literal"})
    if number or text:
        return "any" if number and text else "text" if text else "float"
    return "bool" if "bool" in words else None
