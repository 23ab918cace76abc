"""INDIAN for Keras on the back end of this process; `test_frameworks.py` starts one for each."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import pytest
import torch
from keras import ops
from sklearn.datasets import load_digits

from indian_tune.errors import HyperparameterError, InputError
from indian_tune.keras import Indian, Innaprop, ModelState
from indian_tune.problems import Loop
from indian_tune.training import CheckpointFolder, LoopError, LoopTrainer, Run
from tests.benchmarks.parity import BOUNDS, FEW, measure
from tests.optim.faults import BESIDE_A_SCHEDULE, faults, innaprop_faults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BACKEND = keras.backend.backend()
GRADIENTS = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
if BACKEND == "tensorflow":
    import tensorflow

    # Before anything is computed, after which TensorFlow keeps its devices.
    (cpu,) = tensorflow.config.list_physical_devices("CPU")
    half = tensorflow.config.LogicalDeviceConfiguration()
    tensorflow.config.set_logical_device_configuration(cpu, [half, half])
needs_tensorflow = pytest.mark.skipif(BACKEND != "tensorflow", reason="is about TensorFlow alone")


@pytest.fixture(autouse=True)
def usual_type() -> Iterator[None]:
    yield
    keras.config.set_floatx("float32")


def stepped(optimizer: Any, gradients: Any = GRADIENTS) -> np.ndarray[Any, Any]:
    """Return parameters [3] that start at 1 after a step with each gradient."""
    variable = keras.Variable(np.ones(3, np.float32))
    for gradient in gradients:
        optimizer.apply([ops.convert_to_tensor(gradient)], [variable])
    found: np.ndarray[Any, Any] = variable.numpy()
    return found


def by_hand(
    gradients: Any = GRADIENTS, *, gamma: Callable[[int], float] = lambda k: 0.1 * (k + 1) ** -0.5
) -> np.ndarray[Any, Any]:
    """Return the same for the default (α, β), in float64."""
    theta, velocity = np.ones(3), np.zeros(3)
    for k, gradient in enumerate(gradients):
        step = gamma(k)
        theta = theta + step * (velocity - 0.1 * gradient)
        velocity = (1 - 0.5 * step) * velocity - step * 0.95 * gradient
    return theta


def digits() -> tuple[Any, Any]:
    images, labels = load_digits(return_X_y=True)
    return (images[:1024] / 16).astype("float32"), labels[:1024]


def compiled_model(optimizer: Any, *, jit: bool = BACKEND != "torch") -> Any:
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((64,)), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(10)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=jit)
    return model


def fit(model: Any, epochs: int) -> list[float]:
    images, labels = digits()
    done = model.fit(images, labels, batch_size=64, epochs=epochs, shuffle=False, verbose=0)
    losses: list[float] = done.history["loss"]
    return losses


def test_every_type_takes_the_steps_of_the_published_recursion() -> None:
    for dtype, errors in measure(f"keras-{BACKEND}", FEW).items():
        assert len(errors) == len(FEW)
        assert max(errors.values()) <= BOUNDS[dtype], errors


@pytest.mark.parametrize(
    "optimizer",
    [
        Indian(0.5, 0.5, 0.5, weight_decay=1e-3, initial_velocity=0.2, clipnorm=5.0),
        Innaprop(0.01, weight_decay=1e-3, clipnorm=5.0),
    ],
    ids=lambda optimizer: optimizer.name,
)
def test_a_saved_model_that_learns_digits_goes_on_to_the_last_bit(
    optimizer: Any, tmp_path: Path
) -> None:
    model = compiled_model(optimizer)
    losses = fit(model, 4)
    assert losses[-1] < 0.5 * losses[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(optimizer)
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert fit(loaded, 1) == fit(model, 1)
    for one, other in zip(loaded.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def unsteady_model(optimizer: Any) -> Any:
    """A model whose layers hold more than weights: statistics of batches and seeds of dropout."""
    layers = keras.layers
    model = keras.Sequential(
        [
            *(keras.Input((64,)), layers.Dense(16, activation="relu")),
            *(layers.BatchNormalization(), layers.Dropout(0.25, seed=1), layers.Dense(10)),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, jit_compile=BACKEND != "torch")
    return model


@pytest.mark.parametrize(
    "make",
    [
        lambda: Indian(0.5, 0.5, 0.3, initial_velocity=0.2),
        lambda: Innaprop(0.01, weight_decay=1e-3),
        lambda: keras.optimizers.Adam(gradient_accumulation_steps=3),
        lambda: keras.optimizers.LossScaleOptimizer(Indian(0.5, 0.5, 0.3), initial_scale=64.0),
    ],
)
def test_an_interrupted_loop_goes_on_to_the_last_bit(
    make: Callable[[], Any], tmp_path: Path
) -> None:
    models = []

    def train(run: Any) -> None:
        keras.utils.set_random_seed(run.seed)
        assert run.config["gamma0"] == 1.0
        model = unsteady_model(make())
        models.append(model)
        for _ in run.epochs(model=ModelState(model)):
            run.report(train_loss=fit(model, 1)[0], error=0.5)

    loop, run = (
        Loop(train, "digits", "perceptron", 10, data=0),
        Run("r", 3, 4, "sgd", {"gamma0": 1.0}, 8, 0.0),
    )
    folder = CheckpointFolder(tmp_path)
    whole, first = LoopTrainer(loop), LoopTrainer(loop, checkpoints=folder)
    for trainer in (whole, first):
        trainer.add(run)
    expected = [record for _ in range(4) for record in whole.advance()]
    found = first.advance() + first.advance()
    first.save()
    # To save changes nothing for a run that goes on.
    after = first.advance()
    second = LoopTrainer(loop, checkpoints=folder)
    assert second.add(run) == 2
    again = second.advance() + second.advance()
    continued = [replace(each, seconds=0.0) for each in (*found, *again)]
    assert continued == [replace(each, seconds=0.0) for each in expected]
    assert after[0].metrics == again[0].metrics
    one, other = (ModelState(models[n]).state_dict() for n in (0, 2))
    for key in ("model", "optimizer"):
        assert all(map(torch.equal, one[key], other[key]))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_state_of_16_bits_is_kept(dtype: str) -> None:
    keras.config.set_floatx(dtype)
    states = [ModelState(unsteady_model(Indian(0.1))) for _ in range(2)]
    fit(states[0].model, 1)
    states[1].load_state_dict(states[0].state_dict())
    for one, other in zip(*(each.model.weights for each in states), strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(other))


def test_the_state_of_another_model_is_refused_and_changes_nothing() -> None:
    state = ModelState(compiled_model(Innaprop(0.1))).state_dict()
    # ADAM has as many variables, of the same shapes.
    other = ModelState(compiled_model(keras.optimizers.Adam()))
    with pytest.raises(InputError, match=r"is of the optimizer Innaprop, but .* with Adam: load"):
        other.load_state_dict(state)
    wider = keras.Sequential([keras.Input((64,)), keras.layers.Dense(10)])
    wider.compile(Innaprop(0.1))
    with pytest.raises(InputError, match="does not fit the model: it has variables of the shapes"):
        ModelState(wider).load_state_dict(state)
    with pytest.raises(InputError, match=r"takes a keras\.Model, got Linear"):
        ModelState(torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match=r"needs a built model: give it keras\.Input"):
        ModelState(keras.Sequential([keras.layers.Dense(1)]))
    with pytest.raises(InputError, match=r"needs a model with an optimizer: call model\.compile"):
        ModelState(keras.Sequential([keras.Input((64,)), keras.layers.Dense(1)]))


def test_a_model_without_its_optimizer_is_no_checkpoint() -> None:
    def train(run: Any) -> None:
        run.checkpoint(model=compiled_model(Indian(run.config["gamma0"])))

    trainer = LoopTrainer(Loop(train, "digits", "perceptron", 10, data=0))
    with pytest.raises(LoopError, match=r"give indian_tune\.keras\.ModelState\(model\), which"):
        trainer.add(Run("r", 3, 4, "sgd", {"gamma0": 0.1}, 8, 0.0))


@pytest.mark.slow
def test_a_compiled_model_learns_as_one_that_is_not() -> None:
    options: dict[str, Any] = {"weight_decay": 1e-3, "initial_velocity": 0.2}
    one, other = (
        fit(compiled_model(Indian(0.5, 0.5, 0.5, **options), jit=jit), 2) for jit in (True, False)
    )
    np.testing.assert_allclose(one, other, rtol=1e-4)


@pytest.mark.parametrize(
    ("optimizer", "own"),
    [
        (Indian, {"decay_power": 0.75, "initial_velocity": -0.5}),
        (Innaprop, {"sigma": 0.5, "eps": 1e-3}),
    ],
)
def test_the_configuration_restores_every_argument(optimizer: Any, own: dict[str, Any]) -> None:
    given: dict[str, Any] = {
        **own,
        **{"learning_rate": 0.25, "alpha": 2.0, "beta": 0.3},
        **{"weight_decay": 0.01, "decoupled_weight_decay": False},
        **{"clipnorm": None, "clipvalue": 0.5, "global_clipnorm": None, "name": "mine"},
        **{"use_ema": True, "ema_momentum": 0.9, "ema_overwrite_frequency": 7},
        **{"loss_scale_factor": 128.0, "gradient_accumulation_steps": 3},
    }
    made = optimizer(**given)
    assert made.get_config() == given
    again = keras.optimizers.deserialize(keras.optimizers.serialize(made))
    assert type(again) is optimizer
    assert again.get_config() == given


def test_a_schedule_of_keras_sets_the_step_sizes() -> None:
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.5, 0.25])
    optimizer = Indian(schedule)
    expected = by_hand(gamma=lambda k: 0.5 if k <= 2 else 0.25)
    np.testing.assert_allclose(stepped(optimizer), expected, rtol=1e-6)
    again = Indian.from_config(optimizer.get_config())
    np.testing.assert_allclose(stepped(again), expected, rtol=1e-6)


def test_a_callback_sets_gamma_0_while_the_steps_decay() -> None:
    optimizer = Indian(0.2)
    stepped(optimizer, GRADIENTS[:3])
    assert float(optimizer.learning_rate) == pytest.approx(0.2)
    optimizer.learning_rate = 0.1
    assert float(optimizer.learning_rate) == pytest.approx(0.1)


def test_accumulated_gradients_make_one_update_of_their_mean() -> None:
    found = stepped(Indian(gradient_accumulation_steps=2))
    np.testing.assert_allclose(found, by_hand(GRADIENTS.reshape(3, 2, 3).mean(1)), rtol=1e-6)


def test_a_scaled_loss_makes_the_same_steps() -> None:
    found = stepped(Indian(loss_scale_factor=1024.0), GRADIENTS * 1024)
    np.testing.assert_allclose(found, by_hand(), rtol=1e-6)


@pytest.mark.skipif(BACKEND == "jax", reason="Keras scales there within a compiled step alone")
def test_a_dynamically_scaled_loss_makes_the_same_steps() -> None:
    dynamic = keras.optimizers.LossScaleOptimizer(Indian(), initial_scale=1024.0)
    np.testing.assert_allclose(stepped(dynamic, GRADIENTS * 1024), by_hand(), rtol=1e-6)


def test_gradients_are_clipped_before_the_step() -> None:
    norms = np.linalg.norm(GRADIENTS, axis=1, keepdims=True)
    assert norms.max() > 0.5
    expected = by_hand(GRADIENTS * np.minimum(1, 0.5 / norms))
    np.testing.assert_allclose(stepped(Indian(clipnorm=0.5)), expected, rtol=1e-6)


def test_the_moving_average_takes_the_place_of_the_weights() -> None:
    optimizer = Indian(use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=len(GRADIENTS))
    average = by_hand(GRADIENTS[:1])
    for count in range(2, len(GRADIENTS) + 1):
        average = 0.5 * average + 0.5 * by_hand(GRADIENTS[:count])
    np.testing.assert_allclose(stepped(optimizer), average, rtol=1e-6)


def test_weight_decay_spares_what_is_excluded() -> None:
    kept, decayed = (keras.Variable(np.ones(3), name=name) for name in ("bias", "kernel"))
    optimizer = Indian(0.25, decay_power=0, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    zeros = ops.zeros(3)
    for _ in range(2):
        optimizer.apply([zeros, zeros], [kept, decayed])
    np.testing.assert_array_equal(kept.numpy(), np.ones(3))
    np.testing.assert_allclose(decayed.numpy(), np.full(3, 0.875**2), rtol=1e-6)


def test_an_embedding_is_trained_like_a_dense_layer() -> None:
    """The gradient of an embedding is sparse on TensorFlow."""
    words = np.array([[1], [3], [1]])
    weights = []
    for layer, inputs in (
        (keras.layers.Embedding(5, 2), words),
        (keras.layers.Dense(2, use_bias=False), np.eye(5)[words]),
    ):
        model = keras.Sequential([layer])
        model.build(inputs.shape)
        model.set_weights([np.arange(10, dtype="float32").reshape(5, 2) / 10])
        model.compile(Indian(weight_decay=0.01), "mse", jit_compile=False)
        model.fit(inputs, np.ones((3, 1, 2)), batch_size=3, epochs=3, verbose=0)
        weights.append(model.get_weights()[0])
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-6)
    assert not np.allclose(weights[0][1], [0.2, 0.3])


@needs_tensorflow
@pytest.mark.parametrize("optimizer", [Indian, Innaprop])
def test_slices_are_added_up_and_rows_without_one_move_on(optimizer: Any) -> None:
    """TensorFlow's ``IndexedSlices``, with a row twice, are the dense gradient."""
    found = []
    for sliced in (True, False):
        rows = keras.Variable(np.ones((3, 2), np.float32))
        made = optimizer(0.1, weight_decay=0.01)
        for count in range(4):
            places, values = [1, 1] if count else [0, 2], np.ones((2, 2), np.float32)
            dense = np.zeros((3, 2), np.float32)
            np.add.at(dense, places, values)
            slices = tensorflow.IndexedSlices(values, tensorflow.constant(places), (3, 2))
            made.apply([slices if sliced else ops.convert_to_tensor(dense)], [rows])
        found.append(rows.numpy())
    np.testing.assert_allclose(found[0], found[1], rtol=1e-6)
    assert (found[0] < 1).all()


@needs_tensorflow
def test_two_devices_train_as_one() -> None:
    strategy = tensorflow.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    options: dict[str, Any] = {"weight_decay": 1e-3, "initial_velocity": 0.2}
    with strategy.scope():
        model = compiled_model(Indian(0.5, 0.5, 0.5, **options), jit=False)
    alone = compiled_model(Indian(0.5, 0.5, 0.5, **options), jit=False)
    np.testing.assert_allclose(fit(model, 2), fit(alone, 2), rtol=1e-4)


@pytest.mark.parametrize(("options", "message"), faults("learning_rate"))
def test_a_fault_is_refused_in_the_same_words(options: dict[str, Any], message: str) -> None:
    with pytest.raises(HyperparameterError, match=f"^{re.escape(message)}$"):
        Indian(**options)


@pytest.mark.parametrize(("options", "message"), innaprop_faults("learning_rate"))
def test_innaprop_refuses_in_the_same_words(options: dict[str, Any], message: str) -> None:
    with pytest.raises(HyperparameterError, match=f"^{re.escape(message)}$"):
        Innaprop(**options)


@pytest.mark.filterwarnings("ignore:Gradients do not exist:UserWarning")
@pytest.mark.skipif(BACKEND != "torch", reason="is about the fused step of PyTorch")
def test_velocities_are_read_in_units_of_their_own_and_a_variable_may_rest() -> None:
    one, other = (keras.Variable(np.ones(3, np.float32), name=name) for name in "ab")
    optimizer = Indian(0.1, decay_power=0)
    velocity = np.zeros(3)
    for count, gradient in enumerate(GRADIENTS):
        tensor = ops.convert_to_tensor(gradient)
        # A gradient that is missing leaves a velocity as it is.
        optimizer.apply([tensor, tensor if count % 2 else None], [one, other])
        velocity = velocity - 0.1 * 0.5 * velocity - 0.1 * 0.95 * gradient
        if count == 2:
            (found,) = (v for v in optimizer.variables if v.name.startswith("a_velocity"))
            np.testing.assert_allclose(found.numpy(), velocity, rtol=1e-5)
    np.testing.assert_allclose(one.numpy(), by_hand(gamma=lambda _: 0.1), rtol=1e-6)
    np.testing.assert_allclose(
        other.numpy(), by_hand(GRADIENTS[1::2], gamma=lambda _: 0.1), rtol=1e-6
    )


def test_other_faults_are_refused() -> None:
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.9)
    with pytest.raises(HyperparameterError, match=f"^{re.escape(BESIDE_A_SCHEDULE)}$"):
        Indian(schedule, decay_power=0.5)
    with pytest.raises(HyperparameterError, match=f"^{re.escape(BESIDE_A_SCHEDULE)}$"):
        Indian(0.1).learning_rate = schedule
    with pytest.raises(TypeError, match="unexpected keyword argument 'momentum'"):
        Indian(momentum=0.9)  # type: ignore[call-arg]
    complex_variable = keras.Variable(np.ones(2, "complex64"), dtype="complex64")
    for refusing in (Indian(), Innaprop()):
        with pytest.raises(InputError, match="real parameters only, but parameter 0 is complex64"):
            refusing.build([complex_variable])
    for optimizer in (Indian(), Innaprop()):
        with pytest.raises(InputError, match="real gradients only, but gradient 0 is complex64"):
            optimizer.apply(
                [ops.convert_to_tensor(np.ones(2, "complex64"))],
                [keras.Variable(np.ones(2, "float32"))],
            )
