"""One optimizer step on the parameters of Network in Network, for Keras and for optax.

Claim: compiled, a step of INDIAN on 994,456 float32 parameters takes at most 1.2 times as long as
one of Keras's own SGD with momentum on the same back end, and as one of ``optax.sgd`` with
momentum.

Each framework runs in a process of its own. Both contenders take turns in it, each on parameters of
its own; ratios are taken within a round, and medians over the rounds are reported with the range of
the middle half. Counted are the processor's seconds of all threads, which other programs disturb
less than the clock. On JAX and TensorFlow XLA compiles the step, and on JAX it reuses the memory of
what it replaces, as Keras does; on PyTorch Keras steps all parameters at once without a compiler.

    python -m tests.benchmarks.framework_step --out tests/benchmarks/results
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.benchmarks.optimizer_step import CONVOLUTIONS, DENSE
from tests.benchmarks.parity import FRAMEWORKS, environment, installed, versions
from tests.benchmarks.report import cells, in_words, load, machine, ratios, save, spread

if TYPE_CHECKING:
    from collections.abc import Callable

GOAL = 1.2
WARM_UP = 5
# Steps that are timed together, so that calls from Python weigh as in training.
STEPS = 5


def arrays(scale: float) -> list[Any]:
    shapes: list[tuple[int, ...]] = []
    for out, channels, kernel in CONVOLUTIONS:
        shapes += [(out, channels, kernel, kernel), (out,)]
    draw = np.random.default_rng(0)
    return [draw.normal(0, scale, shape).astype("float32") for shape in (*shapes, DENSE, DENSE[:1])]


def with_keras(name: str) -> Callable[[], None]:
    """Return a function that takes one step and waits for it."""
    import keras
    from keras import ops

    from indian_tune.keras import Indian

    made = {"INDIAN": lambda: Indian(1e-3), "SGD": lambda: keras.optimizers.SGD(1e-3, momentum=0.9)}
    optimizer = made[name]()  # type: ignore[no-untyped-call]
    variables = [keras.Variable(array) for array in arrays(0.01)]
    grads = [ops.convert_to_tensor(array) for array in arrays(1e-3)]
    optimizer.build(variables)
    if keras.backend.backend() == "jax":
        import jax

        stepped = jax.jit(
            lambda slots, weights: optimizer.stateless_apply(slots, grads, weights),
            donate_argnums=(0, 1),
        )
        values = [[each.value for each in group] for group in (optimizer.variables, variables)]

        def step() -> None:
            slots, weights = values
            weights, slots = jax.block_until_ready(stepped(slots, weights))
            values[:] = [slots, weights]

        return step
    if keras.backend.backend() == "tensorflow":
        import tensorflow

        apply = tensorflow.function(lambda: optimizer.apply(grads, variables), jit_compile=True)

        def step() -> None:
            apply()
            variables[-1].numpy()

        return step
    return lambda: optimizer.apply(grads, variables)


def with_optax(name: str) -> Callable[[], None]:
    import jax
    import optax

    from indian_tune.optax import indian

    made = {"INDIAN": indian(1e-3), "SGD": optax.sgd(1e-3, momentum=0.9)}
    transformation = made[name]
    params, grads = (
        [jax.numpy.asarray(array) for array in arrays(scale)] for scale in (0.01, 1e-3)
    )

    def update(params: Any, state: Any) -> Any:
        updates, state = transformation.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    stepped = jax.jit(update, donate_argnums=(0, 1))
    values = [params, transformation.init(params)]

    def step() -> None:
        values[:] = jax.block_until_ready(stepped(*values))

    return step


def measure(framework: str, rounds: int) -> dict[str, list[float]]:
    """Return the processor's seconds of a step of both contenders in each round."""
    make = with_optax if framework == "optax" else with_keras
    contenders = {name: make(name) for name in ("INDIAN", "SGD")}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + WARM_UP):
        # The first of a round finds other caches than the second: they take turns in that too.
        order = list(contenders) if number % 2 else list(contenders)[::-1]
        for name in order:
            start = time.process_time()
            for _ in range(STEPS):
                contenders[name]()
            if number >= WARM_UP:
                times[name].append((time.process_time() - start) / STEPS)
    return times


def measure_apart(framework: str, rounds: int) -> dict[str, list[float]]:
    command = [sys.executable, "-m", "tests.benchmarks.framework_step"]
    done = subprocess.run(
        [*command, f"--framework={framework}", f"--rounds={rounds}"],
        env=environment(framework),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    times: dict[str, list[float]] = json.loads(done.stdout.splitlines()[-1])
    return times


def to_markdown(report: dict[str, Any]) -> str:
    setting = report["setting"]
    count = sum(array.size for array in arrays(1))
    lines = [
        "# One step of INDIAN beside SGD with momentum, for Keras and optax",
        "",
        f"{in_words(setting['machine'])}, load {setting['load']}; {count:,} float32 parameters in "
        f"20 tensors; n = {setting['rounds']} rounds. Processor's "
        "time; median and middle half.",
        "",
        f"| framework | INDIAN, µs | SGD, µs | INDIAN / SGD (at most {GOAL}) | middle half |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, row in report["frameworks"].items():
        ours, theirs = (row["microseconds"][each]["median"] for each in ("INDIAN", "SGD"))
        lines.append(f"| {name} | {ours:.0f} | {theirs:.0f} | {cells(row['ratio'], '.2f')} |")
    if report["not_measured"]:
        lines += ["", f"Not measured, as not installed: {', '.join(report['not_measured'])}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--framework", choices=FRAMEWORKS, help="this one, here, as JSON")
    parser.add_argument("--rounds", type=int, default=101)
    parser.add_argument("--out", type=Path, help="folder for the JSON and the Markdown table")
    given = parser.parse_args()
    if given.framework:
        print(json.dumps(measure(given.framework, given.rounds)))
        return
    asked = [name for name in FRAMEWORKS if name != "torch"]
    there = [name for name in asked if installed(name)]
    rows = {}
    for name in there:
        times = measure_apart(name, given.rounds)
        rows[name] = {
            "microseconds": {
                each: spread([seconds * 1e6 for seconds in values])
                for each, values in times.items()
            },
            "ratio": ratios(times["INDIAN"], times["SGD"]),
            "goal": GOAL,
        }
    report = {
        "setting": {"machine": machine(*versions()), "load": load(), "rounds": given.rounds},
        "frameworks": rows,
        "not_measured": [name for name in asked if name not in there],
    }
    save(given.out, "framework_step", report, to_markdown(report))


if __name__ == "__main__":
    main()
