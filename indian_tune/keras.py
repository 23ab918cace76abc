"""INDIAN for Keras 3, on TensorFlow, JAX or PyTorch, whichever Keras runs on.

Needs the extra ``keras`` and a back end, which is the user's choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from indian_tune.errors import InputError, MissingPackageError
from indian_tune.optim.hyperparameters import check_indian, power_beside

try:
    import keras
    from keras import ops
except ModuleNotFoundError as error:
    if error.name != "keras":
        raise MissingPackageError(
            f"Keras runs on {error.name}, which is not installed: install it, or name another back "
            "end in the environment variable KERAS_BACKEND (tensorflow, jax or torch)"
        ) from error
    raise MissingPackageError.of(__name__, "keras", error.name) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from keras.optimizers.schedules import LearningRateSchedule

__all__ = ["Indian"]


@keras.saving.register_keras_serializable(package="indian_tune")
class Indian(keras.optimizers.Optimizer):  # type: ignore[misc]
    r"""Inertial Newton algorithm for deep learning (INDIAN, also published as INNA).

    .. math::
        \theta_{k+1} = \theta_k + \gamma_k (v_k - \beta g_k), \qquad
        v_{k+1} = (1 - \alpha\gamma_k) v_k - \gamma_k (1 - \alpha\beta) g_k, \qquad
        \gamma_k = \gamma_0 (k + 1)^{-a}

    This is the published recursion in :math:`(\theta, \psi)` with
    :math:`v = (1/\beta - \alpha)\theta - \psi/\beta`; see :class:`indian_tune.Indian`. Sparse
    gradients are made dense: with inertia a row moves also where its gradient is 0.

    Args:
        learning_rate: γ0 > 0, or a schedule of Keras or a callable that gives γ_k itself. Read back
            it is γ0, so that callbacks may set it.
        alpha: viscous friction α > 0.
        beta: Newtonian damping β > 0.
        decay_power: a in γ_k = γ0 (k + 1)^(-a), in [0, 1]; k counts the updates of the weights. By
            default 1/2, and 0 beside a schedule.
        weight_decay: strength of weight decay, >= 0; ``None`` is 0.
            ``exclude_from_weight_decay`` holds.
        decoupled_weight_decay: if true, θ shrinks by γ_k · ``weight_decay`` · θ in each step,
            outside the dynamics; if false, ``weight_decay`` · θ is added to the gradient.
        initial_velocity: s in the start with velocity -s g_0, taken in the first update; the
            default ``None`` starts at v_0 = 0, whose first step is -γ_0 β g_0.
        clipnorm: as all other arguments, that of ``keras.optimizers.Optimizer``.
        clipvalue: see there.
        global_clipnorm: see there.
        use_ema: see there.
        ema_momentum: see there.
        ema_overwrite_frequency: see there.
        loss_scale_factor: see there.
        gradient_accumulation_steps: see there.
        name: see there.

    Raises:
        HyperparameterError: a hyperparameter is out of range, or a schedule is given beside a
            ``decay_power`` above 0.
        InputError: a variable is complex, in :meth:`build`.

    Source: section 2 of "An Inertial Newton Algorithm for Deep Learning" (Castera, Bolte,
    Févotte and Pauwels, 2021).
    """

    def __init__(
        self,
        learning_rate: float | LearningRateSchedule | Callable[[], Any] = 0.1,
        alpha: float = 0.5,
        beta: float = 0.1,
        *,
        decay_power: float | None = None,
        weight_decay: float | None = None,
        decoupled_weight_decay: bool = True,
        initial_velocity: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str = "indian",
    ) -> None:
        scheduled = callable(learning_rate)
        numbers = {
            "alpha": alpha,
            "beta": beta,
            "weight_decay": weight_decay or 0.0,
            "decoupled_weight_decay": decoupled_weight_decay,
            "initial_velocity": initial_velocity,
        }
        rate = {} if scheduled else {"learning_rate": learning_rate}
        check_indian({**numbers, **rate}, rate="learning_rate")
        power = power_beside(decay_power, scheduled=scheduled)
        super().__init__(
            learning_rate=learning_rate if callable(learning_rate) else float(learning_rate),
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
        )
        self.alpha = float(alpha)
        self.beta = float(beta)
        self.decay_power = power
        self.decoupled_weight_decay = bool(decoupled_weight_decay)
        self.initial_velocity = initial_velocity

    @keras.optimizers.Optimizer.learning_rate.setter  # type: ignore[untyped-decorator]
    def learning_rate(self, value: Any) -> None:
        """Set γ0; the step sizes go on from the present k.

        Raises:
            HyperparameterError: a schedule is set beside a ``decay_power`` above 0.
        """
        power_beside(self.decay_power, scheduled=callable(value))
        keras.optimizers.Optimizer.learning_rate.fset(self, value)

    def build(self, variables: Sequence[Any]) -> None:
        """Make a velocity for every variable.

        Raises:
            InputError: a variable is complex.
        """
        if self.built:
            return
        for index, variable in enumerate(variables):
            dtype = keras.backend.standardize_dtype(variable.dtype)
            if dtype.startswith("complex"):
                raise InputError(
                    f"Indian takes real parameters only, parameter {index} is {dtype}; train its "
                    "real and its imaginary part instead"
                )
        super().build(variables)
        self._velocities = self.add_optimizer_variables(variables, "velocity")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Take one step on one variable.

        Args:
            gradient: of the variable's shape.
            variable: changed in place, as is its velocity.
            learning_rate: γ0, or γ_k of a schedule.
        """
        dtype = keras.backend.standardize_dtype(variable.dtype)
        slot = self._velocities[self._get_variable_index(variable)]
        gamma = self._gamma(learning_rate, "float64" if dtype == "float64" else "float32")
        gradient = ops.cast(_dense(gradient), dtype)
        decay = self._decay_of(variable)
        if decay and not self.decoupled_weight_decay:
            gradient = gradient + decay * variable
        velocity = ops.convert_to_tensor(slot)
        if self.initial_velocity is not None:
            start = (self.beta - self.initial_velocity) * gradient
            velocity = ops.where(ops.equal(self.iterations, 0), start, velocity)
        # Small factors are formed before they are rounded to the variable's dtype; 1 - αγ is not
        # formed at all: in float32 that would round αγ by up to 6e-8 in every step.
        step = ops.cast(gamma, dtype) * velocity - ops.cast(gamma * self.beta, dtype) * gradient
        if decay and self.decoupled_weight_decay:
            step = step - ops.cast(gamma * decay, dtype) * variable
        friction = ops.cast(gamma * self.alpha, dtype) * velocity
        push = ops.cast(gamma * (1 - self.alpha * self.beta), dtype) * gradient
        self.assign(slot, velocity - friction - push)
        self.assign_add(variable, step)

    def get_config(self) -> dict[str, Any]:
        """Return all arguments of the constructor, as plain data."""
        own = ("alpha", "beta", "decay_power", "decoupled_weight_decay", "initial_velocity")
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}

    def _gamma(self, learning_rate: Any, dtype: str) -> Any:
        """Return γ_k as a tensor."""
        gamma = ops.cast(learning_rate, dtype)
        if self.decay_power == 0:
            return gamma
        return gamma * ops.power(ops.cast(self.iterations + 1, dtype), -self.decay_power)

    def _decay_of(self, variable: Any) -> float:
        return float(self.weight_decay or 0) if self._use_weight_decay(variable) else 0.0

    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Do nothing: the step itself decays the weights, with γ_k where Keras would take γ0."""

    def _backend_update_step(
        self, grads: Sequence[Any], trainable_variables: Sequence[Any], learning_rate: Any
    ) -> None:
        if keras.backend.backend() == "torch":
            self._torch_step(grads, trainable_variables, learning_rate)
        else:
            super()._backend_update_step(grads, trainable_variables, learning_rate)

    def _torch_step(
        self, grads: Sequence[Any], variables: Sequence[Any], learning_rate: Any
    ) -> None:
        """Step all variables at once, as :class:`indian_tune.Indian` with ``foreach``."""
        import torch

        from indian_tune.optim.functional import effective_gradients, indian

        with torch.no_grad():
            gamma, first = self._gamma(learning_rate, "float64"), self.iterations == 0
            if not torch.compiler.is_compiling():
                gamma, first = gamma.item(), bool(first)
            by_decay: dict[tuple[float, Any], list[tuple[Any, Any, Any]]] = {}
            for grad, variable in zip(grads, variables, strict=True):
                theta = variable.value
                velocity = self._velocities[self._get_variable_index(variable)].value
                key = (self._decay_of(variable), theta.dtype)
                dense = grad.to_dense() if grad.is_sparse else grad
                by_decay.setdefault(key, []).append((theta, dense.to(theta.dtype), velocity))
            for (decay, _), stepped in by_decay.items():
                thetas, dense_grads, velocities = map(list, zip(*stepped, strict=True))
                effective = effective_gradients(
                    thetas,
                    dense_grads,
                    gamma=gamma,
                    weight_decay=decay,
                    decoupled_weight_decay=self.decoupled_weight_decay,
                    maximize=False,
                )
                if self.initial_velocity is not None and first is not False:
                    factor = self.beta - self.initial_velocity
                    for velocity, grad in zip(velocities, effective, strict=True):
                        start = grad * factor
                        velocity.copy_(start if first is True else start.where(first, velocity))
                indian(thetas, effective, velocities, gamma=gamma, alpha=self.alpha, beta=self.beta)


def _dense(gradient: Any) -> Any:
    """Return a gradient of any back end as a dense tensor."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        # Keras passes the gradients of embeddings on as they are, in slices.
        return tensorflow.convert_to_tensor(gradient)
    return ops.convert_to_tensor(gradient, sparse=False)
