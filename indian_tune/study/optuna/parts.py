"""Which Optuna study shows a trial, and with which parameters if no sampler draws them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import optuna

from indian_tune.ledger import Phase
from indian_tune.study.file.section import MAX_REPLICATES, MAX_SEED
from indian_tune.study.levels import LEVELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.distributions import BaseDistribution

    from indian_tune.ledger import LedgerReader, StudyRecord, TrialRecord
    from indian_tune.study.file.spec import StudySpec
    from indian_tune.study.registered_study import RegisteredStudy

CONFIRM = "confirm"
FINAL = "final"
HALF = "half"


def confirm_params(
    arms: Sequence[str], arm: str, seed: int, search: tuple[int, int] | None = None
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Return parameters and distributions of a trial on a fresh seed.

    Args:
        arms: names of all arms.
        arm: its own.
        seed: its own.
        search: which of how many searches of the arm it belongs to; ``None`` if there is one.
    """
    params: dict[str, Any] = {"arm": arm, "seed": seed}
    searched: dict[str, BaseDistribution] = {
        "arm": optuna.distributions.CategoricalDistribution(tuple(arms)),
        "seed": optuna.distributions.IntDistribution(0, MAX_SEED),
    }
    if search is not None:
        replicate, replicates = search
        params["replicate"] = replicate
        searched["replicate"] = optuna.distributions.IntDistribution(0, replicates - 1)
    return params, searched


def part_of(study: StudyRecord, arm: str, trial: TrialRecord) -> str:
    """Return which Optuna study of ours shows a trial of an arm."""
    apart = {Phase.FINAL: FINAL, Phase.HALF: HALF, Phase.CONFIRM: CONFIRM}
    return apart.get(trial.phase) or study.search_name(arm, trial.replicate)


def fresh_seed(spec: StudySpec, trial: TrialRecord) -> int:
    """Return the seed of a trial on fresh seeds."""
    seeds = spec.protocol.confirming_seeds_of(trial.replicate)
    # A winner that overtook another has its trials after the other's, for the same seeds.
    return seeds[trial.index % len(seeds)]


def given_params(
    study: RegisteredStudy[LedgerReader], arm: str, trial: TrialRecord
) -> tuple[dict[str, Any], dict[str, BaseDistribution]]:
    """Return parameters and distributions of a trial of any phase but the tune phase.

    They are the level of a match trial; arm, search and tune trial of a finalist; arm, search and
    seed of a trial on a fresh seed.
    """
    spec = study.spec
    if trial.phase is Phase.MATCH:
        assert trial.config is not None
        level = optuna.distributions.FloatDistribution(LEVELS[0], LEVELS[-1], log=True)
        return {"level": trial.config["level"]}, {"level": level}
    names = tuple(each.name for each in spec.arms)
    if trial.phase is Phase.FINAL:
        return {"arm": arm, "replicate": trial.replicate, "trial": trial.index}, {
            "arm": optuna.distributions.CategoricalDistribution(names),
            "replicate": optuna.distributions.IntDistribution(0, MAX_REPLICATES),
            "trial": optuna.distributions.IntDistribution(0, MAX_SEED),
        }
    search = (trial.replicate, spec.replicates) if spec.replicates > 1 else None
    return confirm_params(names, arm, fresh_seed(spec, trial), search)
