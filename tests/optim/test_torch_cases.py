"""The generic cases by which torch tests every optimizer of its own, for `Indian` beside them.

The inputs are torch's; the cases are those of its `test_optim.py`, which is not installed.
"""

from __future__ import annotations

import sys
import warnings
from copy import deepcopy
from typing import TYPE_CHECKING, Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from indian_tune.optim import Indian
from indian_tune.training import GlobalState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WITH_SCHEDULERS = {"decay_power": 0.0, "lr": 0.05}


def torch_cases() -> Any:
    """Torch's module of cases; what it switches for the whole process is switched back."""
    before, arguments = GlobalState(), sys.argv
    sys.argv = arguments[:1]
    try:
        # The import freezes the flags of torch.backends.
        with getattr(torch.backends, "__allow_nonbracketed_mutation")():
            from torch.testing._internal import common_optimizers
    finally:
        sys.argv = arguments
        before.restore("torch's cases")
    return common_optimizers


cases = torch_cases()


def indian_inputs(device: Any, dtype: Any = None) -> list[Any]:
    """What torch gives SGD where it has a meaning, and each option of its own."""
    options: dict[str, dict[str, Any]] = {
        "default": {},
        "non-default lr": {"lr": 0.01},
        "tensor lr": {"lr": torch.tensor(0.01)},
        "constant step size": {"decay_power": 0.0},
        "Assumption 1 at its end": {"decay_power": 1.0},
        "friction and damping": {"alpha": 1.5, "beta": 0.3},
        "nearly without inertia": {"alpha": 5.0, "beta": 0.2, "lr": 0.05},
        "weight decay": {"weight_decay": 0.5},
        "coupled weight decay": {"weight_decay": 0.5, "decoupled_weight_decay": False},
        "initial velocity": {"initial_velocity": 0.2},
        "maximize": {"weight_decay": 0.1, "maximize": True},
        "capturable": {"capturable": True},
        "capturable, tensor lr": {"capturable": True, "lr": torch.tensor(0.01)},
    }
    del device, dtype
    return [
        cases.OptimizerInput(params=None, kwargs=kwargs, desc=desc)
        for desc, kwargs in options.items()
    ]


def indian_error_inputs(device: Any, dtype: Any) -> list[Any]:
    """Those of all optimizers, the tensor of two learning rates in words of our own."""
    inputs: list[Any] = cases.get_error_inputs_for_all_optims(device, dtype)
    for one in inputs:
        if one.error_regex == "Tensor lr must be 1-element":
            one.error_regex = "one element, got shape \\(2,\\)"
    return inputs


INDIAN = cases.OptimizerInfo(
    Indian,
    optim_inputs_func=indian_inputs,
    optim_error_inputs_func=indian_error_inputs,
    scheduler_inputs=next(
        info.scheduler_inputs for info in cases.optim_db if info.optim_cls is SGD
    ),
    supported_impls=("foreach", "fused"),
    supports_fused_on=("cpu", "cuda"),
    has_capturable_arg=True,
    supports_complex=False,
)
INFOS = [info for info in cases.optim_db if info.optim_cls in (SGD, AdamW)] + [INDIAN]


@pytest.fixture(params=INFOS, ids=[info.name for info in INFOS])
def info(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def all_options(info: Any) -> Iterator[dict[str, Any]]:
    """The options of every input, on every path."""
    inputs = cases._get_optim_inputs_including_global_cliquey_kwargs(
        "cpu", torch.float32, info, skip=("differentiable",)
    )
    for one in inputs:
        # Torch's own take no capturable on a CPU; Indian does, but not with fused.
        if not one.kwargs.get("capturable") or (info is INDIAN and not one.kwargs["fused"]):
            yield one.kwargs


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 1))


def gradients(params: list[Any], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for param in params:
        param.grad = torch.randn(param.shape, generator=generator).to(param.dtype)


def steps(optimizer: Optimizer, params: list[Any], number: int = 3, first: int = 0) -> None:
    for step in range(first, first + number):
        gradients(params, step)
        optimizer.step()


def test_what_is_refused_is_refused_as_by_torch(info: Any) -> None:
    for error in info.optim_error_inputs_func("cpu", torch.float32):
        one = error.optimizer_error_input
        params = [nn.Parameter(torch.randn(2, 3))] if one.params is None else one.params
        if issubclass(error.error_type, Warning):
            with pytest.warns(error.error_type, match=error.error_regex):
                info.optim_cls(params, **one.kwargs)
        else:
            with pytest.raises(error.error_type, match=error.error_regex):
                info.optim_cls(params, **one.kwargs)


@pytest.mark.parametrize("contiguous", [True, False])
def test_every_input_goes_in_the_right_direction(info: Any, contiguous: bool) -> None:
    for options in all_options(info):
        # Torch's fused kernels take the memory of all tensors for laid out alike.
        if options.get("fused") and not contiguous and info is not INDIAN:
            continue
        shape = (10, 5) if contiguous else (10, 5, 2)
        whole, bias = torch.randn(shape), torch.randn(10 if contiguous else (10, 2))
        weight = nn.Parameter(whole if contiguous else whole[..., 0])
        bias = nn.Parameter(bias if contiguous else bias[..., 0])
        inputs = torch.randn(5)
        optimizer = info.optim_cls([weight, bias], **options)

        def closure(
            optimizer: Optimizer = optimizer,
            weight: Tensor = weight,
            bias: Tensor = bias,
            inputs: Tensor = inputs,
        ) -> Tensor:
            optimizer.zero_grad()
            loss = (weight.mv(inputs) + bias).pow(2).sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        first = closure().item()
        for _ in range(20):
            optimizer.step(closure)
        assert (closure().item() > first) == options.get("maximize", False), options


def test_every_scheduler_of_torch_drives_every_input(info: Any) -> None:
    for options in all_options(info):
        own = WITH_SCHEDULERS if info is INDIAN and "decay_power" not in options else {}
        for makers in info.scheduler_inputs:
            model = network()
            optimizer = info.optim_cls(model.parameters(), **{**options, **own})
            with warnings.catch_warnings():
                # A decay beside a scheduler is warned of; AdamW's tensor lr is changed in place.
                warnings.simplefilter("ignore")
                schedulers = [make(optimizer) for make in makers]
                for step in range(4):
                    gradients(list(model.parameters()), step)
                    optimizer.step()
                    for scheduler in schedulers:
                        metric = (1.0,) if isinstance(scheduler, ReduceLROnPlateau) else ()
                        scheduler.step(*metric)
            assert all(param.isfinite().all() for param in model.parameters())


def test_a_tensor_as_lr_takes_the_steps_of_a_number(info: Any) -> None:
    for options in all_options(info):
        if isinstance(options.get("lr"), Tensor):
            continue
        rate = options.get("lr", 0.01)
        models = [network()]
        models.append(deepcopy(models[0]))
        for model, lr in zip(models, (rate, torch.tensor(rate)), strict=True):
            params = list(model.parameters())
            # Torch's for-loop takes a tensor with foreach=False, but not with foreach=True.
            if info is not INDIAN and options.get("foreach"):
                continue
            steps(info.optim_cls(params, **{**options, "lr": lr}), params)
        if info is INDIAN or not options.get("foreach"):
            for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
                torch.testing.assert_close(one, other)


@pytest.mark.parametrize("path", ["foreach", "fused"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_every_path_takes_the_steps_of_the_loop(info: Any, path: str, dtype: torch.dtype) -> None:
    for one in info.optim_inputs_func(device="cpu"):
        options = one.kwargs
        if options.get("capturable") and (info is not INDIAN or path == "fused"):
            continue
        if isinstance(options.get("lr"), Tensor) and path == "foreach" and info is not INDIAN:
            continue
        # Of several shapes, one of them empty, one without a gradient, one of another layout.
        base = [
            torch.randn(2, 3, dtype=dtype),
            torch.empty(0, dtype=dtype),
            torch.randn(4, dtype=dtype),
            torch.randn(3, 2, dtype=dtype).t(),
            torch.randn((), dtype=dtype),
        ]
        found = []
        for flag in (False, True):
            params = [nn.Parameter(tensor.clone()) for tensor in base]
            flags = {"foreach": False, "fused": False, path: flag}
            optimizer = info.optim_cls(params, **{**options, **flags})
            for step in range(5):
                gradients(params, step)
                if info is not INDIAN and params[3].grad is not None:
                    params[3].grad = params[3].grad.t().contiguous().t()
                params[2].grad = None
                optimizer.step()
            assert torch.equal(params[2], base[2])
            found.append(params)
        loose: dict[str, Any] = {"rtol": 0.03, "atol": 0.03} if dtype is torch.bfloat16 else {}
        torch.testing.assert_close(found[1], found[0], **loose)


@pytest.mark.parametrize("path", ["foreach", "fused"])
def test_parameters_of_mixed_dtypes_take_the_steps_of_the_loop(info: Any, path: str) -> None:
    found = []
    for flag in (False, True):
        torch.manual_seed(0)
        dtypes = (torch.float64, torch.float32, torch.bfloat16, torch.float32)
        params = [nn.Parameter(torch.randn(3).to(dtype)) for dtype in dtypes]
        flags = {"foreach": False, "fused": False, path: flag}
        steps(info.optim_cls(params, lr=0.01, **flags), params)
        found.append(params)
    torch.testing.assert_close(found[1], found[0])


def test_the_default_dtype_of_torch_does_not_matter(info: Any) -> None:
    found = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        params = [nn.Parameter(torch.randn(3, dtype=torch.float32))]
        for options in all_options(info):
            optimizer = info.optim_cls(params, **options)
            gradients(params, 0)
            torch.set_default_dtype(dtype)
            try:
                optimizer.step()
            finally:
                torch.set_default_dtype(torch.float32)
        found.append(params)
    torch.testing.assert_close(found[1], found[0], rtol=1e-6, atol=1e-7)


def test_a_step_without_gradients_changes_nothing(info: Any) -> None:
    for options in all_options(info):
        params = [nn.Parameter(torch.randn(2, 3)), nn.Parameter(torch.randn(2))]
        before = deepcopy(params)
        optimizer = info.optim_cls(params, **options)
        optimizer.step()
        assert all(torch.equal(one, other) for one, other in zip(params, before, strict=True))


def test_a_first_step_on_gradients_of_zero_changes_nothing(info: Any) -> None:
    for options in all_options(info):
        params = [nn.Parameter(torch.randn(2, 3))]
        before = params[0].detach().clone()
        if "weight_decay" in options or info.optim_cls is AdamW:
            options = {**options, "weight_decay": 0.0}
        optimizer = info.optim_cls(params, **options)
        params[0].grad = torch.zeros(2, 3)
        optimizer.step()
        assert torch.equal(params[0], before), options


@pytest.mark.parametrize("named", [(False, False), (False, True), (True, False), (True, True)])
def test_a_state_loads_with_and_without_names_and_goes_on(
    info: Any, named: tuple[bool, bool]
) -> None:
    for options in all_options(info):
        models = [network()]
        steps(first := make(info, models[0], options, named[0]), list(models[0].parameters()))
        models.append(deepcopy(models[0]))
        second = make(info, models[1], options, named[1])
        # Torch's own share what they load; that Indian does not is tested elsewhere.
        second.load_state_dict(deepcopy(first.state_dict()))
        for optimizer, model in zip((first, second), models, strict=True):
            steps(optimizer, list(model.parameters()), first=3)
        for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
            torch.testing.assert_close(one, other)


def make(info: Any, model: nn.Module, options: dict[str, Any], named: bool) -> Optimizer:
    params = model.named_parameters() if named else model.parameters()
    optimizer: Optimizer = info.optim_cls(params, **deepcopy(options))
    return optimizer


def test_a_state_is_saved_and_loaded_as_weights_only(info: Any, tmp_path: Path) -> None:
    for options in all_options(info):
        model = network()
        optimizer = info.optim_cls(model.parameters(), **options)
        steps(optimizer, list(model.parameters()))
        torch.save(optimizer.state_dict(), tmp_path / "state")
        loaded = torch.load(tmp_path / "state", weights_only=True)
        torch.testing.assert_close(loaded["state"], optimizer.state_dict()["state"])
        other = info.optim_cls(model.parameters(), **options)
        other.load_state_dict(loaded)
        torch.testing.assert_close(other.state_dict()["state"], loaded["state"])


def test_a_state_without_the_flags_loads_and_steps(info: Any) -> None:
    for options in all_options(info):
        model = network()
        params = list(model.parameters())
        optimizer = info.optim_cls(params, **options)
        steps(optimizer, params)
        old = deepcopy(optimizer.state_dict())
        for group in old["param_groups"]:
            for flag in ("foreach", "fused", "maximize", "capturable", "differentiable"):
                group.pop(flag, None)
        optimizer.load_state_dict(old)
        steps(optimizer, params)
        assert all(param.isfinite().all() for param in params)


def test_groups_have_options_of_their_own(info: Any) -> None:
    for options in all_options(info):
        if isinstance(options.get("lr"), Tensor):
            continue
        fast, slow = (nn.Parameter(torch.ones(3)) for _ in range(2))
        groups = [{"params": [fast]}, {"params": [slow], "lr": 1e-4}]
        optimizer = info.optim_cls(groups, **{**options, "lr": 0.1, "weight_decay": 0.0})
        for param in (fast, slow):
            param.grad = torch.ones(3)
        optimizer.step()
        assert (fast - 1).abs().min() > 10 * (slow - 1).abs().max()


def test_hooks_run_around_a_step_with_its_arguments(info: Any) -> None:
    for options in all_options(info):
        params = [nn.Parameter(torch.ones(1))]
        optimizer = info.optim_cls(params, **options)
        order = Mock()
        optimizer.register_step_pre_hook(order.before)
        optimizer.register_step_post_hook(order.after)
        order.before.return_value = order.after.return_value = None
        optimizer.step(order.closure)
        assert [name for name, _, _ in order.mock_calls] == ["before", "closure", "after"]


def test_a_deep_copy_has_every_public_attribute(info: Any) -> None:
    for options in all_options(info):
        params = [nn.Parameter(torch.randn(2, 3))]
        optimizer = info.optim_cls(params, **options)
        steps(optimizer, params)
        copy = deepcopy(optimizer)
        public = {name for name in dir(optimizer) if not name.startswith("_")}
        assert public == {name for name in dir(copy) if not name.startswith("_")}
        torch.testing.assert_close(copy.state_dict()["state"], optimizer.state_dict()["state"])


def test_a_closure_that_makes_the_first_gradients_is_one_step(info: Any) -> None:
    inputs = torch.ones(1, 4)
    for options in all_options(info):
        models = [network()]
        models.append(deepcopy(models[0]))
        for model, closed in zip(models, (True, False), strict=True):
            optimizer = info.optim_cls(model.parameters(), **options)

            def closure(model: nn.Module = model, optimizer: Optimizer = optimizer) -> float:
                optimizer.zero_grad()
                loss = model(inputs).sum()
                loss.backward()
                return float(loss.detach())

            if closed:
                assert isinstance(optimizer.step(closure), float)
            else:
                closure()
                optimizer.step()
        for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
            assert torch.equal(one, other)
