"""A study searched on a virtual clock, for tests that look at a record and not at a training."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from indian_tune.engines import Interrupt, SimulatedEngine, VirtualClock
from indian_tune.ledger import Ledger
from indian_tune.study.controller import Controller
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.projection import Projection
from indian_tune.study.registration import register
from tests.conftest import measured

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indian_tune.study.assignment import Assignment
    from indian_tune.training import EpochRecord


def curves(assignment: Assignment) -> Sequence[Sequence[EpochRecord]]:
    """Return runs that train: a configuration is a little better or worse, and so is a seed."""
    lead = random.Random(str(sorted(assignment.config.items()))).uniform(0.0, 0.02)
    return [
        [
            _epoch(epoch, lead + random.Random(run.seed).uniform(0.0, 0.01))
            for epoch in range(1, assignment.epochs + 1)
        ]
        for run in assignment.runs
    ]


def _epoch(epoch: int, lead: float) -> EpochRecord:
    accuracy = 0.3 + lead + 0.1 * epoch
    loss = 2.3 - lead - 0.05 * epoch
    return measured(epoch, loss, accuracy, loss, accuracy - 0.05, loss, accuracy - 0.04)


def search_simulated(storage: str, raw: dict[str, Any]) -> None:
    """Search a study to its end; the controller, the ledger and Optuna are the real ones."""
    clock = VirtualClock()
    with Ledger.open(storage, clock=clock) as ledger:
        study = register(ledger, parse_study(raw, source="study.toml"))
        projection = Projection.beside(study)
        projection.create()
        ledger.join(study.id, "worker", host="here", pid=1, started="0", device="simulated")
        controller = Controller(study, "worker", projection=projection)
        SimulatedEngine(controller, curves, 1, clock).run(Interrupt(), lambda: None)
        ledger.leave("worker")
        controller.close()
