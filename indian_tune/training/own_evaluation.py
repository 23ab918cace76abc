"""Measuring on the test data in a loop of one's own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.module import register_module_forward_pre_hook

from indian_tune.problems.models import CounterDropout
from indian_tune.training.own_report import LoopError, SealedValue, as_number
from indian_tune.training.own_schedule import identity, warn_once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

    from indian_tune.problems.loop import Loop
    from indian_tune.training.run import Run

# Layers that compute something else in training mode.
MODAL = (_BatchNorm, _DropoutNd, CounterDropout)


def measure(loop: Loop, run: Run, evaluate: Callable[[Any], float]) -> SealedValue:
    """Measure on the test data, where the run opens them.

    Args:
        loop: whose run it is.
        run: the run.
        evaluate: takes the test data of the loop and returns a number.

    Raises:
        LoopError: the loop has no test data, or it returns no number.
    """
    if loop.test is None:
        raise LoopError("the Loop has no test data for run.sealed(): give it test=…")
    if not run.opens_test:
        return SealedValue(None)
    with _watching(loop):
        return SealedValue(as_number("run.sealed(evaluate)", evaluate(loop.test)))


@contextmanager
def _watching(loop: Loop) -> Iterator[None]:
    """Warn of layers in training mode: results are worse, and test data leak into statistics."""
    found: set[str] = set()

    def look(layer: nn.Module, _inputs: object) -> None:
        # At rate 0, dropout computes the same in both modes.
        if layer.training and isinstance(layer, MODAL) and getattr(layer, "p", 1) != 0:
            found.add(type(layer).__name__)

    hook = register_module_forward_pre_hook(look)
    try:
        yield
    finally:
        hook.remove()
    if found:
        warn_once(
            (identity(loop), "eval"),
            f"run.sealed(evaluate) uses the network in training mode ({', '.join(sorted(found))}), "
            "so its result is not that of the trained network: call model.eval() before you "
            "measure, on validation data as well, and model.train() at the start of every epoch",
        )
