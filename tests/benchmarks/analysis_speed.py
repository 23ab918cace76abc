"""How long a large study takes to analyse, and how much memory.

Claim: 2,000 runs of 200 epochs are analysed in at most 20 s and 2 GB on 2 cores. All hypotheses
are looked at: 6 arms on 20 fresh seeds (120 runs), and the search of a designed grid and of two
other arms (1,880 runs), with which test examples (1,000) every confirm run gets right. Reading the
frame
from its file is part of the time; importing the libraries is reported by itself.

    python tests/benchmarks/analysis_speed.py --out tests/benchmarks/results
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from itertools import product
from pathlib import Path

SECONDS, GIGABYTES = 20.0, 2.0
EPOCHS, SEEDS, IMAGES = 200, 20, 1_000
GRID_SEEDS, OTHER_TRIALS = 12, 340
ROUNDS = 3


def write_study(folder: Path) -> None:
    """Write the frames of a study: what `analyze --out` writes too."""
    import numpy as np
    import pandas as pd

    from indian_tune.analysis.simulation import ARMS
    from indian_tune.columns import prefixed

    rng = np.random.default_rng(0)

    def rows(arm: str, phase: str, trial: int, seed: int, config: dict[str, float]) -> pd.DataFrame:
        loss = 2.3 * np.exp(-0.02 * np.arange(EPOCHS)) * np.exp(0.03 * rng.standard_normal(EPOCHS))
        accuracy = 0.72 - 0.15 * np.sqrt(loss) + 0.002 * rng.standard_normal(EPOCHS)
        accuracy += 0.006 * rng.standard_normal()
        return pd.DataFrame(
            {
                **{"study": "large", "arm": arm, "phase": phase, "trial": trial, "seed": seed},
                **{"run_state": "complete", "epoch": np.arange(1, EPOCHS + 1)},
                **{"train_loss": loss, "train_accuracy": accuracy + 0.1},
                **{"test_accuracy": accuracy},
                **{"validation_accuracy": accuracy + 0.002 * rng.standard_normal(EPOCHS)},
                **prefixed(config),
            }
        )

    parts = [rows(arm, "confirm", 0, seed, {}) for arm in ARMS for seed in range(SEEDS)]
    grid = product((0.1, 0.2, 0.5, 1.0, 2.0), (0.05, 0.1, 0.3, 0.6, 1.0), (0.1, 0.2, 0.4, 0.8))
    for trial, (alpha, beta, eta) in enumerate(grid):
        config = {"alpha": alpha, "beta": beta, "gamma0": eta * alpha}
        parts += [rows("full", "tune", trial, 100 + s, config) for s in range(GRID_SEEDS)]
    for arm in ("sgd", "rate"):
        for trial in range(OTHER_TRIALS):
            config = {"gamma0": float(np.exp(rng.uniform(-5, 0))), "momentum": rng.uniform()}
            parts.append(rows(arm, "tune", trial, 100, config))
    pd.concat(parts, ignore_index=True).to_parquet(folder / "runs.parquet", index=False)
    examples = [
        {"arm": arm, "seed": seed, "correct": rng.random(IMAGES) < 0.6}
        for arm in ARMS
        for seed in range(SEEDS)
    ]
    pd.DataFrame(examples).to_parquet(folder / "examples.parquet", index=False)


def measure(folder: Path) -> dict[str, float]:
    """Analyse once, in this process."""
    start = time.perf_counter()
    import pandas as pd

    from indian_tune.analysis import Registration, Scope, analyze
    from indian_tune.analysis.simulation import simulated_claims
    from indian_tune.study.hypotheses import Surface

    imported, used = time.perf_counter(), time.process_time()
    frame = pd.read_parquet(folder / "runs.parquet")
    examples = pd.read_parquet(folder / "examples.parquet")
    claims = simulated_claims().model_copy(update={"h3a": Surface(arm="full")})
    verdict = analyze(
        frame,
        claims,
        registration=Registration("honest", tuple(range(SEEDS))),
        scope=Scope("simulated", "simulated", 10),
        examples=examples,
    )
    done = time.perf_counter()
    tested = [found.hypothesis for found in verdict.findings if found.label != "NOT TESTED"]
    assert tested == ["H2", "H3a", "H3b", "H4"]
    assert len(verdict.importances) > 0
    runs = len(frame.drop_duplicates(["arm", "phase", "trial", "seed"]))
    return {
        "runs": runs,
        "rows": len(frame),
        "import_seconds": imported - start,
        "seconds": done - imported,
        "processor_seconds": time.process_time() - used,
        "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder for analysis_speed.md and .json")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        print(json.dumps(measure(given.measure)))
        return
    with tempfile.TemporaryDirectory() as folder:
        write_study(Path(folder))
        found = []
        for _ in range(ROUNDS):
            # A process of its own each time, for its time from cold and its own peak of memory.
            done = subprocess.run(
                [sys.executable, __file__, "--measure", folder],
                check=True,
                capture_output=True,
                text=True,
            )
            found.append(json.loads(done.stdout))
    seconds = [row["seconds"] for row in found]
    peak = max(row["gigabytes"] for row in found)
    packages = ", ".join(
        f"{name} {version(name)}" for name in ("numpy", "scipy", "pandas", "statsmodels")
    )
    holds = statistics.median(seconds) <= SECONDS and peak <= GIGABYTES
    text = "\n".join(
        [
            f"# A study of {found[0]['runs']:,.0f} runs of {EPOCHS} epochs, analysed",
            "",
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end; Python "
            f"{platform.python_version()}, {packages}; n = {ROUNDS} processes, all hypotheses "
            f"tested, figures excluded.",
            "",
            "| | median | range | limit |",
            "|---|---:|---:|---:|",
            f"| analysis, s | {statistics.median(seconds):.1f} | {min(seconds):.1f} to "
            f"{max(seconds):.1f} | {SECONDS:g} |",
            f"| of it on the processor, s | "
            f"{statistics.median(r['processor_seconds'] for r in found):.1f} | | |",
            f"| peak memory, GB | {statistics.median(r['gigabytes'] for r in found):.2f} | up to "
            f"{peak:.2f} | {GIGABYTES:g} |",
            f"| importing, s | {statistics.median(r['import_seconds'] for r in found):.1f} | | |",
            "",
            f"The claim {'holds' if holds else 'does not hold'}.",
        ]
    )
    print(text)
    if given.out is not None:
        (given.out / "analysis_speed.md").write_text(text + "\n", encoding="utf-8")
        rows = json.dumps({"rounds": found, "holds": holds}, indent=1)
        (given.out / "analysis_speed.json").write_text(rows + "\n", encoding="utf-8")
    sys.exit(not holds)


if __name__ == "__main__":
    main()
