"""Whether the analysis is right: its error rates over simulated studies with known truth.

Claims: the lower bound of a single contrast errs within .05 ± .015, with finite test sets too; a
false claim is SUPPORTED, and a true one REFUTED, in at most .065 of the studies of any world; a
gain of 2 points is found in at least .97 with 10 searches; and rules that are known not to hold
their level fail in worlds in which the present ones hold it.

2,000 studies per world and number of searches are put through the whole verdict; bounds of single
contrasts, which are cheap, through five times as many.
`indian-tune analyze --calibrate` does the same.

    python tests/benchmarks/calibration.py --out tests/benchmarks/results
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

from indian_tune.analysis.calibration import REPLICATIONS, TEST_FACTOR, calibrate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replications", type=int, default=REPLICATIONS)
    parser.add_argument("--verdicts", type=int, help="another number for whole verdicts")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, help="folder for calibration.md and .json")
    given = parser.parse_args()
    start = time.perf_counter()
    verdicts = given.verdicts or given.replications
    made = calibrate(given.replications, verdicts=verdicts, processes=given.processes)
    minutes = (time.perf_counter() - start) / 60
    packages = ", ".join(f"{name} {version(name)}" for name in ("numpy", "scipy", "statsmodels"))
    ran = (
        f"{verdicts:,} simulated studies per world and number of searches for "
        f"whole verdicts, {TEST_FACTOR * given.replications:,} for single bounds. "
        f"Python {platform.python_version()}, {packages}; {minutes:.0f} minutes in "
        f"{given.processes} processes."
    )
    held = "Everything holds." if not made.failures else "\n".join(f"- {f}" for f in made.failures)
    text = f"# Calibration of the analysis\n\n{ran}\n\n{held}\n\n{made.text()}\n"
    print(text)
    if given.out is not None:
        (given.out / "calibration.md").write_text(text, encoding="utf-8")
        rows = json.dumps({"ran": ran, **made.as_dict()}, indent=1, ensure_ascii=False)
        (given.out / "calibration.json").write_text(rows + "\n", encoding="utf-8")
    sys.exit(bool(made.failures))


if __name__ == "__main__":
    main()
