"""Plays histories one after the other."""

from __future__ import annotations

import tempfile
import time
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


def play_some(job: tuple[int, int, float]) -> tuple[list[tuple[int, Outcome]], float]:
    """Play every so many seeds for some seconds; return the outcomes, and processor seconds."""
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
