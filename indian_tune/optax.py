"""INDIAN for JAX, as a gradient transformation of optax.

Needs the extra ``jax``.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NamedTuple

from indian_tune.errors import HyperparameterError, InputError, MissingPackageError
from indian_tune.optim.hyperparameters import check_indian, power_beside

try:
    import jax
    import jax.numpy as jnp
    import optax
    from jax.experimental.sparse import JAXSparse
except ModuleNotFoundError as error:
    raise MissingPackageError.of(__name__, "jax", error.name) from error

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["IndianState", "indian"]


class IndianState(NamedTuple):
    """What INDIAN keeps between two steps.

    Attributes:
        count: k, an int32 scalar.
        velocity: v, a tree of the parameters' shapes and dtypes.
    """

    count: Any
    velocity: Any


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
        initial_velocity: s in the start with velocity -s g_0; the default ``None`` starts at
            v_0 = 0, whose first step is -γ_0 β g_0.

    Returns:
        An ``optax.GradientTransformation`` whose updates are θ_{k+1} - θ_k.

    Raises:
        HyperparameterError: a hyperparameter is out of range, a schedule is given beside a
            ``decay_power`` above 0, or an array as learning rate without ``decay_power``.
        InputError: a parameter is complex, in ``init``; or weight decay is asked for and
            ``update`` is not given the parameters.

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
        "learning_rate": learning_rate,
        "alpha": alpha,
        "beta": beta,
        "weight_decay": 0.0 if weight_decay is None else weight_decay,
        "decoupled_weight_decay": decoupled_weight_decay,
        "initial_velocity": initial_velocity,
        "decay_power": decay_power,
    }
    known = {name: _number(value) for name, value in numbers.items() if _is_known(value)}
    check_indian(known, rate="learning_rate")
    if decay_power is None or "decay_power" in known:
        power: Any = power_beside(known.get("decay_power"), scheduled=scheduled)
    else:
        power = decay_power
    decays = weight_decay is not None and known.get("weight_decay") != 0

    def init(params: Any) -> IndianState:
        for path, leaf in jax.tree_util.tree_leaves_with_path(params):
            if jnp.iscomplexobj(leaf):
                raise InputError(
                    "Indian takes real parameters only, parameter "
                    f"{jax.tree_util.keystr(path) or 'given'} is {leaf.dtype}; train its real and "
                    "its imaginary part instead"
                )
        return IndianState(jnp.zeros([], jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(updates: Any, state: IndianState, params: Any = None) -> tuple[Any, IndianState]:
        if decays and params is None:
            raise InputError(
                "Indian with weight_decay needs the parameters: call update(grads, state, params)"
            )
        # Factors are formed in float64 where it is enabled, and rounded to each leaf's dtype.
        wide = jnp.result_type(float)
        gamma = jnp.asarray(
            learning_rate(state.count) if callable(learning_rate) else learning_rate, wide
        )
        if isinstance(power, jax.core.Tracer) or power != 0:
            gamma = gamma * jnp.asarray(state.count + 1, wide) ** -power

        # Not 1 - αγ, which float32 would round by up to 6e-8 in each step.
        factors = (gamma, -gamma * beta, -gamma * alpha, -gamma * (1 - alpha * beta))
        shrinkage = -gamma * weight_decay if decays else 0.0

        @functools.cache
        def rounded(dtype: Any) -> Any:
            # XLA would form them again for every element of every leaf.
            each = (jnp.asarray(factor, dtype) for factor in (*factors, shrinkage))
            return jax.lax.optimization_barrier(tuple(each))

        def step(grad: Any, velocity: Any, theta: Any) -> tuple[Any, Any]:
            inertia, newest, friction, push, shrink = rounded(velocity.dtype)
            grad = grad.astype(velocity.dtype)
            if decays and not decoupled_weight_decay:
                grad = grad + jnp.asarray(weight_decay, grad.dtype) * theta
            if initial_velocity is not None:
                start = jnp.asarray(beta - initial_velocity, grad.dtype) * grad
                velocity = jnp.where(state.count == 0, start, velocity)
            moved = inertia * velocity + newest * grad
            if decays and decoupled_weight_decay:
                moved = moved + shrink * theta
            return moved, velocity + (friction * velocity + push * grad)

        leaves, tree = jax.tree.flatten(state.velocity)
        grads = jax.tree.leaves(updates, is_leaf=_is_sparse)
        # Where nothing decays the parameters are not looked at.
        thetas = leaves if params is None else jax.tree.leaves(params)
        dense = (grad.todense() if _is_sparse(grad) else grad for grad in grads)
        stepped = [step(*each) for each in zip(dense, leaves, thetas, strict=True)]
        moves, velocities = ([pair[place] for pair in stepped] for place in (0, 1))
        state = IndianState(optax.safe_increment(state.count), tree.unflatten(velocities))
        return tree.unflatten(moves), state

    return optax.GradientTransformation(init, update)


def _is_sparse(leaf: Any) -> bool:
    return isinstance(leaf, JAXSparse)


def _is_known(value: Any) -> bool:
    """Whether a hyperparameter has a value already: no schedule, no traced array, not left out."""
    return value is not None and not callable(value) and not isinstance(value, jax.core.Tracer)


def _number(value: Any) -> Any:
    """Return an array of one number as that number, anything else as it is."""
    return value.item() if getattr(value, "size", 0) == 1 else value
