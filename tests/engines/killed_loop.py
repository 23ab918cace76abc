"""A search with a loop of one's own that kills its own process at chosen events.

python -m tests.engines.killed_loop DATABASE TRIALS FOLDER EVENT…

What happens is counted over all processes of the search, in a file of the folder.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import indian_tune
from indian_tune import Loop, Study
from indian_tune.engines import trials_in_hand
from indian_tune.study import controller
from indian_tune.training import CheckpointFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from indian_tune.training import LoopRun


def nothing() -> None:
    """Stand for what counts where nothing is to be killed."""


_happened: Callable[[], None] = nothing


def train(run: LoopRun) -> None:
    model = nn.Linear(1, 1)
    optimizer = run.optimizer(model.parameters())
    for _ in run.epochs(model=model, optimizer=optimizer):
        for x in run.data[torch.randperm(8)].split(4):
            _happened()
            optimizer.zero_grad()
            loss = (model(x[:, None] / 8) - 1).square().mean()
            loss.backward()
            optimizer.step()
        error = (model.weight.detach().square() % 1).mean()
        run.report(train_loss=loss, error=error, test_error=run.sealed(float))
        _happened()


def problem() -> Loop:
    return Loop(train, "points", "line", 2, data=torch.arange(8.0), test=torch.tensor(0.25))


def study(trials: int) -> Study:
    sections: dict[str, Any] = {
        "protocol": {"epochs": 3, "confirm_seeds": [1000, 1001, 1002]},
        "search": {"trials": trials, "sampler": "random"},
    }
    return Study("killed", ["sgd", "adam"], problem, **sections)


def count(folder: Path, deadly: Collection[int]) -> None:
    """Count what happens in the loop, between writes of the record and around checkpoints."""
    file = folder / "events"

    def happened() -> None:
        number = int(file.read_text()) + 1 if file.exists() else 1
        file.write_text(str(number))
        if number in deadly:
            os.kill(os.getpid(), signal.SIGKILL)

    def save(self: CheckpointFolder, *arguments: Any) -> None:
        happened()
        write(self, *arguments)
        happened()

    global _happened
    _happened = happened
    write = CheckpointFolder.save
    setattr(CheckpointFolder, "save", save)  # noqa: B010 - of another type
    vars(controller)["fault_point"] = lambda _: happened()
    # As with epochs that take long.
    trials_in_hand.LEAST_CHECKPOINT_SECONDS = 0.0


if __name__ == "__main__":
    storage, trials, folder, *events = sys.argv[1:]
    count(Path(folder), set(map(int, events)))
    indian_tune.search(study(int(trials)), storage=storage, engine="inline", progress=False)
