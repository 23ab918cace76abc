"""The INDIAN optimizer, with torch's interface."""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from indian_tune.errors import InputError
from indian_tune.optim.checks import check_one_device, check_options
from indian_tune.optim.functional import indian
from indian_tune.optim.fused import can_fuse, fused_step
from indian_tune.optim.groups import GroupedOptimizer
from indian_tune.optim.hyperparameters import ALPHA, BETA, GAMMA0
from indian_tune.optim.schedules import decay

if TYPE_CHECKING:
    from torch.optim.optimizer import ParamsT

__all__ = ["Indian"]

# What a captured step reads as tensors, so that a replay sees their present values.
CAPTURED = ("lr", "alpha", "beta", "step")
# What a group does whose saved state is older than an option, and where every group starts.
OPTIONS: dict[str, Any] = {
    "decay_power": 0.5,
    "weight_decay": 0.0,
    "decoupled_weight_decay": True,
    "initial_velocity": None,
    "maximize": False,
    "foreach": None,
    "fused": None,
    "capturable": False,
    "step": 0,
    # The fused step keeps velocities in units of its own; see velocity().
    "velocity_scale": 1.0,
}


class Indian(GroupedOptimizer):
    r"""Inertial Newton algorithm for deep learning (INDIAN, also published as INNA).

    .. math::
       \begin{aligned}
            &\textbf{input} : \gamma_0 \text{ (lr)}, \alpha, \beta, a \text{ (decay power)},
                \theta_0 \text{ (params)}, J \text{ (objective)}, v_0 = 0                   \\
            &\textbf{for} \: k = 0, 1, \ldots                                               \\
            &\hspace{5mm} g_k \in \partial J_{\mathsf{B}_k}(\theta_k), \qquad
                \gamma_k = \gamma_0 \, (k + 1)^{-a}                                         \\
            &\hspace{5mm} \theta_{k+1} = \theta_k + \gamma_k (v_k - \beta g_k)              \\
            &\hspace{5mm} v_{k+1} = (1 - \alpha\gamma_k) v_k
                - \gamma_k (1 - \alpha\beta) g_k
       \end{aligned}

    This is the published recursion in :math:`(\theta, \psi)` with
    :math:`v = (1/\beta - \alpha)\theta - \psi/\beta` in place of the phase variable
    :math:`\psi`; :meth:`velocity` and :meth:`psi` give both. At a constant step size it is
    quasi-hyperbolic momentum with learning rate γ/α and momentum 1 - αγ: heavy ball at β = γ,
    Nesterov at β = 2γ - αγ²; and αβ = 1 is plain SGD with step βγ_k under any schedule.

    Args:
        params: parameters, or groups that may differ in every option below.
        lr: γ0 > 0, a number or a tensor of one element. With ``decay_power=0`` torch's schedulers
            drive it. A step that finds it at 0 changes nothing and is not counted.
        alpha: viscous friction α > 0.
        beta: Newtonian damping β > 0.
        decay_power: a in γ_k = γ0 (k + 1)^(-a), in [0, 1]; k counts the steps of a group since
            it was added. Values in (0, 1] satisfy Assumption 1 of the convergence theorem; a
            constant step size (0) is outside of it.
        weight_decay: strength of weight decay, >= 0.
        decoupled_weight_decay: if true, θ shrinks by γ_k · ``weight_decay`` · θ in each step,
            outside the dynamics; if false, ``weight_decay`` · θ is added to the gradient and so
            passes through β and the inertia.
        initial_velocity: s in the start v_0 = (β - s) g_0, whose first step is -γ_0 s g_0; the
            default ``None`` is v_0 = 0, as with s = β.
        maximize: climb instead of descend.
        foreach: work on all tensors of a device and dtype at once; ``False`` goes tensor by
            tensor, to the same result.
        fused: take the step in one pass over memory where that is possible: for float32 and
            bfloat16 parameters on a CPU or a CUDA device, laid out as their gradients, with
            αγ_k <= 1/2 and γ_k not within 0.1 % of β. Elsewhere the step is taken as by
            ``foreach``; both give the same result up to rounding. With neither option given,
            ``fused`` is on.
        capturable: keep the step count, γ0, α and β as tensors on the device, so that the step
            can be captured in a CUDA graph or compiled once.

    Raises:
        HyperparameterError: an option is out of range, at construction or in
            :meth:`add_param_group`.
        InputError: a parameter is complex, or (in :meth:`step`) a gradient is sparse.

    Example:
        >>> optimizer = Indian(model.parameters(), lr=0.1, alpha=0.5, beta=0.1)
        >>> optimizer.zero_grad()
        >>> loss(model(x), y).backward()
        >>> optimizer.step()

    Source: section 2 of "An Inertial Newton Algorithm for Deep Learning" (Castera, Bolte,
    Févotte and Pauwels, 2021).
    """

    _checked = (replace(GAMMA0, name="lr"), ALPHA, BETA)
    # INNAprop's groups have all of the above, too, and those of ResponseSgd.
    _foreign = ("sigma", "level")
    _real = True
    _warned = False

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 0.1,
        alpha: float = 0.5,
        beta: float = 0.1,
        *,
        decay_power: float = 0.5,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = True,
        initial_velocity: float | None = None,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "alpha": alpha,
            "beta": beta,
            "decay_power": decay_power,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "initial_velocity": initial_velocity,
            "maximize": maximize,
            "foreach": foreach,
            "fused": fused,
            "capturable": capturable,
        }
        super().__init__(params, {**OPTIONS, **defaults})

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up a state, also one that was saved before an option existed.

        Raises:
            InputError: it is the state of another optimizer; nothing is changed.
        """
        super().__setstate__(state)
        for group in self.param_groups:
            for name, value in OPTIONS.items():
                group.setdefault(name, value)
            for param in group["params"]:
                known = self.state.get(param, {})
                if "velocity" in known:
                    # Loading keeps the tensors that it is given, and steps would change them.
                    known["velocity"] = known["velocity"].clone()
            _capture_scalars(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, whose options are checked like the constructor's.

        Raises:
            HyperparameterError: an option is out of range.
            InputError: a parameter is complex, or the parameters are on several devices and are to
                be captured.
        """
        check_options({**self.defaults, **param_group})
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if group["capturable"]:
            try:
                check_one_device(group["params"])
            except InputError:
                self.param_groups.pop()
                raise
        _capture_scalars(group)

    def velocity(self, param: Tensor) -> Tensor:
        """Return the velocity v of ``param``, a new tensor of its shape.

        The ``state`` holds it times its group's ``velocity_scale``.

        Raises:
            InputError: ``param`` is not among the parameters, or starts with a velocity that
                waits for its first gradient.
        """
        return self._velocity(param, self._group_of(param))

    def psi(self, param: Tensor) -> Tensor:
        """Return the phase variable ψ = (1 - αβ)θ - βv of ``param``, a new tensor of its shape.

        Raises:
            InputError: as :meth:`velocity`.
        """
        group = self._group_of(param)
        alpha, beta = group["alpha"], group["beta"]
        psi: Tensor = param.detach() * (1 - alpha * beta) - self._velocity(param, group) * beta
        return psi

    def _group_of(self, param: Tensor) -> dict[str, Any]:
        for group in self.param_groups:
            if any(param is one for one in group["params"]):
                return group
        raise InputError(
            "this tensor is not a parameter of the optimizer; it has the shape "
            f"{tuple(param.shape)}"
        )

    def _velocity(self, param: Tensor, group: dict[str, Any]) -> Tensor:
        known = self.state.get(param, {})
        if "velocity" in known and known.get("started", 1):
            velocity: Tensor = known["velocity"] / group["velocity_scale"]
            return velocity
        if group["initial_velocity"] is None:
            return torch.zeros_like(param, requires_grad=False)
        raise InputError(
            "the velocity is not defined yet: with initial_velocity it depends on the first "
            "gradient; call step() first"
        )

    def _step_group(self, group: dict[str, Any]) -> None:
        params: list[Tensor] = []
        grads: list[Tensor] = []
        velocities: list[Tensor] = []
        if not torch.compiler.is_compiling():
            _capture_scalars(group)
            self._check_schedule(group)
        self._init_group(group, params, grads, velocities)
        step = group["step"]
        if isinstance(step, Tensor):
            gamma = group["lr"] * (step + 1) ** -group["decay_power"]
            step.add_(group["lr"] != 0)
        elif _at_rest(group):
            return
        else:
            gamma = group["lr"] * decay(step, group["decay_power"])
            group["step"] = step + 1
        if params:
            self._move(group, params, grads, velocities, gamma)

    def _check_schedule(self, group: dict[str, Any]) -> None:
        """Warn, once, where a scheduler of torch and ``decay_power`` both lower the step size."""
        if "initial_lr" in group and group["decay_power"] != 0 and not self._warned:
            self._warned = True
            warnings.warn(
                f"a scheduler drives lr, and decay_power = {group['decay_power']:g} also lowers "
                "the step size: give Indian decay_power=0, so that only the scheduler sets it (in "
                'a study: {"decay_power": 0} in the space of the arm)',
                stacklevel=_levels_to_user(),
            )

    def _move(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        velocities: list[Tensor],
        gamma: float | Tensor,
    ) -> None:
        alpha, beta = group["alpha"], group["beta"]
        effective = self._effective_gradients(group, params, grads, gamma)
        if (
            not isinstance(gamma, Tensor)
            and self._fuses(group, velocities)
            and can_fuse(params, effective, velocities, gamma=gamma, alpha=alpha, beta=beta)
        ):
            group["velocity_scale"] = fused_step(
                params,
                effective,
                velocities,
                scale=group["velocity_scale"],
                gamma=gamma,
                alpha=alpha,
                beta=beta,
            )
        else:
            self._unscale(group)
            indian(
                params,
                effective,
                velocities,
                gamma=gamma,
                alpha=alpha,
                beta=beta,
                foreach=group["foreach"] is not False,
            )

    def _fuses(self, group: dict[str, Any], velocities: list[Tensor]) -> bool:
        wanted = group["foreach"] is None if group["fused"] is None else group["fused"]
        if not wanted or torch.compiler.is_compiling():
            return False
        # The scale belongs to all velocities of the group, so all must move.
        return len(velocities) == len(group["params"]) or len(velocities) == sum(
            "velocity" in self.state.get(param, {}) for param in group["params"]
        )

    def _unscale(self, group: dict[str, Any]) -> None:
        if group["velocity_scale"] != 1.0:
            for param in group["params"]:
                # A look at the state of a parameter leaves an empty one behind.
                if "velocity" in self.state.get(param, {}):
                    self.state[param]["velocity"].div_(group["velocity_scale"])
            group["velocity_scale"] = 1.0

    def _init_group(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        velocities: list[Tensor],
    ) -> None:
        """Fill the lists; torch's compiler runs a method of this name outside the graph."""
        params[:], grads[:] = self._with_gradients(group)
        for param in params:
            state = self.state[param]
            if "velocity" not in state:
                state["velocity"] = torch.zeros_like(param, memory_format=torch.preserve_format)
                state["started"] = 0
            if not state.get("started", 1) and not _at_rest(group):
                _start(state["velocity"], param, group)
                state["started"] = 1
            velocities.append(state["velocity"])


def _levels_to_user() -> int:
    """Return the ``stacklevel`` of the line that called the step, for a warning of the caller.

    torch wraps the step in functions of its own, and a scheduler or a gradient scaler in more.
    """
    skipped = tuple(f"{Path(file).parent}/" for file in (__file__, str(torch.__file__)))
    level, frame = 1, sys._getframe(1)
    while frame.f_code.co_filename.startswith(skipped) and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    return level


def _at_rest(group: dict[str, Any]) -> bool:
    """Whether a step of the group changes nothing; no value is read while a graph is captured."""
    lr = group["lr"]
    if isinstance(lr, Tensor) and (
        torch.compiler.is_compiling() or (lr.is_cuda and torch.cuda.is_current_stream_capturing())
    ):
        return False
    return bool(lr == 0)


def _start(velocity: Tensor, param: Tensor, group: dict[str, Any]) -> None:
    """Give a velocity of 0 its start, which depends on the first gradient."""
    if group["initial_velocity"] is None:
        return
    assert param.grad is not None
    velocity.sub_(param.grad) if group["maximize"] else velocity.add_(param.grad)
    if not group["decoupled_weight_decay"]:
        velocity.add_(param, alpha=group["weight_decay"])
    velocity.mul_((group["beta"] - group["initial_velocity"]) * group["velocity_scale"])


def _capture_scalars(group: dict[str, Any]) -> None:
    """Keep what a captured step reads as tensors beside the parameters."""
    if not group["capturable"] or not group["params"]:
        return
    device = group["params"][0].device
    precise = any(param.dtype == torch.float64 for param in group["params"])
    dtype = torch.float64 if precise else torch.float32
    for name in CAPTURED:
        value = torch.as_tensor(group[name], dtype=dtype, device=device)
        group[name] = value.reshape(()) if value.dim() else value
