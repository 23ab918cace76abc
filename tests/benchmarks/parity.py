"""INDIAN and INNAprop of every framework against the published recursion.

Claim: over 1,000 steps the parameters of INDIAN and INNAprop for PyTorch, for Keras on each back
end and for optax differ from the recursion in (θ, ψ), computed by NumPy in extended precision, by
at most 1e-12 in float64 and 1e-6 in float32, relative to their norm; and at αβ = 1 INDIAN's differ
from plain SGD with step βγ_k by no more. Beside them stands plain SGD written in NumPy, at αβ = 1
and in the type of the column: what rounding the parameters alone costs.

The objective is a noisy quadratic: g_k = λ (θ - c_k), element by element, with curvatures λ between
0.5 and 2 and centres c_k that are drawn again for every step.

    python -m tests.benchmarks.parity --out tests/benchmarks/results

Every framework runs in a process of its own; one that is not installed is named as not measured.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tests.benchmarks.report import machine, save

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 1000
SIZE = 16
BOUNDS = {"float64": 1e-12, "float32": 1e-6}
# What a framework needs, and its back end of Keras.
FRAMEWORKS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "torch": (("torch",), None),
    "keras-torch": (("keras", "torch"), "torch"),
    "keras-jax": (("keras", "jax"), "jax"),
    "keras-tensorflow": (("keras", "tensorflow"), "tensorflow"),
    "optax": (("optax", "jax"), None),
}
PACKAGES = ("numpy", "torch", "keras", "jax", "optax", "tensorflow", "tensorflow-cpu")

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One configuration; the names are those of the optimizers."""

    alpha: float = 0.5
    beta: float = 0.1
    gamma0: float = 0.1
    decay_power: float = 0.5
    weight_decay: float = 0.0
    decoupled_weight_decay: bool = True
    initial_velocity: float | None = None
    # A schedule of the framework in place of ``decay_power``; all its values are exact in float32.
    schedule: bool = False
    # INNAprop in place of INDIAN; its step size is a schedule's or constant.
    innaprop: bool = False

    @property
    def title(self) -> str:
        parts = ["INNAprop"] if self.innaprop else []
        parts.append(f"α={self.alpha:g}, β={self.beta:g}")
        parts.append("schedule" if self.schedule else f"a={self.decay_power:g}")
        if self.weight_decay:
            parts.append("decoupled decay" if self.decoupled_weight_decay else "L2 decay")
        if self.initial_velocity is not None:
            parts.append(f"s={self.initial_velocity:g}")
        if self.is_sgd:
            parts.append("SGD")
        return ", ".join(parts)

    @property
    def is_sgd(self) -> bool:
        return self.alpha * self.beta == 1 and not self.innaprop

    def gammas(self) -> Array:
        steps = np.arange(STEPS)
        if self.schedule:
            return np.asarray(RATES)[np.searchsorted(BOUNDARIES, steps, side="right")]
        return np.asarray(self.gamma0 * (steps + 1.0) ** -self.decay_power, dtype=np.float64)

    def options(self) -> dict[str, Any]:
        """Return the optimizer's arguments, but for γ0 and the schedule."""
        if self.innaprop:
            return {
                **{"alpha": self.alpha, "beta": self.beta, "weight_decay": self.weight_decay},
                "decoupled_weight_decay": self.decoupled_weight_decay,
            }
        power = {} if self.schedule else {"decay_power": self.decay_power}
        return {
            **{"alpha": self.alpha, "beta": self.beta, **power},
            "weight_decay": self.weight_decay,
            "decoupled_weight_decay": self.decoupled_weight_decay,
            "initial_velocity": self.initial_velocity,
        }


BOUNDARIES = [300, 600]
RATES = [0.125, 0.0625, 0.03125]
# Those that are checked with every change.
FEW = (
    Case(),
    Case(2.0, 0.3, weight_decay=0.01, initial_velocity=0.7),
    Case(0.1, 0.1, schedule=True, weight_decay=0.01, decoupled_weight_decay=False),
    Case(4.0, 0.25, decay_power=0.0),
    Case(0.1, 0.9, decay_power=0.0, innaprop=True),
    Case(2.0, 2.0, schedule=True, weight_decay=0.01, decoupled_weight_decay=False, innaprop=True),
)
CASES = (
    *FEW,
    *(
        Case(alpha, beta, decay_power=power)
        for alpha, beta in ((0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (2.0, 0.5), (0.3, 5.0), (0.5, 1e-3))
        for power in (0.0, 0.3, 0.5, 1.0)
        if (alpha, beta, power) != (0.5, 0.1, 0.5)
    ),
    Case(schedule=True),
    *(
        Case(weight_decay=0.01, decoupled_weight_decay=decoupled, initial_velocity=velocity)
        for decoupled in (True, False)
        for velocity in (None, 0.7)
    ),
    Case(initial_velocity=0.0),
    Case(0.5, 2.0),
    Case(4.0, 0.25, schedule=True),
    *(
        Case(*damping, decay_power=0.0, gamma0=0.02, innaprop=True)
        for damping in ((0.1, 0.9), (0.5, 0.3), (2.0, 2.0))
    ),
    Case(0.5, 0.5, schedule=True, weight_decay=0.01, innaprop=True),
)


def objective() -> tuple[Array, Array, Array]:
    """Return start [N], curvatures [N] and centres [steps, N], all exact in float32."""
    draw = np.random.default_rng(0)
    start, curvatures = draw.normal(size=SIZE), draw.uniform(0.5, 2, SIZE)
    centres = 1 + 0.5 * draw.normal(size=(STEPS, SIZE))
    one, two, three = (
        a.astype(np.float32).astype(np.float64) for a in (start, curvatures, centres)
    )
    return one, two, three


def published(case: Case) -> Array:
    """Return θ after the recursion in (θ, ψ), section 2 of the paper.

    In extended precision: the recursion divides by β, which costs float64 three digits at 1e-3.
    INNAprop's is the same on its scaled gradients, and divides by no β - γ as the published does.
    """
    theta, curvatures, centres = (array.astype(np.longdouble) for array in objective())
    alpha, beta, decay = case.alpha, case.beta, case.weight_decay
    psi = (1 - alpha * beta) * theta
    square, sigma = np.zeros_like(theta), np.longdouble(0.999)
    for step, gamma in enumerate(case.gammas()):
        grad = curvatures * (theta - centres[step])
        if not case.decoupled_weight_decay:
            grad = grad + decay * theta
        if case.innaprop:
            square = sigma * square + (1 - sigma) * grad**2
            grad = grad / (np.sqrt(square / (1 - sigma ** (step + 1))) + 1e-8)
        if step == 0 and case.initial_velocity is not None:
            psi = psi - (beta**2 - beta * case.initial_velocity) * grad
        u = (1 / beta - alpha) * theta - psi / beta
        shrinkage = gamma * decay * theta if case.decoupled_weight_decay else 0 * theta
        theta = theta + gamma * (u - beta * grad) - shrinkage
        psi = psi + gamma * u - (1 - alpha * beta) * shrinkage
    return theta.astype(np.float64)


def plain_sgd(case: Case, dtype: str = "float64") -> Array:
    """Return θ after SGD with the steps βγ_k, computed in a type."""
    theta, curvatures, centres = (array.astype(dtype) for array in objective())
    for step, gamma in enumerate(case.gammas()):
        theta = theta - theta.dtype.type(gamma * case.beta) * curvatures * (theta - centres[step])
    return theta.astype(np.float64)


def with_torch(case: Case, dtype: str) -> Any:
    import torch

    from indian_tune import Indian
    from indian_tune.optim import Innaprop

    start, curvatures, centres = (
        torch.from_numpy(array).to(getattr(torch, dtype)) for array in objective()
    )
    theta = torch.nn.Parameter(start.clone())
    options = case.options()
    optimizer: torch.optim.Optimizer
    if case.innaprop:
        optimizer = Innaprop([theta], lr=case.gamma0, **options)
    else:
        if case.schedule:
            options["decay_power"] = 0.0
        optimizer = Indian([theta], lr=case.gamma0, **options)
    gammas = case.gammas().tolist()
    for step in range(STEPS):
        theta.grad = curvatures * (theta.detach() - centres[step])
        if case.schedule:
            optimizer.param_groups[0]["lr"] = gammas[step]
        optimizer.step()
    return theta.detach().numpy()


def with_keras(case: Case, dtype: str) -> Any:
    import keras
    from keras import ops

    from indian_tune.keras import Indian, Innaprop

    # The learning rate is a variable of this type.
    keras.config.set_floatx(dtype)
    rate: Any = case.gamma0
    if case.schedule:
        # A boundary is the last step of its value here.
        last = [boundary - 1 for boundary in BOUNDARIES]
        rate = keras.optimizers.schedules.PiecewiseConstantDecay(last, RATES)
    start, curvatures, centres = (ops.convert_to_tensor(a, dtype=dtype) for a in objective())
    theta = keras.Variable(start, dtype=dtype)
    optimizer = (Innaprop if case.innaprop else Indian)(rate, **case.options())
    optimizer.build([theta])
    if keras.backend.backend() == "jax":
        import jax

        def step(carry: Any, centre: Any) -> Any:
            (weights,), slots = carry
            grads = [curvatures * (weights - centre)]
            return optimizer.stateless_apply(slots, grads, [weights]), None

        first = ([theta.value], [slot.value for slot in optimizer.variables])
        ((weights,), _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, centres))(first)
        return np.asarray(weights)

    def step_on(centre: Any) -> None:
        optimizer.apply([curvatures * (theta.value - centre)], [theta])

    if keras.backend.backend() == "tensorflow":
        import tensorflow

        step_on = tensorflow.function(step_on, jit_compile=True)
    for centre in centres:
        step_on(centre)
    return theta.numpy()


def with_optax(case: Case, dtype: str) -> Any:
    import jax
    import jax.numpy as jnp
    import optax

    from indian_tune.optax import indian, innaprop

    start, curvatures, centres = (jnp.asarray(array, dtype) for array in objective())
    rate: Any = case.gamma0
    if case.schedule:
        rate = optax.piecewise_constant_schedule(RATES[0], dict.fromkeys(BOUNDARIES, 0.5))
    transformation = (innaprop if case.innaprop else indian)(rate, **case.options())

    def step(carry: Any, centre: Any) -> Any:
        theta, state = carry
        updates, state = transformation.update(curvatures * (theta - centre), state, theta)
        return (optax.apply_updates(theta, updates), state), None

    carry = (start, transformation.init(start))
    (theta, _), _ = jax.jit(lambda carry: jax.lax.scan(step, carry, centres))(carry)
    return np.asarray(theta)


def relative(one: Any, other: Array) -> float:
    return float(np.linalg.norm(np.asarray(one, np.float64) - other) / np.linalg.norm(other))


def measure(framework: str, cases: tuple[Case, ...]) -> dict[str, dict[str, float]]:
    """Return the errors of a framework by type and case, in this process."""
    if "jax" in FRAMEWORKS[framework][0]:
        import jax

        jax.config.update("jax_enable_x64", True)
    run: Callable[[Case, str], Any] = with_keras
    run = {"torch": with_torch, "optax": with_optax}.get(framework, run)
    errors: dict[str, dict[str, float]] = {}
    for dtype in BOUNDS:
        errors[dtype] = {}
        for case in cases:
            theta = run(case, dtype)
            error = relative(theta, published(case))
            if case.is_sgd:
                error = max(error, relative(theta, plain_sgd(case)))
            errors[dtype][case.title] = error
    return errors


def rounding(cases: tuple[Case, ...]) -> dict[str, dict[str, float]]:
    """Return the errors of plain SGD in NumPy, for the cases that are SGD."""
    plain = [case for case in cases if case.is_sgd]
    return {
        dtype: {case.title: relative(plain_sgd(case, dtype), published(case)) for case in plain}
        for dtype in BOUNDS
    }


def environment(framework: str) -> dict[str, str]:
    """Return the environment of a process for a framework."""
    backend = FRAMEWORKS[framework][1]
    keras = {} if backend is None else {"KERAS_BACKEND": backend}
    return {**os.environ, **keras, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}


def installed(framework: str) -> bool:
    return all(importlib.util.find_spec(package) for package in FRAMEWORKS[framework][0])


def measure_apart(framework: str, *, few: bool) -> dict[str, dict[str, float]]:
    """Return the same, measured in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.parity", f"--framework={framework}"]
    done = subprocess.run(
        [*command, *(["--few"] if few else [])],
        env=environment(framework),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    errors: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return errors


def versions() -> list[str]:
    found = []
    for package in PACKAGES:
        try:
            version(package)
        except PackageNotFoundError:
            continue
        found.append(package)
    return found


def cell(error: float | None) -> str:
    """Return an error as a cell of the table."""
    return "" if error is None else f"{error:.1e}"


def to_markdown(report: dict[str, Any]) -> str:
    setting = report["setting"]
    ran_on = ", ".join(f"{name} {setting[name]}" for name in setting if name in PACKAGES)
    lines = [
        "# INDIAN and INNAprop of every framework against the published recursion",
        "",
        f"{setting['processor']}, Python {setting['python']}, {ran_on}; {STEPS:,} steps on a noisy "
        f"quadratic of {SIZE} parameters. Relative distance to the recursion in (θ, ψ) in "
        "extended precision; where it says SGD, the larger of that and the distance to plain SGD "
        "with step βγ_k.",
    ]
    for dtype, bound in BOUNDS.items():
        columns = list(report["errors"])
        lines += ["", f"## {dtype}: at most {bound:.0e}", ""]
        lines += ["| case | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
        titles = next(iter(report["errors"].values()))[dtype]
        for title in titles:
            cells = [cell(report["errors"][column][dtype].get(title)) for column in columns]
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
        worst = [f"{max(report['errors'][column][dtype].values()):.1e}" for column in columns]
        lines.append("| **worst** | " + " | ".join(worst) + " |")
    if report["not_measured"]:
        lines += ["", f"Not measured, as not installed: {', '.join(report['not_measured'])}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--framework", choices=FRAMEWORKS, help="this one, here, as JSON")
    parser.add_argument("--few", action="store_true", help="few cases")
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    given = parser.parse_args()
    if given.framework:
        print(json.dumps(measure(given.framework, FEW if given.few else CASES)))
        return
    there = [name for name in FRAMEWORKS if installed(name)]
    report = {
        "setting": machine(*versions()),
        "errors": {
            **{name: measure_apart(name, few=given.few) for name in there},
            "SGD in NumPy": rounding(FEW if given.few else CASES),
        },
        "not_measured": [name for name in FRAMEWORKS if name not in there],
    }
    save(given.out, "parity", report, to_markdown(report))


if __name__ == "__main__":
    main()
