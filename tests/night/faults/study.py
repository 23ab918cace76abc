"""The small studies that are disturbed, and what they record when nothing disturbs them."""

from __future__ import annotations

import copy
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from indian_tune.study.file.protocol import ProtocolSection
from tests.conftest import to_toml

if TYPE_CHECKING:
    from tests.night.faults.checks import Record

# Its network does what it is ordered to, once for each order: files of Python code in a folder.
MODEL = """
import os
import time
from pathlib import Path

import torch
from torch import nn

from indian_tune.problems import Problem, Split

ORDERS = Path(os.environ["FAULTS_FOLDER"], "orders")
SECONDS = float(os.environ.get("FAULTS_STEP_SECONDS", "0"))


class Net(nn.Module):
    def __init__(self, dropout):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x):
        # Not where a worker tries the network first, on fewer: a hang there may last 10 minutes.
        if self.training and len(x) == 16:
            time.sleep(SECONDS)
            for order in sorted(ORDERS.glob("*.py")):
                taken = order.with_suffix(f".{os.getpid()}")
                try:
                    order.rename(taken)
                except OSError:
                    continue
                exec(taken.read_text())
        return self.layers(x)


def make():
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(96, 6, generator=generator)
    other = torch.randn(32, 6, generator=generator)
    return Problem(
        dataset="toy", model="layers", classes=3,
        train=Split(inputs, inputs[:, :3].argmax(1)), test=Split(other, other[:, :3].argmax(1)),
        build_model=lambda *, seed, dropout: Net(dropout),
    )
"""

# The command with leases of its own length, in the processes that it starts as well.
COMMAND = """
import os
import sys
from datetime import timedelta

from indian_tune.ledger import Ledger

Ledger.lease = timedelta(seconds=float(os.environ["FAULTS_LEASE_SECONDS"]))

if __name__ == "__main__":
    from indian_tune.cli import main

    sys.argv[0] = "indian-tune"
    main()
"""

# A hang is ended by this limit, where the study file has it.
EPOCH_TIMEOUT = {"epoch_timeout": 15.0} if "epoch_timeout" in ProtocolSection.model_fields else {}

_BASE: dict[str, Any] = {
    "problem": {"factory": "misbehaving:make", "batch_size": 16, "validation_fraction": 0.25},
    "protocol": {"epochs": 5, "tune_epochs": 4, "tune_seeds": 2, "confirm_seeds": 2}
    | EPOCH_TIMEOUT,
    "search": {"trials": 3, "sampler": "random", "seed": 7},
    "arms": [
        {"name": "indian", "optimizer": "indian"},
        {"name": "sgd", "optimizer": "sgd"},
    ],
}


def shapes() -> dict[str, dict[str, Any]]:
    """Return the studies by name: drawn at random, learning from one another, with a control."""
    plain, learning, controlled = (copy.deepcopy(_BASE) for _ in range(3))
    learning["search"] |= {"trials": 6, "sampler": "tpe", "pruner": "median", "generation": 2}
    learning["protocol"]["tune_seeds"] = 1
    controlled["search"]["trials"] = 2
    controlled["protocol"]["tune_seeds"] = 1
    controlled["arms"][1] = {"name": "control", "optimizer": "sgd", "response_of": "indian"}
    found = {"plain": plain, "learning": learning, "controlled": controlled}
    return {name: {"name": name, **study} for name, study in found.items()}


def write(folder: Path, shape: str) -> Path:
    """Write a study, its model and the command into a folder; return the study's file."""
    (folder / "orders").mkdir(parents=True)
    (folder / "misbehaving.py").write_text(MODEL, encoding="utf-8")
    (folder / "command.py").write_text(COMMAND, encoding="utf-8")
    file = folder / f"{shape}.toml"
    file.write_text(to_toml(shapes()[shape]), encoding="utf-8")
    return file


def environment(folder: Path, *, step: float, lease: float) -> dict[str, str]:
    """Return the environment of the commands that work in a folder.

    Args:
        folder: from `write`; it marks all processes of these commands.
        step: seconds that a training step takes at least.
        lease: seconds that a claim lasts.
    """
    return {
        **os.environ,
        "FAULTS_FOLDER": str(folder),
        "FAULTS_STEP_SECONDS": str(step),
        "FAULTS_LEASE_SECONDS": str(lease),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[3]), str(folder)]),
    }


@functools.cache
def undisturbed(shape: str) -> Record:
    """Return the record of a study that one process searches in peace."""
    from tests.night.faults.checks import read

    with tempfile.TemporaryDirectory(prefix="faults-") as made:
        folder = Path(made)
        file = write(folder, shape)
        storage = f"sqlite:///{folder / 'study.db'}"
        command = ["search", str(file), "--engine", "inline", "--allow-import"]
        subprocess.run(
            [sys.executable, "command.py", *command, "--storage", storage],
            cwd=folder,
            env=environment(folder, step=0.0, lease=60.0),
            check=True,
            capture_output=True,
        )
        return read(storage, shape)
