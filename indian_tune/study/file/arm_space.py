"""The optimizer and the space of an arm: written out, and checked against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indian_tune.errors import InputError, StudyFileError, nearest
from indian_tune.optim.families import get_family
from indian_tune.optim.shape_family import named_by_shape
from indian_tune.study.file import space as spaces
from indian_tune.study.file.parameters import TRAINING_PARAMETERS

if TYPE_CHECKING:
    from indian_tune.optim.family import Family

__all__ = ["check_parameter", "with_whole_space"]


def with_whole_space(arm: Any, n: int) -> Any:
    """Return an arm as a study file gives it with its optimizer's name and its whole space.

    Args:
        arm: a table of the file, valid or not.
        n: its place, from 1.

    Raises:
        StudyFileError: the optimizer is not known.
    """
    arm = _by_shape(arm, n)
    if not isinstance(arm, dict) or not isinstance(arm.get("optimizer"), str):
        return arm
    given = arm.get("space", {})
    if not isinstance(given, dict):
        return arm
    try:
        family = get_family(arm["optimizer"])
    except InputError as error:
        raise StudyFileError(f"arms[{n}].optimizer: {error}") from error
    whole = any(arm.get(key) for key in ("fixed", "matched_rate_of", "response_of"))
    return {**arm, "space": {**({} if whole else family.default_space), **given}}


def _by_shape(arm: Any, n: int) -> Any:
    """Give an arm whose optimizers are given by shape their common name."""
    if not isinstance(arm, dict) or not {"matrices", "rest"} & arm.keys():
        return arm
    given = {key: arm[key] for key in ("matrices", "rest", "optimizer") if key in arm}
    names = [given.get(key) for key in ("matrices", "rest")]
    if "optimizer" in given or not all(isinstance(each, str) for each in names):
        raise StudyFileError(
            f"arms[{n}] has {', '.join(f'{key} = {each!r}' for key, each in given.items())}: give "
            "matrices and rest, the names of two optimizers, or optimizer alone"
        )
    rest = {key: value for key, value in arm.items() if key not in given}
    return {**rest, "optimizer": named_by_shape(*map(str, names))}


def check_parameter(family: Family, name: str, parameter: spaces.Parameter, where: str) -> None:
    """Refuse a hyperparameter that the family does not have, or values that it cannot take.

    Args:
        family: of the arm.
        name: of the hyperparameter.
        parameter: what the space holds for it.
        where: its key in the study file, for messages.

    Raises:
        StudyFileError: the message names the key, the value and what is allowed.
    """
    if name in TRAINING_PARAMETERS or (
        name in family.hyperparameters and family.hyperparameters[name].numeric
    ):
        spaces.require_numbers(parameter, where)
    low, high = spaces.bounds(parameter)
    if name == "batch_size":
        whole = all(value == int(value) for value in (low, high))
        if low < 1 or not whole or (isinstance(parameter, spaces.Range) and not parameter.integer):
            raise StudyFileError(
                f"{where} must be whole numbers of at least 1: use a list, or a range with a "
                "whole step"
            )
        return
    if name == "dropout":
        if not 0 <= low <= high < 1:
            raise StudyFileError(f"{where} must be in [0, 1), got {low!r} … {high!r}")
        return
    if name == "ema_decay" and high > 0 and family.averages:
        raise StudyFileError(
            f"{where} is not used by {family.name}, which averages the weights itself: remove "
            f"{name}"
        )
    try:
        hyperparameter = TRAINING_PARAMETERS.get(name) or family.hyperparameter(
            name, beside=TRAINING_PARAMETERS
        )
        for value in spaces.values_of(parameter):
            hyperparameter.read(value)
    except InputError as error:
        told = str(error)
        known = (*family.hyperparameters, *TRAINING_PARAMETERS, "lr", "learning_rate")
        if name not in known and not nearest(name, known):
            told += ". Settings of the network cannot be searched: use one study for each network"
        raise StudyFileError(f"{where}: {told}") from error
