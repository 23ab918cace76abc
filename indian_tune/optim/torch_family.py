"""Any optimizer of torch's kind as a family, read off its signature."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from typing import Literal

import torch

from indian_tune.errors import HyperparameterError, unknown_name
from indian_tune.optim.family import Family
from indian_tune.optim.hyperparameters import (
    CONSTANT_STEP,
    GAMMA0,
    SCHEDULE_PARAMETERS,
    Hyperparameter,
)

__all__ = ["CLOSURE", "family_of", "torch_family"]

MODULE = "torch.optim"
# How a step is computed, not what it computes.
IMPLEMENTATION = frozenset({"capturable", "differentiable", "foreach", "fused", "maximize"})
# What an annotation names beside the numbers that it holds.
CONTAINERS = frozenset({"tuple", "Tuple", "list", "List", "Sequence", "dict", "Dict", "Callable"})
CLOSURE = "it needs a closure in every step, which computes the loss once more"
WRAPS = "it wraps another optimizer, and a study file cannot give it one"
UNFIT = {
    "LBFGS": CLOSURE,
    "Muon": "it takes matrices only, and networks have biases",
    "Optimizer": "it is the base class",
    "SparseAdam": "it takes sparse gradients only",
}


def torch_family(name: str) -> Family:
    """Return the family of ``torch.optim:Class``, see :func:`family_of`.

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
    if class_name in UNFIT:
        raise HyperparameterError(f"optimizer = {name!r} cannot be tuned: {UNFIT[class_name]}")
    own = family_of(name, classes[class_name])
    return replace(own, default_space={"gamma0": {"low": 1e-4, "high": 1.0, "log": True}})


def family_of(
    name: str, optimizer: type[torch.optim.Optimizer], *, key: str = "optimizer"
) -> Family:
    """Return the family of a class of optimizers.

    Every argument after the parameters is a hyperparameter under its own name if its default is a
    number or a truth value, or ``None`` where its annotation says that a number may be given, or if
    it has none; except ``lr``, which is ``gamma0``. A pair such as ``betas`` gives ``beta1`` and
    ``beta2``. What else has a default, such as a text, keeps it. ``weight_decay`` is what the class
    takes it for. The intervals are unknown here, so a value out of range is refused by the class
    when it is built. A class with an argument ``decay_power`` sees to its schedule itself.

    Args:
        name: of the family.
        optimizer: the class.
        key: of the study file that names it, for messages.

    Raises:
        HyperparameterError: it cannot be built from parameters and numbers.
    """
    own: dict[str, Hyperparameter] = {}
    first, *parameters = inspect.signature(optimizer).parameters.values()
    if "optimizer" in first.name:
        raise HyperparameterError(f"{key} = {name!r} cannot be tuned: {WRAPS}")
    for parameter in parameters:
        argument, default = parameter.name, parameter.default
        various = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if argument in IMPLEMENTATION or various:
            continue
        if argument == "lr":
            own["gamma0"] = GAMMA0
        elif isinstance(default, tuple) and all(isinstance(part, (int, float)) for part in default):
            for place, part in enumerate(default, start=1):
                each = _hyperparameter(f"{argument.removesuffix('s')}{place}", float(part), name)
                own[each.name] = replace(each, argument=argument)
        elif isinstance(default, (bool, int, float)):
            whole = parameter.annotation in (int, "int") and float(default).is_integer()
            own[argument] = _hyperparameter(argument, default, name, whole=whole)
        elif default is parameter.empty:
            if not _is_number(parameter):
                reason = (
                    WRAPS
                    if "optimizer" in argument
                    else (f"its argument {argument} has no default and is no number")
                )
                raise HyperparameterError(f"{key} = {name!r} cannot be tuned: {reason}")
            own[argument] = _hyperparameter(argument, None, name)
        elif (
            default is None
            and parameter.annotation is not parameter.empty
            and _is_number(parameter)
        ):
            own[argument] = Hyperparameter(argument, f"{argument} of {name}")
    schedule = {each.name: each for each in SCHEDULE_PARAMETERS}
    unscheduled = ""
    if all(callable(getattr(optimizer, mode, None)) for mode in ("train", "eval")):
        unscheduled = "it averages the weights in place of a schedule"
    elif taken := sorted(own.keys() & schedule):
        unscheduled = f"its own argument {taken[0]} has the name of a schedule's"
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
    )


def _is_number(parameter: inspect.Parameter) -> bool:
    """Whether an argument may be a number: one without an annotation is taken for one."""
    if parameter.annotation is parameter.empty:
        return "optimizer" not in parameter.name
    kind = parameter.annotation
    words = set(re.findall(r"\w+", kind if isinstance(kind, str) else str(kind)))
    return bool(words & {"float", "int", "bool"}) and not words & CONTAINERS


def _hyperparameter(
    name: str, default: float | bool | None, owner: str, *, whole: bool = False
) -> Hyperparameter:
    kind: Literal["float", "int", "bool"] = "int" if whole else "float"
    if isinstance(default, bool):
        kind = "bool"
    description = f"{name} of {owner.replace(':', '.')}"
    if default is None:
        return Hyperparameter(name, description, required=True)
    return Hyperparameter(name, description, float(default), kind=kind)
