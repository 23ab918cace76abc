"""An engine of one's own, as an installed package brings it: trains in a thread of this process."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict
from typing import TYPE_CHECKING

from pydantic import Field

from indian_tune.engines import (
    EngineOptions,
    TrialsInHand,
    end_run,
    end_trial,
    give_back,
    joined_controller,
    problem_of,
    record_epoch_reports,
    registered_study,
    trainer_of,
    training_runs,
)
from indian_tune.study import Decision
from indian_tune.training import CheckpointFolder, start_torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from indian_tune.engines import Interrupt, WorkerSettings
    from indian_tune.study import Controller, RunningTrial

SECONDS = 0.2


class ThreadOptions(EngineOptions):
    """Options of the engine."""

    TRAINS_HERE = True

    at_once: int = Field(default=1, ge=1, le=8, description="Trials in hand at once.")

    def make(self, settings: WorkerSettings) -> ThreadEngine:
        """Return the engine."""
        return ThreadEngine(settings, self.at_once)


class ThreadEngine:
    """Trains some trials side by side on the CPU."""

    place = "in a thread"

    def __init__(self, settings: WorkerSettings, at_once: int) -> None:
        self._settings = settings
        self._at_once = at_once

    def run(self, interrupt: Interrupt, tick: Callable[[], None]) -> None:
        """Work until the study is done or interrupted."""
        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(self._work, interrupt)
            while wait([working], timeout=SECONDS).not_done:
                tick()
            working.result()

    def _work(self, interrupt: Interrupt) -> None:
        settings = self._settings
        start_torch(settings.threads)
        with (
            registered_study(settings) as study,
            joined_controller(settings, study, "cpu") as controller,
        ):
            problem = problem_of(study.spec, settings.data_dir)
            checkpoints = CheckpointFolder(settings.artifacts / "checkpoints")
            in_hand = TrialsInHand(lambda: trainer_of(study.spec, problem, "cpu", checkpoints))
            trials: dict[int, RunningTrial] = {}
            while not controller.done and not interrupt.requested:
                self._claim(controller, in_hand, trials)
                if trials:
                    _train_epoch(controller, in_hand, trials)
                else:
                    # Others hold what is left.
                    time.sleep(SECONDS)
            in_hand.save()
            give_back(controller, trials.values())

    def _claim(
        self, controller: Controller, in_hand: TrialsInHand, trials: dict[int, RunningTrial]
    ) -> None:
        while len(trials) < self._at_once:
            trial = controller.claim(asdict(in_hand.trainer.provenance))
            if trial is None:
                return
            trials[trial.id] = trial
            runs = training_runs(controller.spec, trial)
            in_hand.take(trial.id, runs, together=trial.assignment.together, kept_in=None)


def _train_epoch(
    controller: Controller, in_hand: TrialsInHand, trials: dict[int, RunningTrial]
) -> None:
    for trial in trials.values():
        for key, _ in in_hand.begin(trial.id):
            if not in_hand.is_open(trial.id, key):
                end_run(controller, trial, key)
    reports = [(trials[id_], records) for id_, records in in_hand.advance().items() if records]
    decisions = record_epoch_reports(controller, reports)
    decided = {trial.id: each for (trial, _), each in zip(reports, decisions, strict=True)}
    for trial in list(trials.values()):
        decision = decided.get(trial.id, Decision.CONTINUE)
        in_hand.release_ended(trial.id)
        if decision is not Decision.CONTINUE or not in_hand.is_open(trial.id):
            del trials[trial.id]
            in_hand.remove(trial.id)
            end_trial(controller, trial, decision)
