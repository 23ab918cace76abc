"""Problems of a user: built by a function that a study file names, and checked before use."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader

from indian_tune.errors import InputError
from indian_tune.imports import blamed, load_named
from indian_tune.problems.conversion import several_inputs
from indian_tune.problems.loop import Loop
from indian_tune.problems.machine import COPIES, check_fits, memory
from indian_tune.problems.metric_trial import try_metrics
from indian_tune.problems.models import dropout_layers
from indian_tune.problems.network_advice import (
    channel_advice,
    check_call,
    check_masks,
    dtype_advice,
)
from indian_tune.problems.network_trial import (
    check_built,
    check_repeats,
    check_seeds,
    check_trained,
    graph_leaves,
)
from indian_tune.problems.problem import ENTRY_POINTS, Problem, Split
from indian_tune.problems.randomness import seeded_global_generator
from indian_tune.problems.splits import draw_splits, split_validation, with_noise
from indian_tune.problems.stream import Stream
from indian_tune.problems.task import get_task
from indian_tune.text import with_article

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from indian_tune.problems.sizes import SplitSizes

# Examples that a network is tried on: more than one, as batch normalisation needs.
TRIED = 4


def make_problem(
    factory: str,
    arguments: Mapping[str, Any],
    *,
    dropout: float = 0.0,
    validation_fraction: float | None = 0.1,
    sizes: SplitSizes | None = None,
    split_seed: int = 0,
    parts_seed: int | None = None,
    label_noise: float = 0.0,
    key: str = "problem.factory",
    registered: bool = False,
) -> Problem | Loop:
    """Call the function that makes a problem, check what it returns, and settle its splits.

    A validation part that the function made is kept. Otherwise one is split off of the training
    part, stratified by class. A :class:`Loop` is returned as it is.

    Args:
        factory: ``package.module:function``, or an entry point of :data:`ENTRY_POINTS`.
        arguments: passed to the function by name.
        dropout: that a network is tried with.
        validation_fraction: part of the training examples that is split off; ``None`` trains on
            all of them (paper mode), those of the function's own validation part included.
        sizes: of the splits, for a function that makes no validation part; ``validation_fraction``
            then only says whether this is paper mode.
        split_seed: which examples are in which split.
        parts_seed: in its place for the training and the validation part; the test part stays.
        label_noise: part of the training labels that is drawn at random, see
            :func:`indian_tune.problems.splits.with_noise`.
        key: of the study file that names the function, for messages.
        registered: whether the study is: a metric that is no mean over examples is then a warning.

    Raises:
        InputError: the function is not found or not allowed to be imported, fails, or returns
            what cannot be trained or has fewer examples than ``sizes``; the message names the key
            and what is wrong.
    """
    where = f"{key} = {factory!r}"
    function = load_named(factory, key=key, group=ENTRY_POINTS)
    if not callable(function):
        raise InputError(f"{where} must be a function that returns a Problem, got {function!r}")
    with (
        blamed(where, f"calling it with {dict(arguments)!r}"),
        # What it draws from torch's global generator, such as a split, is the same everywhere.
        seeded_global_generator("problem"),
    ):
        made: object = function(**arguments)
    if isinstance(made, Loop):
        fault, train = _task_fault(made) or _name_fault(made), vars(made)["train"]
        if fault is None and train is not None and not callable(train):
            fault = f"its train must be a function that takes a run, got {train!r}"
        fault = fault or _chance_fault(made)
        if fault is not None:
            raise InputError(f"{where}: {fault}")
        return made
    if not isinstance(made, Problem):
        raise InputError(
            f"{where} must return an indian_tune.Problem or an indian_tune.Loop, got "
            f"{type(made).__name__}"
        )
    made = _with_streams(made, where)
    fault = _task_fault(made) or _fault(made)
    if fault is not None:
        raise InputError(f"{where}: {fault}")
    task = get_task(made.task)
    _try_network(made, where, dropout, registered=registered)
    if validation_fraction is None:
        made = _without_validation(made)
    if parts_seed is not None and made.validation is not None:
        raise InputError(
            f"{where} returns a validation part, but problem.split = 'replicate' draws one for "
            "every search: remove one of them"
        )
    seed = split_seed if parts_seed is None else parts_seed
    if sizes is not None:
        made = _cut(made, sizes, split_seed, where, parts_seed)
    elif validation_fraction is not None and made.validation is None:
        train, validation = split_validation(made.train, validation_fraction, seed, task)
        made = replace(made, train=train, validation=validation)
    if label_noise and (task.name != "classification" or made.train.streamed):
        kind = "data read in batches" if made.train.streamed else f"task = {task.name!r}"
        raise InputError(
            f"problem.label_noise = {label_noise} needs classes and data in memory, but {where} "
            f"has {kind}: remove it, or add noise in the factory"
        )
    if not label_noise:
        return made
    return replace(made, train=with_noise(made.train, label_noise, made.classes, seed))


def _task_fault(made: Problem | Loop) -> str | None:
    try:
        task = get_task(made.task)
    except InputError as error:
        return f"its {error}"
    fault = task.loop_fault() if isinstance(made, Loop) else None
    return None if fault is None else f"its {fault}"


def _chance_fault(made: Loop) -> str | None:
    chance: object = made.chance
    if chance is None:
        fault = _baseline_fault(made)
        return None if fault is None else f"its {fault}"
    if not isinstance(chance, int | float) or not isfinite(chance):
        return f"its chance must be a finite number, got {chance!r}"
    # That of plain classification follows from its classes alone.
    return None if made.task == "classification" else _baseline_fault(made, chance)


def _with_streams(made: Problem, where: str) -> Problem:
    """Take the loaders of a problem as what is read batch by batch.

    Raises:
        InputError: one has no length, or an order of its own.
    """
    streams: dict[str, Any] = {}
    for name in ("train", "validation", "test"):
        part: object = getattr(made, name)
        if isinstance(part, DataLoader):
            try:
                streams[name] = Stream.from_loader(part)
            except InputError as error:
                raise InputError(f"{where}: its {name} part {error}") from error
    return replace(made, **streams) if streams else made


def _without_validation(made: Problem) -> Problem:
    if made.validation is None:
        return made
    return replace(made, train=made.train.joined(made.validation), validation=None)


def _cut(
    made: Problem, sizes: SplitSizes, split_seed: int, where: str, parts_seed: int | None
) -> Problem:
    if made.validation is not None:
        raise InputError(
            f"{where} returns a validation part, but problem.sizes draws one: remove one of them"
        )
    sizes.check(len(made.train), len(made.test), where)
    train, validation, test = draw_splits(
        made.train, made.test, sizes, split_seed, parts_seed, get_task(made.task)
    )
    return replace(made, train=train, validation=validation, test=test)


def _fault(made: Problem) -> str | None:
    """Return what is wrong with the data of a problem, ``None`` if nothing is."""
    return _name_fault(made) or _part_fault(made)


def _name_fault(made: Problem | Loop) -> str | None:
    for name in ("dataset", "model"):
        if not isinstance(getattr(made, name), str) or not getattr(made, name):
            return f"its {name} must be a name, got {getattr(made, name)!r}"
    # A dataclass takes whatever it is given.
    classes: object = made.classes
    if not isinstance(classes, int) or isinstance(classes, bool):
        return f"its classes must be a whole number, got {classes!r}"
    return get_task(made.task).class_fault(classes)


def _part_fault(made: Problem) -> str | None:
    parts: dict[str, object] = {
        "train": made.train,
        "validation": made.validation,
        "test": made.test,
    }
    for name, split in parts.items():
        if split is None and name == "validation":
            continue
        fault = _split_fault(split, made)
        if fault is not None:
            return f"its {name} part {fault}"
    return _normalisation_fault(made) or _baseline_fault(made)


def _baseline_fault(made: Problem | Loop, chance: float | None = None) -> str | None:
    task = get_task(made.task)
    labels = None if isinstance(made, Loop) else made.train.sample().labels
    try:
        if chance is None:
            chance = task.chances(labels, made.classes)[task.outcome]
        task.judged(chance)
    except InputError as error:
        return str(error)
    return None


def _split_fault(split: object, made: Problem) -> str | None:
    if isinstance(split, Stream):
        if not len(split):
            return "is empty"
        try:
            split = split.sample()
        except Exception as error:  # noqa: BLE001 - of the user's own data set
            places = "".join(f"{place}: " for place in getattr(error, "__notes__", ()))
            return f"cannot be read: {places}{type(error).__name__}: {error}"
    if not isinstance(split, Split):
        if hasattr(split, "__getitem__") or hasattr(split, "__iter__"):
            kind = with_article(type(split).__name__)
            if isinstance(split, tuple) and len(split) == 2:
                return f"is {kind}: write indian_tune.Split(inputs, labels)"
            return (
                f"is {kind}: wrap it as indian_tune.Split.from_dataset(…), which "
                "holds it in memory, or in a torch DataLoader, which is read batch by batch"
            )
        return f"must be an indian_tune.Split, got {type(split).__name__}"
    inputs, labels = split.inputs, split.labels
    found: dict[str, object] = {"inputs": inputs, "labels": labels}
    for name, tensor in found.items():
        if not isinstance(tensor, Tensor):
            return f"has {name} of type {type(tensor).__name__}: {_as_tensor(name, tensor)}"
        if tensor.device.type != "cpu":
            return f"has {name} on {tensor.device}: they must be on the CPU"
    if inputs.dim() < 2:
        return f"has inputs of shape {list(inputs.shape)}: it must be at least [N, channels]"
    if inputs.dtype not in (torch.uint8, torch.int64) and not inputs.is_floating_point():
        return f"has inputs of {inputs.dtype}: they must be uint8, floating point or int64"
    if labels.dim() < 1:
        return f"has labels of shape {list(labels.shape)}: it must be at least [N]"
    if len(inputs) != len(labels):
        return f"has {len(inputs):,} inputs and {len(labels):,} labels: give one label per input"
    if len(labels) == 0:
        return "is empty"
    fault = get_task(made.task).label_fault(labels, made.classes)
    if fault is not None:
        return fault
    if inputs.is_floating_point() and not bool(inputs.isfinite().all()):
        return "has inputs that are not finite"
    first = made.train.first(1).inputs
    if inputs.dtype != first.dtype or inputs.shape[1:] != first.shape[1:]:
        return (
            f"has inputs of {inputs.dtype} and shape {list(inputs.shape)}, but the training part "
            f"has {first.dtype} and {list(first.shape)}"
        )
    return None


def _as_tensor(name: str, given: object) -> str:
    """Return how what is no tensor becomes one."""
    if type(given).__module__ == "numpy":
        return "use torch.from_numpy"
    texts = isinstance(given, list | tuple) and any(isinstance(each, str) for each in given)
    if name == "labels" and texts:
        return "number the classes from 0, and give torch.tensor(numbers)"
    return f"it must be a torch.Tensor{several_inputs(given)}"


def _normalisation_fault(made: Problem) -> str | None:
    kind = made.train.first(1).inputs
    channels = kind.shape[1]
    for name in ("mean", "std"):
        values = getattr(made, name)
        if len(values) not in (1, channels) or not all(isfinite(value) for value in values):
            return f"its {name} must be 1 or {channels} finite numbers, got {values!r}"
    if min(made.std) <= 0 or not made.scale > 0:
        return f"its std and scale must be above 0, got {made.std!r} and {made.scale!r}"
    plain = (set(made.mean), set(made.std), made.scale) == ({0.0}, {1.0}, 1.0)
    if kind.dtype == torch.int64 and not plain:
        return "its inputs are int64, which are not normalised: remove mean, std and scale"
    return None


def _try_network(made: Problem, where: str, dropout: float, *, registered: bool) -> None:
    """Build a network twice and give it a few examples, as the trainer does.

    Raises:
        InputError: it cannot be trained, or its weights are not a function of the seed.
    """
    built: list[nn.Module] = []
    with blamed(where, f"building its model {made.model!r}"):
        for seed in (0, 0, 1):
            with seeded_global_generator("initial weights", seed), _fitting(made, where):
                check_call(made.build_model, where)
                built.append(made.build_model(seed=seed, dropout=dropout))
            _check_trainable(made, where, built[0])
            if len(built) == 2 and seed == 0:
                # No more than two of them fit where networks are large.
                check_built(built, made.model, where)
                del built[1]
    network, other = built
    check_seeds(network, other, made.model, where)
    few = made.train.first(TRIED)
    raw, labels = few.inputs, few.labels
    inputs = raw if raw.dtype == torch.int64 else raw.float()
    leaves = []
    with check_masks(network, where):
        for training in (True, False):
            try:
                with (
                    blamed(
                        where, f"giving its model {made.model!r} inputs of shape {list(raw.shape)}"
                    ),
                    seeded_global_generator("problem"),
                ):
                    _seek(network)
                    outputs = network.train(training)(inputs)
                _check_outputs(
                    outputs, get_task(made.task).output_shapes(labels, made.classes), where, made
                )
            except InputError as error:
                advice = channel_advice(network, raw) or dtype_advice(network)
                raise InputError(f"{error}{advice}") from error
            leaves.append(graph_leaves(outputs))
    check_trained(network, leaves, inputs, made.model, where)
    check_repeats(network, other, inputs, made.model, where)
    try_metrics(get_task(made.task), outputs, labels, made.train, where, registered=registered)


@contextmanager
def _fitting(made: Problem, where: str) -> Iterator[None]:
    """Refuse a network as soon as its parameters are more than the memory holds.

    That is before they are all written, when the system would end this process.
    """
    alive: WeakValueDictionary[int, nn.Parameter] = WeakValueDictionary()
    there, registered = memory(), made.nbytes

    def count(_module: nn.Module, _name: str, parameter: nn.Parameter | None) -> None:
        nonlocal registered
        if parameter is None:
            return
        alive[id(parameter)] = parameter
        registered += _bytes(parameter)
        # Some may be counted twice, or be gone.
        if there is not None and registered > there[1]:
            _check_bytes(made, where, sum(map(_bytes, alive.values())))

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def _check_trainable(made: Problem, where: str, network: object) -> None:
    """Refuse a network whose weights, gradients and optimizer are more than the memory holds."""
    if isinstance(network, nn.Module):
        weights = network.parameters()
        copies = sum(_bytes(each) * (COPIES if each.requires_grad else 1) for each in weights)
        _check_bytes(made, where, copies)


def _bytes(parameter: object) -> int:
    # A lazy one has no size before its first input.
    return parameter.nbytes if isinstance(parameter, Tensor) and not is_lazy(parameter) else 0


def _check_bytes(made: Problem, where: str, weights: int) -> None:
    what = f"{where}: its data and the weights of its model {made.model!r}"
    check_fits(made.nbytes + weights, what, "make them smaller, or use a larger machine")


def _seek(network: nn.Module) -> None:
    for layer in dropout_layers(network):
        layer.seek(0, 0)


def _check_outputs(
    outputs: object, allowed: tuple[tuple[int, ...], ...], where: str, made: Problem
) -> None:
    found = type(outputs).__name__
    if isinstance(outputs, Tensor):
        if tuple(outputs.shape) in allowed and outputs.is_floating_point():
            _check_no_probabilities(outputs, where, made)
            return
        found = f"{outputs.dtype} of shape {list(outputs.shape)}"
    elif isinstance(getattr(outputs, "logits", None), Tensor):
        found += ": return its .logits"
    kind = "logits" if made.classes > 1 and get_task(made.task).name != "regression" else "numbers"
    each = ", one per class" if kind == "logits" else ""
    raise InputError(
        f"{where}: its model {made.model!r} must return {kind} of shape {list(allowed[0])}{each}, "
        f"got {found}"
    )


def _check_no_probabilities(outputs: Tensor, where: str, made: Problem) -> None:
    """Refuse the outputs of a softmax: the loss applies one, so the network would hardly learn."""
    probabilities = bool((outputs >= 0).all() and ((outputs.sum(-1) - 1).abs() < 1e-4).all())
    if probabilities and get_task(made.task).name in ("classification", "tokens"):
        raise InputError(
            f"{where}: its model {made.model!r} returns probabilities, but must return logits: "
            "remove its last softmax, which is part of the loss"
        )
