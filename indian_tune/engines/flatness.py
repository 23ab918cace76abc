"""The final weights that a study has kept, and their flatness. Loads torch and pandas."""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import TYPE_CHECKING

from indian_tune.engines.runs import kept_folder, problem_of
from indian_tune.errors import CheckpointError, InputError
from indian_tune.ledger import Phase, State
from indian_tune.problems import Loop
from indian_tune.study.assignment import run_key
from indian_tune.study.file.parameters import split_training_parameters
from indian_tune.study.ranking import dynamics_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import pandas as pd
    from torch import Tensor

    from indian_tune.ledger import ArmRecord, LedgerReader, RunRecord, TrialRecord
    from indian_tune.problems import Problem, Split
    from indian_tune.study.registered_study import RegisteredStudy
    from indian_tune.training import Checkpoint, CheckpointFolder

FLATNESS_EXAMPLES = 512
"""Training examples on which flatness is measured, unless told otherwise."""


def flatness_frame(
    study: RegisteredStudy[LedgerReader],
    artifacts: Path,
    data_dir: Path | None = None,
    *,
    examples: int = FLATNESS_EXAMPLES,
    device: str | None = None,
    on_run: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Measure the flatness of every run on the fresh seeds at its end, in float64.

    A run that diverged has no row: there are no weights at which it could be measured.

    Args:
        study: finished.
        artifacts: folder of the checkpoints, as it was given to the search.
        data_dir: folder of the data sets; ``None`` for the default.
        examples: of the training set, the same for all runs; all if it has no more.
        device: ``cpu`` or ``cuda:N``; a GPU if there is one by default.
        on_run: called after every run with how many are done, and how many there are.

    Returns:
        Columns study, arm, optimizer, phase, replicate where there are several searches, trial,
        seed, epoch, examples, parameters,
        effective_learning_rate (of the first step), those of
        :class:`indian_tune.training.flatness.Flatness`, and one per hyperparameter.

    Raises:
        InputError: weights were not kept, or are not there, or a loop of one's own trained them.
        DataError: the data set is missing or damaged.
    """
    import pandas as pd
    import torch

    from indian_tune.problems.randomness import seeded_global_generator
    from indian_tune.training.feed import Feed, fixed_subset
    from indian_tune.training.flatness import measure_flatness
    from indian_tune.training.live import MODEL

    if study.spec.problem.own_loop:
        raise InputError(
            f"study {study.name!r} trains with your training loop, whose network and loss are not "
            "known here: the flatness can be measured of a problem without a loop only"
        )
    kept = kept_folder(artifacts)
    runs = _finished(study)
    _check_kept(study, kept, runs)
    if not runs:
        raise InputError(f"all runs of study {study.name!r} on the fresh seeds diverged")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))

    @functools.lru_cache(maxsize=1)
    def data_of(replicate: int) -> tuple[Problem, Split, Feed]:
        problem = problem_of(study.spec, data_dir, replicate)
        assert not isinstance(problem, Loop)
        subset = fixed_subset(problem.train, examples).first(examples)
        return problem, subset, Feed(subset, problem, place, torch.float64)

    rows = []
    for done, (arm, trial, run) in enumerate(runs, 1):
        own_split = study.spec.problem.split == "replicate"
        problem, subset, feed = data_of(trial.replicate if own_split else 0)
        saved = _load(study, kept, arm, run)
        _, own = split_training_parameters(trial.config or {})
        with seeded_global_generator("initial weights", run.seed):
            model = problem.build_model(
                seed=run.seed, dropout=own.get("dropout", study.spec.problem.dropout)
            )
        try:
            model.load_state_dict(saved.state[MODEL])
        except (KeyError, TypeError, RuntimeError) as error:
            raise CheckpointError(
                f"the weights of {_title(arm, run)} do not fit the present network: {error}"
            ) from error
        model = model.to(place, torch.float64)
        dynamics = dynamics_of(arm.optimizer, trial.config or {})
        rows.append(
            {
                "study": study.name,
                "arm": arm.name,
                "optimizer": arm.optimizer,
                "phase": str(trial.phase),
                **({"replicate": trial.replicate} if study.spec.replicates > 1 else {}),
                "trial": trial.index,
                "seed": run.seed,
                "epoch": saved.epoch,
                "examples": len(subset),
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "effective_learning_rate": dynamics.effective_learning_rate,
                **asdict(measure_flatness(model, feed, task=problem.task)),
                **(trial.config or {}),
            }
        )
        if on_run is not None:
            on_run(done, len(runs))
    return pd.DataFrame(rows).astype({"effective_learning_rate": "float64"})


def kept_weights(
    study: RegisteredStudy[LedgerReader],
    artifacts: Path,
    arm: str,
    seed: int | None,
    network: str | None = None,
) -> dict[str, Tensor]:
    """Return the final weights of a run on a fresh seed.

    Args:
        study: whose ``protocol.keep_checkpoints`` is true.
        artifacts: folder of the checkpoints, as it was given to the search.
        arm: of the run.
        seed: of the run; ``None`` for the first.
        network: which one of a loop of one's own, by its name in ``run.epochs``; ``None`` for the
            only one, or the one called ``model``.

    Raises:
        InputError: there is no such run or network, or its weights were not kept or are not there.
        CheckpointError: they are damaged.
    """
    from indian_tune.training.live import MODEL

    kept = kept_folder(artifacts)
    runs = [each for each in _finished(study) if each[0].name == arm]
    _check_kept(study, kept, runs)
    if not runs:
        raise InputError(
            f"arm {arm!r} of study {study.name!r} has no finished run on a fresh seed, so there "
            "are no weights: status() says what became of its trials"
        )
    seeds = [run.seed for *_, run in runs]
    if seed is not None and seed not in seeds:
        listed = ", ".join(map(str, seeds))
        raise InputError(
            f"seed = {seed}: arm {arm!r} has no finished run on that fresh seed; there are {listed}"
        )
    chosen, _, run = runs[0 if seed is None else seeds.index(seed)]
    networks: Mapping[str, dict[str, Tensor]] = _load(study, kept, chosen, run).state
    usual = next(iter(networks)) if len(networks) == 1 else MODEL
    name = usual if network is None else network
    if name not in networks:
        names = ", ".join(map(repr, networks))
        raise InputError(f"network = {network!r} must be a network of the run: {names}")
    return networks[name]


def _load(
    study: RegisteredStudy[LedgerReader], kept: CheckpointFolder, arm: ArmRecord, run: RunRecord
) -> Checkpoint:
    saved = kept.load(run_key(study.record, run))
    if saved is None:
        raise CheckpointError(
            f"the weights of {_title(arm, run)} in {kept.root} are damaged: copy them there again, "
            "or run the study again with --as NEW-NAME"
        )
    return saved


def _finished(
    study: RegisteredStudy[LedgerReader],
) -> list[tuple[ArmRecord, TrialRecord, RunRecord]]:
    """Return the runs of the winners on the fresh seeds that did not diverge."""
    ledger = study.ledger
    arms = {arm.id: arm for arm in ledger.arms(study.id)}
    trials = {trial.id: trial for trial in ledger.confirms(study.id)}
    found = [
        (arms[trials[run.trial_id].arm_id], trials[run.trial_id], run)
        for run in ledger.study_runs(study.id, Phase.CONFIRM)
        if run.trial_id in trials and run.state is State.COMPLETE
    ]
    # Searches may each have their own data.
    return sorted(found, key=lambda each: each[1].replicate)


def _check_kept(
    study: RegisteredStudy[LedgerReader],
    kept: CheckpointFolder,
    runs: list[tuple[ArmRecord, TrialRecord, RunRecord]],
) -> None:
    """Demand that every run has its weights, before the first is measured."""
    if not study.spec.protocol.keep_checkpoints:
        raise InputError(
            f"study {study.name!r} has kept no weights (protocol.keep_checkpoints = "
            "false): set protocol.keep_checkpoints = true and run it with --as NEW-NAME"
        )
    missing = [(arm, run) for arm, _, run in runs if not kept.has(run_key(study.record, run))]
    if missing:
        raise InputError(
            f"the weights of {len(missing)} of {len(runs)} runs, such as {_title(*missing[0])}, "
            f"are not in {kept.root}: give the --artifacts folder of the search"
        )


def _title(arm: ArmRecord, run: RunRecord) -> str:
    return f"arm {arm.name!r}, seed {run.seed}"
