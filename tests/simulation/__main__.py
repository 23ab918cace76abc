"""Plays histories of fresh seeds: python -m tests.simulation --minutes 10 --jobs 2."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.simulation.playing import play_some


def main() -> int:
    """Play until the time is over; return 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="seed of the first history")
    asked = parser.parse_args()
    jobs = [(asked.first + n, asked.jobs, 60 * asked.minutes) for n in range(asked.jobs)]
    began = time.monotonic()
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(play_some, jobs))
    outcomes = [outcome for played, _ in parts for _, outcome in played]
    faults: Counter[str] = Counter()
    for outcome in outcomes:
        faults.update(outcome.faults)
    failed = sorted(seed for played, _ in parts for seed, outcome in played if outcome.found)
    print(
        f"{len(outcomes)} histories, {sum(o.transactions for o in outcomes)} transactions in "
        f"{time.monotonic() - began:.0f} s ({sum(cpu for _, cpu in parts):.0f} s of processors)"
    )
    print(", ".join(f"{kind}: {count}" for kind, count in sorted(faults.items())))
    print(f"seeds with violations: {failed}")
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
