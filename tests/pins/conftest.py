"""What was computed with earlier versions, and how to compute it again.

Each released database holds two studies: ``pinned``, which is finished, and ``interrupted``, a
longer one that was stopped by Ctrl-C in the middle of a trial. Their bits hardly depend on the
processor: torch, oneDNN and MKL are held to instructions that every x86-64 processor has. What is
left is the vendor, by which MKL chooses its square roots (ADAM's differ in the last bit).
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import sqlite3
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from indian_tune.ledger import LedgerReader

if TYPE_CHECKING:
    from collections.abc import Callable

PINS = Path(__file__).parent
STUDY = PINS / "pinned.toml"
# What computed the pinned bits: torch of another version, or MKL on a processor of another vendor,
# rounds in other places.
PINNED_TORCH = "2.14.1"
PINNED_VENDOR = "GenuineIntel"
PORTABLE = {
    "ATEN_CPU_CAPABILITY": "default",
    "DNNL_MAX_CPU_ISA": "SSE41",
    "MKL_CBWR": "COMPATIBLE",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
}

LISTED = "confirm_seeds = [1000, 1001]"

# (arm, phase, trial, seed) as text → metrics of every epoch, as hexadecimal floating-point numbers.
Bits = dict[str, list[dict[str, str | None]]]


# The database of schema 0003 from before the first release, and that of every release.
RELEASED = ("released-0003.tar.gz", "released-0.1.0.tar.gz")


@pytest.fixture(params=RELEASED)
def released(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with the database of an earlier version and its checkpoints."""
    with tarfile.open(PINS / request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    # The fresh seeds that were counted when the bits were pinned; schema 0003 recorded the number.
    for study in PINS.glob("*.toml"):
        text = study.read_text(encoding="utf-8")
        if request.param != RELEASED[0]:
            text = text.replace("confirm_seeds = 2", LISTED)
        (tmp_path / study.name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def command() -> Callable[..., str]:
    """Run the command line in a folder with portable arithmetic; return standard output."""

    def run(folder: Path, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "indian_tune", *arguments],
            cwd=folder,
            env={**os.environ, **PORTABLE},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}: {done.stderr}"
        return done.stdout

    return run


def bits_of(database: Path, study: str) -> Bits:
    """Return the metrics of every epoch of a study, to the last bit."""
    with LedgerReader.open(str(database)) as ledger:
        record = ledger.study(study)
        arms = {arm.id: arm.name for arm in ledger.arms(record.id)}
        # The test metrics are read from their table, since reading them needs an unseal event.
        sealed = _sealed(database)
        return {
            f"{arms[trial.arm_id]} {trial.phase} {trial.index} {run.seed}": [
                {
                    **{name: _hex(value) for name, value in row.metrics.items()},
                    **sealed[run.id, row.epoch],
                }
                for row in ledger.epochs(run.id)
            ]
            for trial in ledger.trials(record.id)
            for run in ledger.runs(trial.id)
        }


def same_bits(found: Bits, pinned: Bits) -> None:
    """Assert that the metrics are the pinned ones: to the bit where that can be asked for.

    With another version of torch or on another vendor's processor numbers are rounded elsewhere,
    and losses are compared within 1e-3.
    """
    assert sorted(found) == sorted(pinned)
    if torch.__version__.split("+")[0] == PINNED_TORCH and _vendor() == PINNED_VENDOR:
        assert found == pinned
        return
    for key, epochs in pinned.items():
        assert len(found[key]) == len(epochs)
        for now, then in zip(found[key], epochs, strict=True):
            assert _number(now["train_loss"]) == pytest.approx(
                _number(then["train_loss"]), rel=1e-3
            )


def _vendor() -> str:
    """Return who made the processor, as Linux says; empty where it does not."""
    listing = Path("/proc/cpuinfo")
    lines = listing.read_text(encoding="utf-8").splitlines() if listing.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("vendor_id"))
    return next(named, "")


def _hex(value: float | None) -> str | None:
    return None if value is None or math.isnan(value) else float(value).hex()


def _number(text: str | None) -> float:
    return float("nan") if text is None else float.fromhex(text)


def _sealed(database: Path) -> dict[tuple[int, int], dict[str, str | None]]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        rows = connection.execute(
            "SELECT run_id, epoch, metrics FROM ledger_sealed_epoch"
        ).fetchall()
    return {
        (run, epoch): {name: _hex(value) for name, value in json.loads(metrics).items()}
        for run, epoch, metrics in rows
    }
