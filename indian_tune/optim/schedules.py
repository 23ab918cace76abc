"""The step sizes γ_k = γ0 · factor(k), k counted in mini-batches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from indian_tune.errors import HyperparameterError
from indian_tune.optim.hyperparameters import (
    COOLDOWN_SHAPE,
    DECAY_POWER,
    SCHEDULE,
    SCHEDULE_PARAMETERS,
    SCHEDULE_STEPS,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

__all__ = [
    "PARAMETERS_OF",
    "SCHEDULE_NAMES",
    "Schedule",
    "admissible",
    "decay",
    "is_scheduled",
    "power_decay",
]

SCHEDULE_NAMES = frozenset(each.name for each in SCHEDULE_PARAMETERS)
PARAMETERS_OF = {
    "power": ("decay_power",),
    "constant": (),
    "linear": ("floor",),
    "cosine": ("floor",),
    "wsd": ("floor", "cooldown", "cooldown_shape"),
}
"""The hyperparameters that a schedule has beside ``warmup``, which all have."""
DEFAULT_COOLDOWN = 0.2


@dataclass(frozen=True)
class Schedule:
    """A schedule with its numbers.

    All begin with a linear rise, from γ0/W in the first of W = ``warmup_steps`` to γ0 in the last.
    With k counted from the end of the rise and T the steps that are left from there:

    - ``power``: (k + 1)^(-a);
    - ``constant``: 1;
    - ``linear``: from 1 to the floor f, 1 - (1 - f) k/T;
    - ``cosine``: f + (1 - f)(1 + cos(πk/T))/2;
    - ``wsd`` (warm-up, stable, decay): 1, and f-ward in the last C = ``cooldown_steps``, where x is
      the share of them that is over: 1 - (1 - f) s(x) with s(x) = x (``linear``),
      (1 - cos πx)/2 (``cosine``) or √x (``sqrt``).

    None exceeds 1, so γ0 is the largest step size.

    Attributes:
        kind: as above.
        decay_power: a.
        floor: f.
        warmup_steps: W.
        cooldown_steps: C.
        cooldown_shape: s.
        steps: of the run; at least W + 1.
    """

    kind: str
    decay_power: float
    floor: float
    warmup_steps: int
    cooldown_steps: int
    cooldown_shape: str
    steps: int

    @classmethod
    def of(cls, config: Mapping[str, float]) -> Schedule | None:
        """Return the schedule of a complete configuration; ``None`` if it has ``decay_power`` only.

        What belongs to other schedules than its own is passed over: an arm may search several.

        Raises:
            HyperparameterError: it needs the number of steps, and the configuration has none.
        """
        if not is_scheduled(config):
            return None
        kind = SCHEDULE.labels[int(config.get("schedule", 0))]
        warmup = config.get("warmup", 0.0)
        total = config.get("schedule_steps")
        if total is None:
            if kind not in ("power", "constant") or 0 < warmup < 1:
                raise HyperparameterError(
                    f"schedule = {kind!r} with warmup = {warmup:g} depends on the length of the "
                    "run: give its number of steps, as schedule_steps or, in a training loop of "
                    "your own, by run.optimizer(params, steps=…), the calls of "
                    "optimizer.step() in an epoch × run.total_epochs"
                )
            total = warmup + 1
        warm = round(warmup * total) if warmup < 1 else round(warmup)
        return cls(
            kind,
            config["decay_power"],
            config.get("floor", 0.0),
            warm,
            round(config.get("cooldown", DEFAULT_COOLDOWN) * total),
            COOLDOWN_SHAPE.labels[int(config.get("cooldown_shape", 0))],
            max(round(total), warm + 1),
        )

    @property
    def horizon(self) -> int:
        """T, the steps after the rise."""
        return self.steps - self.warmup_steps

    def factor(self, step: int) -> float:
        """Return γ_k / γ0 for k = ``step``, counted from 0."""
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        after = step - self.warmup_steps
        share = min(after / self.horizon, 1.0)
        match self.kind:
            case "power":
                return decay(after, self.decay_power)
            case "linear":
                return 1 - (1 - self.floor) * share
            case "cosine":
                return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * share)) / 2
            case "wsd" if self.cooldown_steps:
                begun = (after - self.horizon + self.cooldown_steps) / self.cooldown_steps
                return 1 - (1 - self.floor) * self._shape(min(max(begun, 0.0), 1.0))
        return 1.0

    def _shape(self, share: float) -> float:
        if self.cooldown_shape == "cosine":
            return (1 - math.cos(math.pi * share)) / 2
        return math.sqrt(share) if self.cooldown_shape == "sqrt" else share

    def scheduler(self, optimizer: Optimizer) -> LRScheduler:
        """Return a scheduler for ``optimizer`` to be stepped once per mini-batch.

        The step size is a closed form in k, so a run that resumes from a ``state_dict`` has the
        same step sizes to the last bit.
        """
        from torch.optim.lr_scheduler import LambdaLR

        return LambdaLR(optimizer, self.factor)


def is_scheduled(names: Iterable[str]) -> bool:
    """Say whether a configuration or a space has a schedule beside ``decay_power``."""
    return not SCHEDULE_NAMES.isdisjoint(set(names) - {SCHEDULE_STEPS.name})


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
