"""How much the answer of the `isolate` studies depends on what their design fixed.

    python studies/results/sensitivity.py run      # every variation; the same command goes on
    python studies/results/sensitivity.py table    # what they show, into isolate/sensitivity.md

A variation repeats one study with one thing changed, with 4 arms, half of its searches and half of
its trials. All are declared as sensitivity: they test nothing, and their verdict is none. `table`
also judges the whole studies at other values of δ, from the folder of `isolate.py`.
"""

from __future__ import annotations

import argparse
import copy
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

import indian_tune
from indian_tune import analysis
from indian_tune.ledger import LedgerReader
from indian_tune.service.own_study import from_study
from indian_tune.study.file.spec import StudySpec, parse_study
from indian_tune.study.space_history import latest_spaces

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indian_tune.analysis import Verdict
    from indian_tune.analysis.verdict import Contrast

HERE = Path(__file__).parent
OUT = HERE / "isolate"
STUDIES = ("isolate-digits", "isolate-mnist")
ARMS = ("indian", "indian-rate", "sgd", "sgd-matched")
REPLICATES, TRIALS = 6, 32
DELTAS = (0.0025, 0.005, 0.01, 0.02)


@dataclass(frozen=True)
class Variation:
    """One change of a study.

    Attributes:
        name: short, for the name of its study.
        words: what differs.
        change: makes the change in the plain data of a study.
    """

    name: str
    words: str
    change: Callable[[dict[str, Any]], None]


def _times(factor: float) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        raw["protocol"]["epochs"] = round(factor * raw["protocol"]["epochs"])

    return change


def _set(section: str, key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(raw: dict[str, Any]) -> None:
        raw[section][key] = value

    return change


VARIATIONS = (
    Variation("as-it-is", "nothing else", lambda raw: None),
    Variation("clean", "training labels as they are", _set("problem", "label_noise", 0.0)),
    Variation("half", "half as many epochs", _times(0.5)),
    Variation("double", "twice as many epochs", _times(2)),
    Variation("tpe", "TPE in place of random search", _set("search", "sampler", "tpe")),
)


def study_of(base: str, variation: Variation) -> StudySpec:
    """Return a variation of a study."""
    raw = tomllib.loads((HERE.parent / f"{base}.toml").read_text(encoding="utf-8"))
    raw = copy.deepcopy(raw)
    raw["name"] = f"{base}-{variation.name}"
    raw["description"] = f"Sensitivity of {base}: {variation.words}"
    raw["arms"] = [arm for arm in raw["arms"] if arm["name"] in ARMS]
    raw["search"] |= {"replicates": REPLICATES, "trials": TRIALS}
    claims = raw["claims"]
    raw["claims"] = {
        "verdict": "none",
        "delta": claims["delta"],
        "h2": claims["h2"],
        "h3b": claims["h3b"],
    }
    variation.change(raw)
    return parse_study(raw, source=raw["name"])


def run(storage: str, workers: int) -> None:
    """Run what is missing of every variation."""
    for variation in VARIATIONS:
        for base in STUDIES:
            spec = study_of(base, variation)
            indian_tune.search(
                spec, storage=storage, engine="optuna", workers=workers, devices="cpu"
            )


def _contrasts(verdict: Verdict) -> Iterator[tuple[str, Contrast]]:
    for found in verdict.findings:
        if found.hypothesis in ("H2", "H3b", "H4"):
            for contrast in found.contrasts:
                yield found.hypothesis, contrast


def effects(storage: str) -> pd.DataFrame:
    """Return the effects of every variation, in points, a row per study and contrast."""
    rows = []
    for variation in VARIATIONS:
        for base in STUDIES:
            verdict = from_study(storage, f"{base}-{variation.name}").verdict
            for hypothesis, contrast in _contrasts(verdict):
                gap = contrast.gap
                rows.append(
                    {
                        "study": base,
                        "changed": variation.words,
                        "contrast": f"{hypothesis}: {contrast.arm} minus {contrast.baseline}",
                        "difference": 100 * contrast.test.estimate,
                        "at_least": 100 * contrast.test.low,
                        "at_most": 100 * contrast.test.high,
                        "gap": None if gap is None else 100 * gap.estimate,
                        "gap_at_least": None if gap is None else 100 * gap.low,
                        "left_out": contrast.left_out,
                        "pairs": contrast.pairs,
                    }
                )
    return pd.DataFrame(rows)


def verdicts(storage: str) -> pd.DataFrame:
    """Return the verdict on the whole studies by δ."""
    rows = []
    for study in STUDIES:
        found = from_study(storage, study)
        with LedgerReader.open(storage) as ledger:
            spaces = latest_spaces(ledger, ledger.study(study))
        for delta in DELTAS:
            verdict = analysis.analyze(
                found.frames["runs.parquet"],
                found.claims.model_copy(update={"delta": delta}),
                registration=found.verdict.registration,
                scope=found.verdict.scope,
                spaces=spaces,
                examples=found.frames["examples.parquet"],
            )
            rows.append(
                {
                    "study": study,
                    "delta": 100 * delta,
                    "registered": delta == found.claims.delta,
                    "label": str(verdict.label),
                    "hangs_on": verdict.hangs_on or "",
                }
            )
    return pd.DataFrame(rows)


def _table(frame: pd.DataFrame, header: str, cells: Callable[[Any], str]) -> list[str]:
    rows = [f"| {cells(row)} |" for row in frame.itertuples()]
    return [f"| {header} |", "|" + "---|" * (header.count("|") + 1), *rows]


def _effect(row: Any) -> str:
    gap = "" if pd.isna(row.gap) else f"{row.gap:+.2f} ({row.gap_at_least:+.2f})"
    bounds = f"{row.difference:+.2f} ({row.at_least:+.2f}, {row.at_most:+.2f})"
    left_out = f"{row.left_out} of {row.pairs + row.left_out}"
    return " | ".join((row.study, row.changed, row.contrast, bounds, gap, left_out))


def _verdict(row: Any) -> str:
    label = f"**{row.label}**" if row.registered else row.label
    return f"{row.study} | {row.delta:g} | {label} | {row.hangs_on}"


def table(storage: str, whole: str) -> str:
    """Return all as Markdown."""
    frame, labels = effects(storage), verdicts(whole)
    frame.to_csv(OUT / "sensitivity.csv", index=False, float_format="%.4f", lineterminator="\n")
    text = [
        "# Sensitivity of `isolate`",
        "",
        "Declared as such: nothing here is a test of the claim. Differences in points of test "
        "accuracy with the bounds that the verdict uses (lower at α, upper at α/4); the gap is G.",
        "",
        f"## With one thing changed: {REPLICATES} searches of {TRIALS} trials, without H4",
        "",
        *_table(
            frame,
            "study | changed | contrast | Δ (at least, at most) | G | pairs left out",
            _effect,
        ),
        "",
        "## The whole studies at other δ",
        "",
        *_table(labels, "study | δ | verdict | depends on", _verdict),
        "",
        "The registered δ is in bold.",
    ]
    return "\n".join(text) + "\n"


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", choices=("run", "table"))
    parser.add_argument("--folder", type=Path, default=Path("isolate-run"), help="of the databases")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    storage = str((given.folder / "sensitivity.db").resolve())
    if given.command == "run":
        run(storage, given.workers)
        return
    text = table(storage, str((given.folder / "isolate.db").resolve()))
    (OUT / "sensitivity.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
