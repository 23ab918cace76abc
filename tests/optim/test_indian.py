from __future__ import annotations

import copy
import io
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from indian_tune import Indian as IndianOfThePackage
from indian_tune.errors import HyperparameterError, InputError
from indian_tune.optim import Indian

if TYPE_CHECKING:
    from collections.abc import Iterable

IMPLEMENTATIONS: list[dict[str, Any]] = [{"foreach": False}, {"foreach": True}, {"fused": True}]


def make_network(seed: int = 0, dtype: torch.dtype = torch.float32) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.Flatten(), nn.Linear(36, 3)
    ).to(dtype)


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: Iterable[int]) -> None:
    dtype = next(network.parameters()).dtype
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(8, 1, 5, 5, generator=generator).to(dtype)
        labels = torch.randint(3, (8,), generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()


def weights(network: nn.Module) -> Tensor:
    return nn.utils.parameters_to_vector(network.parameters()).detach()


def one_parameter(*values: float) -> nn.Parameter:
    parameter = nn.Parameter(torch.tensor(values, dtype=torch.float64))
    parameter.grad = torch.ones_like(parameter)
    return parameter


def test_is_importable_from_the_top_of_the_package() -> None:
    assert IndianOfThePackage is Indian


def test_first_step_is_gamma_beta_times_the_gradient() -> None:
    parameter = one_parameter(1.0, -2.0)
    Indian([parameter], lr=0.2, alpha=0.5, beta=0.3).step()
    torch.testing.assert_close(parameter.tolist(), [1.0 - 0.06, -2.0 - 0.06])


def test_step_sizes_decay_with_the_number_of_steps() -> None:
    parameter = one_parameter(0.0)
    # alpha * beta = 1 keeps the velocity at 0, so that each step shows its step size.
    optimizer = Indian([parameter], lr=1.0, alpha=2.0, beta=0.5, decay_power=0.75)
    positions = [0.0]
    for _ in range(4):
        optimizer.step()
        positions.append(parameter.item())
    moves = [earlier - later for earlier, later in pairwise(positions)]
    assert moves == pytest.approx([0.5 * k**-0.75 for k in (1, 2, 3, 4)])


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_every_implementation_takes_the_same_steps(
    implementation: dict[str, Any], dtype: torch.dtype
) -> None:
    networks = [make_network(dtype=dtype) for _ in range(2)]
    options = {"weight_decay": 0.1, **implementation}
    train(networks[0], Indian(networks[0].parameters(), foreach=False, weight_decay=0.1), range(20))
    train(networks[1], Indian(networks[1].parameters(), **options), range(20))
    expected, found = map(weights, networks)
    if "foreach" in implementation:
        assert torch.equal(found, expected)
    else:
        digits = 2 * torch.finfo(dtype).eps
        torch.testing.assert_close(found, expected, rtol=digits, atol=4 * digits)
    assert not torch.equal(found, weights(make_network(dtype=dtype)))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_fused_step_looks_at_the_layout_of_the_gradients(
    memory_format: torch.memory_format,
) -> None:
    torch.manual_seed(0)
    start, grad = torch.randn(6, 4, 3, 3), torch.randn(6, 4, 3, 3)
    found = []
    for implementation in IMPLEMENTATIONS:
        parameter = nn.Parameter(start.clone(memory_format=torch.channels_last))
        parameter.grad = grad.clone(memory_format=memory_format)
        optimizer = Indian([parameter], **implementation)
        for _ in range(3):
            optimizer.step()
        found.append(parameter.detach())
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)
    torch.testing.assert_close(found[2], found[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_parameters_that_are_slices_of_a_tensor_are_stepped(
    implementation: dict[str, Any],
) -> None:
    whole = torch.zeros(4, 6)
    parameter = whole[:, ::2].requires_grad_()
    parameter.grad = torch.ones(4, 3)
    Indian([parameter], lr=1.0, beta=0.5, **implementation).step()
    assert torch.equal(whole, torch.tensor([-0.5, 0.0] * 3).expand(4, 6))


def test_alpha_gamma_of_any_size_is_stepped_by_every_implementation() -> None:
    for alpha in (0.5, 1.0, 1.9, 2.0, 5.0):
        found = []
        for implementation in IMPLEMENTATIONS:
            parameter = nn.Parameter(torch.ones(5))
            optimizer = Indian(
                [parameter], lr=1.0, alpha=alpha, beta=0.3, decay_power=0, **implementation
            )
            for step in range(4):
                parameter.grad = torch.linspace(-1, 1, 5) * (step + 1)
                optimizer.step()
            found.append(parameter.detach())
        torch.testing.assert_close(found[2], found[0], rtol=1e-6, atol=1e-6)
        assert torch.equal(found[1], found[0])


def test_groups_keep_their_own_hyperparameters() -> None:
    first, second = one_parameter(0.0), one_parameter(0.0)
    groups: list[dict[str, Any]] = [
        {"params": [first]},
        {"params": [second], "alpha": 0.1, "beta": 0.7},
    ]
    optimizer = Indian(groups, lr=1.0, beta=0.2)
    optimizer.step()
    assert (first.item(), second.item()) == pytest.approx((-0.2, -0.7))


def test_a_group_added_later_starts_its_own_count() -> None:
    first, second = one_parameter(0.0), one_parameter(0.0)
    optimizer = Indian([first], lr=1.0, alpha=0.5, beta=0.2)
    for _ in range(3):
        optimizer.step()
    optimizer.add_param_group({"params": [second], "beta": 0.6})
    optimizer.step()
    assert second.item() == pytest.approx(-0.6)
    assert [group["step"] for group in optimizer.param_groups] == [4, 1]


def test_parameters_without_gradient_are_left_alone() -> None:
    moving, still = one_parameter(0.0), nn.Parameter(torch.ones(3))
    parameters: list[Tensor] = [still, moving]
    optimizer = Indian(parameters, weight_decay=0.1)
    optimizer.step()
    assert torch.equal(still, torch.ones(3))
    assert still not in optimizer.state
    assert moving.item() < 0


def test_a_step_without_any_gradient_does_nothing() -> None:
    parameter = nn.Parameter(torch.ones(3))
    Indian([parameter]).step()
    assert torch.equal(parameter, torch.ones(3))


def test_step_returns_what_the_closure_returns() -> None:
    parameter = nn.Parameter(torch.tensor([3.0]))
    optimizer = Indian([parameter], lr=0.5, beta=0.1)

    def closure() -> float:
        optimizer.zero_grad()
        loss = (parameter**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    assert optimizer.step(closure) == 9.0
    assert parameter.item() == pytest.approx(3.0 - 0.5 * 0.1 * 6.0)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_gradients_are_left_as_they_are(implementation: dict[str, Any]) -> None:
    l2 = {"weight_decay": 0.3, "decoupled_weight_decay": False}
    variants: list[dict[str, Any]] = [{}, l2, {"maximize": True}]
    for options in variants:
        parameter = one_parameter(1.0, 2.0)
        Indian([parameter], **options, **implementation).step()
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, torch.ones_like(parameter))


@pytest.mark.parametrize("schedule", ["cosine", "multiplicative"])
@pytest.mark.parametrize("capturable", [False, True])
def test_schedulers_of_torch_drive_the_step_size(schedule: str, capturable: bool) -> None:
    parameter = one_parameter(0.0)
    optimizer = Indian(
        [parameter], lr=1.0, alpha=2.0, beta=0.5, decay_power=0, capturable=capturable
    )
    scheduler: torch.optim.lr_scheduler.LRScheduler
    if schedule == "cosine":
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
        factors = [1.0, 0.5 + 0.5**1.5, 0.5]
    else:
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.25)
        factors = [1.0, 0.25, 0.0625]
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert parameter.item() == pytest.approx(-0.5 * sum(factors))


@pytest.mark.parametrize("name", ["alpha", "beta"])
@pytest.mark.parametrize("capturable", [False, True])
def test_changing_alpha_or_beta_between_steps_makes_no_jump(name: str, capturable: bool) -> None:
    parameter = one_parameter(1.0, -1.0)
    optimizer = Indian([parameter], lr=0.1, alpha=0.5, beta=0.1, capturable=capturable)
    for _ in range(10):
        optimizer.step()
    velocity = optimizer.velocity(parameter)
    optimizer.param_groups[0][name] = 1e-3
    before = parameter.detach().clone()
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    gamma = 0.1 / 11**0.5
    torch.testing.assert_close(parameter.detach(), before + gamma * velocity)


def test_overwritten_weights_leave_nothing_stale() -> None:
    parameter = one_parameter(1.0, -1.0)
    optimizer = Indian([parameter], lr=0.1)
    for _ in range(10):
        optimizer.step()
    velocity = optimizer.velocity(parameter)
    with torch.no_grad():
        parameter.fill_(100.0)
    parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), 100.0 + 0.1 / 11**0.5 * velocity)
    torch.testing.assert_close(
        optimizer.psi(parameter),
        0.95 * parameter.detach() - 0.1 * optimizer.velocity(parameter),
    )


def test_psi_starts_where_the_published_code_starts() -> None:
    parameter = one_parameter(3.0, -1.0)
    optimizer = Indian([parameter], alpha=0.5, beta=0.1)
    torch.testing.assert_close(optimizer.psi(parameter), 0.95 * parameter.detach())


def test_psi_refuses_a_stranger_and_an_unknown_start() -> None:
    parameter = one_parameter(3.0)
    optimizer = Indian([parameter], initial_velocity=1.0)
    with pytest.raises(InputError, match="not a parameter of the optimizer"):
        optimizer.psi(torch.ones(1))
    with pytest.raises(InputError, match="call step"):
        optimizer.psi(parameter)
    optimizer.step()
    assert optimizer.psi(parameter).shape == (1,)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("other", IMPLEMENTATIONS)
def test_a_loaded_state_continues_to_the_last_bit(
    implementation: dict[str, Any], other: dict[str, Any]
) -> None:
    straight = make_network()
    optimizer = Indian(straight.parameters(), lr=0.3, initial_velocity=0.5, **implementation)
    train(straight, optimizer, range(10))
    file = io.BytesIO()
    torch.save((straight.state_dict(), optimizer.state_dict()), file)
    train(straight, optimizer, range(10, 20))

    file.seek(0)
    network_state, optimizer_state = torch.load(file, weights_only=True)
    resumed = make_network(seed=1)
    resumed.load_state_dict(network_state)
    other_optimizer = Indian(resumed.parameters(), **other)
    other_optimizer.load_state_dict(optimizer_state)
    for group in other_optimizer.param_groups:
        group.update({"foreach": None, "fused": None}, **other)
    train(resumed, other_optimizer, range(10, 20))
    if "fused" in implementation or "fused" in other:
        torch.testing.assert_close(weights(resumed), weights(straight), rtol=1e-5, atol=1e-6)
    if implementation == other or ("foreach" in implementation and "foreach" in other):
        assert torch.equal(weights(resumed), weights(straight))


RESUME = """
import sys, torch
from torch import nn
sys.path.insert(0, {tests!r})
from test_indian import make_network, train, weights
from indian_tune.optim import Indian

# Bits depend on it, and other tests may have changed it in their process.
torch.set_num_threads({threads})
network = make_network(seed=1)
optimizer = Indian(network.parameters(), capturable={capturable})
network_state, optimizer_state = torch.load({checkpoint!r}, weights_only=True)
network.load_state_dict(network_state)
optimizer.load_state_dict(optimizer_state)
train(network, optimizer, range(10, 20))
torch.save(weights(network), {result!r})
"""


@pytest.mark.parametrize("capturable", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_fresh_process_continues_to_the_last_bit(tmp_path: Path, capturable: bool) -> None:
    checkpoint, result = tmp_path / "checkpoint.pt", tmp_path / "result.pt"
    network = make_network()
    optimizer = Indian(network.parameters(), alpha=0.3, beta=0.2, capturable=capturable)
    train(network, optimizer, range(10))
    torch.save((network.state_dict(), optimizer.state_dict()), checkpoint)
    script = RESUME.format(
        tests=str(Path(__file__).parent),
        checkpoint=str(checkpoint),
        result=str(result),
        capturable=capturable,
        threads=torch.get_num_threads(),
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    train(network, optimizer, range(10, 20))
    assert torch.equal(torch.load(result, weights_only=True), weights(network))


def test_a_deep_copy_goes_its_own_way() -> None:
    network = make_network()
    optimizer = Indian(network.parameters())
    train(network, optimizer, range(3))
    copied_network, copied_optimizer = copy.deepcopy((network, optimizer))
    before = weights(network).clone()
    train(copied_network, copied_optimizer, range(3, 6))
    assert torch.equal(weights(network), before)
    train(network, optimizer, range(3, 6))
    assert torch.equal(weights(network), weights(copied_network))


@pytest.mark.parametrize("foreach", [True, False])
def test_capturable_scalars_are_tensors_that_a_change_reaches(foreach: bool) -> None:
    parameter = one_parameter(0.0)
    optimizer = Indian(
        [parameter], lr=1.0, alpha=2.0, beta=0.5, decay_power=0, foreach=foreach, capturable=True
    )
    group = optimizer.param_groups[0]
    held = {name: group[name] for name in ("lr", "alpha", "beta", "step")}
    assert {value.dtype for value in held.values()} == {torch.float64}
    optimizer.step()
    held["lr"].fill_(0.1)
    optimizer.step()
    assert parameter.item() == pytest.approx(-0.5 - 0.05)
    assert all(group[name] is value for name, value in held.items())
    assert held["step"].item() == 2


@pytest.mark.parametrize("foreach", [True, False])
def test_a_compiled_step_is_compiled_once_and_takes_the_same_steps(foreach: bool) -> None:
    torch._dynamo.reset()
    compilations = 0

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        nonlocal compilations
        compilations += 1
        return graph.forward

    networks = [make_network(dtype=torch.float64) for _ in range(2)]
    plain, compiled = (
        Indian(network.parameters(), weight_decay=0.01, foreach=foreach, capturable=capturable)
        for network, capturable in zip(networks, (False, True), strict=True)
    )
    train(networks[0], plain, range(12))
    compiled_step = torch.compile(lambda: compiled.step(), backend=backend)
    for step in range(12):
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(8, 1, 5, 5, generator=generator).double()
        labels = torch.randint(3, (8,), generator=generator)
        # Gradients are kept, as a captured step needs them at one address.
        compiled.zero_grad(set_to_none=False)
        nn.functional.cross_entropy(networks[1](images), labels).backward()  # type: ignore[no-untyped-call]
        compiled_step()
        if step == 1:
            warm = compilations
    torch.testing.assert_close(weights(networks[1]), weights(networks[0]), rtol=1e-12, atol=1e-13)
    assert 0 < warm == compilations


@pytest.mark.slow
@pytest.mark.night
def test_a_step_compiled_to_machine_code_takes_the_same_steps() -> None:
    torch._dynamo.reset()
    parameters = [nn.Parameter(torch.linspace(-1, 1, 50)) for _ in range(2)]
    plain, compiled = (Indian([one], capturable=True) for one in parameters)
    compiled_step = torch.compile(lambda: compiled.step())
    for step in range(5):
        for parameter in parameters:
            parameter.grad = torch.full((50,), float(step))
        plain.step()
        compiled_step()
    torch.testing.assert_close(parameters[1], parameters[0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("foreach", [True, False])
def test_a_captured_step_replays_with_present_values(foreach: bool) -> None:
    start, grad = torch.randn(1000, device="cuda"), torch.randn(1000, device="cuda")
    expected, captured = (nn.Parameter(start.clone()) for _ in range(2))
    plain = Indian([expected], foreach=foreach)
    optimizer = Indian([captured], foreach=foreach, capturable=True)
    captured.grad = grad.clone()
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    # The tensors are made on the default stream.
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        optimizer.step()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for step in range(10):
        if step == 5:
            plain.param_groups[0]["alpha"] = 0.1
            optimizer.param_groups[0]["alpha"].fill_(0.1)
        expected.grad = grad
        plain.step()
        if step > 0:
            graph.replay()
    torch.testing.assert_close(captured, expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr of Indian must be a finite number > 0, got 0.0"),
        ({"lr": -1.0}, "lr .* got -1.0"),
        ({"lr": float("nan")}, "lr .* got nan"),
        ({"alpha": 0.0}, "alpha of Indian must be a finite number > 0, got 0.0"),
        ({"alpha": -0.5}, "alpha .* got -0.5"),
        ({"alpha": "0.5"}, "alpha .* got '0.5'"),
        ({"beta": 0.0}, "beta of Indian must be a finite number > 0, got 0.0"),
        ({"beta": float("inf")}, "beta .* got inf"),
        ({"decay_power": 1.5}, "decay_power .* >= 0 and <= 1, got 1.5"),
        ({"decay_power": -0.1}, "decay_power .* got -0.1"),
        ({"weight_decay": -1e-4}, "weight_decay .* >= 0, got -0.0001"),
        ({"decoupled_weight_decay": "l2"}, "decoupled_weight_decay .* true or false"),
        ({"initial_velocity": float("nan")}, "initial_velocity .* got nan"),
        ({"lr": torch.ones(2), "capturable": True}, "one element"),
        ({"fused": True, "foreach": True}, "fused=True and foreach=True"),
        ({"fused": True, "capturable": True}, "fused=True and capturable=True"),
    ],
)
def test_a_wrong_hyperparameter_is_refused_with_its_value(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(HyperparameterError, match=message):
        Indian([nn.Parameter(torch.ones(1))], **options)
    optimizer = Indian([nn.Parameter(torch.ones(1))])
    with pytest.raises(HyperparameterError, match=message):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], **options})
    assert len(optimizer.param_groups) == 1


def test_a_complex_parameter_is_refused() -> None:
    parameters = [nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1, dtype=torch.complex64))]
    with pytest.raises(InputError, match=r"real parameters only, but parameter 1 .*complex64"):
        Indian(parameters)


def test_a_refused_group_leaves_the_optimizer_as_it_was() -> None:
    optimizer = Indian([one_parameter(1.0)])
    with pytest.raises(InputError, match="real parameters only"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1, dtype=torch.complex64))]})
    assert len(optimizer.param_groups) == 1
    optimizer.step()


def test_a_sparse_gradient_is_refused() -> None:
    embedding = nn.Embedding(5, 2, sparse=True)
    embedding(torch.tensor([1])).sum().backward()
    with pytest.raises(InputError, match="sparse"):
        Indian(embedding.parameters()).step()


def test_a_captured_group_is_on_one_device() -> None:
    parameters = [nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1, device="meta"))]
    with pytest.raises(InputError, match="on one device, got cpu, meta"):
        Indian(parameters, capturable=True)


@pytest.mark.parametrize("foreach", [False, True])
def test_a_small_friction_given_as_a_tensor_is_not_rounded_away(foreach: bool) -> None:
    """1 - αγ in float32 would be 5 % off here, for every element alike."""
    source = torch.Generator().manual_seed(0)
    velocity = 1 + torch.rand(100_000, generator=source)
    theta = torch.nn.Parameter(torch.zeros(100_000))
    optimizer = Indian([theta], 1e-3, 5e-4, 0.1, decay_power=0, foreach=foreach, capturable=True)
    theta.grad = torch.zeros_like(theta)
    optimizer.step()
    optimizer.state[theta]["velocity"].copy_(velocity)
    optimizer.step()
    lost = (velocity.double() - optimizer.velocity(theta).double()) / velocity.double()
    assert lost.mean().item() == pytest.approx(5e-7, rel=0.01)
