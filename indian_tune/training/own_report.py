"""What a loop of one's own reports of an epoch: names, checks, and sealed values."""

from __future__ import annotations

from math import isfinite, nan
from typing import TYPE_CHECKING, Any, NoReturn

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from indian_tune.outcome import Outcome

# What a loop may report → the split that it is of, and whether it is an error.
REPORTED = {
    "train_loss": ("train", False),
    "train_error": ("train", True),
    "loss": ("validation", False),
    "error": ("validation", True),
}
SEALED = {"test_loss": ("test", False), "test_error": ("test", True)}
NEEDED_FOR = {"validation_error": "error", "validation_loss": "loss", "train_loss": "train_loss"}

# How much better than the best value a metric may be, from rounding.
ROUNDING = 1e-6


class LoopError(RuntimeError):
    """A loop of one's own does what it must not.

    To a worker it is like any exception of a model, which ends a trial and no search; so it is no
    ``IndianTuneError``.
    """


class StaleCheckpointError(LoopError):
    """A checkpoint that does not fit the loop; it was removed, so that the run begins again."""


class SealedValue:
    """A number measured on the test data, which ``run.report`` alone can read.

    Conversions, comparisons and arithmetic raise a :class:`LoopError`, on the fresh seeds as before
    them: a loop that uses the number would fail only once its study is tuned.
    """

    def __init__(self, value: float | None) -> None:
        self.__value = value

    def __repr__(self) -> str:
        return "sealed"

    def _refuse(self, *_: object) -> NoReturn:
        raise LoopError(
            "test results are sealed: give the value of run.sealed(evaluate) to run.report() as it "
            "is, as test_error=… or test_loss=…; convert inside evaluate"
        )

    def __format__(self, spec: str) -> str:
        return self._refuse() if spec else "sealed"

    __float__ = __int__ = __index__ = __bool__ = __round__ = __abs__ = __neg__ = _refuse
    __eq__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _refuse
    __truediv__ = __rtruediv__ = _refuse
    __hash__ = object.__hash__

    @staticmethod
    def open(value: SealedValue) -> float | None:
        """Return the number for the record; ``None`` if the test data were not opened."""
        return value.__value


def read_report(
    reported: Mapping[str, Any], outcome: Outcome
) -> tuple[dict[str, float], dict[str, float], str]:
    """Return the metrics and the sealed metrics of an epoch as they are recorded.

    If an open value is not finite, the run has diverged, and all are NaN.

    Args:
        reported: by the names that ``run.report`` takes.
        outcome: what the task is judged by.

    Returns:
        Both, and the name of the first open value that is not finite, empty if all are.

    Raises:
        LoopError: a value cannot be.
    """
    values = {name: _number(name, value, outcome) for name, value in reported.items()}
    wrong = [
        name
        for name, value in values.items()
        if name in REPORTED and not (value is not None and isfinite(value))
    ]
    diverged = bool(wrong)
    for name in SEALED:
        value = values.get(name)
        if value is not None and not isfinite(value) and not diverged:
            raise LoopError(
                f"run.report({name}=…) got a sealed value that is not finite, while the other "
                "values are: let evaluate in run.sealed(evaluate) return a finite number"
            )

    def recorded(names: Iterable[str]) -> dict[str, float]:
        return {
            _recorded(name, outcome): nan if diverged else _value(name, values.get(name), outcome)
            for name in names
        }

    measured = [name for name in SEALED if values.get(name) is not None]
    return recorded(REPORTED), recorded(measured), (wrong or [""])[0]


def as_number(where: str, value: Any) -> float:
    """Return a number or a tensor of one as a float.

    Raises:
        LoopError: it is no number; the message begins with ``where``.
    """
    try:
        if isinstance(value, str | bytes):
            raise TypeError("text is not converted")
        return float(value.detach() if isinstance(value, torch.Tensor) else value)
    except LoopError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise LoopError(
            f"{where} got {type(value).__name__}, which is not a number ({error})"
        ) from error


def _number(name: str, value: Any, outcome: Outcome) -> float | None:
    if name in SEALED:
        if not isinstance(value, SealedValue):
            raise LoopError(
                f"run.report({name}={value!r}) is not a sealed value: report "
                f"{name}=run.sealed(evaluate), so that it stays hidden until the study is unsealed"
            )
        number = SealedValue.open(value)
    else:
        number = as_number(f"run.report({name}=…)", value)
    if number is None or not name.endswith("error"):
        return number
    shown = f"run.report({name}={number if name in REPORTED else 'sealed'})"
    if not outcome.share:
        _check_best(shown, number, outcome)
        return number
    if isfinite(number) and number > 1:
        raise LoopError(f"{shown} must be in [0, 1]: divide a percentage by 100")
    if number < 0:
        raise LoopError(f"run.report({name}=…) must be in [0, 1], but is negative")
    return number


def _check_best(shown: str, number: float, outcome: Outcome) -> None:
    """Refuse a value that is better than the best one there is."""
    size = max(1.0, abs(outcome.best)) if outcome.greater_is_better else 1.0
    if not isfinite(number) or outcome.error(number) >= -ROUNDING * size:
        return
    if outcome.greater_is_better:
        raise LoopError(
            f"{shown} is better than best = {outcome.best!r} of metric {outcome.name!r}: divide a "
            "percentage by 100, or give the metric a larger best"
        )
    raise LoopError(
        f"{shown} is below 0, the best value of metric {outcome.name!r}, which is to be small: "
        "add a constant to a metric with values below 0, or give it greater_is_better=True and "
        "best=…"
    )


def _recorded(key: str, outcome: Outcome) -> str:
    """Return the name under which a reported number is recorded."""
    split, is_error = {**REPORTED, **SEALED}[key]
    return f"{split}_{outcome.name if is_error else 'loss'}"


def _value(key: str, number: float | None, outcome: Outcome) -> float:
    """Return a reported number as it is recorded."""
    if number is None:
        return nan
    _, is_error = {**REPORTED, **SEALED}[key]
    return float(outcome.value(number)) if is_error and outcome.share else number
