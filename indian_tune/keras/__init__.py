"""INDIAN and INNAprop for Keras 3, on TensorFlow, JAX or PyTorch, whichever Keras runs on.

Needs the extra ``keras`` and a back end, which is the user's choice.
"""

from __future__ import annotations

from indian_tune.errors import MissingPackageError

try:
    import keras as _keras  # noqa: F401
except ModuleNotFoundError as error:
    if error.name != "keras":
        raise MissingPackageError(
            f"Keras runs on {error.name}, which is not installed: install it, or choose another "
            "backend with the environment variable KERAS_BACKEND (tensorflow, jax or torch)"
        ) from error
    raise MissingPackageError.of(__name__, "keras", error.name) from error

from indian_tune.keras.indian import Indian
from indian_tune.keras.innaprop import Innaprop
from indian_tune.keras.model_state import ModelState

__all__ = ["Indian", "Innaprop", "ModelState"]
