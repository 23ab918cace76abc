"""The step that INDIAN and INNAprop share on every back end of Keras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import keras
from keras import ops

from indian_tune.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keras.optimizers.schedules import LearningRateSchedule

    Rate: TypeAlias = float | LearningRateSchedule | Callable[[], Any]

__all__ = ["InertialOptimizer"]


class InertialOptimizer(keras.optimizers.Optimizer):  # type: ignore[misc]
    r"""An optimizer whose weights move by a velocity and the newest gradient.

    .. math::
        \theta_{k+1} = \theta_k + \gamma_k (v_k - \beta g_k), \qquad
        v_{k+1} = (1 - \alpha\gamma_k) v_k - \gamma_k (1 - \alpha\beta) g_k

    A subclass gives :math:`\gamma_k`, the gradient that the dynamics sees, and the same step on
    PyTorch for many tensors at once.

    Args:
        learning_rate: a number, a schedule of Keras or a callable.
        alpha: viscous friction.
        beta: Newtonian damping.
        weight_decay: strength of weight decay; ``None`` is 0.
        decoupled_weight_decay: whether θ shrinks outside the dynamics.
        **options: of ``keras.optimizers.Optimizer``.
    """

    # The arguments that this class and a subclass add to Keras's own.
    _own: ClassVar[tuple[str, ...]] = ("alpha", "beta", "decoupled_weight_decay")

    def __init__(
        self,
        learning_rate: Rate,
        *,
        alpha: float,
        beta: float,
        weight_decay: float | None,
        decoupled_weight_decay: bool,
        **options: Any,
    ) -> None:
        super().__init__(
            learning_rate=learning_rate if callable(learning_rate) else float(learning_rate),
            weight_decay=weight_decay,
            **options,
        )
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.decoupled_weight_decay = bool(decoupled_weight_decay)

    def build(self, variables: Sequence[Any]) -> None:
        """Make a velocity for every variable.

        Raises:
            InputError: a variable is complex.
        """
        if self.built:
            return
        for index, variable in enumerate(variables):
            self._check_real(variable, "parameter", index)
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Take one step on one variable.

        Args:
            gradient: of the variable's shape.
            variable: changed in place, as is its velocity.
            learning_rate: γ0, or γ_k of a schedule.

        Raises:
            InputError: the gradient is complex.
        """
        dtype = keras.backend.standardize_dtype(variable.dtype)
        wide = "float64" if dtype == "float64" else "float32"
        index = self._get_variable_index(variable)
        gamma = self._gamma(learning_rate, wide)
        self._check_real(gradient, "gradient", index)
        gradient = ops.cast(_dense(gradient), dtype)
        decay = self._decay_of(variable)
        if decay and not self.decoupled_weight_decay:
            gradient = gradient + decay * variable
        gradient = self._seen(gradient, index, wide)
        velocity = self._velocity_before(index, gradient)
        # Small factors are formed before they are rounded to the variable's dtype; 1 - αγ is not
        # formed at all: in float32 that would round αγ by up to 6e-8 in every step.
        step = ops.cast(gamma, dtype) * velocity - ops.cast(gamma * self.beta, dtype) * gradient
        if decay and self.decoupled_weight_decay:
            step = step - ops.cast(gamma * decay, dtype) * variable
        friction = ops.cast(gamma * self.alpha, dtype) * velocity
        push = ops.cast(gamma * (1 - self.alpha * self.beta), dtype) * gradient
        self.assign(self._velocities[index], velocity - friction - push)
        self.assign_add(variable, step)

    def get_config(self) -> dict[str, Any]:
        """Return all arguments of the constructor, as plain data."""
        return {**super().get_config(), **{name: getattr(self, name) for name in self._own}}

    def _check_real(self, value: Any, what: str, index: int) -> None:
        dtype = keras.backend.standardize_dtype(value.dtype)
        if dtype.startswith("complex"):
            raise InputError(
                f"{type(self).__name__} accepts real {what}s only, but {what} {index} is {dtype}: "
                "train its real and imaginary parts instead"
            )

    def _gamma(self, learning_rate: Any, dtype: str) -> Any:
        """Return γ_k as a tensor."""
        return ops.cast(learning_rate, dtype)

    def _seen(self, gradient: Any, index: int, wide: str) -> Any:
        """Return the gradient that the dynamics sees of the variable of an index.

        Args:
            gradient: dense, with what is not decoupled of the weight decay.
            index: of the variable.
            wide: dtype to form factors in.
        """
        del index, wide
        return gradient

    def _velocity_before(self, index: int, gradient: Any) -> Any:
        """Return the velocity before a step, whose gradient is that of :meth:`_seen`."""
        del gradient
        return ops.convert_to_tensor(self._velocities[index])

    def _decay_of(self, variable: Any) -> float:
        return float(self.weight_decay or 0) if self._use_weight_decay(variable) else 0.0

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Do nothing: the step itself decays the weights, with γ_k where Keras would take γ0."""

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        if keras.backend.backend() == "torch":
            import torch

            with torch.no_grad():
                # A compiler fuses what is written variable by variable.
                if not torch.compiler.is_compiling():
                    self._torch_step(grads, trainable_variables, learning_rate)
                    return
                super()._backend_update_step(grads, trainable_variables, learning_rate)
        else:
            super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _torch_step(
        self, grads: Sequence[Any], variables: Sequence[Any], learning_rate: Any
    ) -> None:
        """Step all variables of a weight decay and a dtype at once."""
        from indian_tune.optim.functional import effective_gradients

        gamma = float(self._gamma(learning_rate, "float64"))
        alike: dict[tuple[float, Any], list[tuple[int, Any, Any]]] = {}
        for grad, variable in zip(grads, variables, strict=True):
            theta, index = variable.value, self._get_variable_index(variable)
            if grad.is_complex():
                self._check_real(grad, "gradient", index)
            dense = grad.to_dense() if grad.is_sparse else grad
            members = alike.setdefault((self._decay_of(variable), theta.dtype), [])
            members.append((index, theta, dense.to(theta.dtype)))
        groups = []
        for (decay, _), members in alike.items():
            indices, thetas, dense_grads = map(list, zip(*members, strict=True))
            effective = effective_gradients(
                thetas,
                dense_grads,
                gamma=gamma,
                weight_decay=decay,
                decoupled_weight_decay=self.decoupled_weight_decay,
                maximize=False,
            )
            groups.append((indices, thetas, effective))
        self._torch_move(groups, gamma)

    def _torch_move(self, groups: Sequence[tuple[Any, Any, Any]], gamma: float) -> None:
        """Take the step of the dynamics: indices, parameters and gradients of each group."""
        raise NotImplementedError


def _dense(gradient: Any) -> Any:
    """Return a gradient of any back end as a dense tensor."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        # Keras passes the gradients of embeddings on as they are, in slices.
        return tensorflow.convert_to_tensor(gradient)
    return ops.convert_to_tensor(gradient, sparse=False)
