"""INDIAN and INNAprop for JAX, as gradient transformations of optax.

Needs the extra ``jax``.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from indian_tune.errors import HyperparameterError, InputError, MissingPackageError
from indian_tune.optim.hyperparameters import check_indian, check_innaprop, power_beside

try:
    import jax
    import jax.numpy as jnp
    import optax
    from jax.experimental.sparse import JAXSparse
except ModuleNotFoundError as error:
    raise MissingPackageError.of(__name__, "jax", error.name) from error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["IndianState", "InnapropState", "indian", "innaprop"]


# As for the fused step of PyTorch: beyond, dividing by 1 - αγ begins to amplify rounding.
LARGEST_FORGETTING = 0.5


class IndianState(NamedTuple):
    """What INDIAN keeps between two steps.

    Attributes:
        count: k, an int32 scalar.
        velocity: v, a tree of the parameters' shapes and dtypes.
    """

    count: Any
    velocity: Any


class InnapropState(NamedTuple):
    """What INNAprop keeps between two steps.

    Attributes:
        count: k, an int32 scalar.
        velocity: v, a tree of the parameters' shapes and dtypes.
        square: m, the means of squared gradients, likewise.
    """

    count: Any
    velocity: Any
    square: Any


def indian(
    learning_rate: float | Callable[[Any], Any],
    alpha: float = 0.5,
    beta: float = 0.1,
    *,
    decay_power: float | None = None,
    weight_decay: float | None = None,
    decoupled_weight_decay: bool = True,
    initial_velocity: float | None = None,
) -> Any:
    r"""Inertial Newton algorithm for deep learning (INDIAN, also published as INNA).

    .. math::
        \theta_{k+1} = \theta_k + \gamma_k (v_k - \beta g_k), \qquad
        v_{k+1} = (1 - \alpha\gamma_k) v_k - \gamma_k (1 - \alpha\beta) g_k, \qquad
        \gamma_k = \gamma_0 (k + 1)^{-a}

    This is the published recursion in :math:`(\theta, \psi)` with
    :math:`v = (1/\beta - \alpha)\theta - \psi/\beta`; see :class:`indian_tune.Indian`. Every
    number may be an array of one, also a traced one: ``jax.vmap`` over (α, β, γ0) trains a pack
    of runs. Only numbers that are known when the transformation is made are checked. Sparse
    gradients are made dense: with inertia a row moves also where its gradient is 0.

    Args:
        learning_rate: γ0 > 0, or a schedule: a function of k that returns γ_k itself.
        alpha: viscous friction α > 0.
        beta: Newtonian damping β > 0.
        decay_power: a in γ_k = γ0 (k + 1)^(-a), in [0, 1]. By default 1/2, and 0 beside a schedule;
            to be given where ``learning_rate`` is an array, as within ``inject_hyperparams``.
        weight_decay: strength of weight decay, >= 0; ``None`` is 0 and needs no parameters.
        decoupled_weight_decay: if true, θ shrinks by γ_k · ``weight_decay`` · θ in each step,
            outside the dynamics; if false, ``weight_decay`` · θ is added to the gradient.
        initial_velocity: s in the start v_0 = (β - s) g_0, whose first step is -γ_0 s g_0; the
            default ``None`` is v_0 = 0, as with s = β.

    Returns:
        An ``optax.GradientTransformation`` whose updates are θ_{k+1} - θ_k.

    Raises:
        HyperparameterError: a hyperparameter is out of range, a schedule is given beside a
            ``decay_power`` above 0, or an array as learning rate without ``decay_power``.
        InputError: a parameter is complex, in ``init``, or a gradient, in ``update``; or weight
            decay is asked for and ``update`` is not given the parameters.

    Source: section 2 of "An Inertial Newton Algorithm for Deep Learning" (Castera, Bolte,
    Févotte and Pauwels, 2021).
    """
    scheduled = callable(learning_rate)
    if decay_power is None and isinstance(learning_rate, jax.Array):
        raise HyperparameterError(
            "decay_power must be given where learning_rate is an array, which may come from a "
            "schedule: 0.5 is the default elsewhere, 0 leaves the step size to learning_rate"
        )
    numbers = {
        "alpha": alpha,
        "beta": beta,
        "weight_decay": 0.0 if weight_decay is None else weight_decay,
        "decoupled_weight_decay": decoupled_weight_decay,
        "initial_velocity": initial_velocity,
        "decay_power": decay_power,
    }
    known = _known({"learning_rate": learning_rate, **numbers})
    check_indian(known, rate="learning_rate")
    if decay_power is None or "decay_power" in known:
        power: Any = power_beside(known.get("decay_power"), scheduled=scheduled)
    else:
        power = decay_power

    def gamma(count: Any) -> Any:
        rate = _rate(learning_rate, count)
        if isinstance(power, jax.core.Tracer) or power != 0:
            rate = rate * jnp.asarray(count + 1, rate.dtype) ** -power
        return rate

    def first(state: IndianState, velocity: Any, grad: Any) -> Any:
        """Return the velocity before a step."""
        if initial_velocity is None:
            return velocity
        start = jnp.asarray(beta - initial_velocity, grad.dtype) * grad
        return jnp.where(state.count == 0, start, velocity)

    dynamics = _Dynamics(
        "Indian", gamma, alpha, beta, weight_decay, decoupled_weight_decay, _forgets_little(known)
    )

    def init(params: Any) -> IndianState:
        dynamics.check(params)
        return IndianState(jnp.zeros([], jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: IndianState, params: Any = None) -> tuple[Any, IndianState]:
        velocities, tree = jax.tree.flatten(state.velocity)
        stepped = dynamics.stepped(
            dynamics.seen(updates, velocities, params),
            velocities,
            params,
            state.count,
            lambda velocity, grad: first(state, velocity, grad),
        )
        moves, velocities = stepped
        state = IndianState(optax.safe_increment(state.count), tree.unflatten(velocities))
        return tree.unflatten(moves), state

    return optax.GradientTransformation(init, update)


def innaprop(
    learning_rate: float | Callable[[Any], Any],
    alpha: float = 0.1,
    beta: float = 0.9,
    *,
    sigma: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float | None = None,
    decoupled_weight_decay: bool = True,
) -> Any:
    r"""INNAprop: the inertial Newton algorithm with the adaptive scaling of RMSprop.

    .. math::
        m_{k+1} = \sigma m_k + (1 - \sigma) g_k^2, \qquad
        \hat g_k = g_k \big/ \bigl(\sqrt{m_{k+1} / (1 - \sigma^{k+1})} + \epsilon\bigr)

    are the gradients that INDIAN's step is taken with; see :class:`indian_tune.optim.Innaprop`.
    Numbers may be arrays of one and gradients sparse, as for :func:`indian`.

    Args:
        learning_rate: γ > 0, or a schedule: a function of k that returns γ_k.
        alpha: viscous friction α > 0.
        beta: Newtonian damping β > 0.
        sigma: σ in [0, 1), decay of the mean of squared gradients.
        eps: ε > 0, keeps the denominator from 0.
        weight_decay: strength of weight decay, >= 0; ``None`` is 0 and needs no parameters.
        decoupled_weight_decay: if true, θ shrinks by γ_k · ``weight_decay`` · θ in each step,
            outside the dynamics; if false, ``weight_decay`` · θ is added to the gradient.

    Returns:
        An ``optax.GradientTransformation`` whose updates are θ_{k+1} - θ_k.

    Raises:
        HyperparameterError: a hyperparameter is out of range.
        InputError: a parameter is complex, in ``init``, or a gradient, in ``update``; or weight
            decay is asked for and ``update`` is not given the parameters.

    Source: algorithm 1 of "A second-order-like optimizer with adaptive gradient scaling for deep
    learning" (Bolte, Boustany, Pauwels and Purica, 2024).
    """
    numbers = {
        "alpha": alpha,
        "beta": beta,
        "sigma": sigma,
        "eps": eps,
        "weight_decay": 0.0 if weight_decay is None else weight_decay,
        "decoupled_weight_decay": decoupled_weight_decay,
    }
    known = _known({"learning_rate": learning_rate, **numbers})
    check_innaprop(known, rate="learning_rate")

    def gamma(count: Any) -> Any:
        return _rate(learning_rate, count)

    dynamics = _Dynamics(
        "Innaprop", gamma, alpha, beta, weight_decay, decoupled_weight_decay, _forgets_little(known)
    )

    def init(params: Any) -> InnapropState:
        dynamics.check(params)
        velocity, square = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return InnapropState(jnp.zeros([], jnp.int32), velocity, square)

    def log_sigma() -> Any:
        if "sigma" not in known:
            return jnp.log(sigma)
        return math.log(known["sigma"]) if known["sigma"] else -math.inf

    def update(updates: Any, state: InnapropState, params: Any = None) -> tuple[Any, InnapropState]:
        velocities, tree = jax.tree.flatten(state.velocity)
        grads = dynamics.seen(updates, velocities, params)
        # 1 - σ^k without the loss of digits that the difference has at the first steps.
        steps = jnp.asarray(state.count + 1, jnp.result_type(float))
        correction = jnp.sqrt(-jnp.expm1(steps * log_sigma()))
        squares = [
            jnp.asarray(sigma, grad.dtype) * square + jnp.asarray(1 - sigma, grad.dtype) * grad**2
            for grad, square in zip(grads, jax.tree.leaves(state.square), strict=True)
        ]
        scaled = [
            correction.astype(grad.dtype)
            * grad
            / (jnp.sqrt(square) + jnp.asarray(eps * correction, grad.dtype))
            for grad, square in zip(grads, squares, strict=True)
        ]
        moves, velocities = dynamics.stepped(scaled, velocities, params, state.count)
        count = optax.safe_increment(state.count)
        state = InnapropState(count, tree.unflatten(velocities), tree.unflatten(squares))
        return tree.unflatten(moves), state

    return optax.GradientTransformation(init, update)


@dataclass(frozen=True)
class _Dynamics:
    """The step that INDIAN and INNAprop share.

    Attributes:
        owner: whose it is, for messages.
        gamma: returns γ_k for k.
        alpha: viscous friction.
        beta: Newtonian damping.
        weight_decay: strength; ``None`` for none.
        decoupled: whether the decay is outside the dynamics.
        forgets_little: whether αγ_k <= 1/2 in every step. The move is then computed from the new
            velocity, as θ + γ/(1 - αγ) v' - γ (β - γ)/(1 - αγ) g; beyond, the division by 1 - αγ
            would amplify rounding.
    """

    owner: str
    gamma: Callable[[Any], Any]
    alpha: Any
    beta: Any
    weight_decay: Any
    decoupled: Any
    forgets_little: bool

    @property
    def decays(self) -> bool:
        return self.weight_decay is not None and not (
            _is_known(self.weight_decay) and _number(self.weight_decay) == 0
        )

    def check(self, tree: Any, what: str = "parameter") -> None:
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_sparse):
            dtype = leaf.dtype if _is_sparse(leaf) else jnp.result_type(leaf)
            if jnp.issubdtype(dtype, jnp.complexfloating):
                raise InputError(
                    f"{self.owner} accepts real {what}s only, but {what} "
                    f"{jax.tree_util.keystr(path) or 'given'} is {dtype}: train its real and "
                    "imaginary parts instead"
                )

    def seen(self, updates: Any, velocities: list[Any], params: Any) -> list[Any]:
        """Return the gradients, dense and with the weight decay that joins them."""
        if self.decays and params is None:
            raise InputError(
                f"{self.owner} with weight_decay needs the parameters: call "
                "update(grads, state, params)"
            )
        self.check(updates, "gradient")
        grads = [
            (grad.todense() if _is_sparse(grad) else grad).astype(velocity.dtype)
            for grad, velocity in zip(
                jax.tree.leaves(updates, is_leaf=_is_sparse), velocities, strict=True
            )
        ]
        if self.decays and not self.decoupled:
            grads = [
                grad + jnp.asarray(self.weight_decay, grad.dtype) * theta
                for grad, theta in zip(grads, jax.tree.leaves(params), strict=True)
            ]
        return grads

    def stepped(
        self,
        grads: list[Any],
        velocities: list[Any],
        params: Any,
        count: Any,
        first: Callable[[Any, Any], Any] = lambda velocity, _: velocity,
    ) -> tuple[list[Any], list[Any]]:
        """Return the moves of the parameters and the new velocities.

        Args:
            grads: that the dynamics sees.
            velocities: before the step.
            params: looked at for decoupled weight decay alone.
            count: k.
            first: returns the velocity before the step from the one that is kept and the gradient.
        """
        # Factors are formed in float64 where it is enabled, and rounded to each leaf's dtype.
        gamma = self.gamma(count)
        # Not 1 - αγ, which float32 would round by up to 6e-8 in each step.
        factors = [-gamma * self.alpha, -gamma * (1 - self.alpha * self.beta)]
        if self.forgets_little:
            keep = 1 - gamma * self.alpha
            factors += [gamma / keep, -gamma * (self.beta - gamma) / keep]
        else:
            factors += [gamma, -gamma * self.beta]
        shrinks = self.decays and self.decoupled
        if shrinks:
            factors.append(-gamma * self.weight_decay)

        @functools.cache
        def rounded(dtype: Any) -> Any:
            # XLA would form them again for every element of every leaf.
            return jax.lax.optimization_barrier([jnp.asarray(each, dtype) for each in factors])

        moves, after = [], []
        thetas = jax.tree.leaves(params) if shrinks else velocities
        for grad, kept, theta in zip(grads, velocities, thetas, strict=True):
            friction, push, inertia, newest, *shrink = rounded(kept.dtype)
            velocity = first(kept, grad)
            after.append(velocity + (friction * velocity + push * grad))
            # The new velocity takes the place of the old one, which XLA would copy to read it.
            moved = inertia * (after[-1] if self.forgets_little else velocity) + newest * grad
            moves.append(moved + shrink[0] * theta if shrink else moved)
        return moves, after


def _rate(learning_rate: Any, count: Any) -> Any:
    rate = learning_rate(count) if callable(learning_rate) else learning_rate
    return jnp.asarray(rate, jnp.result_type(float))


def _forgets_little(known: dict[str, Any]) -> bool:
    """Whether αγ_k is known to be at most 1/2: a number as learning rate never rises."""
    return {"alpha", "learning_rate"} <= known.keys() and (
        known["alpha"] * known["learning_rate"] <= LARGEST_FORGETTING
    )


def _known(numbers: dict[str, Any]) -> dict[str, Any]:
    return {name: _number(value) for name, value in numbers.items() if _is_known(value)}


def _is_sparse(leaf: Any) -> bool:
    return isinstance(leaf, JAXSparse)


def _is_known(value: Any) -> bool:
    """Whether a hyperparameter has a value already: no schedule, no traced array, not left out."""
    return value is not None and not callable(value) and not isinstance(value, jax.core.Tracer)


def _number(value: Any) -> Any:
    """Return an array of one number as that number, anything else as it is."""
    return value.item() if getattr(value, "size", 0) == 1 else value
