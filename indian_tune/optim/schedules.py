"""The step sizes γ_k = γ0 / (k + 1)^a, k counted in mini-batches."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from indian_tune.optim.hyperparameters import DECAY_POWER

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

__all__ = ["admissible", "decay", "power_decay"]


def decay(step: int, decay_power: float) -> float:
    """Return γ_k / γ0 = (k + 1)^(-a) for k = ``step`` and a = ``decay_power``."""
    return float((step + 1) ** -decay_power)


def admissible(decay_power: float) -> bool:
    """Say whether the step sizes satisfy Assumption 1, as the convergence theorem needs.

    Σγ_k = ∞ and γ_k log k → 0 hold for a in (0, 1]. A constant step size (a = 0) can be run but
    the theorem says nothing about it.
    """
    return 0 < decay_power <= 1


def power_decay(optimizer: Optimizer, decay_power: float) -> LRScheduler | None:
    """Return a scheduler for ``optimizer`` to be stepped once per mini-batch, or ``None`` at a = 0.

    The step size is a closed form in k, so a run that resumes from a ``state_dict`` has the same
    step sizes to the last bit.

    Raises:
        HyperparameterError: ``decay_power`` is outside [0, 1].
    """
    DECAY_POWER.check(decay_power)
    if decay_power == 0:
        return None
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, partial(decay, decay_power=decay_power))
