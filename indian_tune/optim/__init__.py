"""INDIAN, its theory on quadratics, and the families of optimizers it is compared with.

What needs torch is looked up on first use, so that the command line can check names and values
without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from indian_tune.lazy import lazy_names
from indian_tune.optim.families import FAMILIES, get_family
from indian_tune.optim.family import Dynamics, Family
from indian_tune.optim.hyperparameters import Hyperparameter
from indian_tune.optim.schedules import admissible, decay, power_decay
from indian_tune.optim.stability import stability_limit, stable

if TYPE_CHECKING:
    from indian_tune.optim.functional import indian_step, psi_form_step
    from indian_tune.optim.indian import Indian
    from indian_tune.optim.innaprop import Innaprop
    from indian_tune.optim.qhm import Qhm

__all__ = [
    "FAMILIES",
    "Dynamics",
    "Family",
    "Hyperparameter",
    "Indian",
    "Innaprop",
    "Qhm",
    "admissible",
    "decay",
    "get_family",
    "indian_step",
    "power_decay",
    "psi_form_step",
    "stability_limit",
    "stable",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "functional": ("indian_step", "psi_form_step"),
        "indian": ("Indian",),
        "innaprop": ("Innaprop",),
        "qhm": ("Qhm",),
    },
)
