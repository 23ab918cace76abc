"""A hyperparameter: its interval, its default and its description, without torch."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from indian_tune.errors import HyperparameterError

if TYPE_CHECKING:
    from collections.abc import Mapping


Value = Any
"""A value of a configuration: a number, a truth value or a text.

Two texts stand for what neither TOML nor a table can hold: ``"none"`` for Python's ``None``, and a
list in JSON, such as ``"[0.9, 0.999]"``, for a tuple. An optimizer gets what they stand for.
"""
NONE = "none"
Kind = Literal["float", "int", "bool", "text", "tuple", "any"]
_BY_KIND = {
    "bool": "true or false (1 or 0)",
    "text": "a string",
    "tuple": "a list, such as [0.9, 0.999]",
    "any": "a finite number, true or false, a string or a list of these",
}
_CASTS = {"bool": bool, "float": float, "int": int}


def as_value(raw: object) -> Value:
    """Return what is given, a list or tuple and ``None`` as the texts that stand for them."""
    if raw is None:
        return NONE
    if isinstance(raw, (list, tuple)):
        return json.dumps([None if part == NONE else part for part in raw])
    return raw


def parts_of(value: Value) -> tuple[Any, ...] | None:
    """Return the tuple that a value stands for; ``None`` if it is no list of plain values."""
    if not isinstance(value, str) or not value.startswith("["):
        return None
    try:
        parts = json.loads(value)
    except ValueError:
        return None
    plain = all(part is None or isinstance(part, (bool, int, float, str)) for part in parts)
    return tuple(parts) if plain else None


def is_number(value: Value) -> bool:
    """Say whether a value is a number, which a truth value is not."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def value_text(value: Value) -> str:
    """Return a value that is no number as a study file writes it, texts without quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Hyperparameter:
    """One value that a configuration gives an optimizer, most often a number.

    Attributes:
        name: key in a configuration and in a study file.
        description: one line for people.
        default: value taken when the configuration is silent; ``None`` where there is none.
        required: whether a configuration without it is refused.
        kind: ``"float"``, ``"int"`` (whole numbers), ``"bool"`` (0 and 1, false and true),
            ``"text"``, ``"tuple"``, or ``"any"`` of them.
        low: lower end of the allowed interval.
        high: upper end of the allowed interval.
        low_open: whether ``low`` itself is refused.
        high_open: whether ``high`` itself is refused.
        rate: whether it sets how far a step goes.
        argument: of the optimizer's class, if that has another name; several hyperparameters of one
            argument are a tuple.
        labels: texts that stand for 0, 1, …, the only values, if there are any.
        optional: whether ``"none"`` is allowed, for Python's ``None``.
        size: how many numbers a tuple has; 0 if anything may be in it.
    """

    name: str
    description: str
    default: Value = None
    required: bool = False
    kind: Kind = "float"
    low: float = -math.inf
    high: float = math.inf
    low_open: bool = False
    high_open: bool = False
    rate: bool = False
    argument: str | None = None
    labels: tuple[str, ...] = ()
    optional: bool = False
    size: int = 0

    @property
    def numeric(self) -> bool:
        """Whether its values are numbers, or the labels of numbers."""
        return self.kind in ("float", "int")

    @property
    def allowed(self) -> str:
        """The allowed values in words, such as ``"a number > 0"``."""
        if self.labels:
            return f"one of {', '.join(map(repr, self.labels))}"
        if not self.numeric:
            what = f"a list of {self.size} numbers" if self.size else _BY_KIND[self.kind]
            return what + ' or "none"' * self.optional
        noun = "a whole number" if self.kind == "int" else "a finite number"
        below = "" if math.isinf(self.low) else f"{'>' if self.low_open else '>='} {self.low:g}"
        above = "" if math.isinf(self.high) else f"{'<' if self.high_open else '<='} {self.high:g}"
        number = f"{noun} {' and '.join(end for end in (below, above) if end)}".rstrip()
        return number + ' or "none"' * self.optional

    def allows(self, value: object) -> bool:
        """Say whether ``value`` is of the right kind and, as a number, in the allowed interval."""
        if self.labels:
            places = range(len(self.labels))
            return value in self.labels or (not isinstance(value, bool) and value in places)
        value = as_value(value)
        if value == NONE and (self.optional or self.kind == "any"):
            return True
        if self.kind == "text":
            return isinstance(value, str)
        if self.kind == "tuple":
            parts = parts_of(value)
            if parts is None or not self.size:
                return parts is not None
            return len(parts) == self.size and all(map(is_number, parts))
        if self.kind == "any" and isinstance(value, (bool, str)):
            return True
        if self.kind == "bool":
            return isinstance(value, (bool, int, float)) and value in (0, 1)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return False
        # An integer may be larger than every float.
        if not -sys.float_info.max <= value <= sys.float_info.max or (
            self.kind == "int" and value != int(value)
        ):
            return False
        above_low = value > self.low if self.low_open else value >= self.low
        below_high = value < self.high if self.high_open else value <= self.high
        return above_low and below_high

    def check(self, value: object, *, owner: str | None = None) -> float:
        """Return ``value`` as a float.

        Args:
            value: what the user gave.
            owner: whose hyperparameter it is, for the message.

        Raises:
            HyperparameterError: ``value`` is not allowed.
        """
        if not self.allows(value):
            of = "" if owner is None else f" of {owner}"
            raise HyperparameterError(f"{self.name}{of} must be {self.allowed}, got {value!r}")
        if isinstance(value, str):
            return float(self.labels.index(value))
        assert isinstance(value, (bool, int, float))
        return float(value)

    def read(self, value: object, *, owner: str | None = None) -> Value:
        """Return ``value`` checked: a number as a float, all else as a configuration holds it.

        Raises:
            HyperparameterError: as :meth:`check`.
        """
        plain = as_value(value)
        as_it_is = not self.labels and (isinstance(plain, str) or self.kind == "any")
        if as_it_is and self.allows(plain):
            return plain
        return self.check(value, owner=owner)

    def as_argument(self, value: Value) -> Any:
        """Return what the optimizer's class is given for a value that was read."""
        if isinstance(value, str):
            if value == NONE and (self.optional or self.kind == "any"):
                return None
            return value if self.kind == "text" else (parts_of(value) or value)
        return _CASTS[self.kind](value) if self.kind in _CASTS else value


def named(*own: Hyperparameter) -> dict[str, Hyperparameter]:
    """Return a family's own hyperparameters and, unless they are among them, those of all.

    These are ``decay_power``, ``weight_decay``, ``decoupled_weight_decay`` and those of schedules.
    """
    by_name = {each.name: each for each in own}
    for shared in (DECAY_POWER, WEIGHT_DECAY, DECOUPLED_WEIGHT_DECAY, *SCHEDULE_PARAMETERS):
        by_name.setdefault(shared.name, shared)
    return by_name


def log_range(low: float, high: float) -> dict[str, object]:
    """Return a range on a log scale, as a study file writes it."""
    return {"low": low, "high": high, "log": True}


ALPHA = Hyperparameter(
    "alpha", "viscous friction: how fast the velocity forgets", default=0.5, low=0, low_open=True
)
BETA = Hyperparameter(
    "beta", "Newtonian damping: weight of the newest gradient", default=0.1, low=0, low_open=True
)
GAMMA0 = Hyperparameter(
    "gamma0", "first step size", required=True, low=0, low_open=True, rate=True, argument="lr"
)
ETA = replace(GAMMA0, name="eta", description="effective learning rate gamma0 / alpha")
LEVEL = Hyperparameter(
    "level",
    "multiple of INDIAN's response to a steady gradient",
    default=1.0,
    low=0,
    low_open=True,
    rate=True,
)
DECAY_POWER = Hyperparameter(
    "decay_power",
    "a in the step sizes gamma0 / (k + 1)^a; 0 keeps them constant",
    default=0.5,
    low=0,
    high=1,
)
SCHEDULE = Hyperparameter(
    "schedule",
    "how the step size changes over a run",
    labels=("power", "constant", "linear", "cosine", "wsd"),
)
WARMUP = Hyperparameter(
    "warmup", "rise to gamma0: a share of the run's steps, or from 1 on a number of steps", low=0
)
FLOOR = Hyperparameter(
    "floor", "step size at the end of the run, as a share of gamma0", low=0, high=1
)
COOLDOWN = Hyperparameter(
    "cooldown", "share of the run's steps in which wsd falls to the floor", low=0, high=1
)
COOLDOWN_SHAPE = Hyperparameter(
    "cooldown_shape", "how wsd falls", labels=("linear", "cosine", "sqrt")
)
SCHEDULE_STEPS = Hyperparameter(
    "schedule_steps", "steps of the run, which a trainer fills in", kind="int", low=1
)
# Without a default: what a configuration is silent about is left out of it.
SCHEDULE_PARAMETERS = (SCHEDULE, WARMUP, FLOOR, COOLDOWN, COOLDOWN_SHAPE, SCHEDULE_STEPS)
LABELS = {each.name: each.labels for each in SCHEDULE_PARAMETERS if each.labels}


def labelled(config: Mapping[str, Value]) -> dict[str, Value]:
    """Return a configuration as a study file writes it: ``schedule = "cosine"``, not its number."""
    return {
        name: LABELS[name][int(value)] if name in LABELS and is_number(value) else value
        for name, value in config.items()
    }


CONSTANT_STEP = replace(DECAY_POWER, default=0.0)
INITIAL_VELOCITY = Hyperparameter(
    "initial_velocity", "s in v_0 = (beta - s) g_0: the first step is -gamma0 s g_0"
)
WEIGHT_DECAY = Hyperparameter("weight_decay", "strength of weight decay", default=0.0, low=0)
DECOUPLED_WEIGHT_DECAY = Hyperparameter(
    "decoupled_weight_decay",
    "true: weights shrink by step size times weight_decay; false: the decay joins the gradient",
    default=1.0,
    kind="bool",
)
INDIAN = (ALPHA, BETA, DECAY_POWER, WEIGHT_DECAY, DECOUPLED_WEIGHT_DECAY)
MOMENTUM = Hyperparameter(
    "momentum",
    "fraction of the momentum that a step keeps",
    default=0.9,
    low=0,
    high=1,
    high_open=True,
)
NU = Hyperparameter("nu", "weight of the momentum against the newest gradient", default=0.7)
SIGMA = replace(
    MOMENTUM, name="sigma", description="decay of the mean of squared gradients", default=0.999
)
EPS = Hyperparameter("eps", "keeps the denominator from 0", default=1e-8, low=0, low_open=True)
INNAPROP = (ALPHA, BETA, SIGMA, EPS, WEIGHT_DECAY, DECOUPLED_WEIGHT_DECAY)


def check_indian(values: Mapping[str, object], *, rate: str) -> None:
    """Check the hyperparameters of INDIAN, whichever framework computes the step.

    Args:
        values: by name; what is left out is not checked, nor is ``None`` as initial velocity.
        rate: what the framework calls γ0.

    Raises:
        HyperparameterError: one is not allowed.
    """
    _check(values, INDIAN, rate=rate, owner="Indian")
    if values.get("initial_velocity") is not None:
        INITIAL_VELOCITY.check(values["initial_velocity"], owner="Indian")


def check_innaprop(values: Mapping[str, object], *, rate: str) -> None:
    """Check the hyperparameters of INNAprop; see :func:`check_indian`.

    Raises:
        HyperparameterError: one is not allowed.
    """
    _check(values, INNAPROP, rate=rate, owner="Innaprop")


def _check(
    values: Mapping[str, object], known: tuple[Hyperparameter, ...], *, rate: str, owner: str
) -> None:
    for each in (replace(GAMMA0, name=rate), *known):
        if each.name in values:
            each.check(values[each.name], owner=owner)


def power_beside(decay_power: float | None, *, scheduled: bool) -> float:
    """Return ``decay_power``, or its default where none is given: 0 beside a schedule, else 1/2.

    Args:
        decay_power: as given.
        scheduled: whether a schedule of the framework sets the step sizes.

    Raises:
        HyperparameterError: it is not allowed, or would lower the steps of a schedule.
    """
    default = CONSTANT_STEP if scheduled else DECAY_POWER
    power = default.check(default.default if decay_power is None else decay_power, owner="Indian")
    if scheduled and power != 0:
        raise HyperparameterError(
            f"learning_rate is a schedule, and decay_power = {power:g} would also lower the step "
            "size: give decay_power=0, so that only the schedule sets it"
        )
    return power
