"""A study whose trials a test plays: claimed, reported and finished without training."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from indian_tune.ledger import Ledger, Phase, State
from indian_tune.study.controller import Controller
from indian_tune.study.file.spec import parse_study
from indian_tune.study.optuna.projection import Projection
from indian_tune.study.optuna.reconcile import reconcile
from indian_tune.study.registration import register
from tests.conftest import measured
from tests.reports import report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from indian_tune.ledger import TrialRecord
    from indian_tune.study.assignment import RunningTrial
    from indian_tune.study.file.spec import StudySpec


class Played:
    """A study whose trials the test plays.

    Args:
        ledger: open for writing.
        spec: of the study.
        error: of an assignment, on training and validation images; not finite for one that
            diverges.
        reports_training: whether the error on training images is known, which a loop may leave out.
    """

    def __init__(
        self,
        ledger: Ledger,
        spec: StudySpec,
        error: Callable[[RunningTrial], float],
        *,
        reports_training: bool = True,
        anyway: bool = False,
        until: Phase = Phase.CONFIRM,
    ) -> None:
        self.ledger, self.spec, self.error = ledger, spec, error
        self.reports_training = reports_training
        self.study = register(ledger, spec)
        projection = Projection.beside(self.study)
        projection.create()
        projection.close()
        if not ledger.workers(self.study.id):
            ledger.join(self.study.id, "worker", host="here", pid=1, started="0", device="cpu")
        self.controller = Controller(self.study, "worker", until=until, freeze_anyway=anyway)
        self.arms = {arm.name: arm for arm in ledger.arms(self.study.id)}

    def claim(self) -> RunningTrial | None:
        return self.controller.claim({"device": "cpu"})

    def train(self, assignment: RunningTrial) -> State:
        error = self.error(assignment)
        training = 1 - error if self.reports_training else math.nan
        for epoch in range(1, assignment.assignment.epochs + 1):
            record = measured(epoch, error, training, error, 1 - error, 0.5, 0.5)
            report(self.controller, assignment, {run.id: record for run in assignment.runs})
        for run in assignment.runs:
            self.controller.finish_run(
                assignment, run, not_finite="" if math.isfinite(error) else "loss"
            )
        return self.controller.finish(assignment)

    def work(self) -> list[str]:
        """Train all there is; return the paths of the trials in turn."""
        paths = []
        while (assignment := self.claim()) is not None:
            paths.append(assignment.path)
            self.train(assignment)
        return paths

    def trials(self, arm: str, phase: Phase) -> list[TrialRecord]:
        return self.ledger.trials(self.study.id, phase=phase, arm_id=self.arms[arm].id)

    def reconcile(self, how: Callable[..., Any] = reconcile) -> Any:
        projection = Projection.beside(self.study)
        try:
            return how(self.study, projection, lambda _: True)
        finally:
            projection.close()


@contextmanager
def played(
    storage: str, study: dict[str, Any], error: Callable[[RunningTrial], float], **how: Any
) -> Iterator[Played]:
    with Ledger.open(storage) as ledger:
        made = Played(ledger, parse_study(study, source="study.toml"), error, **how)
        yield made
        made.controller.close()
