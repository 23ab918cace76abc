"""Plays histories of fresh seeds: python -m tests.simulation --minutes 10 --jobs 2."""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
import time
from collections import Counter
from pathlib import Path

from indian_tune.ledger import Ledger
from tests.simulation.history import History, Outcome


def make_template(folder: Path) -> Path:
    """Make a database with its tables and no study."""
    template = folder / "template.db"
    with Ledger.open(str(template)) as ledger, ledger._writer.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.exec_driver_sql("BEGIN")
    return template


def play(seed: int, template: Path, folder: Path) -> Outcome:
    """Play one history; its database is removed."""
    history = History(seed, template, folder)
    try:
        return history.play()
    finally:
        for file in folder.glob(f"history-{seed}.db*"):
            file.unlink()


def _play_some(job: tuple[int, int, float]) -> tuple[list[tuple[int, Outcome]], float]:
    first, step, seconds = job
    began, played = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="simulation-") as name:
        template = make_template(Path(name))
        seed = first
        while time.monotonic() - began < seconds:
            outcome = play(seed, template, Path(name))
            played.append((seed, outcome))
            for line in outcome.found:
                print(f"seed {seed}: {line}", flush=True)
            seed += step
    return played, time.process_time()


def main() -> int:
    """Play until the time is over; return 1 if anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--first", type=int, default=0, help="seed of the first history")
    asked = parser.parse_args()
    jobs = [(asked.first + n, asked.jobs, 60 * asked.minutes) for n in range(asked.jobs)]
    began = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(asked.jobs) as pool:
        parts = pool.map(_play_some, jobs)
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
