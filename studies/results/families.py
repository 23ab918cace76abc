"""Every optimizer of the catalog at one budget, on digits and on MNIST-5k: errors on fresh seeds.

    python studies/results/families.py            # searches what is missing, then writes the table

Each arm searches its default space and nothing else: 16 trials of 8 epochs at random, 5 times over,
each search with its own training and validation images. Its winner is trained on 4 fresh seeds. The
table is descriptive: it compares these default spaces at this budget, and no claim is tested.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

import indian_tune
from indian_tune import Study
from indian_tune.optim import FAMILIES

HERE = Path(__file__).parent
OUT = HERE / "families"
# A control takes what it needs from another arm.
LEFT_OUT = ("sgd-response",)
PROBLEMS: dict[str, dict[str, Any]] = {
    "digits": {"dataset": "digits", "sizes": {"train": 600, "validation": 400, "test": 797}},
    "mnist-5k": {
        "dataset": "mnist-5k",
        "size": 14,
        "sizes": {"train": 1000, "validation": 1000, "test": 3000},
    },
}


def study(name: str) -> Study:
    """Return the study of all optimizers on one problem."""
    problem = {
        **PROBLEMS[name],
        "model": "mlp",
        "widths": [96, 96],
        "split": "replicate",
        "dropout": 0.0,
        "batch_size": 32,
    }
    return Study(
        f"families-{name}",
        [family for family in FAMILIES if family not in LEFT_OUT],
        problem,
        {"epochs": 8, "confirm_seeds": 4},
        {"trials": 16, "replicates": 5, "sampler": "random"},
        {"verdict": "none"},
        "Every optimizer of the catalog in its default space, at one budget",
    )


def errors(name: str, storage: str) -> pd.DataFrame:
    """Return the test error of every arm: mean over searches, with a 95 % interval."""
    runs = indian_tune.analyze(name, storage=storage).frames["runs.parquet"]
    confirm = runs[runs["phase"] == "confirm"]
    ends = confirm[confirm["epoch"] == confirm["epoch"].max()]
    by_search = 100 * (1 - ends.groupby(["arm", "replicate"])["test_accuracy"].mean())
    rows = []
    for arm, values in by_search.groupby("arm"):
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        started = confirm[confirm["arm"] == arm].drop_duplicates(["replicate", "seed"])
        failed = len(started) - int((ends["arm"] == arm).sum())
        rows.append((arm, values.mean(), low, high, failed))
    frame = pd.DataFrame(rows, columns=["optimizer", "error", "low", "high", "diverged"])
    return frame.sort_values("error", ignore_index=True)


def main() -> None:
    """Search what is missing, and write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--storage", default="families.db")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    text = [
        "# Every optimizer of the catalog at one budget",
        "",
        "Test error in percent of the winner on 4 fresh seeds: mean over 5 searches of 16 trials "
        "of 8 epochs, with a 95 % t interval over searches. Default spaces, random search, a "
        "perceptron with two layers of 96. Made by [families.py](../families.py).",
    ]
    for name in PROBLEMS:
        made = study(name)
        indian_tune.search(made, storage=given.storage, workers=given.workers, devices="cpu")
        found = errors(made.name, given.storage)
        found.to_csv(OUT / f"{name}.csv", index=False, float_format="%.3f", lineterminator="\n")
        text += ["", f"## {name}", "", "| optimizer | error, % | 95 % interval | diverged runs |"]
        text.append("|---|---:|---:|---:|")
        for row in found.itertuples():
            interval = f"{row.low:.2f} to {row.high:.2f}"
            text.append(f"| `{row.optimizer}` | {row.error:.2f} | {interval} | {row.diverged} |")
    (OUT / "README.md").write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))


if __name__ == "__main__":
    main()
