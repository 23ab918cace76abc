"""What the guide says of its examples is what comes out."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from scipy import stats

import indian_tune
from indian_tune.comparison import compare_many, runs_of

ROOT = Path(__file__).parents[2]
GUIDE = " ".join((ROOT / "studies/guides/compare.md").read_text(encoding="utf-8").split())


def quoted(sentence: str) -> bool:
    """Return whether the guide quotes a sentence, whose lines begin with >."""
    return sentence in GUIDE.replace(" > ", " ")


def test_the_speed_run_of_the_guide_ends_as_it_says() -> None:
    runs = pd.read_csv(ROOT / "studies/examples/speedrun.csv")
    found = indian_tune.compare(runs, "record", "attempt", delta=0.01)
    assert quoted(f"{found.label}: {found.sentence}")
    assert f"makes the interval {found.pairing.width:.2f} times as wide" in GUIDE
    closer = indian_tune.compare(runs, "record", "attempt", delta=0.005)
    assert (closer.label, closer.further is not None) == ("INCONCLUSIVE", True)
    losses = runs[runs["arm"] == "attempt"]["val_loss"]
    assert str(losses.tolist())[1:-1].replace("0.126,", "0.1260,") in GUIDE
    p = stats.ttest_1samp(losses, 0.13, alternative="less").pvalue
    assert f"The rule says yes (p = {p:.4f})" in GUIDE


def test_the_end_points_of_the_guide_end_as_it_says() -> None:
    runs = pd.read_csv(ROOT / "studies/examples/figure2-runs.csv")
    every = compare_many(runs_of(runs, metric="test_accuracy"), baseline="adam", delta=0.01)
    rows = [line for line in every.markdown().splitlines() if line.startswith("|")]
    assert len(rows) == 7
    assert [row for row in rows if row not in GUIDE] == []
    found = indian_tune.compare(runs, "indian-0.5-0.1", "sgd", metric="test_accuracy", delta=0.01)
    assert quoted(f"{found.label}: {found.sentence}")
    assert found.further is not None
    said = f"{found.further.units} further seeds of each arm would give a decision with probability"
    assert f"{said} {found.further.probability:.2f}" in GUIDE
    assert any("359 test examples" in caution.sentence for caution in found.cautions)
