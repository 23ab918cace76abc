"""Does the gain of tuning (α, β) depend on the schedule? The interaction in `schedules-cpu`.

    python studies/results/interaction.py studies/results/rivals/schedules-cpu/runs.parquet

The gain of tuning (α, β) over γ0 alone under a searched schedule, minus that under the schedule of
the paper, by search: the mean over its fresh seeds. A seed with a failed run is left out, as in a
verdict. Two one-sided t tests say whether the interaction is within ±δ. It is exploratory: nothing
of it was registered.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from scipy import stats

from indian_tune.analysis import Scope

SEARCHED = ("indian", "indian-rate")
PAPER = ("indian-power", "indian-rate-power")
DELTA = 1.0
CLASSES = 10


def main() -> None:
    """Print the interaction, its 90 % interval and what two one-sided tests say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", type=Path)
    runs = pd.read_parquet(parser.parse_args().runs)
    confirm = runs[runs["phase"] == "confirm"]
    ends = confirm[confirm["epoch"] == confirm["epoch"].max()]
    trained = ends[ends["train_accuracy"] >= Scope(classes=CLASSES).trained_score]
    runs = 100 * trained.set_index(["replicate", "seed", "arm"])["test_accuracy"].unstack("arm")
    means = runs[[*SEARCHED, *PAPER]].dropna().groupby("replicate").mean()
    gains = {
        "searched schedule": means[SEARCHED[0]] - means[SEARCHED[1]],
        "schedule of the paper": means[PAPER[0]] - means[PAPER[1]],
    }
    gains["interaction"] = gains["searched schedule"] - gains["schedule of the paper"]
    for name, values in gains.items():
        low, high = stats.t.interval(0.9, len(values) - 1, values.mean(), stats.sem(values))
        print(f"{name}: {values.mean():+.2f} points, 90 % interval {low:+.2f} to {high:+.2f}")
        if name == "interaction":
            within = low > -DELTA and high < DELTA
            apart = low > 0 or high < 0
            said = "smaller than" if within else "not shown to be smaller than"
            print(f"It is {said} {DELTA:g} point (TOST, α = .05, n = {len(values)} searches);")
            print("it differs from 0." if apart else "it does not differ from 0.")


if __name__ == "__main__":
    main()
