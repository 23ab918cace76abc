"""INNAprop for Keras 3."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
from keras import ops

from indian_tune.keras.inertial import InertialOptimizer
from indian_tune.optim.hyperparameters import check_innaprop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.keras.inertial import Rate

__all__ = ["Innaprop"]


@keras.saving.register_keras_serializable(package="indian_tune")
class Innaprop(InertialOptimizer):
    r"""INNAprop: the inertial Newton algorithm with the adaptive scaling of RMSprop.

    .. math::
        m_{k+1} = \sigma m_k + (1 - \sigma) g_k^2, \qquad
        \hat g_k = g_k \big/ \bigl(\sqrt{m_{k+1} / (1 - \sigma^{k+1})} + \epsilon\bigr)

    are the gradients that INDIAN's step is taken with; see :class:`indian_tune.optim.Innaprop`.
    Sparse gradients are made dense.

    Args:
        learning_rate: γ > 0, or a schedule of Keras or a callable that gives γ_k.
        alpha: viscous friction α > 0.
        beta: Newtonian damping β > 0.
        sigma: σ in [0, 1), decay of the mean of squared gradients.
        eps: ε > 0, keeps the denominator from 0.
        weight_decay: strength of weight decay, >= 0; ``None`` is 0.
            ``exclude_from_weight_decay`` holds.
        decoupled_weight_decay: if true, θ shrinks by γ_k · ``weight_decay`` · θ in each step,
            outside the dynamics; if false, ``weight_decay`` · θ is added to the gradient.
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
        HyperparameterError: a hyperparameter is out of range.
        InputError: a variable is complex, in :meth:`build`, or a gradient, in a step.

    Source: algorithm 1 of "A second-order-like optimizer with adaptive gradient scaling for deep
    learning" (Bolte, Boustany, Pauwels and Purica, 2024).
    """

    _own = (*InertialOptimizer._own, "sigma", "eps")

    def __init__(
        self,
        learning_rate: Rate = 1e-3,
        alpha: float = 0.1,
        beta: float = 0.9,
        *,
        sigma: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float | None = None,
        decoupled_weight_decay: bool = True,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str = "innaprop",
    ) -> None:
        numbers = {"alpha": alpha, "beta": beta, "sigma": sigma, "eps": eps}
        decay = {
            "weight_decay": weight_decay or 0.0,
            "decoupled_weight_decay": decoupled_weight_decay,
        }
        rate = {} if callable(learning_rate) else {"learning_rate": learning_rate}
        check_innaprop({**numbers, **decay, **rate}, rate="learning_rate")
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
        self.sigma = float(sigma)
        self.eps = float(eps)

    def build(self, variables: Sequence[Any]) -> None:
        """Make a velocity and a mean of squares for every variable.

        Raises:
            InputError: a variable is complex.
        """
        if self.built:
            return
        super().build(variables)
        self._squares = self.add_optimizer_variables(variables, "square")

    def _seen(self, gradient: Any, index: int, wide: str) -> Any:
        squares = self._squares[index]
        dtype = keras.backend.standardize_dtype(squares.dtype)
        square = self.sigma * ops.convert_to_tensor(squares) + (1 - self.sigma) * gradient**2
        self.assign(squares, square)
        # 1 - σ^k without the loss of digits that the difference has at the first steps.
        steps = ops.cast(self.iterations + 1, wide)
        log_sigma = math.log(self.sigma) if self.sigma else -math.inf
        correction = ops.cast(ops.sqrt(-ops.expm1(steps * log_sigma)), dtype)
        return correction * gradient / (ops.sqrt(square) + self.eps * correction)

    def _torch_move(self, groups: Sequence[tuple[Any, Any, Any]], gamma: float) -> None:
        from indian_tune.optim.functional import innaprop

        for indices, thetas, grads in groups:
            innaprop(
                thetas,
                grads,
                [self._velocities[index].value for index in indices],
                [self._squares[index].value for index in indices],
                step=int(self.iterations) + 1,
                gamma=gamma,
                alpha=self.alpha,
                beta=self.beta,
                sigma=self.sigma,
                eps=self.eps,
            )
