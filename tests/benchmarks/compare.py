"""Whether `compare` is right and quick: error, coverage, sequential interval, speed.

Claims: with 3, 5, 10 and 20 seeds, paired and not, with failing runs and on lattices of few test
examples, a difference is claimed that is not there in at most .06 of comparisons, and the 95 %
interval holds the truth in at least .94; the interval of --sequential, looked at after every one of
100 seeds, ever misses the truth in at most .05 of paths; all pairs of 20 arms on 20 seeds and 10
tasks are read and compared in at most 20 s.

Every comparison goes through the code that the command calls. Beside the claims stands what is
harder: arms whose values are skewed in different ways.

    python -m tests.benchmarks.compare --out tests/benchmarks/results
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from indian_tune.comparison import compare_many, runs_of
from indian_tune.comparison.contrast import Cells, contrast
from indian_tune.comparison.sequential import half_widths
from indian_tune.comparison.sources import Request, read
from tests.benchmarks.report import in_words, machine, save

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Draw = Callable[
        [np.random.Generator, tuple[int, int]], tuple[NDArray[Any], NDArray[Any], float]
    ]

REPLICATIONS, PATHS, LOOKS = 2500, 10_000, 100
SEEDS = (3, 5, 10, 20)
ERROR, COVERAGE, SEQUENTIAL, SECONDS = 0.06, 0.94, 0.05, 20.0


def normal(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    shared = rng.standard_normal(shape)
    return shared + rng.standard_normal(shape), shared + rng.standard_normal(shape), 0.0


def unequal(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    return rng.standard_normal(shape), 3 * rng.standard_normal(shape), 0.0


def heavy(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    return rng.standard_t(3, shape), rng.standard_t(3, shape), 0.0


def lattice(examples: int, first: float, second: float) -> Draw:
    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
        a, b = (rng.binomial(examples, share, shape) / examples for share in (first, second))
        return a, b, first - second

    return draw


def failing(inner: Draw, share: float) -> Draw:
    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
        a, b, truth = inner(rng, shape)
        return (
            *(np.where(rng.random(shape) < share, np.inf, values) for values in (a, b)),
            truth,
        )

    return draw


def skewed(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    log_normal = np.exp(0.5 * rng.standard_normal(shape)) - np.exp(0.125)
    return log_normal, 0.3 * rng.standard_normal(shape), 0.0


WORLDS: dict[str, tuple[Draw, bool]] = {
    "normal, shared seed effects": (normal, True),
    "deviations 1 and 3": (unequal, True),
    "heavy tails (t, 3 df)": (heavy, True),
    "200 test examples, 97 and 97 %": (lattice(200, 0.97, 0.97), True),
    "50 test examples, 99 and 97 %": (lattice(50, 0.99, 0.97), True),
    "normal, 10 % of runs fail": (failing(normal, 0.1), True),
    "200 test examples, 10 % fail": (failing(lattice(200, 0.97, 0.96), 0.1), True),
    "log-normal against normal": (skewed, False),
}
STREAMS: dict[str, Callable[[np.random.Generator, tuple[int, int]], NDArray[Any]]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "heavy tails (t, 3 df)": lambda rng, shape: rng.standard_t(3, shape),
    "−1 or 1": lambda rng, shape: rng.choice([-1.0, 1.0], shape),
    "200 test examples": lambda rng, shape: (
        rng.binomial(200, 0.97, shape) - rng.binomial(200, 0.97, shape) + 0.0
    ),
    "50 test examples, 99 and 97 %": lambda rng, shape: (
        rng.binomial(50, 0.99, shape) - rng.binomial(50, 0.97, shape) - 1.0
    ),
}


def simulate(world: str, n: int, replications: int, *, paired: bool) -> dict[str, Any]:
    """Return error and coverage of comparisons, a task each of one frame."""
    draw, claimed = WORLDS[world]
    rng = np.random.default_rng(n)
    first, second, truth = draw(rng, (replications, n))
    seeds = np.tile(np.arange(n), replications)
    tasks = np.repeat(np.arange(replications), n)
    frame = pd.concat(
        [
            pd.DataFrame({"arm": arm, "task": tasks, "seed": seeds, "accuracy": values.ravel()})
            for arm, values in (("A", first), ("B", second))
        ]
    )
    cells = Cells(runs_of(frame))
    _, parts = contrast(cells, "A", "B", delta=max(truth, 1e-9), alpha=0.05, paired=paired)
    missed = wrong = open_ = 0
    for part in parts:
        low, high = part.difference.low, part.difference.high
        outside = not low <= truth <= high
        missed += outside
        # What is claimed of the difference is false, and nothing holds it back.
        wrong += outside and not part.held_back
        open_ += part.label == "INCONCLUSIVE"
    count = len(parts)
    return {
        **{"world": world, "claimed": claimed, "paired": paired, "n": n},
        **{"error": wrong / count, "coverage": 1 - missed / count, "open": open_ / count},
    }


def sequential(paths: int) -> dict[str, dict[str, float]]:
    """Return in what share of paths an interval ever misses the truth, ours and a t's."""
    from scipy import special

    found = {}
    n = np.arange(1, LOOKS + 1)
    t = special.stdtrit(np.maximum(n - 1, 1), 0.975)
    for name, draw in STREAMS.items():
        values = draw(np.random.default_rng(1), (paths, LOOKS))
        means = np.cumsum(values, axis=1) / n
        ours = np.abs(means) > half_widths(values, 0.05)
        squares = np.maximum(np.cumsum(values**2, axis=1) - n * means**2, 0)
        errors = np.sqrt(squares / np.maximum(n - 1, 1) / n)
        naive = (np.abs(means) > t * errors) & (errors > 0) & (n > 2)
        found[name] = {
            "sequential": float(ours.any(axis=1).mean()),
            "t after every seed": float(naive.any(axis=1).mean()),
        }
    return found


def speed() -> dict[str, float]:
    """Return how long all pairs of 20 arms on 20 seeds and 10 tasks take, from a CSV file."""
    rng = np.random.default_rng(0)
    rows = [
        {"arm": f"arm-{arm}", "task": f"task-{task}", "seed": seed}
        for arm in range(20)
        for task in range(10)
        for seed in range(20)
    ]
    frame = pd.DataFrame(rows)
    frame["accuracy"] = 0.8 + 0.02 * rng.standard_normal(len(frame))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "runs.csv"
        frame.to_csv(file, index=False)
        start, used = time.perf_counter(), time.process_time()
        found = compare_many(read(Request([str(file)])).runs, delta=0.01)
        return {
            "seconds": time.perf_counter() - start,
            "processor_seconds": time.process_time() - used,
            "contrasts": len(found.rows) * (1 + len(found.rows[0].tasks)),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replications", type=int, default=REPLICATIONS)
    parser.add_argument("--paths", type=int, default=PATHS)
    parser.add_argument("--out", type=Path, help="folder for compare.md and .json")
    parser.add_argument("--processes", type=int, default=1)
    given = parser.parse_args()
    with ProcessPoolExecutor(given.processes) as pool:
        ways = [
            pool.submit(simulate, world, n, given.replications, paired=paired)
            for world in WORLDS
            for paired in (True, False)
            for n in SEEDS
        ]
        rows = [way.result() for way in ways]
    looks, took = sequential(given.paths), speed()
    failures = [
        f"{row['world']}, {'paired' if row['paired'] else 'unpaired'}, n = {row['n']}"
        for row in rows
        if row["claimed"] and (row["error"] > ERROR or row["coverage"] < COVERAGE)
    ]
    failures += [f"sequential, {k}" for k, row in looks.items() if row["sequential"] > SEQUENTIAL]
    failures += [f"{took['seconds']:.1f} s"] if took["seconds"] > SECONDS else []
    setting = {
        "machine": machine("numpy", "scipy", "pandas", "optuna"),
        "replications": given.replications,
        "paths": given.paths,
    }
    report = {
        "setting": setting,
        "rows": rows,
        "sequential": looks,
        "speed": took,
        "failures": failures,
    }
    save(given.out, "compare", report, _markdown(report))
    sys.exit(bool(failures))


def _markdown(report: dict[str, Any]) -> str:
    setting, took = report["setting"], report["speed"]
    held = (
        "Missed: " + "; ".join(report["failures"]) if report["failures"] else "Every claim holds."
    )
    lines = [
        "# Error, coverage and speed of `compare`",
        "",
        f"{in_words(setting['machine'])}. {setting['replications']:,} comparisons per row and "
        f"number of seeds; {setting['paths']:,} paths of {LOOKS} looks.",
        "",
        held,
        "",
        f"Share of comparisons that claim what is false (≤ {ERROR:g}), and coverage of the 95 % "
        f"interval (≥ {COVERAGE:g}), for n runs of each arm. An interval without ends covers. The "
        "last world is no claim: values that are skewed in different ways need more runs.",
        "",
        "| world | | " + " | ".join(f"n = {n}" for n in SEEDS) + " |",
        "|---|---|" + "---|" * len(SEEDS),
    ]
    for world in WORLDS:
        for paired in (True, False):
            cells = [
                f"{row['error']:.3f}, {row['coverage']:.3f}"
                for row in report["rows"]
                if row["world"] == world and row["paired"] == paired
            ]
            how = "paired" if paired else "unpaired"
            lines.append(f"| {world} | {how} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Share of paths in which an interval misses the truth at any of {LOOKS} looks:",
        "",
        f"| differences | `--sequential` (≤ {SEQUENTIAL:g}) | a t after every seed |",
        "|---|---:|---:|",
        *(
            f"| {name} | {row['sequential']:.3f} | {row['t after every seed']:.3f} |"
            for name, row in report["sequential"].items()
        ),
        "",
        f"All pairs of 20 arms on 20 seeds and 10 tasks, {took['contrasts']:,} contrasts from a "
        f"CSV file: {took['seconds']:.1f} s, {took['processor_seconds']:.1f} s of a processor "
        f"(≤ {SECONDS:g} s).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
