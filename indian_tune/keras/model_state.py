"""The whole state of a Keras model in training, for checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import torch
from keras import ops

from indian_tune.errors import InputError
from indian_tune.keras.indian import Indian

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ModelState"]


class ModelState:
    """A compiled Keras model as a checkpoint of a training loop holds it.

    It has weights, the other variables of the layers, such as the seeds of dropout, and the
    variables of the optimizer, on every back end of Keras. A model that loads the state continues
    the training to the last bit, if random numbers do not depend on what was drawn before the
    interruption: give layers such as ``Dropout`` a ``seed``, and draw the order of the examples for
    every epoch, with ``fit(shuffle=False)``. The first ``fit`` of a process draws more numbers than
    the next ones.

    Args:
        model: built and compiled; its optimizer is built here, if it is not yet.

    Raises:
        InputError: it is no Keras model, is not built, or has no optimizer.

    Example:
        >>> for epoch in run.epochs(model=ModelState(model)):
        ...     model.fit(inputs, targets)
    """

    def __init__(self, model: Any) -> None:
        if not isinstance(model, keras.Model):
            raise InputError(f"ModelState takes a keras.Model, got {type(model).__name__}")
        if not model.built:
            raise InputError(
                "ModelState needs a built model: give it keras.Input(shape) as its first layer, or "
                "call model.build(shape)"
            )
        if getattr(model, "optimizer", None) is None:
            raise InputError(
                "ModelState needs a model with an optimizer: call model.compile(optimizer, loss)"
            )
        self.model = model
        model.optimizer.build(model.trainable_variables)

    def state_dict(self) -> dict[str, Any]:
        """Return the state as tensors on the CPU, numbers and texts; training goes on unchanged."""
        scaled = [each for each in _chain(self.model.optimizer) if isinstance(each, Indian)]
        scales = [each._scale for each in scaled]
        # The velocities stay in their units: others would round the next steps otherwise.
        for each in scaled:
            each._scale = 1.0
        try:
            optimizer = [_as_tensor(each) for each in self.model.optimizer.variables]
        finally:
            for each, scale in zip(scaled, scales, strict=True):
                each._scale = scale
        return {
            "model": [_as_tensor(each) for each in self.model.variables],
            "optimizer": optimizer,
            "names": self._names(),
            "scales": scales,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` returned for a model of the same layers and optimizer.

        Raises:
            InputError: it is the state of another model or optimizer; nothing is changed.
        """
        if state["names"] != self._names():
            raise InputError(
                f"this state is of the optimizer {', '.join(state['names'])}, but the model is "
                f"compiled with {', '.join(self._names())}: load it with the same optimizer"
            )
        optimizer = self.model.optimizer.variables
        _check_shapes("model", self.model.variables, state["model"])
        _check_shapes("optimizer", optimizer, state["optimizer"])
        pairs = [(self.model.variables, state["model"]), (optimizer, state["optimizer"])]
        for variables, tensors in pairs:
            for variable, tensor in zip(variables, tensors, strict=True):
                value = tensor if keras.backend.backend() == "torch" else tensor.numpy()
                variable.assign(ops.convert_to_tensor(value, dtype=variable.dtype))
        scaled = [each for each in _chain(self.model.optimizer) if isinstance(each, Indian)]
        for each, scale in zip(scaled, state["scales"], strict=True):
            each._scale = scale

    def _names(self) -> list[str]:
        return [type(each).__name__ for each in _chain(self.model.optimizer)]


def _chain(optimizer: Any) -> Iterator[Any]:
    """Yield an optimizer and those that it wraps, as Keras's for scaled losses does."""
    yield optimizer
    inner = getattr(optimizer, "inner_optimizer", None)
    for each in (inner,) if inner is not None else getattr(optimizer, "_inner_optimizers", ()):
        yield from _chain(each)


def _as_tensor(variable: Any) -> torch.Tensor:
    if isinstance(variable.value, torch.Tensor):
        return variable.value.detach().cpu().clone()
    array = np.array(ops.convert_to_numpy(variable))
    try:
        return torch.from_numpy(array)
    except TypeError:
        # Types of 16 and 8 bits that NumPy lacks; float32 holds all of their numbers.
        return torch.from_numpy(array.astype(np.float32))


def _check_shapes(what: str, variables: Sequence[Any], tensors: Sequence[torch.Tensor]) -> None:
    own, given = ([tuple(each.shape) for each in group] for group in (variables, tensors))
    if own != given:
        raise InputError(
            f"this state does not fit the {what}: it has variables of the shapes {given}, but the "
            f"{what} has {own}"
        )
