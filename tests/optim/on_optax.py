"""INDIAN for optax, in a process with two devices; `test_frameworks.py` starts it."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.experimental.sparse import BCOO
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from indian_tune.errors import HyperparameterError, InputError
from indian_tune.optax import indian, innaprop
from tests.benchmarks.parity import BOUNDS, FEW, measure
from tests.optim.faults import BESIDE_A_SCHEDULE, faults, innaprop_faults

STEPS = 20
SCHEDULE = optax.piecewise_constant_schedule(0.5, {3: 0.5})


def train(transformation: Any, start: Any, steps: int = STEPS) -> Any:
    """Return parameters after steps on a quadratic, in one scan."""

    def step(carry: Any, _: Any) -> Any:
        params, state = carry
        grads = jax.tree.map(lambda theta: 2 * theta - 1, params)
        updates, state = transformation.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (start, transformation.init(start)), None, steps)
    return params


def test_every_type_takes_the_steps_of_the_published_recursion() -> None:
    for dtype, errors in measure("optax", FEW).items():
        assert len(errors) == len(FEW)
        assert max(errors.values()) <= BOUNDS[dtype], errors


def test_a_pack_is_mapped_over_hyperparameters_and_seeds() -> None:
    gammas, alphas, betas = (jnp.array(each) for each in ([0.3, 0.1], [0.1, 2.0], [0.1, 0.5]))

    def run(gamma: Any, alpha: Any, beta: Any, key: Any) -> Any:
        pack = indian(gamma, alpha, beta, decay_power=0.5, weight_decay=0.1, initial_velocity=0.2)
        return train(pack, jax.random.normal(key, (4,)))

    keys = jax.random.split(jax.random.key(0), 2)
    packed = jax.jit(jax.vmap(run))(gammas, alphas, betas, keys)
    for lane in range(2):
        numbers = [float(each[lane]) for each in (gammas, alphas, betas)]
        single = indian(*numbers, weight_decay=0.1, initial_velocity=0.2)
        alone = train(single, jax.random.normal(keys[lane], (4,)))
        np.testing.assert_allclose(packed[lane], alone, rtol=1e-5)


def test_a_pack_of_innaprop_is_mapped_over_hyperparameters() -> None:
    gammas, sigmas = jnp.array([0.01, 0.02]), jnp.array([0.9, 0.5])
    start = {"kernel": jnp.arange(3.0), "bias": jnp.ones(2)}

    def run(gamma: Any, sigma: Any) -> Any:
        return train(innaprop(gamma, sigma=sigma, weight_decay=0.1), start)

    packed = jax.jit(jax.vmap(run))(gammas, sigmas)
    for lane in range(2):
        alone = run(float(gammas[lane]), float(sigmas[lane]))
        for name in start:
            np.testing.assert_allclose(packed[name][lane], alone[name], rtol=1e-5)


def test_hyperparameters_are_injected_and_changed_between_steps() -> None:
    start = {"kernel": jnp.arange(3.0), "bias": jnp.ones(2)}
    injected = optax.inject_hyperparams(indian)(0.1, decay_power=0.5)
    plain = indian(0.1)
    for one, other in zip(
        *(jax.tree.leaves(train(each, start)) for each in (injected, plain)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    state = injected.init(start)
    state.hyperparams["beta"] = jnp.asarray(0.4)
    updates, _ = injected.update(start, state, start)
    np.testing.assert_allclose(updates["kernel"], -0.1 * 0.4 * start["kernel"], rtol=1e-6)
    by_schedule = optax.inject_hyperparams(indian)(SCHEDULE, decay_power=0)
    np.testing.assert_allclose(
        train(by_schedule, start)["bias"], train(indian(SCHEDULE), start)["bias"], rtol=1e-6
    )


def test_a_sharded_state_is_stepped_where_it_lies() -> None:
    devices = jax.devices()
    assert len(devices) == 2
    sharding = NamedSharding(Mesh(np.array(devices), ("data",)), PartitionSpec("data"))
    start = jnp.arange(8.0)
    transformation = indian(0.1, weight_decay=0.1)
    placed = jax.device_put(start, sharding)
    state = jax.jit(transformation.init)(placed)
    updates, state = jax.jit(transformation.update)(placed, state, placed)
    assert updates.sharding == sharding
    assert state.velocity.sharding == sharding
    sharded = jax.jit(train, static_argnums=0)(transformation, placed)
    np.testing.assert_allclose(sharded, train(transformation, start), rtol=1e-6)


def test_a_compiled_step_passes_over_memory_twice_and_copies_no_array() -> None:
    start = {"kernel": jnp.ones((64, 64)), "bias": jnp.ones(64)}
    transformation = indian(0.1)

    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = transformation.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    compiled = jax.jit(step, donate_argnums=(0, 1))
    text = compiled.lower(start, transformation.init(start), start).compile().as_text()
    assert text is not None
    entry = text[text.index("ENTRY") :]
    assert not re.findall(r"f\d\d\[\d.*\bcopy\(", entry)
    # One for the velocity, one for the parameter.
    assert len(re.findall(r"= f\d\d\[\d\S* fusion\(", entry)) == 2 * len(start)


def test_sparse_gradients_are_made_dense_and_types_are_kept() -> None:
    start = {"a": jnp.ones(4, jnp.bfloat16), "b": jnp.ones(3, jnp.float32)}
    grads = {"a": jnp.arange(4.0), "b": jnp.array([0.0, 2.0, 0.0])}
    transformation = indian(0.1)
    dense, state = transformation.update(grads, transformation.init(start))
    sparse, _ = transformation.update(
        {**grads, "b": BCOO.fromdense(grads["b"])}, transformation.init(start)
    )
    np.testing.assert_array_equal(sparse["b"], dense["b"])
    assert (dense["a"].dtype, state.velocity["a"].dtype) == (jnp.bfloat16, jnp.bfloat16)
    assert dense["b"].dtype == jnp.float32
    np.testing.assert_allclose(dense["b"], [0, -0.02, 0], rtol=1e-6)


@pytest.mark.parametrize(("options", "message"), faults("learning_rate"))
def test_a_fault_is_refused_in_the_same_words(options: dict[str, Any], message: str) -> None:
    with pytest.raises(HyperparameterError, match=f"^{re.escape(message)}$"):
        indian(**({"learning_rate": 0.1} | options))


@pytest.mark.parametrize(("options", "message"), innaprop_faults("learning_rate"))
def test_innaprop_refuses_in_the_same_words(options: dict[str, Any], message: str) -> None:
    with pytest.raises(HyperparameterError, match=f"^{re.escape(message)}$"):
        innaprop(**({"learning_rate": 0.1} | options))


def test_other_faults_are_refused() -> None:
    with pytest.raises(HyperparameterError, match=f"^{re.escape(BESIDE_A_SCHEDULE)}$"):
        indian(SCHEDULE, decay_power=0.5)
    with pytest.raises(HyperparameterError, match="decay_power must be given where learning_rate"):
        optax.inject_hyperparams(indian)(SCHEDULE).init(jnp.ones(2))
    with pytest.raises(HyperparameterError, match=r"alpha of Indian .* got -1.0"):
        indian(0.1, jnp.asarray(-1.0))
    with pytest.raises(TypeError, match="unexpected keyword argument 'momentum'"):
        indian(0.1, momentum=0.9)  # type: ignore[call-arg]
    for transformation in (indian(0.1), innaprop(0.1)):
        with pytest.raises(
            InputError, match=r"real parameters only, but parameter \['w'\] is complex64"
        ):
            transformation.init({"w": jnp.ones(2, jnp.complex64)})
    plain = innaprop(0.1)
    with pytest.raises(InputError, match=r"real gradients only, but gradient \['w'\] is complex64"):
        plain.update({"w": jnp.ones(2, jnp.complex64)}, plain.init({"w": jnp.ones(2)}))
    decaying = indian(0.1, weight_decay=0.1)
    with pytest.raises(InputError, match="call update"):
        decaying.update(jnp.ones(2), decaying.init(jnp.ones(2)))
