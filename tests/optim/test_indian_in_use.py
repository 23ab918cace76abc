"""What other code does to an optimizer: looking at it, saving it, sharding it, compiling it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

from indian_tune.errors import HyperparameterError, InputError
from indian_tune.optim import Indian

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PATHS: list[dict[str, Any]] = [
    {},
    {"foreach": True},
    {"foreach": False},
    {"fused": True},
    {"capturable": True},
]


def parameter(*shape: int, dtype: torch.dtype = torch.float32, grad: float = 1.0) -> nn.Parameter:
    made = nn.Parameter(torch.ones(shape, dtype=dtype))
    made.grad = torch.full_like(made, grad)
    return made


@pytest.mark.parametrize("path", PATHS)
def test_reading_the_state_of_a_parameter_changes_nothing(path: dict[str, Any]) -> None:
    used, unused, alone = parameter(3), nn.Parameter(torch.ones(3)), parameter(3)
    optimizer = Indian([used, unused], lr=0.05, **path)
    undisturbed = Indian([alone], lr=0.05, **path)
    for _ in range(3):
        # The state is a defaultdict, so that a logger's look leaves an empty entry behind.
        assert [len(optimizer.state[one]) for one in (used, unused)][1] == 0
        assert torch.equal(optimizer.velocity(unused), torch.zeros(3))
        optimizer.step()
        undisturbed.step()
    torch.testing.assert_close(used, alone)
    torch.testing.assert_close(optimizer.velocity(used), undisturbed.velocity(alone))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("start", [None, 0.05])
def test_a_look_before_training_is_no_step(path: dict[str, Any], start: float | None) -> None:
    models = [nn.Linear(2, 2, bias=False) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    optimizers = [
        Indian(model.parameters(), lr=0.05, initial_velocity=start, **path) for model in models
    ]
    # Without a state this takes a step with lr = 0 and gradients of 0.
    get_optimizer_state_dict(models[1], optimizers[1])
    assert float(optimizers[1].param_groups[0]["step"]) == 0
    for _ in range(2):
        for model, optimizer in zip(models, optimizers, strict=True):
            model.weight.grad = torch.ones(2, 2)
            optimizer.step()
    assert torch.equal(models[0].weight, models[1].weight)
    assert float(optimizers[1].param_groups[0]["step"]) == 2


@pytest.mark.parametrize("path", PATHS)
def test_a_gradient_of_another_dtype_is_taken(path: dict[str, Any]) -> None:
    found = []
    for options in (path, {"foreach": False}):
        weights = nn.Parameter(torch.ones(8, dtype=torch.bfloat16))
        weights.grad_dtype = torch.float32
        optimizer = Indian([weights], lr=0.05, **options)
        weights.grad = torch.ones(8)
        for _ in range(3):
            optimizer.step()
        found.append(weights.detach())
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("path", PATHS)
def test_a_network_may_change_its_dtype_between_two_steps(path: dict[str, Any]) -> None:
    model = nn.Linear(3, 2)
    optimizer = Indian(model.parameters(), lr=0.05, **path)
    for dtype in (torch.float32, torch.bfloat16, torch.float32):
        model.to(dtype)
        before = model.weight.detach().clone()
        optimizer.zero_grad()
        model(torch.ones(1, 3, dtype=dtype)).sum().backward()
        optimizer.step()
        assert model.weight.isfinite().all()
        assert not torch.equal(model.weight, before)


@pytest.fixture
def process_group() -> Iterator[None]:
    """A group of this process alone."""
    store = torch.distributed.HashStore()  # type: ignore[attr-defined]
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize("path", PATHS)
def test_sharded_parameters_take_the_step_of_whole_ones(path: dict[str, Any]) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    mesh = init_device_mesh("cpu", (1,))
    whole = parameter(4, 4)
    sharded = nn.Parameter(distribute_tensor(torch.ones(4, 4), mesh, [Shard(0)]))
    sharded.grad = distribute_tensor(torch.ones(4, 4), mesh, [Shard(0)])
    for weights in (whole, sharded):
        optimizer = Indian([weights], lr=0.05, weight_decay=0.1, **path)
        for _ in range(3):
            optimizer.step()
    torch.testing.assert_close(sharded.full_tensor(), whole.detach())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "options", [*PATHS, {"decay_power": 0.0}, {"initial_velocity": 0.1}, {"weight_decay": 0.1}]
)
def test_a_bound_step_can_be_compiled_like_those_of_torch(options: dict[str, Any]) -> None:
    torch._dynamo.reset()
    compilations = 0

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        nonlocal compilations
        compilations += 1
        return graph.forward

    plain, compiled = parameter(8), parameter(8)
    steps: list[Callable[[], object]] = [
        Indian([one], lr=0.1, **options).step for one in (plain, compiled)
    ]
    with warnings.catch_warnings():
        # The compiler says that it leaves the profiler's records out.
        warnings.simplefilter("ignore")
        steps[1] = torch.compile(steps[1], backend=backend)
        for step in range(12):
            for weights, take in zip((plain, compiled), steps, strict=True):
                weights.grad = torch.full((8,), 1.0 + step)
                take()
    torch.testing.assert_close(compiled, plain)
    # Once with the number of the step as a constant, and once for all others.
    assert compilations <= 2


def test_a_loaded_state_is_a_copy() -> None:
    first, second = parameter(3), parameter(3)
    optimizer, other = (Indian([one], lr=0.1, fused=False) for one in (first, second))
    optimizer.step()
    state = optimizer.state_dict()
    other.load_state_dict(state)
    velocity = optimizer.velocity(first)
    other.step()
    assert torch.equal(optimizer.velocity(first), velocity)


@pytest.mark.parametrize(
    "name",
    [
        *("decay_power", "weight_decay", "decoupled_weight_decay", "initial_velocity"),
        *("maximize", "foreach", "fused", "capturable", "step", "velocity_scale"),
    ],
)
def test_a_state_that_is_older_than_an_option_loads_and_steps(name: str) -> None:
    old, new = parameter(3), parameter(3)
    optimizer, other = (Indian([one], lr=0.1) for one in (old, new))
    optimizer.step()
    state = optimizer.state_dict()
    del state["param_groups"][0][name]
    other.load_state_dict(state)
    other.step()
    assert new.isfinite().all()
    # What is missing has the default, and the step has been counted from it.
    expected = {"step": 1, "velocity_scale": other.param_groups[0]["velocity_scale"]}
    assert other.param_groups[0][name] == expected.get(name, other.defaults[name])


def test_the_state_of_another_optimizer_is_refused_and_changes_nothing() -> None:
    model = nn.Linear(2, 1)
    other = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    model(torch.ones(1, 2)).sum().backward()
    other.step()
    optimizer = Indian(model.parameters(), lr=0.1, alpha=0.5, beta=0.1)
    with pytest.raises(InputError, match="this state has no 'alpha', so it belongs to another"):
        optimizer.load_state_dict(other.state_dict())
    assert optimizer.param_groups[0]["lr"] == 0.1
    optimizer.step()


@pytest.mark.parametrize("path", PATHS)
def test_lr_may_be_a_tensor_as_for_torch(path: dict[str, Any]) -> None:
    number, tensor = parameter(5), parameter(5)
    optimizers = (
        Indian([number], lr=0.1, **path),
        Indian([tensor], lr=torch.tensor(0.1, dtype=torch.float64), **path),
    )
    for _ in range(4):
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(tensor, number)
    with pytest.raises(HyperparameterError, match="one element, got shape \\(2,\\)"):
        Indian([number], lr=torch.ones(2), **path)


def test_a_scheduler_beside_a_decay_is_warned_of_once() -> None:
    weights = parameter(3)
    optimizer = Indian([weights], lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with pytest.warns(
        UserWarning, match=r"give Indian decay_power=0.*in a study: \{.decay_power.: 0"
    ) as caught:
        optimizer.step()
    assert [each.filename for each in caught] == [__file__]
    scheduler.step()
    # A second warning would be an error here.
    optimizer.step()


def test_a_scheduler_alone_is_not_warned_of() -> None:
    weights = parameter(3)
    optimizer = Indian([weights], lr=0.1, decay_power=0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
