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
COLUMNS = ("repetition", "label", "H2", "estimate", "at_least", "at_most", "hangs_on")


def study(repetition: int) -> dict[str, Any]:
    """Return the study of a repetition, as a study file says it."""
    made = tomllib.loads((ROOT / "studies/aa-null.toml").read_text(encoding="utf-8"))
    made["name"] = f"aa-{repetition}"
    made["problem"] |= {"split": "replicate", "split_seed": repetition}
    made["protocol"] |= {"epochs": 8, "tune_epochs": 4, "confirm_seeds": 3}
    made["search"] |= {"trials": 4, "seed": repetition, "replicates": 5}
    return made


def repeat(repetition: int) -> dict[str, object]:
    """Search and judge one study; return its row."""
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
    finding = next(each for each in verdict["findings"] if each["hypothesis"] == "H2")
    test = finding["contrasts"][0]["test"]
    return {
        "repetition": repetition,
        "label": verdict["label"],
        "H2": finding["label"],
        "estimate": test["estimate"],
        "at_least": test["low"],
        "at_most": test["high"],
        "hangs_on": verdict["hangs_on"],
    }


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
        for row in pool.map(repeat, wanted):
            with given.out.open("a", encoding="utf-8", newline="") as file:
                csv.DictWriter(file, COLUMNS, lineterminator="\n").writerow(row)
            print(*row.values(), flush=True)
    rows = read(given.out)
    supported = [row["repetition"] for row in rows if "SUPPORTED" in (row["label"], row["H2"])]
    above = sum(float(row["at_least"]) > 0 for row in rows)
    print(
        f"{len(rows)} repetitions; SUPPORTED: {supported or 'none'}; lower bound above 0: {above}"
    )
    sys.exit(bool(supported))


if __name__ == "__main__":
    main()
