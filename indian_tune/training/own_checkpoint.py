"""What the checkpoints of a loop of one's own can hold."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from indian_tune.text import with_article
from indian_tune.training.own_report import LoopError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Stateful", "check_objects"]

_INSTEAD = "give indian_tune.keras.ModelState(model), which holds weights and optimizer"


@runtime_checkable
class Stateful(Protocol):
    """What a checkpoint can hold: networks, optimizers, schedules."""

    def state_dict(self) -> dict[str, Any]:
        """Return tensors and plain values."""
        ...

    def load_state_dict(self, state: Any, /) -> Any:
        """Take up such a state."""
        ...


def check_objects(objects: Mapping[str, object]) -> None:
    """Refuse what a checkpoint cannot hold, or not whole.

    Args:
        objects: by the names that the loop gives them.

    Raises:
        LoopError: one lacks ``state_dict`` or ``load_state_dict``, or there is nothing but compiled
            Keras models, which leave the states of their optimizers out.
    """
    # Who has not imported Keras has no model of it.
    keras = sys.modules.get("keras")
    models = () if keras is None else (keras.Model,)
    for name, each in objects.items():
        if not isinstance(each, Stateful):
            of_keras = keras is not None and isinstance(each, (*models, keras.optimizers.Optimizer))
            raise LoopError(
                f"run.checkpoint({name}=…) got {with_article(type(each).__name__)}: "
                + (_INSTEAD if of_keras else "it must have state_dict and load_state_dict")
            )
    if objects and all(
        isinstance(each, models) and getattr(each, "optimizer", None) is not None
        for each in objects.values()
    ):
        raise LoopError(
            f"run.checkpoint({next(iter(objects))}=…) got a Keras model, whose state_dict() lacks "
            f"the state of its optimizer: {_INSTEAD}"
        )
