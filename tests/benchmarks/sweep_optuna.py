"""The sweep as a user of Optuna would write it today: ``optimize`` over one SQLite file.

Both ways of its tutorial on parallelization: ``n_jobs=2`` (threads), which it shows first, or two
processes that share the storage. Started again, it continues with what is left.
"""

from __future__ import annotations

import argparse
import multiprocessing
from typing import Any

import optuna
import torch

from tests.benchmarks.sweep_task import SPACE, configurations, training

STORAGE = "sqlite:///optuna.db"


class Listed(optuna.samplers.RandomSampler):
    """Draws at random; the first trials get the configurations that every contender gets.

    Not queued with ``enqueue_trial``: on SQLite, two processes may take up the same trial.
    """

    def __init__(self, listed: list[dict[str, float]]) -> None:
        super().__init__()
        self._listed = dict(enumerate(listed))

    def sample_independent(
        self,
        study: optuna.Study,
        trial: optuna.trial.FrozenTrial,
        param_name: str,
        param_distribution: optuna.distributions.BaseDistribution,
    ) -> Any:
        if trial.number in self._listed:
            return self._listed[trial.number][param_name]
        return super().sample_independent(study, trial, param_name, param_distribution)


def optimize(listed: list[dict[str, float]], trials: int, epochs: int, jobs: int) -> None:
    def objective(trial: optuna.Trial) -> float:
        config = {
            name: trial.suggest_float(name, low, high, log=True)
            for name, (low, high) in SPACE.items()
        }
        network = training(config)
        error = 1.0
        for epoch in range(1, epochs + 1):
            network.epoch()
            error = network.validation_error()
            trial.report(error, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return error

    sampler = Listed(listed)
    pruner = optuna.pruners.NopPruner()
    study = optuna.load_study(study_name="sweep", storage=STORAGE, sampler=sampler, pruner=pruner)
    study.optimize(objective, n_trials=trials, n_jobs=jobs)


def work(listed: list[dict[str, float]], trials: int, epochs: int) -> None:
    """Do a share of the trials in one of two processes, which share the cores."""
    torch.set_num_threads(1)
    optimize(listed, trials, epochs, jobs=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--parallel", choices=["processes", "threads"], default="processes")
    given = parser.parse_args()

    study = optuna.create_study(study_name="sweep", storage=STORAGE, load_if_exists=True)
    listed = configurations(given.trials)
    left = given.trials - sum(trial.state.is_finished() for trial in study.trials)
    if given.parallel == "threads":
        optimize(listed, left, given.epochs, jobs=2)
        return
    spawn = multiprocessing.get_context("spawn")
    shares = (left - left // 2, left // 2)
    processes = [spawn.Process(target=work, args=(listed, share, given.epochs)) for share in shares]
    for process in processes:
        process.start()
    for process in processes:
        process.join()


if __name__ == "__main__":
    main()
