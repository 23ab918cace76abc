"""A real A/A test, many times: INDIAN with αβ = 1 is SGD, and no repetition may end in SUPPORTED.

Every repetition is a study of its own, with its own seeds of the sampler, the splits, the tuning
and the fresh runs: `studies/aa-null.toml` with 5 searches of every arm, made short. A repetition
that is in the table already is not run again.

    python -m tests.night.real_aa --repetitions 20 --out tests/night/real_aa.csv
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, to_toml

TABLE = Path(__file__).with_name("real_aa.csv")
COLUMNS = ("repetition", "verdict", "contrast", "label", "estimate", "at_least", "at_most")


def study(repetition: int) -> dict[str, Any]:
    """Return the study of a repetition, as a study file says it."""
    made = tomllib.loads((ROOT / "studies/aa-null.toml").read_text(encoding="utf-8"))
    made["name"] = f"aa-{repetition}"
    made["problem"] |= {
        "model": "mlp",
        "widths": [32],
        "split": "replicate",
        "split_seed": repetition,
    }
    made["protocol"] |= {"epochs": 8, "tune_epochs": 4, "confirm_seeds": 3}
    made["search"] |= {"trials": 4, "seed": repetition, "replicates": 5}
    # The same searches under three names: all gain nothing over one another, in truth.
    twin = {"alpha": 0.25, "beta": 4.0, "gamma0": {"low": 5e-4, "high": 0.25, "log": True}}
    made["arms"].append({"name": "twin", "optimizer": "indian", "space": twin})
    made["claims"] = {"h3b": {"full": "indian", "rate": "twin", "baseline": "sgd"}}
    return made


def repeat(repetition: int) -> list[dict[str, object]]:
    """Search and judge one study; return a row per contrast."""
    with tempfile.TemporaryDirectory(prefix="aa-") as folder:
        (Path(folder) / "study.toml").write_text(to_toml(study(repetition)), encoding="utf-8")
        program = (sys.executable, "-m", "indian_tune")
        for words in (
            ("search", "study.toml", "--engine", "inline"),
            ("analyze", "--json", "--out", "report"),
        ):
            done = subprocess.run(
                [*program, *words], cwd=folder, capture_output=True, text=True, check=False
            )
            if done.returncode:
                raise RuntimeError(f"repetition {repetition}: {done.stderr}")
    verdict = json.loads(done.stdout)
    return [
        {
            "repetition": repetition,
            "verdict": verdict["label"],
            "contrast": contrast["name"],
            "label": contrast["label"],
            "estimate": contrast["test"]["estimate"],
            "at_least": contrast["test"]["low"],
            "at_most": contrast["test"]["high"],
        }
        for finding in verdict["findings"]
        for contrast in finding["contrasts"]
    ]


def read(table: Path) -> list[dict[str, str]]:
    """Return the rows that a table has."""
    if not table.exists():
        return []
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=TABLE)
    given = parser.parse_args()
    known = {int(row["repetition"]) for row in read(given.out)}
    wanted = [each for each in range(given.repetitions) if each not in known]
    if not known:
        given.out.write_text(",".join(COLUMNS) + "\n", encoding="utf-8")
    with ThreadPoolExecutor(given.workers) as pool:
        for found in pool.map(repeat, wanted):
            with given.out.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, COLUMNS, lineterminator="\n").writerows(found)
            for row in found:
                print(*row.values(), flush=True)
    rows = read(given.out)
    supported = {row["repetition"] for row in rows if "SUPPORTED" in (row["verdict"], row["label"])}
    # A control that is the same run to the bit differs by 0 in every pair, and has no bounds.
    above = sum(float(row["at_least"]) > 0 for row in rows if row["at_least"])
    bounded = sum(bool(row["at_least"]) for row in rows)
    print(
        f"{len({row['repetition'] for row in rows})} repetitions; SUPPORTED: "
        f"{sorted(supported, key=int) or 'none'}; lower bound above 0: {above} of {bounded}"
    )
    sys.exit(bool(supported))


if __name__ == "__main__":
    main()
