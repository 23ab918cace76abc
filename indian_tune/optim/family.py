"""A family: an optimizer as the study file, the trainer and the report use it, without torch."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from indian_tune.errors import HyperparameterError, unknown_name
from indian_tune.optim.hyperparameters import SCHEDULE_STEPS
from indian_tune.optim.schedules import SCHEDULE_NAMES, Schedule, is_scheduled, power_decay

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from torch import Tensor
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.optim.optimizer import ParamsT

    from indian_tune.optim.hyperparameters import Hyperparameter, Value

    Config = Mapping[str, Value]
    Tensors = dict[str, Tensor]

__all__ = ["Dynamics", "Family", "Packed", "Role"]

Role = Literal["ours", "baseline", "momentum", "other"]
"""What a family is in the comparisons of the claim: INDIAN itself, a rival of the paper, a momentum
method that INDIAN contains, or anything else."""


@dataclass(frozen=True)
class Dynamics:
    """What a configuration does in a step at γ0, its largest; ``None`` where it has no number.

    A configuration that has all three is judged as the linear recursion that they define, see
    :func:`indian_tune.optim.stability.contracts`.

    Attributes:
        effective_learning_rate: distance that a steady gradient of 1 moves θ in one step, once
            the momentum has settled.
        instantaneous_response: distance that a new gradient of 1 moves θ in its own step.
        momentum: fraction of the velocity that a step keeps.
    """

    effective_learning_rate: float | None = None
    instantaneous_response: float | None = None
    momentum: float | None = None


def _read(optimizer: Optimizer, param: Tensor, name: str) -> Tensor | None:
    state: Tensor | None = optimizer.state[param].get(name)
    return state


@dataclass(frozen=True)
class Packed:
    """How a family steps K runs at once, and where its own optimizer keeps what that needs.

    What a step multiplies by is computed ahead, for the steps of a whole epoch: a step itself then
    consists of few operations, all of them on tensors of θ's shape.

    Attributes:
        states: names of the tensors of θ's shape that the optimizer keeps for every parameter.
        factors: takes numbers, and returns the factors of a step by name. Numbers are float64 that
            broadcast to [steps, K, 1]: the configuration by its names, the present step size as
            ``gamma``, the steps taken before as ``count`` and the family's own ``numbers``, which
            are brought to where they are after these steps. Factors are of that shape. No value
            may leave the device and nothing may cross between rows.
        step: takes parameters, gradients, states and factors, and changes the parameters and the
            states in place. The first three are of shape [K, N], states by their names; factors
            are [K, 1], of the parameters' type.
        rule: of :data:`indian_tune.optim.packed_kernel.RULES`, whose kernel computes the same step;
            empty for none.
        numbers: names of further numbers of a run.
        resume: takes a complete configuration and the steps taken, and returns these numbers.
        counted: whether the optimizer counts its steps for every parameter, as torch's ADAM does.
        read: returns a state of a parameter that the optimizer has a state for, ``None`` if that
            one is still 0.
        settle: called after all states have been written, with the complete configuration and the
            steps taken.
    """

    states: tuple[str, ...]
    factors: Callable[[Tensors], Tensors]
    step: Callable[[Tensor, Tensor, Tensors, Tensors], None]
    rule: str = ""
    numbers: tuple[str, ...] = ()
    resume: Callable[[Config, int], Mapping[str, float]] = lambda *_: {}
    counted: bool = False
    read: Callable[[Optimizer, Tensor, str], Tensor | None] = _read
    settle: Callable[[Optimizer, Config, int], None] | None = None


@dataclass(frozen=True)
class Family:
    """An optimizer with its hyperparameters and the space they are searched in by default.

    The step size is called ``gamma0`` in every family, whatever the optimizer calls it.

    Attributes:
        name: key in a study file.
        title: as people read it.
        hyperparameters: every hyperparameter by its name.
        default_space: what an arm searches unless its study file says otherwise, in the study
            file's syntax: a range, ``{"choices": [...]}`` or a constant.
        optimizer: the class, or ``module:Class`` to be imported when one is built. It takes the
            hyperparameters by the names of their arguments.
        fixed: what else the class is given.
        explain: returns the dynamics of a complete configuration.
        schedules_itself: whether the optimizer applies ``decay_power`` itself.
        unscheduled: why its step size cannot have another schedule; empty where it can.
        averages: whether it is measured at an average of the weights that it keeps itself.
        role: in the comparisons of the claim.
        shape: of INDIAN in whatever coordinates, the hyperparameters that set (α, β): an arm that
            searches all of them tunes both.
        decouple: whether the optimizer has only the weight decay that joins the gradient, so that
            the decoupled kind has to be added.
        plain: whether a step is the step size times the gradient and nothing else: what SGD at
            equal loss or at a matched rate stands for in the claim.
        match_rate: returns the configuration of a plain family with the effective learning rate of
            a configuration; ``None`` for a family that no rate is matched to.
        responds: whether ``sgd-response`` takes the steps that a complete configuration takes on a
            steady gradient, given the same numbers.
        requires: a package of the extra ``rivals`` that the class comes from; empty for none.
        packed: how several runs are stepped at once; ``None`` if they are trained one by one.
        adopt: of INDIAN in whatever coordinates, returns in them a complete configuration of
            ``indian``; ``None`` for other families.
    """

    name: str
    title: str
    hyperparameters: Mapping[str, Hyperparameter]
    default_space: Mapping[str, object]
    optimizer: type[Optimizer] | str
    fixed: Mapping[str, object] = field(default_factory=dict)
    explain: Callable[[dict[str, float]], Dynamics] = lambda _: Dynamics()
    schedules_itself: bool = False
    unscheduled: str = ""
    averages: bool = False
    role: Role = "other"
    shape: tuple[str, ...] = ("alpha", "beta")
    decouple: bool = False
    plain: bool = False
    match_rate: Callable[[Config], dict[str, float]] | None = None
    responds: bool = False
    requires: str = ""
    packed: Packed | None = None
    adopt: Callable[[Config], dict[str, float]] | None = None

    @property
    def decay_power(self) -> float:
        """The exponent a of the step sizes γ0 / (k + 1)^a, unless a configuration gives one."""
        default = self.hyperparameters["decay_power"].default
        assert default is not None
        return float(default)

    @property
    def rates(self) -> tuple[str, ...]:
        """The hyperparameters that set how far a step goes, such as ``gamma0``."""
        return tuple(name for name, known in self.hyperparameters.items() if known.rate)

    @property
    def given(self) -> tuple[str, ...]:
        """The hyperparameters that a user gives: all but what a trainer fills in."""
        return tuple(name for name in self.hyperparameters if name != SCHEDULE_STEPS.name)

    def hyperparameter(self, name: str, *, beside: Iterable[str] = ()) -> Hyperparameter:
        """Return the hyperparameter called ``name``.

        Args:
            name: key in a configuration.
            beside: names that are allowed there too, for the message.

        Raises:
            HyperparameterError: the family has no such hyperparameter.
        """
        try:
            return self.hyperparameters[name]
        except KeyError:
            if self.unscheduled and name in SCHEDULE_NAMES:
                raise HyperparameterError(
                    f"{self.name} cannot have {name}: {self.unscheduled}; remove it"
                ) from None
            told = unknown_name(f"hyperparameter of {self.name}", name, (*self.given, *beside))
            if name in ("lr", "learning_rate") and "gamma0" in self.hyperparameters:
                told += ". The step size is called gamma0 here"
            raise HyperparameterError(told) from None

    def check_names(self, names: Iterable[str]) -> None:
        """Check the names of a space or a configuration: all known, none missing.

        Raises:
            HyperparameterError: a name is unknown, or a required one is missing.
        """
        given = set(names)
        for name in sorted(given):
            self.hyperparameter(name)
        for name, hyperparameter in self.hyperparameters.items():
            if hyperparameter.required and name not in given:
                raise HyperparameterError(
                    f"{self.name} needs {name} ({hyperparameter.description}): give it "
                    f"{hyperparameter.allowed}; given: {', '.join(sorted(given)) or 'nothing'}"
                )

    def complete(self, config: Config) -> dict[str, Value]:
        """Return ``config`` checked, with every default filled in, in the family's order.

        Raises:
            HyperparameterError: a name is unknown or missing, or a value is not allowed.
        """
        self.check_names(config)
        known = self.hyperparameters
        wholes = {name for name in config if known[name].kind == "tuple"}
        parts = {name for name, each in known.items() if each.argument in wholes}
        for name in parts & config.keys():
            raise HyperparameterError(
                f"{self.name} gets {known[name].argument} and {name}, which is a part of it: "
                "remove one"
            )
        values = {
            name: config.get(name, hyperparameter.default)
            for name, hyperparameter in known.items()
            if name not in parts
        }
        return {
            name: self._checked(name, value)
            for name, value in values.items()
            if value is not None or name in config
        }

    def _checked(self, name: str, value: object) -> Value:
        hyperparameter = self.hyperparameters[name]
        # A default is the optimizer's own word, such as an infinite bound.
        default = hyperparameter.default
        if default is not None and value == default and not isinstance(value, bool):
            return default if isinstance(default, str) else float(default)
        return hyperparameter.read(value, owner=self.name)

    def build(self, params: ParamsT, config: Config) -> tuple[Optimizer, LRScheduler | None]:
        """Return the optimizer of ``config`` and its schedule.

        Args:
            params: parameters or groups, as torch's optimizers take them.
            config: a configuration, complete or not.

        Returns:
            The optimizer, and the scheduler that is to be stepped once after every mini-batch;
            ``None`` where the step size is constant or the optimizer sees to it itself.

        Raises:
            HyperparameterError: as :meth:`complete`, or the optimizer refused a value.
        """
        complete = self.complete(config)
        given, shrinkage = dict(complete), 0.0
        if self.decouple and given.pop("decoupled_weight_decay"):
            shrinkage, given["weight_decay"] = given["weight_decay"], 0.0
        schedule = None if self.unscheduled else Schedule.of(complete)
        if schedule is not None:
            given = {name: value for name, value in given.items() if name not in SCHEDULE_NAMES}
        if not self.schedules_itself:
            del given["decay_power"]
        elif schedule is not None:
            given["decay_power"] = 0.0
        optimizer = self._make(params, given)
        if shrinkage:
            from indian_tune.optim.weight_decay import decouple

            decouple(optimizer, shrinkage)
        if schedule is not None:
            return optimizer, schedule.scheduler(optimizer)
        if self.schedules_itself:
            return optimizer, None
        return optimizer, power_decay(optimizer, complete["decay_power"])

    def check_installed(self) -> None:
        """Check that the package of the class is there, without importing it.

        Raises:
            HyperparameterError: it is not.
        """
        if self.requires and importlib.util.find_spec(self.requires) is None:
            raise HyperparameterError(
                f"optimizer = {self.name!r} needs the package {self.requires}, which is not "
                f"installed: pip install {self.requires}"
            )

    def with_steps(self, config: Config, steps: int) -> dict[str, Value]:
        """Return a configuration with the steps of its run, if it has a schedule.

        Args:
            config: complete or not.
            steps: of the whole run, which a configuration that has them keeps.
        """
        if self.unscheduled or not is_scheduled(config):
            return dict(config)
        return {SCHEDULE_STEPS.name: float(steps), **config}

    def _make(self, params: ParamsT, config: dict[str, Value]) -> Optimizer:
        self.check_installed()
        optimizer_class: Any = self.optimizer
        if isinstance(optimizer_class, str):
            module, _, name = optimizer_class.partition(":")
            optimizer_class = getattr(importlib.import_module(module), name)
        values: dict[str, Any] = {}
        for name, value in config.items():
            known = self.hyperparameters[name]
            values.setdefault(known.argument or name, []).append(known.as_argument(value))
        values = {name: tuple(v) if len(v) > 1 else v[0] for name, v in values.items()}
        try:
            optimizer: Optimizer = optimizer_class(params, **values, **self.fixed)
        except ValueError as error:
            given = ", ".join(f"{argument}={value!r}" for argument, value in values.items())
            raise HyperparameterError(f"{self.name} refused {given}: {error}") from error
        return optimizer

    def dynamics(self, config: Config) -> Dynamics:
        """Return what ``config`` does in its first step.

        Raises:
            HyperparameterError: as :meth:`complete`.
        """
        return self.explain(self.complete(config))
