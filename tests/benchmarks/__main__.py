"""All benchmarks that compare with what else there is, one after the other: `make bench`.

python -m tests.benchmarks                  # hours on a machine that does nothing else
python -m tests.benchmarks --quick          # minutes: whether they work, not how fast things are
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
# In this order: `scale` reads what `service` has found. Beside each, what makes it quick.
BENCHMARKS = {
    "startup": ["--rounds=1"],
    "optimizer_step": ["--rounds=3"],
    "framework_step": ["--rounds=1"],
    "parity": ["--few"],
    "trainer": ["--rounds=2"],
    "sweep": ["--rounds=1", "--trials=2", "--epochs=1", "--cuts=0"],
    "engines": ["--rounds=1", "--trials=4", "--equal-trials=4", "--lengths", "1", "2"],
    "service": [
        *("--sqlite-random=4,8,12", "--postgresql-random=2,3,4"),
        *("--sqlite-tpe=4,8,12", "--postgresql-tpe=2,3,4", "--repetitions=1"),
    ],
    "replicates": ["--rounds=1", "--replicates=2", "--trials=2"],
    "verdict": ["--rounds=1"],
    "scale": [
        *("--workers=4", "--trials=2", "--epochs=2", "--epoch-seconds=1", "--calibration=2"),
    ],
    "pooler": [
        *("--workers=4", "--sessions=2", "--trials=2", "--epochs=2", "--epoch-seconds=1"),
        "--rounds=1",
    ],
}
TINY_STUDY = """
name = "tiny"
problem = {dataset = "digits", model = "nin-small", width = 0.2, batch_size = 128}
protocol = {epochs = 2, confirm_seeds = 2}
search = {trials = 2, sampler = "random"}
[[arms]]
name = "indian"
optimizer = "indian"
[[arms]]
name = "sgd"
optimizer = "sgd"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that all work")
    parser.add_argument("--only", choices=list(BENCHMARKS), nargs="+", help="not all of them")
    parser.add_argument("--out", type=Path, help="folder of the results")
    given = parser.parse_args()
    if given.quick and given.out is None:
        parser.error("--quick needs --out: what it measures must not take the place of results")
    out: Path = given.out or RESULTS
    out.mkdir(parents=True, exist_ok=True)
    for name in given.only or BENCHMARKS:
        options = [f"--out={out}", *(BENCHMARKS[name] if given.quick else [])]
        if name == "scale":
            options.append(f"--results={out}")
        if name == "verdict" and given.quick:
            study = out / "tiny.toml"
            study.write_text(TINY_STUDY, encoding="utf-8")
            options.append(f"--study={study}")
        print(f"== {name}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", f"tests.benchmarks.{name}", *options], check=True)


if __name__ == "__main__":
    main()
