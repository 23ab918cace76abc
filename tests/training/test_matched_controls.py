"""Two controls of INDIAN: SGD at its response trains, SGD at γ_k/α mostly does not.

nin-small on digits, three configurations of INDIAN with ten seeds each, three epochs. A run fails
when it diverges or ends with a training error above .8 of the .9 that knows nothing. Measured, of
30 runs: at dropout .25, INDIAN 1, at its response 1, at γ_k/α 24; at dropout .5, 7, 2 and 26.
"""

from __future__ import annotations

import pytest

from indian_tune.engines.runs import problem_of
from indian_tune.outcome import FAILED_SHARE
from indian_tune.problems import Problem
from indian_tune.study.file.spec import parse_study
from indian_tune.study.freeze import matched_rate
from indian_tune.study.levels import control_of
from indian_tune.training import Run, Trainer

CONFIGS = [
    {"alpha": 0.211, "beta": 0.111, "gamma0": 0.326},
    {"alpha": 0.094, "beta": 1.474, "gamma0": 0.163},
    {"alpha": 0.343, "beta": 1.679, "gamma0": 0.182},
]
SEEDS = range(10)
EPOCHS = 3
STUDY = {
    "name": "controls",
    "problem": {"dataset": "digits", "model": "nin-small", "batch_size": 32},
    "protocol": {"epochs": EPOCHS},
    "search": {"trials": 1, "sampler": "random"},
    "arms": [{"name": "indian", "optimizer": "indian"}],
}


def failures(family: str, configs: list[dict[str, float]], dropout: float) -> int:
    """Return how many of the runs of some configurations fail."""
    spec = parse_study(STUDY, source="study.toml")
    problem = problem_of(spec, None)
    assert isinstance(problem, Problem)
    trainer = Trainer(problem)
    for number, config in enumerate(configs):
        for seed in SEEDS:
            trainer.add(
                Run(
                    key=f"{number}-{seed}",
                    seed=seed,
                    epochs=EPOCHS,
                    family=family,
                    config=config,
                    batch_size=spec.problem.batch_size,
                    dropout=dropout,
                )
            )
    failed = set()
    while trainer.active:
        for record in trainer.advance():
            error = 1 - record.value("train_accuracy")
            trained = error <= FAILED_SHARE * spec.chance_of("validation_error")
            if record.diverged or (record.epoch == EPOCHS and not trained):
                failed.add(record.key)
    return len(failed)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("dropout", [pytest.param(0.25, marks=pytest.mark.night), 0.5])
def test_controls_at_the_response_train_where_those_at_the_eventual_rate_do_not(
    dropout: float,
) -> None:
    responses = [control_of("indian", each) for each in CONFIGS]
    rates = [matched_rate("indian", each) for each in CONFIGS]
    found = {
        "INDIAN": failures("indian", CONFIGS, dropout),
        "response": failures("sgd-response", responses, dropout),
        "eventual rate": failures("sgd", rates, dropout),
    }
    print(f"failing runs of {len(CONFIGS) * len(SEEDS)} at dropout {dropout}: {found}")
    assert found["response"] <= 2
    assert found["eventual rate"] >= 20
