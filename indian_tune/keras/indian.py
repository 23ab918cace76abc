"""INDIAN for Keras 3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from indian_tune.keras.inertial import InertialOptimizer
from indian_tune.optim.hyperparameters import check_indian, power_beside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.keras.inertial import Rate

__all__ = ["Indian"]


@keras.saving.register_keras_serializable(package="indian_tune")
class Indian(InertialOptimizer):
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
        initial_velocity: s in the start v_0 = (β - s) g_0, whose first step is -γ_0 s g_0; the
            default ``None`` is v_0 = 0, as with s = β.
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
        InputError: a variable is complex, in :meth:`build`, or a gradient, in a step.

    Source: section 2 of "An Inertial Newton Algorithm for Deep Learning" (Castera, Bolte,
    Févotte and Pauwels, 2021).
    """

    _own = (*InertialOptimizer._own, "decay_power", "initial_velocity")

    def __init__(
        self,
        learning_rate: Rate = 0.1,
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
            learning_rate,
            alpha=alpha,
            beta=beta,
            weight_decay=weight_decay,
            decoupled_weight_decay=decoupled_weight_decay,
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
        self.decay_power = power
        self.initial_velocity = initial_velocity
        # Of the velocities on PyTorch, see ``variables``.
        self._scale = 1.0

    @keras.optimizers.Optimizer.learning_rate.setter  # type: ignore[untyped-decorator]
    def learning_rate(self, value: Any) -> None:
        """Set γ0; the step sizes continue from the present k.

        Raises:
            HyperparameterError: a schedule is set beside a ``decay_power`` above 0.
        """
        power_beside(self.decay_power, scheduled=callable(value))
        keras.optimizers.Optimizer.learning_rate.fset(self, value)

    def _gamma(self, learning_rate: Any, dtype: str) -> Any:
        gamma = ops.cast(learning_rate, dtype)
        if self.decay_power == 0:
            return gamma
        return gamma * ops.power(ops.cast(self.iterations + 1, dtype), -self.decay_power)

    def _velocity_before(self, index: int, gradient: Any) -> Any:
        velocity = super()._velocity_before(index, gradient)
        if self.initial_velocity is None:
            return velocity
        start = (self.beta - self.initial_velocity) * gradient
        return ops.where(ops.equal(self.iterations, 0), start, velocity)

    @property
    def variables(self) -> list[Any]:
        """The step count, γ0, the velocities and what Keras keeps beside them."""
        # The fused step on PyTorch keeps velocities in units of its own, which nobody else knows.
        self._unscale()
        variables: list[Any] = super().variables
        return variables

    def _unscale(self) -> None:
        if self._scale != 1.0:
            for velocity in self._velocities:
                velocity.value.div_(self._scale)
            self._scale = 1.0

    def _torch_move(self, groups: Sequence[tuple[Any, Any, Any]], gamma: float) -> None:
        from indian_tune.optim.functional import indian
        from indian_tune.optim.fused import can_fuse, fused_step

        rates: dict[str, Any] = {"gamma": gamma, "alpha": self.alpha, "beta": self.beta}
        moves = [
            (thetas, grads, [self._velocities[index].value for index in indices])
            for indices, thetas, grads in groups
        ]
        if self.initial_velocity is not None and int(self.iterations) == 0:
            factor = self.beta - self.initial_velocity
            for _, grads, velocities in moves:
                for velocity, grad in zip(velocities, grads, strict=True):
                    velocity.copy_(grad * factor)
        # The scale belongs to all velocities, so all must move.
        if sum(len(velocities) for _, _, velocities in moves) == len(self._velocities) and all(
            can_fuse(*move, **rates) for move in moves
        ):
            (self._scale,) = {fused_step(*move, scale=self._scale, **rates) for move in moves}
            return
        self._unscale()
        for move in moves:
            indian(*move, **rates)
