"""Search spaces: what a study file may write for a hyperparameter, and what it means.

A value is a number (constant), ``{choices = […]}`` (unordered), ``{grid = […]}`` (ordered) or a
range ``{low = …, high = …, log = …, step = …}``. Constants and choices may also be truth values,
texts and lists, which stand for tuples.
"""

from __future__ import annotations

import itertools
import math
import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from indian_tune.errors import StudyFileError, unknown_name
from indian_tune.optim.hyperparameters import LABELS, as_value, is_number, parts_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from indian_tune.optim.hyperparameters import Value

MAX_STEPS = 1_000_000
# Up to it every integer is a float, too.
_MOST_EXACT = 2**53
_RANGE_KEYS = frozenset({"low", "high", "log", "step"})
LONGEST_TEXT = 200
_FORMS = (
    "a number, {choices = [...]}, {grid = [...]} or {low = ..., high = ..., log = true or false}"
)


@dataclass(frozen=True)
class Constant:
    """One fixed value: part of every configuration, unknown to the sampler."""

    value: Value


@dataclass(frozen=True)
class Choices:
    """Values without an order."""

    values: tuple[Value, ...]


@dataclass(frozen=True)
class Grid:
    """Values in increasing order."""

    values: tuple[float, ...]


@dataclass(frozen=True)
class Range:
    """Every value from ``low`` to ``high``, both included.

    Attributes:
        low: smallest value.
        high: largest value.
        log: whether ratios matter rather than differences.
        step: distance of the allowed values from each other; ``None`` for all of them.
        integer: whether only whole numbers are meant (both ends and the step are whole).
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    integer: bool = False

    @property
    def steps(self) -> int:
        """How many steps there are from ``low`` to the largest allowed value."""
        assert self.step is not None
        return int((_decimal(self.high) - _decimal(self.low)) // _decimal(self.step))

    def at_step(self, count: int) -> float:
        """Return the allowed value that is ``count`` steps above ``low``, or below if negative.

        Computed in decimals, as the study file says it: three steps of 0.1 from 0 are 0.3.
        """
        assert self.step is not None
        value = _decimal(self.low) + count * _decimal(self.step)
        return int(value) if self.integer else float(value)

    def nearest(self, value: float) -> float:
        """Return the allowed value that is nearest to one that was computed in binary."""
        assert self.step is not None
        count = round((Fraction(value) - _decimal(self.low)) / _decimal(self.step))
        return self.at_step(min(max(count, 0), self.steps))


Parameter = Constant | Choices | Grid | Range
Space = dict[str, Parameter]


def parse_space(raw: Mapping[str, Any], where: str) -> Space:
    """Read a space as a study file writes it.

    Args:
        raw: hyperparameter name → value, range or list.
        where: key of the space in the study file, for messages.

    Raises:
        StudyFileError: the message names the key, the value and what is allowed.
    """
    return {
        name: parse_parameter(
            _numbered(LABELS[name], value, f"{where}.{name}") if name in LABELS else value,
            f"{where}.{name}",
        )
        for name, value in raw.items()
    }


def _numbered(labels: tuple[str, ...], raw: Any, where: str) -> Any:
    """Return a value with the numbers that texts stand for, such as names of schedules."""
    if isinstance(raw, dict):
        listed = {key: raw[key] for key in raw.keys() & {"choices", "grid"}}
        if not listed:
            raise StudyFileError(
                f"{where} accepts no range: give one of {', '.join(map(repr, labels))}, or a list "
                "of them as {choices = [...]}"
            )
        return {
            **raw,
            **{
                key: [_numbered(labels, each, where) for each in values]
                for key, values in listed.items()
                if isinstance(values, list)
            },
        }
    if isinstance(raw, str):
        if raw not in labels:
            raise StudyFileError(unknown_name(where, raw, labels))
        return labels.index(raw)
    return raw


def parse_parameter(raw: Any, where: str) -> Parameter:
    """Read one value of a space.

    Raises:
        StudyFileError: the message names the key, the value and what is allowed.
    """
    if not isinstance(raw, dict):
        return Constant(_value(raw, where, _FORMS))
    if "choices" in raw or "grid" in raw:
        kind = "choices" if "choices" in raw else "grid"
        for extra in raw.keys() - {kind}:
            raise StudyFileError(f"{where}.{extra} cannot be given with {where}.{kind}: remove one")
        return _listed(raw[kind], kind, f"{where}.{kind}")
    return _range(raw, where)


def require_numbers(parameter: Parameter, where: str) -> None:
    """Refuse truth values, texts and lists.

    Raises:
        StudyFileError: the message names the key and the value.
    """
    match parameter:
        case Constant(value):
            if not is_number(value):
                raise StudyFileError(f"{where} = {_shown(value)} must be {_FORMS}")
        case Choices(values):
            for n, value in enumerate(values, 1):
                if not is_number(value):
                    raise StudyFileError(f"{where}.choices[{n}] = {_shown(value)} must be a number")


def nearest(parameter: Parameter, value: Value) -> Value:
    """Return the value of a parameter that is nearest to one that it may not hold.

    To a value that is no number no other is near: the first one is taken.
    """
    match parameter:
        case Constant(only):
            return only
        case Choices(values) | Grid(values):
            if value in values:
                return value
            numbers = [each for each in values if is_number(each)]
            if not numbers or not is_number(value):
                return values[0]
            return min(numbers, key=lambda each: abs(each - value))
        case Range(low, high):
            inside = min(max(value, low), high) if is_number(value) else low
            return inside if parameter.step is None else parameter.nearest(inside)


def bounds(parameter: Parameter) -> tuple[Value, Value]:
    """Return the smallest and the largest value that a parameter can take.

    Of values that are not all numbers, the first and the last.
    """
    match parameter:
        case Constant(value):
            return value, value
        case Range(low, high):
            return low, high
        case Choices(values) | Grid(values):
            if not all(map(is_number, values)):
                return values[0], values[-1]
            return min(values), max(values)


def values_of(parameter: Parameter) -> tuple[Value, ...]:
    """Return all values that are listed, or the ends of a range."""
    match parameter:
        case Choices(values) | Grid(values):
            return values
    return bounds(parameter)


def constants(space: Space) -> dict[str, Value]:
    """Return the part of a configuration that the sampler does not choose."""
    return {name: p.value for name, p in space.items() if isinstance(p, Constant)}


def grid_points(space: Space, where: str) -> list[dict[str, Value]]:
    """Return every combination of the listed values, constants left out, last name fastest.

    Raises:
        StudyFileError: a range is among the parameters: it has no points.
    """
    listed = _listed_values(space, where)
    return [dict(zip(listed, point, strict=True)) for point in itertools.product(*listed.values())]


def count_grid_points(space: Space, where: str) -> int:
    """Return how many combinations :func:`grid_points` has, without making them.

    Raises:
        StudyFileError: a range is among the parameters: it has no points.
    """
    return math.prod(len(values) for values in _listed_values(space, where).values())


def _listed_values(space: Space, where: str) -> dict[str, tuple[Value, ...]]:
    listed: dict[str, tuple[Value, ...]] = {}
    for name, parameter in space.items():
        match parameter:
            case Range():
                raise StudyFileError(
                    f"{where}.{name} is a range, and sampler = 'grid' needs points: write "
                    f"{name} = {{grid = [...]}} or choose another sampler"
                )
            case Choices(values) | Grid(values):
                listed[name] = values
            case Constant():
                pass
    return listed


def _listed(raw: Any, kind: str, where: str) -> Choices | Grid:
    if not isinstance(raw, list) or not raw:
        raise StudyFileError(f"{where} = {raw!r} must be a list of at least one number")
    read = _value if kind == "choices" else _number
    values = tuple(read(value, f"{where}[{n}]", "a number") for n, value in enumerate(raw, 1))
    if len(set(values)) != len(values):
        raise StudyFileError(f"{where} = {raw!r} contains a value twice: list each value once")
    if kind == "choices":
        return Choices(values)
    if list(values) != sorted(values):
        raise StudyFileError(f"{where} = {raw!r} must be in increasing order")
    return Grid(values)


def _range(raw: dict[str, Any], where: str) -> Range:
    for key in raw:
        if key not in _RANGE_KEYS:
            raise StudyFileError(
                unknown_name(f"key of {where}", key, _RANGE_KEYS | {"choices", "grid"})
            )
    for key in ("low", "high"):
        if key not in raw:
            raise StudyFileError(f"{where}.{key} is missing: a value is {_FORMS}")
    low = _number(raw["low"], f"{where}.low", "a number")
    high = _number(raw["high"], f"{where}.high", "a number")
    log = raw.get("log", False)
    if not isinstance(log, bool):
        raise StudyFileError(f"{where}.log = {log!r} must be true or false")
    if low >= high:
        raise StudyFileError(
            f"{where}: low = {low!r} must be below high = {high!r} (for one value write "
            f"{where.rsplit('.', 1)[-1]} = {high!r})"
        )
    if log and low <= 0:
        raise StudyFileError(
            f"{where}: low = {low!r} must be above 0 on a log scale: raise it or remove log = true"
        )
    step = raw.get("step")
    if step is not None:
        step = _number(step, f"{where}.step", "a number")
        if log:
            raise StudyFileError(f"{where}.step = {step!r} cannot be given with log = true")
        width = _decimal(high) - _decimal(low)
        if not 0 < _decimal(step) <= width:
            raise StudyFileError(
                f"{where}.step = {step!r} must be above 0 and at most high - low = {float(width)!r}"
            )
        if width / _decimal(step) > MAX_STEPS:
            raise StudyFileError(
                f"{where}.step = {step!r} makes more than {MAX_STEPS} values from {low!r} to "
                f"{high!r}: raise it, or remove it to allow every value"
            )
    integer = all(isinstance(value, int) for value in (low, high, step))
    return Range(low, high, log=log, step=step, integer=integer)


def _decimal(value: float) -> Fraction:
    """Return exactly the decimal number that a study file writes for a value."""
    return Fraction(repr(value))


def _value(raw: Any, where: str, allowed: str) -> Value:
    if isinstance(raw, bool):
        return raw
    if raw is not None and not isinstance(raw, str | list | tuple):
        return _number(raw, where, allowed)
    try:
        value = as_value(raw)
    except (TypeError, ValueError):
        value = None
    if value is None or (not isinstance(raw, str | None) and not _plain_parts(value)):
        raise StudyFileError(
            f"{where} = {raw!r} must contain at least one value, and only finite numbers, "
            "booleans or strings"
        )
    if len(value) > LONGEST_TEXT:
        raise StudyFileError(
            f"{where} has {len(value)} characters: at most {LONGEST_TEXT} are allowed"
        )
    return value


def _plain_parts(value: Value) -> bool:
    parts = parts_of(value)
    return bool(parts) and not any(
        isinstance(part, float) and not math.isfinite(part) for part in parts or ()
    )


def _shown(value: Value) -> str:
    parts = parts_of(value)
    return repr(value if parts is None else list(parts))


def _number(raw: Any, where: str, allowed: str) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise StudyFileError(f"{where} = {raw!r} must be {allowed}")
    # A file may hold integers that are larger than every float.
    if not -sys.float_info.max <= raw <= sys.float_info.max:
        raise StudyFileError(f"{where} = {raw!r} must be finite")
    # numpy and torch take no integer of any size, as Python does.
    return raw if abs(raw) <= _MOST_EXACT else float(raw)


def sobol_points(space: Space, seed: int, count: int, *, start: int = 0) -> list[dict[str, Value]]:
    """Return points of the scrambled Sobol sequence of a space, constants left out.

    Args:
        space: with at least one parameter to search.
        seed: of the scrambling.
        count: how many points.
        start: index of the first one.
    """
    import numpy as np
    from scipy.stats import qmc

    searched = {n: p for n, p in space.items() if not isinstance(p, Constant)}
    sequence = qmc.Sobol(len(searched), scramble=True, rng=np.random.default_rng(seed))
    if start:
        sequence.fast_forward(start)
    return [
        {
            name: at_quantile(parameter, float(u))
            for (name, parameter), u in zip(searched.items(), unit, strict=True)
        }
        for unit in sequence.random(count)
    ]


def at_quantile(parameter: Parameter, u: float) -> Value:
    """Return the value at quantile ``u`` in [0, 1) of a parameter's uniform distribution."""
    import numpy as np

    match parameter:
        case Choices(values) | Grid(values):
            return values[int(u * len(values))]
        case Range(low, high, log=True):
            value = float(np.exp(np.log(low) + u * (np.log(high) - np.log(low))))
            return min(max(value, low), high)
        case Range(step=step) if step is not None:
            return parameter.at_step(int(u * (parameter.steps + 1)))
        case Range(low, high):
            return low + u * (high - low)
        case Constant(value):
            return value
