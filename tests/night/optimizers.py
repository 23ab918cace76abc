"""Every optimizer of the package pytorch_optimizer, by its name: does it train on digits?

python -m tests.night.optimizers                # writes tests/night/optimizers.md
python -m tests.night.optimizers --only Lion    # the same, with this row alone computed again
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from indian_tune.engines.own_code import try_optimizer
from indian_tune.errors import InputError
from indian_tune.imports import imports_allowed
from indian_tune.problems import load_problem
from indian_tune.training import CheckpointFolder, Run, Trainer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from indian_tune.problems.problem import Problem
    from indian_tune.training import EpochRecord

PACKAGE = "pytorch_optimizer"
TABLE = Path(__file__).parent / "optimizers.md"
EPOCHS, BATCH_SIZE = 8, 64
RATES = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 1e-4)
# Of ten digits chance errs on 0.9, with a standard error of 0.025 on the validation images.
TRAINED, AT_ALL = 0.5, 0.75
# Arguments that have no default, or one that is for longer training or for trained weights.
NEEDED: dict[str, dict[str, float]] = {
    "BSAM": {"num_data": 1000},
    "DAdaptLion": {"d0": 0.01},
    "Ranger21": {"num_iterations": 160},
    "SaRA": {"threshold": 0.1},
}
RATE_NAMES = {"AliG": "max_lr"}
# How a sentence of this package continues after the key and the name of the optimizer.
OURS = (" cannot be tuned: ", " needs a package that is not installed: ")


def names() -> list[str]:
    """Return the names of all its classes of optimizers."""
    import pytorch_optimizer

    return sorted(
        name
        for name, each in vars(pytorch_optimizer).items()
        if isinstance(each, type) and issubclass(each, torch.optim.Optimizer)
    )


@cache
def digits() -> Problem:
    """Return digits with a small network."""
    return load_problem(dataset="digits", model="mlp", widths=(32,))


def outcome(name: str) -> tuple[str, str]:
    """Return ``trains``, ``refused`` or ``FAILED``, and the validation error or the sentence.

    Args:
        name: of the class.
    """
    reference, key = f"{PACKAGE}:{name}", "arms[1].optimizer"
    with imports_allowed(()):
        best = (1.0, 0.0)
        for rate in RATES:
            config = {RATE_NAMES.get(name, "gamma0"): rate, **NEEDED.get(name, {})}
            try:
                try_optimizer(reference, config, key=key)
            except InputError as error:
                told = str(error).removeprefix(f"{key} = {reference!r}")
                # An address in the memory differs from run to run, a path from machine to machine.
                return ("refused" if told.startswith(OURS) else "FAILED"), told.strip(" :")
            wrong = _error(reference, config)
            best = min(best, (wrong, rate))
            if wrong < TRAINED:
                break
        told = f"error {best[0]:.3f} at {best[1]:g}"
        return ("trains" if best[0] < AT_ALL else "FAILED"), told


def _error(reference: str, config: dict[str, float]) -> float:
    """Return the validation error after training, which is interrupted and resumed halfway."""
    run = Run("digits", 0, EPOCHS, reference, config, BATCH_SIZE, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        records: list[EpochRecord] = []
        for end in (EPOCHS // 2, EPOCHS):
            trainer = Trainer(digits(), checkpoints=CheckpointFolder(Path(folder)))
            trainer.add(run)
            while trainer.active and len(records) < end:
                records += trainer.advance()
            trainer.save()
    last = records[-1]
    return 1.0 if last.diverged else 1 - last.value("validation_accuracy")


def rows(only: Sequence[str]) -> Iterator[str]:
    """Yield the table line by line.

    Args:
        only: what to compute again; all if empty.
    """
    there = TABLE.read_text(encoding="utf-8").splitlines() if only else ()
    known = {line.split("`")[1]: line for line in there if line.startswith("| `")}
    yield "# The optimizers of pytorch_optimizer, by name"
    yield ""
    yield (
        f"Written by `python -m tests.night.optimizers` with {PACKAGE} {version(PACKAGE)} and "
        f"torch {torch.__version__}: a network of 32 hidden units on digits, {EPOCHS} epochs in "
        f"batches of {BATCH_SIZE}, interrupted and resumed halfway, at the first rate of "
        f"{', '.join(f'{rate:g}' for rate in RATES)} with which the validation error is below "
        f"{TRAINED:g}, or the best of them if it is below {AT_ALL:g}, where chance has 0.9. All "
        "else is at the defaults of the class, except for "
        + "; ".join(
            f"`{name}`: " + ", ".join(f"{key} = {value:g}" for key, value in each.items())
            for name, each in NEEDED.items()
        )
        + "."
    )
    yield ""
    yield "| optimizer | outcome | validation error and rate, or the sentence |"
    yield "|---|---|---|"
    for name in names():
        if only and name not in only and name in known:
            yield known[name]
            continue
        began = time.perf_counter()
        found, told = outcome(name)
        print(f"{name} {found} {told} {time.perf_counter() - began:.1f} s", flush=True)
        yield f"| `{name}` | {found} | {told.replace('|', '/')} |"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=(), help="names of classes")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    TABLE.write_text("\n".join(rows(given.only)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
