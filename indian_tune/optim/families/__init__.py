"""The catalog of optimizers that an arm may use, a file for each family.

A file holds all that is known of its family, as one :class:`Family`; a new family is a file here
and its place in :data:`FAMILIES`. Nothing here imports torch until an optimizer is built or
stepped, so that the command line can check a study file cheaply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.errors import HyperparameterError, unknown_name
from indian_tune.optim.families.adagrad import ADAGRAD
from indian_tune.optim.families.adam import ADAM, ADAMW
from indian_tune.optim.families.indian import INDIAN, INDIAN_ETA
from indian_tune.optim.families.indian_memory import INDIAN_MEMORY
from indian_tune.optim.families.innaprop import INNAPROP
from indian_tune.optim.families.lion import LION
from indian_tune.optim.families.muon import MUON
from indian_tune.optim.families.nadamw import NADAMW
from indian_tune.optim.families.qhm import QHM
from indian_tune.optim.families.response import RESPONSE
from indian_tune.optim.families.schedule_free import SCHEDULE_FREE
from indian_tune.optim.families.sgd import HEAVY_BALL, NESTEROV, SGD

if TYPE_CHECKING:
    from indian_tune.optim.family import Family, Role

__all__ = ["FAMILIES", "get_family", "role_of"]

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        INDIAN,
        INDIAN_ETA,
        INDIAN_MEMORY,
        SGD,
        HEAVY_BALL,
        NESTEROV,
        QHM,
        ADAGRAD,
        ADAM,
        ADAMW,
        NADAMW,
        LION,
        MUON,
        SCHEDULE_FREE,
        INNAPROP,
        RESPONSE,
    )
}
"""Every family of the package by its name, in the order in which they are listed.

This mapping is all that the rest of the package knows: a family that is put into it is complete.
"""


def get_family(name: str) -> Family:
    """Return the family called ``name``.

    Args:
        name: a key of :data:`FAMILIES`, ``torch.optim:Class`` for any other optimizer of torch
            (only this looks torch up), two of them by shape, see
            :func:`indian_tune.optim.shape_family.shape_family`, or one of the user's own, see
            :func:`indian_tune.optim.own_family.own_family`.

    Raises:
        HyperparameterError: there is no such family, or the class cannot be tuned.
    """
    if name in FAMILIES:
        return FAMILIES[name]
    # Few studies need what follows, and torch's families load torch.
    from indian_tune.optim.own_family import is_own, own_family
    from indian_tune.optim.shape_family import is_by_shape, shape_family

    if is_by_shape(name):
        return shape_family(name, _part)

    if is_own(name, FAMILIES):
        return own_family(name, FAMILIES)
    from indian_tune.optim.torch_family import torch_family

    return torch_family(name)


def _part(name: str, part: str) -> Family:
    """Return the family of a name that is ``matrices`` or ``rest`` of an arm."""
    if name in FAMILIES:
        return FAMILIES[name]
    from indian_tune.optim.own_family import is_own
    from indian_tune.optim.torch_family import torch_family

    if is_own(name, FAMILIES):
        raise HyperparameterError(
            f"{unknown_name(part, name, FAMILIES)}, torch.optim:Class for another torch "
            "optimizer; for two of your own, write a class that contains both"
        )
    return torch_family(name, matrices=part == "matrices")


def role_of(name: str) -> Role:
    """Return the role of the family called ``name``, ``"other"`` unless it is of the catalog."""
    return FAMILIES[name].role if name in FAMILIES else "other"
