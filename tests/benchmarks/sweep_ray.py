"""The sweep as a user of Ray Tune would write it today, with Optuna as its search algorithm.

Started again, it restores the experiment as the guide to fault tolerance shows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.search.optuna import OptunaSearch

from tests.benchmarks.sweep_task import SPACE, configurations, training


def train(config: dict[str, Any]) -> None:
    network = training(config)
    for _ in range(config["epochs"]):
        network.epoch()
        tune.report({"validation_error": network.validation_error()})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=8)
    given = parser.parse_args()

    ray.init(address="local", num_cpus=2)
    folder = Path("ray").absolute()
    experiment = str(folder / "sweep")
    if tune.Tuner.can_restore(experiment):
        tuner = tune.Tuner.restore(experiment, trainable=train)
    else:
        # Every contender of the comparison gets the same configurations.
        first = configurations(given.trials)
        space = {name: tune.loguniform(low, high) for name, (low, high) in SPACE.items()}
        tuner = tune.Tuner(
            train,
            param_space={**space, "epochs": given.epochs},
            tune_config=tune.TuneConfig(
                metric="validation_error",
                mode="min",
                search_alg=OptunaSearch(points_to_evaluate=first),
                num_samples=given.trials,
            ),
            run_config=tune.RunConfig(name="sweep", storage_path=str(folder)),
        )
    tuner.fit()


if __name__ == "__main__":
    main()
